// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/generate/translate.hpp>
#include <generate/pair_models.hpp>
#include <set>
#include <span>
#include <support/allocations.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace pair_generator_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

using Tokens = std::vector<int>;
constexpr int begin = 0, end = 1;

std::vector<Tokens> some_sources(int count) {
  std::vector<Tokens> sources;
  for (int s = 0; s < count; ++s) sources.push_back(some_tokens(1 + s * 7 % 11, source_words, std::uint64_t(90 + s)));
  return sources;
}

void check_equal(const std::vector<Hypothesis>& found, const std::vector<Hypothesis>& expected, double bound) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i].tokens == expected[i].tokens);
    CHECK(std::abs(found[i].score - expected[i].score) <= bound);
    CHECK(std::abs(found[i].log_probability - expected[i].log_probability) <= bound);
    REQUIRE(found[i].log_probabilities.size() == found[i].tokens.size() + 1);
  }
}

bool better(const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; }

/// The search as it is described, without a cache and without an end before the limit but that of a full beam.
template <class Model>
std::vector<Hypothesis> plain_search(const Weights<Model, Ref<double>>& weights, const Tokens& source,
                                     const PairGeneratorOptions& options) {
  std::vector<Hypothesis> live(1), ended;
  const int limit = options.limit.of(int(source.size()), Model::Target::context - 1);
  const auto beam = std::size_t(options.beam);
  for (int length = 0; length <= limit && !live.empty(); ++length) {
    std::vector<Hypothesis> candidates;
    for (const Hypothesis& parent : live) {
      Tokens read{begin};
      read.insert(read.end(), parent.tokens.begin(), parent.tokens.end());
      const auto logits = uncached_logits(weights, source, read);
      const std::span<const double> last = std::span<const double>(logits).last(target_words);
      for (int token = 0; token < target_words; ++token) {
        if ((length == limit && token != end) || (length < options.shortest && token == end)) continue;
        Hypothesis child = parent;
        child.tokens.push_back(token);
        child.log_probabilities.push_back(last[std::size_t(token)] - log_sum_exp(last));
        child.log_probability += child.log_probabilities.back();
        candidates.push_back(child);
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const Hypothesis& a, const Hypothesis& b) {
      return a.log_probability > b.log_probability;
    });
    live.clear();
    for (std::size_t rank = 0; rank < std::min(2 * beam, candidates.size()); ++rank) {
      Hypothesis& candidate = candidates[rank];
      if (candidate.tokens.back() != end) {
        if (live.size() < beam) live.push_back(candidate);
      } else if (rank < beam) {
        candidate.tokens.pop_back();
        candidate.score = options.penalty.score(candidate.log_probability, length);
        ended.push_back(candidate);
      }
    }
    if (options.search_end == SearchEnd::full_beam && ended.size() >= beam) break;
  }
  std::stable_sort(ended.begin(), ended.end(), better);
  if (ended.size() > std::size_t(options.best)) ended.resize(std::size_t(options.best));
  return ended;
}

// Few enough translations to look at all of them.
constexpr int few_words = 4, few_tokens = 3;
using TinyPairs = Translator<
    Encoder<Vocabulary<5>, ContextLength<6>, Repeat<1, SmallEncoder<PreNorm, LayerNorm<12>>>>,
    Decoder<Vocabulary<few_words>, ContextLength<few_tokens + 1>,
            Repeat<1, SmallDecoder<PreNorm, LayerNorm<24>, Attention<24, 4>>>>>;

template <class B>
std::vector<Hypothesis> all_translations(const Weights<TinyPairs, B>& weights, const Tokens& source,
                                         const PairGeneratorOptions& options) {
  std::vector<Tokens> texts{{}};
  for (std::size_t t = 0; t < texts.size(); ++t)
    for (int token = 0; token < few_words; ++token)
      if (token != end && texts[t].size() < few_tokens) {
        Tokens longer = texts[t];
        longer.push_back(token);
        texts.push_back(longer);
      }
  std::vector<Hypothesis> all;
  for (const Tokens& text : texts)
    if (int(text.size()) >= options.shortest) all.push_back(score_translation(weights, source, text, options));
  std::stable_sort(all.begin(), all.end(), better);
  return all;
}

TEMPLATE_TEST_CASE("a beam that is wide enough finds the best of all translations", "[generate]", Cpu<Double>,
                   Ref<double>) {
  const auto weights = moved_weights<TinyPairs, TestType>();
  for (const double alpha : {1.0, 0.0, 0.6, 2.0, -0.5})
    for (const bool counts_end : {true, false})
      for (const int shortest : {0, 1}) {
        CAPTURE(alpha, counts_end, shortest);
        PairGeneratorOptions options{.begin = begin,
                                     .end = end,
                                     .shortest = shortest,
                                     .beam = 108,
                                     .best = 15,
                                     .penalty = {alpha, counts_end},
                                     .search_end = SearchEnd::exact};
        for (const Tokens& source : {Tokens{1}, Tokens{4, 2, 0, 3}}) {
          auto expected = all_translations(weights, source, options);
          expected.resize(15);
          check_equal(translate(weights, source, options), expected, 1e-12);
        }
      }
}

TEMPLATE_LIST_TEST_CASE("beam search is that without a cache and without an early end", "[generate][threads]",
                        SmallPairModels) {
  const auto weights = moved_weights<TestType, Cpu<Double>>();
  const auto judge = moved_weights<TestType, Ref<double>>();
  const auto sources = some_sources(5);
  struct Case {
    int beam, best;
    LengthPenalty penalty;
    SearchEnd search_end;
  };
  const auto [beam, best, penalty, search_end] =
      GENERATE(Case{1, 1, {1}, SearchEnd::full_beam}, Case{2, 1, {0}, SearchEnd::exact},
               Case{4, 4, {1}, SearchEnd::full_beam}, Case{3, 2, {1}, SearchEnd::exact},
               Case{5, 1, {0.6, false}, SearchEnd::full_beam}, Case{4, 1, {2}, SearchEnd::exact},
               Case{4, 3, {-0.4}, SearchEnd::exact}, Case{9, 9, {0}, SearchEnd::full_beam});
  CAPTURE(beam, best, penalty.alpha);
  const PairGeneratorOptions options{.begin = begin,
                                     .end = end,
                                     .sentences = 4,
                                     .limit = {.factor = 0.5, .constant = 4},
                                     .beam = beam,
                                     .best = best,
                                     .penalty = penalty,
                                     .search_end = search_end};
  const auto found = translate(weights, sources, options, {.threads = 2});
  for (std::size_t s = 0; s < sources.size(); ++s) {
    CAPTURE(s);
    check_equal(found[s], plain_search(judge, sources[s], options), 1e-11);
    std::set<Tokens> distinct;
    for (const Hypothesis& hypothesis : found[s]) distinct.insert(hypothesis.tokens);
    CHECK(distinct.size() == found[s].size());
    CHECK(std::is_sorted(found[s].begin(), found[s].end(), better));
  }
}

TEST_CASE("a beam of one is greedy", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  const auto judge = moved_weights<DeepPairs, Ref<double>>();
  const PairGeneratorOptions options{.begin = begin, .end = end, .limit = {1, 5}, .shortest = 0};
  PairGeneratorOptions cold = options;
  cold.sampling = Sampling{.temperature = 0};
  for (const Tokens& source : some_sources(6)) {
    Tokens read{begin};
    const int limit = options.limit.of(int(source.size()), target_context - 1);
    for (bool ended = false; !ended;) {
      const auto logits = uncached_logits(judge, source, read);
      const auto last = std::span<const double>(logits).last(target_words);
      const int token = int(std::max_element(last.begin(), last.end()) - last.begin());
      ended = token == end || int(read.size()) > limit;
      if (!ended) read.push_back(token);
    }
    const Tokens expected(read.begin() + 1, read.end());
    CHECK(translate(weights, source, options).front().tokens == expected);
    CHECK(translate(weights, source, cold).front().tokens == expected);
  }
}

TEST_CASE("a forced translation has the score that the search reports", "[generate]") {
  const auto doubles = moved_weights<RotatedPairs, Cpu<Double>>();
  const auto singles = moved_weights<RotatedPairs, Cpu<Single>>();
  PairGeneratorOptions options{.begin = begin, .end = end, .beam = 4, .best = 4, .penalty = {0.7}};
  const auto check = [&](const auto& weights, double bound) {
    for (const Tokens& source : some_sources(4))
      for (const Hypothesis& found : translate(weights, source, options)) {
        const Hypothesis forced = score_translation(weights, source, found.tokens, options);
        check_equal({found}, {forced}, bound);
        for (std::size_t i = 0; i < found.log_probabilities.size(); ++i)
          CHECK(std::abs(found.log_probabilities[i] - forced.log_probabilities[i]) <= bound);
      }
  };
  check(doubles, 1e-12);
  check(singles, 1e-4);
  options.sampling = Sampling{.temperature = 1.3, .top_k = 8};
  options.beam = 1;
  check(doubles, 1e-12);
}

TEST_CASE("weights and activations of 16 bits translate", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Ref<Mixed>>();
  PairGeneratorOptions options{.begin = begin, .end = end, .limit = {0.5, 3}, .beam = 3, .best = 3};
  const auto check = [&] {
    for (const Tokens& source : some_sources(3))
      for (const Hypothesis& found : translate(weights, source, options))
        check_equal({found}, {score_translation(weights, source, found.tokens, options)}, 1e-4);
  };
  check();
  options.sampling = Sampling{};
  options.beam = 1;
  check();
}

TEST_CASE("pairs are scored in batches as alone", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  const PairCapacity capacity({60, 6, 20}, {130, 6, target_context});
  text::PackedPairs pairs(capacity);
  std::vector<double> expected;
  for (int s = 0; s < 6; ++s) {
    const Tokens source = some_tokens(3 + s, source_words, std::uint64_t(s));
    Tokens target = some_tokens(18 + s, target_words, std::uint64_t(50 + s));  // in all more rows than are read at once
    target.front() = begin;
    pairs.append<int>(source, target, end);
    const Tokens text(target.begin() + 1, target.end());
    const auto alone = score_translation(weights, source, text, {.begin = begin, .end = end});
    expected.insert(expected.end(), alone.log_probabilities.begin(), alone.log_probabilities.end());
  }
  pairs.pack();
  PairScorer<DeepPairs, Cpu<Double>> scorer(weights, capacity);
  const auto scores = scorer(pairs);
  REQUIRE(scores.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(scores[i] - expected[i]) <= 1e-12);
  const long before = allocations;
  scorer(pairs);
  const long in_call = allocations - before;
  if (allocations_are_counted) CHECK(in_call == 0);
}

TEST_CASE("translations do not depend on the batch", "[generate][threads]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  const auto sources = some_sources(11);
  const bool sampled = GENERATE(false, true);
  PairGeneratorOptions options{.begin = begin, .end = end, .sentences = 4, .beam = sampled ? 1 : 3, .best = 3};
  if (sampled) options.sampling = Sampling{.temperature = 1.5};
  PairGenerator<DeepPairs, Cpu<Double>> generator(weights, options, {.threads = 2});
  const auto run = [&](const std::vector<int>& numbers) {
    std::vector<std::span<const int>> batch;
    for (const int number : numbers) batch.emplace_back(sources[std::size_t(number)]);
    generator.start(batch, numbers);
    while (generator.step()) {
    }
    std::vector<std::vector<Hypothesis>> found;
    for (int s = 0; s < int(numbers.size()); ++s) found.push_back(generator.translations(s));
    return found;
  };
  const auto together = translate(weights, sources, options);
  for (const auto& numbers : {std::vector{3}, std::vector{10, 9, 8, 7}, std::vector{5, 2}, std::vector{0, 1, 4, 6}}) {
    const auto found = run(numbers);
    for (std::size_t i = 0; i < numbers.size(); ++i)
      check_equal(found[i], together[std::size_t(numbers[i])], 1e-12);
  }
}

TEST_CASE("threads give translations the same bits", "[generate][threads]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Single>>();
  const auto sources = some_sources(9);
  const PairGeneratorOptions options{.begin = begin, .end = end, .sentences = 5, .beam = 4, .best = 4};
  const auto alone = translate(weights, sources, options, {.threads = 1});
  for (const int threads : {2, 3}) {
    const auto found = translate(weights, sources, options, {.threads = threads});
    for (std::size_t s = 0; s < sources.size(); ++s) check_equal(found[s], alone[s], 0);
  }
}

TEST_CASE("sampled translations follow from the seed and are many", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  PairGeneratorOptions options{.begin = begin, .end = end, .best = 6, .sampling = Sampling{.temperature = 2}};
  const auto first = translate(weights, Tokens{1, 2, 3}, options);
  check_equal(translate(weights, Tokens{1, 2, 3}, options), first, 0);
  std::set<Tokens> distinct;
  for (const Hypothesis& hypothesis : first) distinct.insert(hypothesis.tokens);
  CHECK(distinct.size() >= 5);
  options.seed = 2;
  CHECK(translate(weights, Tokens{1, 2, 3}, options).front().tokens != first.front().tokens);
  const auto twice = translate(weights, std::vector<Tokens>{{1, 2, 3}, {1, 2, 3}}, options);
  CHECK(twice[0].front().tokens != twice[1].front().tokens);
}

TEST_CASE("what is finished is not computed any more, and steps allocate nothing", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  const auto sources = some_sources(6);
  const std::vector<std::span<const int>> batch(sources.begin(), sources.end());
  PairGenerator<DeepPairs, Cpu<Double>> generator(
      weights, {.begin = begin, .end = end, .sentences = 6, .source = 11, .limit = {1, 2}, .beam = 3, .best = 3},
      {.threads = 1});
  const auto lengths = [&](int sentence) {
    std::vector<int> list;
    for (int h = 3 * sentence; h < 3 * sentence + 3; ++h) list.push_back(generator.inference().length(h));
    return list;
  };
  long in_steps = 0;
  int steps = 0, idle = 0;
  for (int time = 0; time < 2; ++time) {
    generator.start(batch);
    for (bool any = true; any; ++steps) {
      std::vector<std::vector<int>> before;
      std::vector<bool> finished;
      for (int s = 0; s < 6; ++s) before.push_back(lengths(s)), finished.push_back(generator.finished(s));
      const long count = allocations;
      any = generator.step();
      if (time == 1) in_steps += allocations - count;
      for (int s = 0; s < 6; ++s)
        if (finished[std::size_t(s)]) {
          CHECK(lengths(s) == before[std::size_t(s)]);
          ++idle;
        }
    }
  }
  CHECK(steps > 10);
  CHECK(idle > 10);
  if (allocations_are_counted) CHECK(in_steps == 0);
}

TEST_CASE("tokens that may not come do not, and translations have their lengths", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<Double>>();
  const bool sampled = GENERATE(false, true);
  PairGeneratorOptions options{.begin = begin,
                               .end = end,
                               .limit = {0.5, 6},
                               .shortest = 4,
                               .never = {begin, 5, 7},
                               .beam = sampled ? 1 : 4,
                               .best = 4};
  if (sampled) options.sampling = Sampling{.temperature = 3};
  for (const Tokens& source : some_sources(5))
    for (const Hypothesis& found : translate(weights, source, options)) {
      CHECK(int(found.tokens.size()) >= 4);
      CHECK(int(found.tokens.size()) <= int(source.size()) / 2 + 6);
      for (const int token : found.tokens)
        CHECK((token != begin && token != end && token != 5 && token != 7));
    }
  options.limit = {100, 0};  // the decoder's context ends before
  options.shortest = target_context - 1;
  for (const Hypothesis& found : translate(weights, Tokens{1}, options))
    CHECK(int(found.tokens.size()) == target_context - 1);
}

TEST_CASE("weights that are not finite are named, whoever asks the model", "[generate]") {
  auto weights = moved_weights<DeepPairs, Cpu<>>();
  const ParameterInfo info = describe<DeepPairs>().front();
  write_tensor(weights.flat(), info, std::vector<float>(std::size_t(info.size()), NAN));
  PairGeneratorOptions options{.begin = begin, .end = end, .beam = 3};
  const auto refused = [](auto&& f) { CHECK_THAT(message_of<Error>(f), ContainsSubstring("are not finite")); };
  refused([&] { translate(weights, Tokens{1}, options); });
  refused([&] { score_translation(weights, {1}, {2}, options); });
  options.beam = 1;
  options.sampling = Sampling{};
  refused([&] { translate(weights, Tokens{1}, options); });
}

TEST_CASE("translating refuses in one line what has no meaning", "[generate]") {
  const auto weights = moved_weights<DeepPairs, Cpu<>>();
  const auto refused = [&](const std::vector<Tokens>& sources, const PairGeneratorOptions& options, const char* part) {
    const std::string message = message_of<Error>([&] { translate(weights, sources, options, {.threads = 1}); });
    CHECK_THAT(message, ContainsSubstring(part));
    CHECK_THAT(message, !ContainsSubstring("\n"));
  };
  const std::vector<Tokens> one{{1}};
  refused({{1}, {}}, {.begin = begin, .end = end}, "source 1 has 0 tokens; it must have 1 to 40");
  refused({Tokens(41, 1)}, {.begin = begin, .end = end}, "source 0 has 41 tokens; it must have 1 to 40");
  refused({{source_words}}, {.begin = begin, .end = end}, "token 11 is outside the vocabulary of 11");
  refused(one, {}, "the token `begin` is -1; it must be one of the decoder's vocabulary of 13");
  refused(one, {.begin = begin, .end = 13}, "the token `end` is 13");
  refused(one, {.begin = begin, .end = end, .never = {end}}, "token 1 in `never` is the end token");
  refused(one, {.begin = begin, .end = end, .beam = 0}, "sentences, beam and best must be positive");
  refused(one, {.begin = begin, .end = end, .beam = 2, .best = 3}, "3 best translations need a beam that is at least");
  refused(one, {.begin = begin, .end = end, .beam = 2, .sampling = Sampling{}}, "without a beam");
  refused(one, {.begin = begin, .end = end, .penalty = {NAN}}, "alpha must be finite");
  refused(one, {.begin = begin, .end = end, .limit = {-1, 3}}, "must not be negative");
  refused(one, {.begin = begin, .end = end, .shortest = target_context}, "do not fit the decoder's context of 24");
  refused(one, {.begin = begin, .end = end, .sampling = Sampling{.temperature = -1}}, "temperature");

  CHECK_THAT(message_of<Error>([&] { score_translation(weights, {}, {1}, {.begin = begin, .end = end}); }),
             ContainsSubstring("the source is empty"));
  CHECK_THAT(message_of<Error>([&] {
               score_translation(weights, {1}, Tokens(target_context, 2), {.begin = begin, .end = end});
             }),
             ContainsSubstring("longer than the model's context of 24"));
  PairGenerator<DeepPairs, Cpu<>> generator(weights, {.begin = begin, .end = end, .sentences = 2}, {.threads = 1});
  CHECK_THAT(message_of<ShapeError>([&] {
               generator.start(std::vector<std::span<const int>>{one[0]}, std::vector{1, 2});
             }),
             ContainsSubstring("2 numbers for 1 sources"));
}

}  // namespace pair_generator_test
