// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/generate/pair_inference.hpp>
#include <generate/pair_models.hpp>
#include <span>
#include <support/allocations.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace pair_inference_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

using Source = std::vector<int>;

std::vector<Source> sources_of(const std::vector<int>& lengths) {
  std::vector<Source> sources;
  for (const int length : lengths) sources.push_back(some_tokens(length, source_words, 40 + sources.size()));
  return sources;
}

template <class Inference>
void start(Inference& inference, const std::vector<Source>& sources) {
  const std::vector<std::span<const int>> spans(sources.begin(), sources.end());
  inference.start(spans);
}

/// Hypotheses that grow, idle, and go on from others, and the judge: each without a cache, in double, by the reference.
template <class Model, class B>
class Play {
 public:
  Play(const PairInferenceSize& size, const typename B::Options& machine)
      : weights_(moved_weights<Model, B>()),
        judge_(moved_weights<Model, Ref<double>>()),
        inference_(weights_, size, machine) {}

  /// Several steps; returns the largest error of the logits.
  double run(const std::vector<Source>& sources, int steps, std::uint64_t seed) {
    start(inference_, sources);
    const int width = inference_.size().hypotheses;
    std::vector<std::vector<int>> texts(sources.size() * std::size_t(width));
    const Philox random(Key{seed});
    double worst = 0;
    for (int step = 0; step < steps; ++step) {
      const auto draw = [&, counter = std::uint64_t(step) * 1000](int end) mutable {
        return int(below(end, low_bits(random(counter++))));
      };
      auto next = draw;
      if (step > 0)
        for (int s = 0; s < int(sources.size()); ++s) branch(texts, s, width, next);
      std::vector<int> tokens(texts.size(), -1);
      for (std::size_t h = 0; h < texts.size(); ++h) {
        const bool starts = texts[h].empty();  // not all sentences in the first step
        if (starts ? h > 0 && (h % std::size_t(width) != 0 || next(2) == 0) : h > 0 && next(5) == 0) continue;
        tokens[h] = next(target_words);
        texts[h].push_back(tokens[h]);
      }
      inference_.step(tokens);
      for (int h = 0; h < int(texts.size()); ++h) {
        CHECK(inference_.length(h) == int(texts[std::size_t(h)].size()));
        if (tokens[std::size_t(h)] >= 0)
          worst = std::max(worst, error(sources[std::size_t(h / width)], texts[std::size_t(h)], inference_.logits(h)));
      }
    }
    return worst;
  }
  PairInference<Model, B>& inference() { return inference_; }

 private:
  /// Every hypothesis of a sentence that is not followed by another one may become a copy of one that is.
  void branch(std::vector<std::vector<int>>& texts, int s, int width, auto& next) {
    const int kept = next(width), other = next(width);
    for (int h = 0; h < width; ++h) {
      const int from = s * width + (next(2) == 0 ? kept : other), to = s * width + h;
      if (h == kept || h == other || next(3) == 0) continue;
      inference_.branch(from, to);
      texts[std::size_t(to)] = texts[std::size_t(from)];
    }
  }

  template <class T>
  double error(const Source& source, const std::vector<int>& text, std::span<const T> logits) const {
    const auto expected = uncached_logits(judge_, source, text);
    double worst = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double difference =
          std::abs(double(logits[i]) - expected[(text.size() - 1) * std::size_t(target_words) + i]);
      worst = difference <= worst ? worst : std::isnan(difference) ? HUGE_VAL : difference;
    }
    return worst;
  }

  Weights<Model, B> weights_;
  Weights<Model, Ref<double>> judge_;
  PairInference<Model, B> inference_;
};

TEMPLATE_LIST_TEST_CASE("cached logits of hypotheses equal those of a pass without a cache", "[inference][threads]",
                        SmallPairModels) {
  const auto lengths = GENERATE(std::vector{1}, std::vector{40}, std::vector{5, 17, 3}, std::vector(9, 12));
  const int width = GENERATE(1, 4, 10), threads = GENERATE(1, 2, 3);
  CAPTURE(lengths, width, threads);
  const PairInferenceSize size{.sentences = 9, .hypotheses = width, .source = source_context, .target = 12};
  Play<TestType, Cpu<Double>> doubles(size, {.threads = threads});
  CHECK(doubles.run(sources_of(lengths), 6, 3) <= 1e-12);
  CHECK(doubles.run(sources_of({2, 30}), 4, 4) <= 1e-12);  // in memory that the first sentences have left
  Play<TestType, Cpu<Single>> singles(size, {.threads = threads});
  CHECK(singles.run(sources_of(lengths), 6, 3) <= 2e-5);
}

TEST_CASE("the reference backend reads pairs with a cache, too", "[inference]") {
  Play<RotatedPairs, Ref<double>> play({.sentences = 3, .hypotheses = 4, .source = 20, .target = 8}, {});
  CHECK(play.run(sources_of({5, 17, 3}), 8, 3) <= 1e-12);
}

TEMPLATE_TEST_CASE("ranks are those of the logits", "[inference][threads]", Cpu<Single>, Cpu<Double>, Ref<double>) {
  const auto weights = moved_weights<DeepPairs, TestType>();
  const int ranks = GENERATE(1, 5, int(target_words));
  PairInference<DeepPairs, TestType> inference(
      weights, {.sentences = 3, .hypotheses = 2, .source = 9, .target = 3, .ranks = ranks});
  start(inference, sources_of({9, 2, 4}));
  for (const auto& tokens : {std::vector{1, -1, 2, -1, -1, 3}, std::vector{-1, 4, 5, 6, 7, -1}}) {
    inference.step(tokens);
    for (int h = 0; h < 6; ++h) {
      if (tokens[std::size_t(h)] < 0) continue;
      const auto logits = inference.logits(h);
      const auto ranking = inference.ranking(h);
      CHECK(std::abs(ranking.log_sum - log_sum_exp(logits)) <= 1e-6);
      REQUIRE(int(ranking.logits.size()) == ranks);
      CHECK(ranking.logits[0] == *std::max_element(logits.begin(), logits.end()));
      CHECK(std::is_sorted(ranking.logits.rbegin(), ranking.logits.rend()));
      for (std::size_t r = 0; r < std::size_t(ranks); ++r)
        CHECK(logits[std::size_t(ranking.tokens[r])] == ranking.logits[r]);
    }
  }
}

TEST_CASE("threads give hypotheses the same bits", "[inference][threads]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Single>>();
  const auto logits = [&](int threads) {
    PairInference<DeepPairs, Cpu<Single>> inference(
        weights, {.sentences = 7, .hypotheses = 5, .source = 30, .target = 10}, {.threads = threads});
    start(inference, sources_of({3, 9, 30, 1, 14, 14, 2}));
    std::vector<float> all;
    for (int step = 0; step < 8; ++step) {
      std::vector<int> tokens;
      for (int h = 0; h < 35; ++h) tokens.push_back(h % 5 == 0 || step > 0 ? (h + step) % target_words : -1);
      if (step == 1)
        for (int h = 0; h < 35; ++h)
          if (h % 5 != 0) inference.branch(h / 5 * 5, h);
      inference.step(tokens);
      for (int h = 0; h < 35; ++h)
        if (tokens[std::size_t(h)] >= 0) all.insert(all.end(), inference.logits(h).begin(), inference.logits(h).end());
    }
    return all;
  };
  const auto alone = logits(1);
  CHECK(logits(2) == alone);
  CHECK(logits(3) == alone);
}

TEST_CASE("what does not fit inference of pairs is refused in one line", "[inference]") {
  const auto weights = moved_weights<DeepPairs, Cpu<>>();
  using Small = PairInference<DeepPairs, Cpu<>>;
  Small inference(weights, {.sentences = 2, .hypotheses = 2, .source = 4, .target = 2}, {.threads = 1});
  const auto refused = [](auto&& f, const std::string& part) {
    const std::string message = message_of<ShapeError>(f);
    CHECK_THAT(message, ContainsSubstring(part));
    CHECK_THAT(message, !ContainsSubstring("\n"));
  };
  refused([&] { inference.step(std::vector{1, 1}); }, "no sources; call start first");
  refused([&] { start(inference, {}); }, "0 sources where 1 to 2 were planned");
  refused([&] { start(inference, sources_of({1, 1, 1})); }, "3 sources where 1 to 2 were planned");
  refused([&] { start(inference, {{1}, {}}); }, "source 1 is empty; there is nothing to translate");
  refused([&] { start(inference, sources_of({5})); }, "source 0 has 5 tokens where at most 4 were planned");
  refused([&] { start(inference, {{1, source_words}}); }, "source 0: token 11 is outside the vocabulary of 11");
  start(inference, sources_of({4, 2}));
  refused([&] { inference.step(std::vector{1, 1}); }, "tokens for 2 hypotheses where there are 4");
  refused([&] { inference.step(std::vector{1, 1, target_words, 1}); }, "token 13 is outside the vocabulary of 13");
  inference.step(std::vector{1, -1, 1, -1});
  refused([&] { inference.branch(0, 2); }, "hypothesis 2 cannot go on from hypothesis 0: they are not of one sentence");
  inference.branch(0, 1);
  refused([&] { inference.branch(1, 0); }, "others go on from hypothesis 0");
  inference.step(std::vector{1, 1, 1, -1});
  refused([&] { inference.step(std::vector{1, -1, -1, -1}); }, "hypothesis 0 has 2 tokens, and there is no room");
  CHECK(inference.length(0) == 2);

  const auto size_refused = [&](const PairInferenceSize& size, const std::string& part) {
    refused([&] { Small(weights, size); }, part);
    refused([&] { Small::memory(size); }, part);
  };
  size_refused({.source = source_context + 1}, "sources of 41 tokens are longer than the model's context of 40");
  size_refused({.target = target_context + 1}, "targets of 25 tokens are longer than the model's context of 24");
  size_refused({.ranks = 14}, "14 ranks of a vocabulary of 13");
  size_refused({.hypotheses = 0}, "1 sequences of 0 rows");
  size_refused({.sentences = 1 << 12, .hypotheses = 1 << 12, .source = 1, .target = 1 << 12}, "fewer than 2^31");
}

TEST_CASE("memory for pairs is known before, and steps allocate nothing", "[inference][threads]") {
  constexpr PairInferenceSize size{.sentences = 3, .hypotheses = 4, .source = 20, .target = 10};
  constexpr InferenceMemory plan = PairInference<DeepPairs, Cpu<>>::memory(size);
  STATIC_CHECK(plan.cache == std::int64_t(pair_depth) * 2 * 24 * (12 * 10 + 3 * 20) * std::int64_t(sizeof(float)));
  const auto weights = moved_weights<DeepPairs, Cpu<>>();
  PairInference<DeepPairs, Cpu<>> inference(weights, size, {.threads = 2});
  CHECK(inference.allocated_bytes() == plan.total(2));
  const auto sources = sources_of({20, 3, 8});
  const std::vector<std::span<const int>> spans(sources.begin(), sources.end());
  const auto run = [&] {
    inference.start(spans);
    std::vector<int> tokens(12, -1);
    tokens[0] = tokens[4] = 1;
    inference.step(tokens);
    std::fill(tokens.begin(), tokens.end(), 1);
    for (int h = 1; h < 4; ++h) inference.branch(0, h), inference.branch(4, 4 + h);
    inference.step(tokens);
  };
  run();
  const long before = allocations;
  run();
  const long in_run = allocations - before;
  if (allocations_are_counted) CHECK(in_run <= 1);  // `tokens`
}

}  // namespace pair_inference_test
