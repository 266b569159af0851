// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/score/bleu.hpp>
#include <fathom/score/bootstrap.hpp>
#include <fathom/score/chrf.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace bootstrap_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Text = std::vector<std::string>;

/// A system is right or wrong in each segment, and a corpus has the share that is right. What resampling makes of it is
/// known: a mean of draws from a binomial distribution.
class Accuracy {
 public:
  static constexpr std::string_view name = "accuracy";
  struct Statistics {
    int right = 0, all = 0;
    Statistics& operator+=(const Statistics& other) {
      right += other.right;
      all += other.all;
      return *this;
    }
  };
  struct Score {
    double score = 0;
    std::string signature = {};
    std::optional<score::Confidence> confidence = {};
  };
  struct Counter {
    explicit Counter(const Accuracy&) {}
    Statistics operator()(const score::Segment& segment) const {
      return {segment.hypothesis == segment.references[0], 1};
    }
  };
  double value(const Statistics& sum) const { return 100. * sum.right / sum.all; }
  Score score(const Statistics& sum) const { return {.score = value(sum)}; }
  std::string signature(std::size_t, const std::optional<score::BootstrapOptions>& = {}) const { return {}; }
};
static_assert(score::Metric<Accuracy> && score::Metric<score::Bleu> && score::Metric<score::Chrf>);

/// `right` segments that are right, one after another in the order of a stride, of `count`.
Text system(int count, int right, int stride) {
  Text text(std::size_t(count), "wrong");
  for (int i = 0; i < right; ++i) text[std::size_t(i * stride % count)] = "right";
  return text;
}

TEST_CASE("every segment is drawn equally often", "[score]") {
  constexpr std::size_t segments = 50, resamples = 2000;
  const score::detail::Draws draws(12345, segments);
  std::vector<double> drawn(segments), pairs(segments);
  for (std::size_t s = 0; s < resamples; ++s)
    for (std::size_t i = 0; i < segments; ++i) {
      ++drawn[draws(s, i)];
      const std::size_t next = draws(s, (i + 1) % segments);  // which does not depend on its neighbour
      ++pairs[(draws(s, i) + segments - next) % segments];
    }
  for (const auto& counts : {drawn, pairs}) {
    double chi_square = 0;
    for (const double count : counts) chi_square += (count - resamples) * (count - resamples) / resamples;
    CHECK(chi_square < 94.6);  // 49 degrees of freedom: once in 10,000
    CHECK(chi_square > 16);
  }
  const score::detail::Draws other(12346, segments);
  int same = 0;
  for (std::size_t i = 0; i < segments; ++i) same += draws(0, i) == other(0, i);
  CHECK(same < 10);
}

TEST_CASE("the interval is that of a binomial distribution", "[score]") {
  constexpr int count = 400, right = 240;
  const Text reference(count, "right");
  const auto result = score::bootstrap(Accuracy(), system(count, right, 1), reference, {.resamples = 4000});
  const double deviation = 100 * std::sqrt(0.6 * 0.4 / count);
  CHECK(result.score == 60);
  CHECK_THAT(result.confidence->mean, WithinAbs(60, 4 * deviation / std::sqrt(4000.)));
  CHECK_THAT(result.confidence->half_width, WithinAbs(1.96 * deviation, 0.3));
}

TEST_CASE("p-values tell luck from a better system", "[score]") {
  constexpr int count = 400;
  const Text reference(count, "right");
  const auto p = [&](const Text& baseline, const Text& system, std::uint64_t seed = 12345) {
    return score::paired_bootstrap(Accuracy(), baseline, system, reference, {.seed = seed}).p_value;
  };
  const Text middle = system(count, 200, 1);
  CHECK(p(middle, middle) == 1. / 1001);                 // as sacreBLEU has it: no resample tells them apart
  CHECK(p(middle, system(count, 300, 1)) == 1. / 1001);  // a hundred more are right
  CHECK(p(system(count, 300, 1), middle) == 1. / 1001);
  // Other 200 and 204 segments are right: a difference of 1 with a deviation of 5, so |d| is that of a normal variable,
  // whose mean is about 4.07, and exceeds it by more than 1 in 31 of 100 resamples.
  const double luck = p(middle, system(count, 204, 3));
  CHECK(luck > 0.05);
  CHECK(luck < 0.6);
  CHECK(p(middle, system(count, 204, 3)) == luck);
  CHECK(p(middle, system(count, 204, 3), 1) != luck);
}

TEST_CASE("p-values and intervals by hand", "[score]") {
  using namespace score::detail;
  const std::vector<double> baseline{1, 2, 3, 4}, system{2, 4, 6, 12};  // differences 1, 2, 3, 8; mean 3.5
  CHECK(p_value(baseline, system, 4) == 2. / 5);
  CHECK(p_value(baseline, system, 4.5) == 1. / 5);
  CHECK(p_value(system, baseline, 4) == 2. / 5);
  std::vector<double> scores(80);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = double((i * 37) % 80);  // 0 to 79
  CHECK(confidence(scores).mean == 39.5);
  CHECK(confidence(scores).half_width == 37.5);  // 2 to 77
  CHECK(confidence({5}).half_width == 0);
}

TEST_CASE("results say how they were resampled", "[score]") {
  const Text hypotheses{"a b c d e", "f g h i j"}, reference{"a b c d x", "f g h i j"};
  const auto result = score::bootstrap(score::Bleu(), hypotheses, reference, {.resamples = 100, .seed = 3});
  for (const auto* const part : {"BLEU|nrefs:1|bs:100|seed:3|case:mixed", " (μ = ", " ± ", ") 90.0/87.5/83.3/75.0 (BP"})
    CHECK_THAT(result.text(), ContainsSubstring(part));
  CHECK(result.score == score::bleu(hypotheses, reference).score);
  const auto comparison = score::paired_bootstrap(score::Chrf(), hypotheses, reference, reference);
  CHECK_THAT(comparison.text(1), ContainsSubstring("100.0 (100.0 ± 0.0) (p = 0."));
  CHECK(comparison.baseline.score == score::chrf(hypotheses, reference).score);
  CHECK(comparison.baseline.confidence->mean ==
        score::bootstrap(score::Chrf(), hypotheses, reference).confidence->mean);
  CHECK_THAT(message_of<Error>([&] { score::bootstrap(score::Bleu(), hypotheses, reference, {.resamples = 0}); }),
             ContainsSubstring("0 resamples"));
  CHECK_THROWS_AS(score::paired_bootstrap(score::Bleu(), Text{}, reference, reference), ShapeError);
}

}  // namespace bootstrap_test
