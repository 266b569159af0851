// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/generate/sampling.hpp>
#include <limits>
#include <span>
#include <support/temporary_directory.hpp>
#include <vector>

namespace sampling_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Logits of these probabilities.
template <class T = double>
std::vector<T> logits_of(const std::vector<double>& probabilities) {
  std::vector<T> logits;
  for (const double p : probabilities) logits.push_back(T(std::log(p) + 3));
  return logits;
}

const std::vector<double> five = {0.1, 0.4, 0.05, 0.3, 0.15};

/// How often each token is drawn, as a share of all draws.
template <class T>
std::vector<double> shares(const std::vector<T>& logits, const Sampling& rule) {
  constexpr int sequences = 4, positions = 10'000;
  TokenSampler sampler(int(logits.size()), rule, Key{7});
  std::vector<double> counts(logits.size());
  for (int sequence = 0; sequence < sequences; ++sequence)
    for (int position = 0; position < positions; ++position)
      ++counts[sampler(std::span<const T>(logits), sequence, position)];
  for (double& count : counts) count /= sequences * positions;
  return counts;
}

/// The draws follow `weights`, rescaled to a sum of 1: tokens of weight 0 never come, others within five standard
/// deviations of 40,000 draws.
template <class T = double>
void require_distribution(const std::vector<double>& probabilities, const Sampling& rule,
                          const std::vector<double>& weights) {
  const auto found = shares(logits_of<T>(probabilities), rule);
  double sum = 0;
  for (const double weight : weights) sum += weight;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double p = weights[i] / sum;
    CAPTURE(i, found[i], p);
    REQUIRE(std::abs(found[i] - p) <= 5 * std::sqrt(p * (1 - p) / 40'000));
  }
}

std::string refusal(const Sampling& rule) {
  return message_of<Error>([&] { TokenSampler(5, rule, Key{1}); });
}
std::string refusal(const std::vector<double>& logits, const Sampling& rule) {
  TokenSampler sampler(int(logits.size()), rule, Key{1});
  return message_of<Error>([&] { sampler(std::span<const double>(logits), 0, 0); });
}

TEST_CASE("greedy takes the largest logit, the first of equal ones", "[sampling]") {
  TokenSampler sampler(5, {.temperature = 0}, Key{1});
  const auto greedy = [&](std::vector<double> logits) { return sampler(std::span<const double>(logits), 0, 0); };
  CHECK(greedy({1, 5, 2, 5, -1}) == 1);
  CHECK(greedy({-3, -2, -5, -1, -infinity}) == 3);
  CHECK(greedy({-infinity, -infinity, -infinity, -infinity, -1e300}) == 4);
}

TEMPLATE_TEST_CASE("draws follow the softmax of the logits over the temperature", "[sampling]", float, double) {
  require_distribution<TestType>(five, {}, five);
  std::vector<double> squares, roots;
  for (const double p : five) squares.push_back(p * p), roots.push_back(std::sqrt(p));
  require_distribution<TestType>(five, {.temperature = 0.5}, squares);
  require_distribution<TestType>(five, {.temperature = 2}, roots);
}

TEST_CASE("top-k keeps the k most probable tokens", "[sampling]") {
  require_distribution(five, {.top_k = 2}, {0, 0.4, 0, 0.3, 0});
  require_distribution(five, {.top_k = 1}, {0, 1, 0, 0, 0});
  require_distribution(five, {.top_k = 5}, five);
  require_distribution(five, {.top_k = 1000}, five);
  require_distribution({0.2, 0.3, 0.2, 0.1, 0.2}, {.top_k = 3}, {0.2, 0.3, 0.2, 0, 0});  // equal: lower ids first
}

TEST_CASE("top-p keeps the smallest set that holds at least p", "[sampling]") {
  require_distribution(five, {.top_p = 0.39}, {0, 1, 0, 0, 0});
  require_distribution(five, {.top_p = 0.41}, {0, 0.4, 0, 0.3, 0});
  require_distribution(five, {.top_p = 0.84}, {0, 0.4, 0, 0.3, 0.15});
  require_distribution(five, {.top_p = 0.86}, {0.1, 0.4, 0, 0.3, 0.15});
  require_distribution(five, {.top_p = 1e-9}, {0, 1, 0, 0, 0});
  require_distribution({0.2, 0.2, 0.2, 0.2, 0.2}, {.top_p = 0.39}, {0.2, 0.2, 0, 0, 0});
}

TEST_CASE("min-p keeps tokens that are not much less probable than the first", "[sampling]") {
  require_distribution(five, {.min_p = 0.3}, {0, 0.4, 0, 0.3, 0.15});
  require_distribution(five, {.min_p = 1}, {0, 1, 0, 0, 0});
}

TEST_CASE("filters act one after another, each on a whole distribution", "[sampling]") {
  // Of the best three (0.4, 0.3, 0.15) the first has 0.47 and the first two have 0.82.
  require_distribution(five, {.top_k = 3, .top_p = 0.46}, {0, 1, 0, 0, 0});
  require_distribution(five, {.top_k = 3, .top_p = 0.81}, {0, 0.4, 0, 0.3, 0});
  require_distribution(five, {.top_k = 3, .top_p = 0.83}, {0, 0.4, 0, 0.3, 0.15});
  require_distribution(five, {.top_k = 4, .top_p = 0.99, .min_p = 0.7}, {0, 0.4, 0, 0.3, 0});
  // The temperature comes first: squared, 0.4 has 0.56 of all.
  require_distribution(five, {.temperature = 0.5, .top_p = 0.55}, {0, 1, 0, 0, 0});
}

TEST_CASE("a small nucleus of a large vocabulary", "[sampling]") {
  std::vector<double> logits(50'000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = -1e-3 * double((i * 7919) % logits.size());
  TokenSampler sampler(int(logits.size()), {.top_p = 0.01}, Key{3});
  for (int position = 0; position < 50; ++position) {
    const int token = sampler(std::span<const double>(logits), 0, position);
    REQUIRE(logits[token] > -0.0105);  // 1 − exp(−0.0101) is 0.01
  }
}

TEST_CASE("a draw is a function of key, sequence and position", "[sampling]") {
  const std::vector<double> logits(1000);
  const auto draw = [&](TokenSampler& sampler, int sequence, int position) {
    return sampler(std::span<const double>(logits), sequence, position);
  };
  TokenSampler a(1000, {}, Key{1}), b(1000, {}, Key{1}), other(1000, {}, Key{2});
  const int first = draw(a, 3, 4);
  CHECK(draw(a, 4, 3) != first);
  CHECK(draw(a, 3, 5) != first);
  CHECK(draw(other, 3, 4) != first);
  CHECK(draw(a, 3, 4) == first);
  CHECK(draw(b, 3, 4) == first);
}

TEST_CASE("minus infinity forbids a token, other logits that are not finite are errors", "[sampling]") {
  CHECK(shares<double>({0, -infinity, 0, -infinity}, {})[1] == 0);
  for (const double temperature : {0.0, 1.0}) {
    const Sampling rule{.temperature = temperature};
    CHECK_THAT(refusal({0, 1, std::nan(""), 2}, rule), ContainsSubstring("logit of token 2 is"));
    CHECK_THAT(refusal({0, infinity}, rule), ContainsSubstring("logit of token 1 is inf"));
    CHECK_THAT(refusal({-infinity, -infinity}, rule), ContainsSubstring("no logit is above minus infinity"));
  }
}

TEST_CASE("rules without a meaning are refused", "[sampling]") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), above_one = 1 + 0x1p-52;
  for (const double temperature : {-1.0, -1e-300, infinity, -infinity, nan})
    CHECK_THAT(refusal({.temperature = temperature}), ContainsSubstring("temperature is a number from 0 on, not "));
  for (const int top_k : {-1, std::numeric_limits<int>::min()})
    CHECK_THAT(refusal({.top_k = top_k}), ContainsSubstring("top_k is a count from 0 on, not -"));
  for (const double top_p : {0.0, -0.1, above_one, infinity, -infinity, nan})
    CHECK_THAT(refusal({.top_p = top_p}), ContainsSubstring("top_p is above 0 and at most 1, not "));
  for (const double min_p : {-0.1, above_one, infinity, -infinity, nan})
    CHECK_THAT(refusal({.min_p = min_p}), ContainsSubstring("min_p is between 0 and 1, not "));
  CHECK(refusal({.temperature = 2, .top_k = 3, .top_p = 1, .min_p = 1}).empty());
  CHECK(refusal({.temperature = 0, .top_k = std::numeric_limits<int>::max(), .top_p = 1e-300, .min_p = 0}).empty());
}

}  // namespace sampling_test
