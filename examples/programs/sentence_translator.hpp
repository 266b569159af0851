// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/error.hpp>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/text/subwords.hpp>
#include <numeric>
#include <programs/rules.hpp>
#include <programs/translation_data.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Sentences as text in, their translations as text out.
namespace fathom::program {

/// How sentences are translated.
struct DecodingOptions {
  int beam = 5, best = 0, sentences = 32;  ///< best 0: one, without its score
  double length_penalty = 1;
  bool sample = false;
  Sampling sampling = {};
  std::uint64_t seed = 1;
};

/// The options of a search; `batch` is how many sentences are translated side by side.
inline CLI::Option* add_search(CLI::App& command, DecodingOptions& options) {
  auto* const beam = command.add_option("--beam", options.beam, "hypotheses that are followed at a time; 1: greedy");
  beam->transform(whole(options.beam, 1, 1024));
  command
      .add_option("--length-penalty", options.length_penalty,
                  "hypotheses are compared by log-probability / length^this; 0: without their length")
      ->check(finite());
  command.add_option("--sentences", options.sentences, "that are translated side by side")
      ->transform(whole(options.sentences, 1, 1 << 16));
  return beam;
}

/// A translation as text, and its score.
struct TranslatedSentence {
  std::string text;
  double score = 0;
};

/// Translates sentences with the subwords of a model. What is found for a sentence follows from the weights, the
/// sentence, the options and, where it is drawn, from its number. The weights and options are viewed.
template <class Model, class B>
class SentenceTranslator {
 public:
  using Translations = std::vector<TranslatedSentence>;

  /// `longest`: tokens of a sentence, its end among them. `language`: the token that begins each, or none.
  SentenceTranslator(const Weights<Model, B>& weights, const text::Subwords& subwords, int language, int longest,
                     const DecodingOptions& options, const typename B::Options& machine)
      : subwords_(subwords),
        language_(language),
        longest_(longest),
        sentences_(options.sentences),
        generator_(weights, generator_options(subwords, longest, options), machine) {}

  /// The tokens of a sentence. Errors: `Error` that begins with `name` for one that is too long.
  std::vector<int> encode(std::string_view sentence, const std::string& name) const {
    auto tokens = source_tokens(subwords_, sentence, language_);
    if (tokens.size() > std::size_t(longest_))
      throw Error(name + ": has " + std::to_string(tokens.size()) + " tokens, and the model reads at most " +
                  std::to_string(longest_) + "; cut it into sentences");
    return tokens;
  }

  /// Translates all sources, similar lengths side by side, the shortest first. `done(i, translations)` is called for
  /// each, in the order in which they come out. `first` is the number of the first one. An empty sentence is its own
  /// translation. False, with some left undone, when `go_on()` says no between two batches.
  template <class Done, class GoOn>
  bool operator()(std::span<const std::vector<int>> sources, int first, Done&& done, GoOn&& go_on) {
    std::vector<int> order(sources.size());
    std::iota(order.begin(), order.end(), 0);
    const auto length = [&](int i) { return sources[std::size_t(i)].size(); };
    std::ranges::sort(order, {}, [&](int i) { return std::pair(length(i), i); });
    std::size_t begin = 0;
    const std::size_t nothing = language_ == text::PairEncoding::none ? 1 : 2;  // tokens of an empty sentence
    for (; begin < order.size() && length(order[begin]) <= nothing; ++begin) done(order[begin], Translations{{}});
    std::vector<std::span<const int>> batch;
    std::vector<int> numbers;
    for (std::size_t end; begin < order.size(); begin = end) {
      if (!go_on()) return false;
      end = std::min(order.size(), begin + std::size_t(sentences_));
      batch.clear();
      numbers.clear();
      for (std::size_t i = begin; i < end; ++i) {
        batch.emplace_back(sources[std::size_t(order[i])]);
        numbers.push_back(first + order[i]);
      }
      generator_.start(batch, numbers);
      while (generator_.step()) {
      }
      for (std::size_t i = begin; i < end; ++i) done(order[i], texts(int(i - begin)));
    }
    return true;
  }

 private:
  static PairGeneratorOptions generator_options(const text::Subwords& subwords, int longest,
                                                const DecodingOptions& options) {
    PairGeneratorOptions chosen{.begin = subwords.begin(),
                                .end = subwords.end(),
                                .sentences = options.sentences,
                                .source = longest,
                                .never = {subwords.begin()},
                                .beam = options.sample ? 1 : options.beam,
                                .best = std::max(1, options.best),
                                .penalty = {.alpha = options.length_penalty},
                                .seed = options.seed};
    if (subwords.unknown() >= 0) chosen.never.push_back(subwords.unknown());
    if (options.sample) chosen.sampling = options.sampling;
    return chosen;
  }

  Translations texts(int sentence) const {
    Translations list;
    for (const Hypothesis& hypothesis : generator_.translations(sentence)) {
      std::string text = subwords_.decode(hypothesis.tokens);
      std::ranges::replace_if(
          text, [](char c) { return c >= 0 && c < ' '; }, ' ');  // it is one line
      list.push_back({std::move(text), hypothesis.score});
    }
    return list;
  }

  text::Subwords subwords_;
  int language_, longest_, sentences_;
  PairGenerator<Model, B> generator_;
};

}  // namespace fathom::program
