// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <fathom/report/format.hpp>
#include <fathom/score/metric.hpp>
#include <fathom/score/result.hpp>
#include <fathom/score/segments.hpp>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// How sure a score and a difference of scores are: bootstrap resampling (Koehn 2004, "Statistical significance tests
/// for machine translation evaluation"), computed as sacreBLEU 2 does it. The random numbers are fathom's own: what is
/// drawn follows from seed, resample and place alone, so p-values and intervals differ from sacreBLEU's as those of two
/// seeds do. Sums are exact where sacreBLEU's are in single precision.

namespace fathom::inline FATHOM_ABI::score {

namespace detail {

/// The segment in `place` of a resample, one of `count`.
class Draws {
 public:
  Draws(std::uint64_t seed, std::size_t count) : random_(Key{seed}.child("bootstrap")), count_(count) {}

  std::size_t operator()(std::size_t resample, std::size_t place) const {
    const Philox::Block bits = random_(place / 2, resample);
    return below(count_, place % 2 == 0 ? low_bits(bits) : high_bits(bits));
  }

 private:
  Philox random_;
  std::size_t count_;
};

/// The metric of every resample: `draws(resample, place)` says which segment of the corpus is in a place of it.
template <Metric M, class Draw>
std::vector<double> resample(const M& metric, std::span<const typename M::Statistics> corpus, int resamples,
                             const Draw& draws) {
  std::vector<double> scores;
  for (std::size_t s = 0; s < static_cast<std::size_t>(resamples); ++s) {
    typename M::Statistics sum;
    for (std::size_t i = 0; i < corpus.size(); ++i) sum += corpus[draws(s, i)];
    scores.push_back(metric.value(sum));
  }
  return scores;
}

/// Of the scores of resamples, of which the lowest and the highest fortieth are left out.
inline Confidence confidence(std::vector<double> scores) {
  std::ranges::sort(scores);
  const std::size_t lower = scores.size() / 40;
  const double mean = std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
  return {mean, 0.5 * (scores[scores.size() - lower - 1] - scores[lower])};
}

/// How probable a difference of at least `difference` is where the systems are equally good: the share of resamples
/// whose own difference is farther from the mean one.
inline double p_value(std::span<const double> baseline, std::span<const double> system, double difference) {
  std::vector<double> differences(baseline.size());
  for (std::size_t s = 0; s < baseline.size(); ++s) differences[s] = std::abs(system[s] - baseline[s]);
  const auto count = static_cast<double>(differences.size());
  const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / count;
  const auto larger = std::ranges::count_if(differences, [&](double d) { return d - mean > difference; });
  return (static_cast<double>(larger) + 1) / (count + 1);
}

inline void check(const BootstrapOptions& options) {
  if (options.resamples < 1)
    throw Error("bootstrap: " + std::to_string(options.resamples) + " resamples; choose 1 or more, such as 1000");
}

}  // namespace detail

/// A corpus score with the interval in which it lies in 95 of 100 resamples. Errors: as of `statistics`; `Error`
/// without resamples.
///
///   score::bootstrap(score::Bleu(), hypotheses, references).text()    BLEU|nrefs:1|bs:1000|… = 32.43 (μ = 32.41 ± 0.8)
template <Metric M>
typename M::Score bootstrap(const M& metric, Lines hypotheses, const References& references,
                            const BootstrapOptions& options = {}) {
  detail::check(options);
  const auto corpus = statistics(metric, hypotheses, references);
  typename M::Statistics sum;
  for (const auto& segment : corpus) sum += segment;
  typename M::Score score = metric.score(sum);
  score.signature = metric.signature(references.count(), options);
  score.confidence = detail::confidence(
      detail::resample(metric, std::span(corpus), options.resamples, detail::Draws(options.seed, corpus.size())));
  return score;
}

/// Two systems on the same resamples.
template <class Score>
struct Comparison {
  Score baseline, system;  ///< with confidence
  double p_value = 1;      ///< of a difference like this by chance; significant below 0.05, as usually agreed

  /// As sacreBLEU's tables: 32.43 (32.41 ± 0.82) (p = 0.0010)*
  std::string text(int decimals = 2) const {
    std::string text;
    format::append_fixed(text, system.score, decimals);
    format::append_fixed(text += " (", system.confidence->mean, decimals);
    format::append_fixed(text += " ± ", system.confidence->half_width, decimals);
    format::append_fixed(text += ") (p = ", p_value, 4);
    return text += p_value > 0.05 ? ")" : ")*";
  }
};

/// Whether a system is better than a baseline, or merely luckier in its test set. Every system that is compared with
/// the same seed is judged by the same resamples. Two equal systems have the least p-value, as in sacreBLEU: that they
/// do not differ is no matter of chance. Errors: as of `bootstrap`.
template <Metric M>
Comparison<typename M::Score> paired_bootstrap(const M& metric, Lines baseline, Lines system,
                                               const References& references, const BootstrapOptions& options = {}) {
  detail::check(options);
  const detail::Draws draws(options.seed, baseline.size());
  const auto judge = [&](Lines hypotheses) {
    const auto corpus = statistics(metric, hypotheses, references);
    typename M::Statistics sum;
    for (const auto& segment : corpus) sum += segment;
    auto score = metric.score(sum);
    score.signature = metric.signature(references.count(), options);
    auto scores = detail::resample(metric, std::span(corpus), options.resamples, draws);
    score.confidence = detail::confidence(scores);
    return std::pair(std::move(score), std::move(scores));
  };
  auto [first, first_scores] = judge(baseline);
  auto [second, second_scores] = judge(system);
  const double p = detail::p_value(first_scores, second_scores, std::abs(first.score - second.score));
  return {std::move(first), std::move(second), p};
}

}  // namespace fathom::inline FATHOM_ABI::score
