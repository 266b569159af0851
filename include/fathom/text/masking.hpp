// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <fathom/text/batch.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// A tokenizer without a mask token lends it the id behind its own: `mask` is `vocabulary`, and the model has
/// `Vocabulary<vocabulary + 1>`. The defaults are those for `Bytes`.
struct MaskingOptions {
  int vocabulary = 256;           ///< of the tokenizer; random tokens come from it
  int mask = 256;                 ///< id that hides a token
  std::vector<int> special = {};  ///< ids that are never hidden and never a random token: separators, padding, …
  double chosen = 0.15;           ///< share of a sequence's tokens that are to be predicted
  double masked = 0.8;            ///< share of the chosen ones that become `mask`
  double random = 0.1;            ///< share of the chosen ones that become a random token; the rest stays
  std::uint64_t seed = 0;
};

/// The batches of another sampler for a `MaskedLanguageModel`: of every sequence some tokens are chosen; they alone
/// have a target, themselves, and most of them are hidden from the model. A sequence has round(chosen · n) of them, at
/// least one, where n counts the tokens that are not special; one without such tokens has none. The choice follows from
/// (seed, cursor, sequence): another one every epoch, and the same again in a resumed run.
///
///   text::Masked(text::Windows(corpus, {.batch = 8, .length = 128}), {.mask = 256})
///
/// Source: Devlin et al., BERT (arXiv:1810.04805), section 3.1; the choice anew every epoch: RoBERTa
/// (arXiv:1907.11692).
template <Sampler S>
requires std::same_as<PackedBy<S>, PackedTokens>
class Masked {
 public:
  /// Errors: `Error` for shares that are no shares, ids that cannot be, or a vocabulary of special tokens alone.
  Masked(S sampler, MaskingOptions options)
      : sampler_(std::move(sampler)), options_(std::move(options)), key_(Key{options_.seed}.child("masking")) {
    const auto is_share = [](double value) { return value >= 0 && value <= 1; };
    if (!is_share(options_.chosen) || !is_share(options_.masked) || !is_share(options_.random) ||
        options_.masked + options_.random > 1)
      throw Error("Masked: chosen, masked, random and masked + random must lie between 0 and 1, not at " +
                  std::to_string(options_.chosen) + ", " + std::to_string(options_.masked) + ", " +
                  std::to_string(options_.random));
    std::vector<int>& special = options_.special;
    special.push_back(options_.mask);
    std::ranges::sort(special);
    special.erase(std::ranges::unique(special).begin(), special.end());
    if (special.front() < 0) throw Error("Masked: token " + std::to_string(special.front()) + " cannot be an id");
    ordinary_ = options_.vocabulary -
                static_cast<int>(std::ranges::lower_bound(special, options_.vocabulary) - special.begin());
    if (ordinary_ <= 0)
      throw Error("Masked: a vocabulary of " + std::to_string(options_.vocabulary) +
                  " tokens has none that is not special; give the tokenizer's vocabulary()");
  }

  Capacity capacity() const { return sampler_.capacity(); }
  std::uint64_t epoch() const { return sampler_.epoch(); }

  std::uint64_t fill(std::uint64_t cursor, PackedTokens& batch) const {
    const std::uint64_t next = sampler_.fill(cursor, batch);
    const std::span<const int> offsets = batch.packing().offsets;
    for (std::size_t sequence = 0; sequence + 1 < offsets.size(); ++sequence) {
      const auto first = static_cast<std::size_t>(offsets[sequence]);
      const std::size_t count = static_cast<std::size_t>(offsets[sequence + 1]) - first;
      mask(batch.tokens().subspan(first, count), batch.targets().subspan(first, count),
           key_.child(cursor).child(sequence));
    }
    return next;
  }

 private:
  bool is_special(int token) const { return std::ranges::binary_search(options_.special, token); }

  void mask(std::span<int> tokens, std::span<int> targets, Key key) const {
    std::ranges::fill(targets, no_target);
    const auto candidates = std::ranges::count_if(tokens, [this](int token) { return !is_special(token); });
    auto wanted = candidates == 0 ? 0 : std::max(static_cast<int>(options_.chosen * double(candidates) + 0.5), 1);
    const Permutation order(key.child("order"), tokens.size());
    const Philox random(key.child("tokens"));
    for (std::uint64_t i = 0; wanted > 0; ++i) {
      const std::uint64_t place = order(i);
      int& token = tokens[place];
      if (is_special(token)) continue;
      targets[place] = token;
      token = hidden(token, random(place));
      --wanted;
    }
  }

  /// What the model sees in place of a chosen token.
  int hidden(int token, const Philox::Block& bits) const {
    const double draw = uniform(low_bits(bits));
    if (draw < options_.masked) return options_.mask;
    if (draw >= options_.masked + options_.random) return token;
    int other = static_cast<int>(below(static_cast<std::uint64_t>(ordinary_), high_bits(bits)));
    for (const int special : options_.special) other += special <= other ? 1 : 0;  // sorted: steps over each of them
    return other;
  }

  S sampler_;
  MaskingOptions options_;  // special: sorted, with the mask
  Key key_;
  int ordinary_ = 0;  // tokens of the vocabulary that are not special
};

}  // namespace fathom::inline FATHOM_ABI::text
