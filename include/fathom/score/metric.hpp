// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/score/result.hpp>
#include <fathom/score/segments.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What `Bleu` and `Chrf` have in common, and a metric of one's own needs for `bootstrap` and `paired_bootstrap`.

namespace fathom::inline FATHOM_ABI::score {

/// A measure of a corpus that follows from sums over its segments. `M::Counter(metric)(segment)` has the statistics of
/// a segment, `value` and `score` make the measure of their sum; a `Score` has a `signature` and a `confidence`.
template <class M>
concept Metric =
    requires(const M metric, typename M::Statistics statistics, typename M::Counter counter, Segment segment) {
      { counter(segment) } -> std::same_as<typename M::Statistics>;
      { statistics += statistics };
      { metric.value(statistics) } -> std::same_as<double>;
      { metric.score(statistics) } -> std::same_as<typename M::Score>;
      { metric.signature(std::size_t{1}, std::optional<BootstrapOptions>{}) } -> std::same_as<std::string>;
      { M::name } -> std::convertible_to<std::string_view>;
    } && std::constructible_from<typename M::Counter, const M&>;

/// The statistics of every segment. Errors: `ShapeError` unless every hypothesis has its references; `Error` for lines
/// that are not UTF-8.
template <Metric M>
std::vector<typename M::Statistics> statistics(const M& metric, Lines hypotheses, const References& references) {
  std::vector<typename M::Statistics> result;
  result.reserve(hypotheses.size());
  typename M::Counter counter(metric);
  detail::for_each_segment(M::name, hypotheses, references,
                           [&](const Segment& segment) { result.push_back(counter(segment)); });
  return result;
}

/// The score of a corpus. Errors: as of `statistics`.
template <Metric M>
typename M::Score corpus_score(const M& metric, Lines hypotheses, const References& references) {
  typename M::Statistics sum;
  typename M::Counter counter(metric);
  detail::for_each_segment(M::name, hypotheses, references, [&](const Segment& segment) { sum += counter(segment); });
  typename M::Score score = metric.score(sum);
  score.signature = metric.signature(references.count());
  return score;
}

/// The score of one segment by itself. Errors: `ShapeError` without references; `Error` for text that is not UTF-8.
template <Metric M>
typename M::Score sentence_score(const M& metric, std::string_view hypothesis,
                                 std::span<const std::string_view> references) {
  if (references.empty()) throw ShapeError(std::string(M::name) + ": no references; give at least one");
  detail::check_utf8(M::name, hypothesis, [] { return "the hypothesis"; });
  for (const std::string_view reference : references)
    detail::check_utf8(M::name, reference, [] { return "a reference"; });
  typename M::Score score = metric.score(typename M::Counter(metric)({hypothesis, references}));
  score.signature = metric.signature(references.size());
  return score;
}

}  // namespace fathom::inline FATHOM_ABI::score
