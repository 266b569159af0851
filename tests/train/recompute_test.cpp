// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstddef>
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/stacks.hpp>
#include <fathom/train/memory_plan.hpp>
#include <tuple>

#include "train/models.hpp"
#include "train/translator_models.hpp"

namespace recompute_test {

/// How many layers recompute is a number that is chosen when training begins.
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

constexpr int layers = 5;
constexpr Capacity capacity{4 * context, 4, context};

template <class Policy>
using Block = Sequence<Residual<Policy, Attention<width, 2>>, Residual<Policy, FeedForward<width, 32>>>;
template <class Stack>
using ModelOf = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Stack>;
using Models = std::tuple<ModelOf<Repeat<layers, Block<DeepNorm<deepnorm::decoder_only(layers).alpha>>>>,
                          ModelOf<Repeat<layers, Block<PreNorm>>>, ModelOf<Dlcl<layers, Block<PreNorm>>>,
                          ModelOf<Repeat<layers, Block<PreNorm>, Recompute<2>>>>;

template <class Model, class B>
struct Trained {
  std::vector<typename B::Precision::Master> masters;
  double validation;

  explicit Trained(int recomputed) {
    TrainerOptions options;
    options.dropout = {0.1, 0.1, 0.1, 0.1};
    options.recomputed = recomputed;
    Trainer<Model, B, AdamW> trainer(capacity, options, {}, {.threads = 2});
    CHECK(trainer.allocated_bytes() ==
          training_memory<Model, B, AdamW>(recomputing(capacity, recomputed), 2, options.dropout).total());
    for (std::uint64_t step = 0; step < 3; ++step) trainer.step(SomeBatch(step), 1e-3);
    masters = values_of(trainer.masters());
    validation = trainer.evaluate(SomeBatch(9)).mean();
  }
};

TEMPLATE_LIST_TEST_CASE("however many layers are computed again, the bits are the same", "[recompute][threads]",
                        Models) {
  const Trained<TestType, Cpu<>> none(0);
  for (const int recomputed : {1, 2, layers - 1, layers, layers + 3}) {
    INFO(recomputed << " recomputed");
    const Trained<TestType, Cpu<>> some(recomputed);
    CHECK((some.masters == none.masters));
    CHECK(some.validation == none.validation);
  }
}

/// B, where memory is cheap.
template <class B>
struct SavesAll : B {
  static constexpr bool saves_all = true;
};

TEST_CASE("a backend that wants all saved trains to the same numbers, up to rounding", "[recompute]") {
  using Model = std::tuple_element_t<0, Models>;
  static_assert(training_memory<Model, SavesAll<Cpu<>>, AdamW>(capacity).activations ==
                saved_bytes<Model, Single>(saving(capacity, true)));
  static_assert(saved_bytes<Model, Single>(saving(capacity, true)) > saved_bytes<Model, Single>(capacity));
  const Trained<Model, Cpu<Double>> least(0);
  const Trained<Model, SavesAll<Cpu<Double>>> all(0);
  CHECK(std::abs(all.validation - least.validation) < 1e-9);
  for (std::size_t i = 0; i < least.masters.size(); ++i) REQUIRE(std::abs(all.masters[i] - least.masters[i]) < 1e-6);
}

TEMPLATE_LIST_TEST_CASE("where all is saved, layers that are computed again have the same bits too", "[recompute]",
                        Models) {
  const Trained<TestType, SavesAll<Cpu<>>> none(0);
  for (const int recomputed : {2, layers}) {
    INFO(recomputed << " recomputed");
    const Trained<TestType, SavesAll<Cpu<>>> some(recomputed);
    CHECK((some.masters == none.masters));
    CHECK(some.validation == none.validation);
  }
}

TEST_CASE("mixed precision recomputes to the same bits", "[recompute]") {
  using Model = std::tuple_element_t<0, Models>;
  CHECK((Trained<Model, Cpu<Mixed>>(2).masters == Trained<Model, Cpu<Mixed>>(0).masters));
}

template <class Model>
constexpr std::int64_t bytes_with(int recomputed) {
  return training_memory<Model, Cpu<>, AdamW>(recomputing(capacity, recomputed)).total();
}

TEMPLATE_LIST_TEST_CASE("the least recomputation fits the memory that there is", "[recompute]", Models) {
  const auto least = [](std::int64_t bytes) { return least_recomputed<TestType, Cpu<>, AdamW>(capacity, bytes); };
  const std::int64_t smallest = bytes_with<TestType>(layers), all = bytes_with<TestType>(0);
  CHECK(least(all) == 0);
  for (std::int64_t bytes = smallest; bytes < all; bytes += (all - smallest) / 7 + 1) {
    const int recomputed = least(bytes);
    INFO(recomputed << " recomputed for " << bytes << " of " << all);
    CHECK(bytes_with<TestType>(recomputed) <= bytes);
    CHECK(bytes_with<TestType>(recomputed - 1) > bytes);
  }
  CHECK_THROWS_MATCHES(
      least(std::min(smallest, all) - 1), Error,
      MessageMatches(ContainsSubstring("training takes at least") && ContainsSubstring("smaller batch")));
}

static_assert(least_recomputed<SmallModel, Cpu<>, AdamW>(capacity, 1_GiB) == 0, "a compile-time fact");

TEST_CASE("both stacks of a translator recompute as many layers", "[recompute]") {
  using Model = DeepNormPairs<>;
  constexpr PairCapacity pairs{{24, 4, ReversedPairs::longest}, {28, 4, ReversedPairs::longest + 1}};
  const auto trained = [&](int recomputed) {
    TrainerOptions options;
    options.recomputed = recomputed;
    Trainer<Model, Cpu<>, AdamW> trainer(pairs, options);
    CHECK(trainer.allocated_bytes() ==
          training_memory<Model, Cpu<>, AdamW>(recomputing(pairs, recomputed), trainer.context().lanes()).total());
    ReversedPairs::Packed batch(pairs);
    ReversedPairs(pairs).fill(0, batch);
    for (int step = 0; step < 3; ++step) trainer.step(batch, 1e-3);
    return values_of(trainer.masters());
  };
  const auto none = trained(0);
  CHECK((trained(1) == none));
  CHECK((trained(2) == none));
  CHECK((trained(3) == none));
}

TEST_CASE("a capacity does not say how much is computed again", "[recompute]") {
  CHECK_THROWS_MATCHES((Trainer<SmallModel, Cpu<>, AdamW>(recomputing(capacity, 1), {})), ShapeError,
                       MessageMatches(ContainsSubstring("TrainerOptions")));
  CHECK_THROWS_MATCHES((Trainer<SmallModel, Cpu<>, AdamW>(saving(capacity, true), {})), ShapeError,
                       MessageMatches(ContainsSubstring("leave saves_all to the backend")));
  TrainerOptions options;
  options.recomputed = -1;
  CHECK_THROWS_AS((Trainer<SmallModel, Cpu<>, AdamW>(capacity, options)), Error);
}

}  // namespace recompute_test
