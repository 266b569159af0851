// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/random.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/score/unigram.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <span>
#include <string>
#include <vector>

#include "encoder_decoder.hpp"
#include "settings.hpp"

namespace fathom::experiments {

/// Random sequences and the same backwards, for an encoder and a decoder of "64-128-2" (width, feed-forward width,
/// heads). What a model can only say by reading the source through all of its layers.
class Reversal {
 public:
  static constexpr const char* name = "reversal";
  static constexpr std::int64_t steps = 300, warmup = 100;
  static constexpr double smoothing = 0.1, beta2 = 0.98;
  static constexpr int vocabulary = 32, begin = 29, end = 30, longest = 10, batch_size = 32;
  static constexpr int width = 64, hidden = 128, heads = 2;

  template <class Method, int Depth, class Stacks = EncoderDecoder<Method, Depth, width, hidden, heads>>
  using Model = Translator<Encoder<Vocabulary<vocabulary>, ContextLength<longest>, typename Stacks::Source>,
                           Decoder<Vocabulary<vocabulary>, ContextLength<longest + 1>, typename Stacks::Target>>;
  using Packed = text::PackedPairs;

  static std::string texts(const Settings&) { return {}; }

  Reversal(const Settings&, std::uint64_t seed) : key_(Key{seed}.child("reversal")) {
    for (std::uint64_t number = 0; number < 8; ++number) {
      validation_.emplace_back(capacity());
      fill(Key{0}.child("validation").child(number), validation_.back());
    }
  }

  static PairCapacity capacity() {
    return {{batch_size * longest, batch_size, longest}, {batch_size * (longest + 1), batch_size, longest + 1}};
  }
  /// The batch of an update.
  void fill(std::int64_t step, Packed& batch) const { fill(key_.child(std::uint64_t(step)), batch); }
  const std::vector<Packed>& validation() const { return validation_; }
  /// Letters are equally frequent, and each sequence has an end.
  score::Unigram frequencies() const {
    constexpr double sequences = 1e12;  // without end
    score::Unigram model(vocabulary);
    for (std::size_t letter = 0; letter < begin; ++letter) model.add(letter, sequences * longest / begin);
    model.add(end, sequences);
    return model;
  }

 private:
  static void fill(const Key& key, Packed& batch) {
    const Philox random(key);
    batch.clear();
    for (std::uint64_t drawn = 0; batch.fits(longest, longest + 1);) {
      std::array<int, longest> source;
      std::array<int, longest + 1> target{begin};
      for (std::size_t i = 0; i < longest; ++i) {
        source[i] = int(below(begin, low_bits(random(drawn++))));
        target[longest - i] = source[i];
      }
      batch.append(std::span<const int>(source), std::span<const int>(target), end);
    }
    batch.pack();
  }

  Key key_;
  std::vector<Packed> validation_;
};

}  // namespace fathom::experiments
