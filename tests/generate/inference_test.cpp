// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/generate/inference.hpp>
#include <generate/models.hpp>
#include <span>
#include <support/temporary_directory.hpp>
#include <vector>

namespace inference_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

using Tokens = std::span<const int>;

/// The largest difference of two rows of logits; infinite when a value is not a number.
template <class T, class U>
double distance(std::span<const T> a, std::span<const U> b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    largest = difference <= largest ? largest : std::isnan(difference) ? HUGE_VAL : difference;
  }
  return largest;
}

/// A cache that reads texts in pieces, and the judge: the same texts without a cache, in double, by the reference.
template <class Model, class B>
class Comparison {
 public:
  Comparison(const std::vector<int>& lengths, const InferenceSize& size, const typename B::Options& machine)
      : weights_(moved_weights<Model, B>()), inference_(weights_, size, machine) {
    const auto judge = moved_weights<Model, Ref<double>>();
    for (const int length : lengths) {
      texts_.push_back(some_tokens(length, Model::vocabulary, 100 + texts_.size()));
      expected_.push_back(uncached_logits(judge, texts_.back()));
    }
  }

  /// Reads the next `counts[s]` tokens of each text; returns the largest error of the logits.
  double read(const std::vector<int>& counts) {
    std::vector<Tokens> pieces;
    for (std::size_t s = 0; s < texts_.size(); ++s)
      pieces.push_back(Tokens(texts_[s]).subspan(std::size_t(inference_.length(int(s))), std::size_t(counts[s])));
    inference_.append(pieces);
    double largest = 0;
    for (int s = 0; s < int(texts_.size()); ++s)
      if (counts[s] > 0) {
        const auto row = std::size_t(inference_.length(s) - 1) * Model::vocabulary;
        largest = std::max(largest, distance(inference_.logits(s),
                                             std::span<const double>(expected_[s]).subspan(row, Model::vocabulary)));
      }
    return largest;
  }
  Inference<Model, B>& inference() { return inference_; }

 private:
  Weights<Model, B> weights_;
  Inference<Model, B> inference_;
  std::vector<std::vector<int>> texts_;
  std::vector<std::vector<double>> expected_;
};

/// Prompts of these lengths, then token by token.
template <class Model, class B>
double worst_error(const std::vector<int>& prompts, const typename B::Options& machine) {
  constexpr int steps = 6;
  std::vector<int> lengths = prompts;
  for (int& length : lengths) length += steps;
  Comparison<Model, B> comparison(lengths,
                                  {.sequences = int(prompts.size()),
                                   .pass = *std::ranges::max_element(prompts),
                                   .length = *std::ranges::max_element(lengths)},
                                  machine);
  double worst = comparison.read(prompts);
  for (int step = 0; step < steps; ++step)
    worst = std::max(worst, comparison.read(std::vector<int>(prompts.size(), 1)));
  return worst;
}

std::vector<int> prompts() {
  return GENERATE(std::vector{1}, std::vector{16}, std::vector{17}, std::vector{58}, std::vector{2, 9, 1},
                  std::vector{3, 40, 1, 18}, std::vector(20, 5));
}

TEMPLATE_LIST_TEST_CASE("cached logits equal those of a pass without a cache", "[inference]", SmallModels) {
  const auto lengths = prompts();
  const int threads = GENERATE(1, 2);
  CAPTURE(lengths, threads);
  CHECK(worst_error<TestType, Cpu<Double>>(lengths, {.threads = threads}) <= 1e-12);
  CHECK(worst_error<TestType, Cpu<Single>>(lengths, {.threads = threads}) <= 1e-5);
}

TEMPLATE_TEST_CASE("in mixed precision logits with a cache are off by roundings alone", "[inference][mixed]", Learned,
                   Rotated) {
  const auto lengths = prompts();
  CHECK(worst_error<TestType, Cpu<Mixed>>(lengths, {.threads = 2}) <=
        0.2);  // those of two rows differ by more than 0.5
}

TEST_CASE("the reference backend reads with a cache, too", "[inference]") {
  CHECK(worst_error<Rotated, Ref<double>>(prompts(), {}) <= 1e-12);
}

TEST_CASE("sequences idle, read on by pieces, and forget their ends", "[inference]") {
  const int threads = GENERATE(1, 2);
  Comparison<Learned, Cpu<Double>> comparison({30, 40, 25}, {.sequences = 3, .pass = 20, .length = 40},
                                              {.threads = threads});
  auto& inference = comparison.inference();
  CHECK(comparison.read({3, 0, 20}) <= 1e-12);
  CHECK(comparison.read({0, 12, 0}) <= 1e-12);
  CHECK(comparison.read({0, 0, 0}) == 0);
  CHECK(comparison.read({1, 0, 1}) <= 1e-12);
  CHECK(comparison.read({0, 0, 1}) <= 1e-12);
  CHECK(inference.length(0) == 4);
  CHECK(inference.length(1) == 12);
  CHECK(inference.length(2) == 22);
  inference.rewind(2, 5);
  inference.rewind(1, 0);
  inference.rewind(0, 9);  // it has only 4
  CHECK(comparison.read({1, 20, 1}) <= 1e-12);
  CHECK(comparison.read({20, 20, 19}) <= 1e-12);
  CHECK(inference.length(1) == 40);
}

TEST_CASE("what does not fit is refused, and nothing is read", "[inference]") {
  const auto weights = moved_weights<Learned, Cpu<>>();
  Inference<Learned, Cpu<>> inference(weights, {.sequences = 2, .pass = 4, .length = 6}, {.threads = 1});
  const auto refuse = [&](const std::vector<std::vector<int>>& pieces, const char* message) {
    const std::vector<Tokens> tokens(pieces.begin(), pieces.end());
    CHECK_THAT(message_of<ShapeError>([&] { inference.append(tokens); }), ContainsSubstring(message));
    CHECK(inference.length(0) == 0);
  };
  refuse({{1}}, "tokens for 1 sequences where there are 2");
  refuse({{1}, {37}}, "token 37 is outside the vocabulary of 37");
  refuse({{1}, {-1}}, "token -1 is outside");
  refuse({{1}, {1, 2, 3, 4, 5, 6, 7}}, "sequence 1 has room for 6 more tokens, not 7");
  refuse({{1}, {1, 2, 3, 4, 5}}, "does not fit a capacity");
  using Small = Inference<Learned, Cpu<>>;
  CHECK_THAT(message_of<ShapeError>([&] { Small(weights, {.length = context + 1}); }),
             ContainsSubstring("longer than the model's context of 64"));
  const auto refused = [&](const InferenceSize& size, const std::string& part) {
    CHECK_THAT(message_of<ShapeError>([&] { Small(weights, size); }), ContainsSubstring(part));
    CHECK_THAT(message_of<ShapeError>([&] { Small::memory(size); }), ContainsSubstring(part));
  };
  refused({.sequences = 0}, "Inference: 0 sequences of 1 rows: both must be positive");
  refused({.pass = -1}, "1 sequences of -1 rows");
  refused({.length = 0}, "1 sequences of 0 rows");
  refused({.sequences = 1 << 16, .pass = 1 << 16}, "65536 sequences of 65536 rows");
}

TEST_CASE("memory is known before, and all of it but the cache is the same for every depth", "[inference]") {
  constexpr InferenceSize size{.sequences = 4, .pass = 16, .length = 32};
  using Deeper = LanguageModel<Vocabulary<37>, ContextLength<64>, deepnet::DecoderOnly<300, width, 4>>;
  using Flat = LanguageModel<Vocabulary<37>, ContextLength<64>, deepnet::DecoderOnly<3, width, 4>>;
  constexpr InferenceMemory deep = Inference<Deeper, Cpu<>>::memory(size), flat = Inference<Flat, Cpu<>>::memory(size);
  STATIC_CHECK(deep.cache == std::int64_t(300) * 2 * 4 * 32 * width * std::int64_t(sizeof(float)));
  STATIC_CHECK(flat.cache * 100 == deep.cache);
  STATIC_CHECK(deep.total(2) - deep.cache == flat.total(2) - flat.cache);

  const Weights<Flat, Cpu<>> weights(1);
  Inference<Flat, Cpu<>> inference(weights, size, {.threads = 2});
  CHECK(inference.allocated_bytes() == flat.total(2));
}

}  // namespace inference_test
