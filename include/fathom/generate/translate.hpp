// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/generate/pair_scorer.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The translations of each source, the best first: `options.best` of them, fewer where the search finds no more.
///
///   const auto translations = translate(weights, sources, {.begin = 1, .end = 2, .beam = 5});
///   translations[s].front().tokens
///
/// Sources come in any order and number: those of similar length are translated side by side. `options.source` need not
/// be given: it is that of the longest. Draws of a sampled translation follow from the source's place in `sources`.
/// Errors: as of `PairGenerator`; `ShapeError` for a source that is empty or longer than the encoder's context.
template <class Model, class B>
std::vector<std::vector<Hypothesis>> translate(const Weights<Model, B>& weights,
                                               std::span<const std::vector<int>> sources, PairGeneratorOptions options,
                                               const typename B::Options& machine = {}) {
  std::vector<std::vector<Hypothesis>> results(sources.size());
  if (sources.empty()) return results;
  int longest = 1;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    const std::size_t length = sources[s].size(), most = std::size_t(Model::Source::context);
    if (length == 0 || length > most)
      throw ShapeError("translate: source " + std::to_string(s) + " has " + std::to_string(length) +
                       " tokens; it must have 1 to " + std::to_string(most));
    longest = std::max(longest, int(length));
  }
  options.source = longest;
  options.sentences = std::min(options.sentences, int(sources.size()));
  std::vector<int> order(sources.size());
  std::iota(order.begin(), order.end(), 0);
  const auto source = [&](int number) -> const std::vector<int>& { return sources[std::size_t(number)]; };
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return source(a).size() != source(b).size() ? source(a).size() > source(b).size() : a < b;
  });

  PairGenerator<Model, B> generator(weights, options, machine);
  std::vector<std::span<const int>> batch;
  for (std::size_t begin = 0; begin < order.size(); begin += std::size_t(options.sentences)) {
    const auto numbers = std::span<const int>(order).subspan(
        begin, std::min(std::size_t(options.sentences), order.size() - begin));
    batch.clear();
    for (const int number : numbers) batch.emplace_back(source(number));
    generator.start(batch, numbers);
    while (generator.step()) {
    }
    for (std::size_t s = 0; s < numbers.size(); ++s)
      results[std::size_t(numbers[s])] = generator.translations(int(s));
  }
  return results;
}

/// The same of one source.
template <class Model, class B>
std::vector<Hypothesis> translate(const Weights<Model, B>& weights, const std::vector<int>& source,
                                  const PairGeneratorOptions& options, const typename B::Options& machine = {}) {
  return translate(weights, std::span(&source, 1), options, machine).front();
}

/// What the model says of a given translation of a source, as `Hypothesis`: forced decoding.
/// Errors: `ShapeError` for a source that is empty, for a side that is longer than its context, and for tokens that the
/// model does not know.
template <class Model, class B>
Hypothesis score_translation(const Weights<Model, B>& weights, const std::vector<int>& source,
                             const std::vector<int>& tokens, const PairGeneratorOptions& options,
                             const typename B::Options& machine = {}) {
  if (source.empty()) throw ShapeError("score_translation: the source is empty");
  std::vector<int> target{options.begin};
  target.insert(target.end(), tokens.begin(), tokens.end());
  const PairCapacity capacity({.rows = int(source.size()), .sequences = 1, .longest = int(source.size())},
                              {.rows = int(target.size()), .sequences = 1, .longest = int(target.size())});
  text::PackedPairs pair(capacity);
  pair.append<int>(source, target, options.end);
  pair.pack();
  PairScorer<Model, B> scorer(weights, capacity, machine);
  const auto scores = scorer(pair);
  Hypothesis result{.tokens = tokens, .log_probabilities = {scores.begin(), scores.end()}};
  result.log_probability = std::accumulate(scores.begin(), scores.end(), 0.0);
  result.score = options.penalty.score(result.log_probability, int(tokens.size()));
  return result;
}

}  // namespace fathom::inline FATHOM_ABI
