// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/error.hpp>
#include <fathom/core/threads.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/score/bleu.hpp>
#include <fathom/score/unigram.hpp>
#include <fathom/text/pair_batches.hpp>
#include <filesystem>
#include <programs/sentence_translator.hpp>
#include <programs/translation_data.hpp>
#include <string>
#include <vector>

#include "encoder_decoder.hpp"
#include "settings.hpp"

namespace fathom::experiments {

/// Sentences and their translations, in subwords of both languages, for an encoder and a decoder of "64-256-4" (width,
/// feed-forward width, heads) with one embedding.
class Translation {
 public:
  static constexpr const char* name = "translation";
  static constexpr std::int64_t steps = 600, warmup = 100;
  static constexpr double smoothing = 0.1, beta2 = 0.98;
  static constexpr int vocabulary = 4000, longest = 64, rows = 512;
  static constexpr int width = 64, hidden = 256, heads = 4;

  template <class Method, int Depth, class Stacks = EncoderDecoder<Method, Depth, width, hidden, heads>>
  using Model = Translator<Encoder<Vocabulary<vocabulary>, ContextLength<longest>, typename Stacks::Source>,
                           Decoder<Vocabulary<vocabulary>, ContextLength<longest>, typename Stacks::Target>, TiedOutput,
                           TiedSourceEmbedding>;
  using Packed = text::PackedPairs;

  static std::string texts(const Settings& settings) {
    std::string names;
    for (const auto* files : {&settings.pairs, &settings.validation})
      for (const std::string& file : *files) {
        if (!names.empty()) names += ' ';
        names += std::filesystem::path(file).filename();
      }
    if (settings.validation.empty()) names += " (of each the last " + std::to_string(hold_out(settings)) + " validate)";
    return names;
  }

  /// Errors: `Error` without texts, and for more sentences to translate than there are to validate on; of what reads
  /// and cleans them.
  Translation(const Settings& settings, std::uint64_t seed)
      : data_(data_of(settings)), batches_(data_.corpora, options(seed, true)) {
    if (std::size_t(settings.bleu) > data_.validation.size())
      throw Error("--bleu " + std::to_string(settings.bleu) + ": there are " + std::to_string(data_.validation.size()) +
                  " sentences to validate on; give less");
    const Batches all(data_.validation_corpora, options(0, false));
    std::vector<std::uint64_t> begins;
    for (std::uint64_t cursor = 0; cursor < all.epoch();) {
      begins.push_back(cursor);
      cursor = all.select(cursor, [](text::PairPlace) {});
    }
    const std::size_t count = std::min<std::size_t>(16, begins.size());
    for (std::size_t i = 0; i < count; ++i) {  // spread evenly over the text
      validation_.emplace_back(all.capacity());
      all.fill(begins[i * begins.size() / count], validation_.back());
    }
  }

  PairCapacity capacity() const { return batches_.capacity(); }
  /// The batch of an update. Those before it are asked for first.
  void fill(std::int64_t, Packed& batch) { cursor_ = batches_.fill(cursor_, batch); }
  const std::vector<Packed>& validation() const { return validation_; }
  score::Unigram frequencies() const { return program::frequencies(data_); }

  /// BLEU of the first `settings.bleu` sentences to validate on, which are translated by a beam of 4. Worthless once
  /// `settings.stopped()`.
  template <class Model, class B>
  double bleu(const Weights<Model, B>& weights, const Settings& settings, const typename B::Options& machine) const {
    const auto count = std::size_t(settings.bleu);
    program::SentenceTranslator<Model, B> translator(weights, data_.subwords, text::PairEncoding::none, longest,
                                                     {.beam = 4}, machine);
    std::vector<std::vector<int>> sources;
    std::vector<std::string> hypotheses(count), references;
    for (std::size_t i = 0; i < count; ++i) {
      sources.push_back(translator.encode(data_.validation.source[i], "a sentence to validate on"));
      references.emplace_back(data_.validation.target[i]);
    }
    translator(
        sources, 0,
        [&](int i, const auto& translations) {
          if (!translations.empty()) hypotheses[std::size_t(i)] = translations.front().text;
        },
        [&] { return !settings.stopped(); });
    return score::bleu(hypotheses, references).score;
  }

 private:
  using Batches = text::PairBatches<text::Subwords::Token>;

  /// Read, cleaned and cut into subwords once for all cells.
  static const program::TranslationData& data_of(const Settings& settings) {
    static const program::TranslationData data = [&] {
      if (settings.pairs.empty())
        throw Error("the task translation needs a parallel text: give two files with --pairs");
      program::TranslationDataOptions options;
      options.texts = settings.pairs;
      options.validation = settings.validation;
      options.hold_out = hold_out(settings);
      return program::load_translation_data(options, vocabulary, longest,
                                            settings.threads > 0 ? settings.threads : available_threads(), {});
    }();
    return data;
  }
  static std::int64_t hold_out(const Settings& settings) { return settings.hold_out > 0 ? settings.hold_out : 500; }
  static text::PairBatchOptions options(std::uint64_t seed, bool shuffle) {
    return {.source_rows = rows,
            .target_rows = rows,
            .pairs = rows / 2,
            .longest_source = longest,
            .longest_target = longest,
            .shuffle = shuffle,
            .seed = seed};
  }

  const program::TranslationData& data_;
  Batches batches_;
  std::uint64_t cursor_ = 0;
  std::vector<Packed> validation_;
};

}  // namespace fathom::experiments
