// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/generate/generator.hpp>
#include <generate/models.hpp>
#include <limits>
#include <span>
#include <support/allocations.hpp>
#include <support/temporary_directory.hpp>
#include <thread>
#include <vector>

namespace generator_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

using Tokens = std::span<const int>;
using B = Cpu<Double>;
constexpr B::Options one_thread{.threads = 1}, two_threads{.threads = 2};

std::vector<int> copy(Tokens tokens) { return {tokens.begin(), tokens.end()}; }

template <class Model>
std::vector<std::vector<int>> continued(const Weights<Model, B>& weights, const std::vector<std::vector<int>>& prompts,
                                        GeneratorOptions options, const B::Options& machine = one_thread) {
  options.sequences = int(prompts.size());
  Generator<Model, B> generator(weights, options, machine);
  generator.start(std::vector<Tokens>(prompts.begin(), prompts.end()));
  while (generator.step()) {
  }
  std::vector<std::vector<int>> texts;
  for (int s = 0; s < generator.sequences(); ++s) texts.push_back(copy(generator.text(s)));
  return texts;
}

/// The greedy continuation by passes without a cache, of the last `window(count)` of count tokens.
template <class Model, class F>
std::vector<int> greedy(const Weights<Model, B>& weights, std::vector<int> text, int steps, F window) {
  for (int step = 0; step < steps; ++step) {
    const auto logits = uncached_logits(weights, Tokens(text).last(std::size_t(window(int(text.size())))));
    const auto last = std::span(logits).last(Model::vocabulary);
    text.push_back(int(std::ranges::max_element(last) - last.begin()));
  }
  return text;
}

const std::vector<std::vector<int>> three_prompts = {some_tokens(5, 37, 1), some_tokens(1, 37, 2),
                                                     some_tokens(20, 37, 3)};

TEMPLATE_LIST_TEST_CASE("greedy texts are those of passes without a cache", "[generator]", SmallModels) {
  const auto weights = moved_weights<TestType, B>();
  const auto texts = continued(weights, three_prompts, {.tokens = 12, .sampling = {.temperature = 0}}, two_threads);
  for (std::size_t s = 0; s < texts.size(); ++s)
    CHECK(texts[s] == greedy(weights, three_prompts[s], 12, [](int count) { return count; }));
}

TEST_CASE("a text depends on its prompt, number, seed and rule alone", "[generator]") {
  const auto weights = moved_weights<Learned, B>();
  const GeneratorOptions options{.tokens = 30, .sampling = {.top_k = 20, .top_p = 0.95}, .seed = 4};
  const auto texts = continued(weights, three_prompts, options);
  CHECK(continued(weights, three_prompts, options) == texts);
  CHECK(continued(weights, three_prompts, options, two_threads) == texts);
  CHECK(continued(weights, {three_prompts[0]}, options)[0] == texts[0]);
  auto other = options;
  other.seed = 5;
  CHECK(continued(weights, three_prompts, other)[0] != texts[0]);
  const auto twice = continued(weights, {three_prompts[0], three_prompts[0]}, options);
  CHECK(twice[0] != twice[1]);
}

TEST_CASE("a text ends with the stop token, its last token, or the context", "[generator]") {
  const auto weights = moved_weights<Learned, B>();
  const auto free = continued(weights, three_prompts, {.tokens = 10, .sampling = {.temperature = 0}});
  const int stop = free[0][8];
  const auto place = [&](const std::vector<int>& text, std::size_t prompt) {
    return std::find(text.begin() + std::ptrdiff_t(prompt), text.end(), stop);
  };
  Generator<Learned, B> generator(weights, {.sequences = 4, .tokens = 10, .stop = stop, .sampling = {.temperature = 0}},
                                  one_thread);
  generator.start(std::vector<Tokens>(three_prompts.begin(), three_prompts.end()));
  int steps = 0;
  while (generator.step()) ++steps;
  CHECK(steps <= 10);
  CHECK_FALSE(generator.step());
  for (int s = 0; s < 3; ++s) {
    const auto end = place(free[s], three_prompts[s].size());
    const bool stopped = end != free[s].end();
    CHECK(generator.finish_reason(s) == (stopped ? FinishReason::stop : FinishReason::length));
    CHECK(copy(generator.text(s)) == std::vector<int>(free[s].begin(), stopped ? end + 1 : end));
    CHECK(generator.added(s).size() == generator.text(s).size() - three_prompts[s].size());
  }
  CHECK(generator.finish_reason(0) == FinishReason::stop);
  CHECK(generator.finish_reason(3) == FinishReason::no_prompt);

  Generator<Learned, B> to_the_end(weights, {.sequences = 2}, one_thread);
  const auto whole = some_tokens(context, 37, 8);
  const std::vector<Tokens> prompts{three_prompts[2], whole};
  to_the_end.start(prompts);
  while (to_the_end.step()) {
  }
  CHECK(to_the_end.text(0).size() == context + 1);
  CHECK(to_the_end.added(1).size() == 1);
  CHECK(to_the_end.finish_reason(0) == FinishReason::context);
  CHECK(to_the_end.finish_reason(1) == FinishReason::context);
  to_the_end.start(three_prompts[0]);
  CHECK(to_the_end.finish_reason(0) == FinishReason::none);
  CHECK(to_the_end.step());
  CHECK(to_the_end.text(0).size() == 6);
}

TEMPLATE_TEST_CASE("a sliding context reads its later half again", "[generator]", Learned, Rotated) {
  const auto weights = moved_weights<TestType, B>();
  const std::vector<std::vector<int>> prompts{some_tokens(60, 37, 1), some_tokens(context, 37, 2),
                                              some_tokens(2, 37, 3)};
  const auto texts = continued(weights, prompts, {.tokens = 75, .slide = true, .sampling = {.temperature = 0}});
  const auto window = [](int count) {
    return count <= context ? count : (count - context - 1) % (context / 2 + 1) + context / 2;
  };
  for (std::size_t s = 0; s < prompts.size(); ++s) CHECK(texts[s] == greedy(weights, prompts[s], 75, window));
}

TEMPLATE_TEST_CASE("a step allocates nothing", "[generator]", Cpu<Single>, Cpu<Mixed>) {
  const auto weights = moved_weights<Rotated, TestType>();
  Generator<Rotated, TestType> generator(
      weights, {.sequences = 3, .tokens = 90, .slide = true, .sampling = {.top_k = 30, .top_p = 0.9, .min_p = 0.01}},
      {.threads = 2});
  const std::vector<Tokens> prompts(three_prompts.begin(), three_prompts.end());
  const long before = allocations;
  generator.start(prompts);
  while (generator.step()) {
  }
  CHECK(allocations == before);
  CHECK(generator.added(0).size() == 90);
}

TEST_CASE("threads share weights, each with a generator of its own", "[generator][threads]") {
  const auto weights = moved_weights<Learned, B>();
  const GeneratorOptions options{.tokens = 20};
  const auto expected = continued(weights, three_prompts, options);
  std::vector<std::vector<std::vector<int>>> found(3);
  {
    std::vector<std::jthread> threads;
    for (auto& texts : found)
      threads.emplace_back([&] { texts = continued(weights, three_prompts, options, two_threads); });
  }
  for (const auto& texts : found) CHECK(texts == expected);
}

TEST_CASE("prompts and options that cannot be are refused", "[generator]") {
  const auto weights = moved_weights<Learned, B>();
  using Small = Generator<Learned, B>;
  const auto refusal = [&](const GeneratorOptions& options) {
    return message_of<Error>([&] { Small(weights, options, one_thread); });
  };
  CHECK_THAT(refusal({.slide = true}), ContainsSubstring("say how many"));
  CHECK_THAT(refusal({.prompt = context + 1}), ContainsSubstring("longer than the model's context of 64"));
  CHECK_THAT(refusal({.tokens = -1}), ContainsSubstring("-1 tokens: none may be negative"));
  CHECK_THAT(refusal({.sequences = 0}), ContainsSubstring("0 sequences"));
  CHECK_THAT(refusal({.sampling = {.temperature = -1}}), ContainsSubstring("temperature"));

  constexpr int most = std::numeric_limits<int>::max();  // more tokens than there is room for are no mistake
  CHECK(Small(weights, {.prompt = 4, .tokens = most}, one_thread).inference().size().length == context);
  CHECK(refusal({.prompt = 4, .tokens = most, .slide = true}).empty());

  Small generator(weights, {.prompt = 4, .tokens = 2}, one_thread);
  CHECK_FALSE(generator.step());
  const auto start = [&](const std::vector<int>& prompt) {
    return message_of<ShapeError>([&] { generator.start(prompt); });
  };
  CHECK_THAT(start({}), ContainsSubstring("a prompt of 0 tokens; it must have 1 to 4"));
  CHECK_THAT(start({1, 2, 3, 4, 5}), ContainsSubstring("a prompt of 5 tokens"));
  const std::vector<Tokens> two(2, three_prompts[1]);
  CHECK_THAT(message_of<ShapeError>([&] { generator.start(two); }), ContainsSubstring("2 prompts where 1"));
}

}  // namespace generator_test
