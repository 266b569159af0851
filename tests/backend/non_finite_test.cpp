// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <fathom/backend/non_finite.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "train/models.hpp"

namespace non_finite_test {

using namespace fathom_test;

constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

/// One value of a tensor, in the weights or in the gradients that a pass adds to.
struct Fault {
  std::string tensor;
  float value;
};
struct Faults {
  std::vector<Fault> weights = {}, gradients = {};
};

/// What is found in a forward and a backward pass of the small model.
template <class B>
std::string found(const Faults& faults, const typename B::Options& machine = {}) {
  using P = typename B::Precision;
  const Capacity capacity{4 * context, 4, context};
  const auto table = describe<SmallModel>();
  Weights<SmallModel, B> weights(1);
  typename B::template Buffer<float> gradients(weights.extent.total());
  const auto set_last_of = [&](const Fault& fault, auto& flat) {
    const auto& info = *std::ranges::find(table, fault.tensor, &ParameterInfo::name);
    flat.upload(info.offset + info.size() - 1, {&fault.value, 1});
  };
  for (const Fault& fault : faults.weights) set_last_of(fault, weights.flat());
  for (const Fault& fault : faults.gradients) set_last_of(fault, gradients);

  typename B::template Buffer<std::byte> activations(saved_bytes<SmallModel, P>(capacity));
  Context<FindNonFinite<B>> context(machine);
  context.reserve(training_cost<SmallModel, FindNonFinite<B>>(capacity).size);
  const SomeBatch batch(1);
  context.run(batch.rows, Pass{}, [&](auto& worker) {
    Arena arena = arena_of(activations);
    auto saved = SmallModel::Saved<P>::take(arena, capacity);
    SmallModel::forward(worker, weights.params(), Flow<P>{}, batch, saved);
    SmallModel::backward(worker, weights.params(), bind_parameters<SmallModel>(gradients.data()), Flow<P>{}, batch,
                         saved, LossOptions{}, 1);
  });
  return context.machine().found();
}

TEST_CASE("the first op that writes what is not finite is named with its scope and direction", "[non_finite]") {
  const std::vector<std::pair<Faults, std::string>> cases{
      {{}, ""},
      {{.weights = {{"embedding.position.weight", nan}}}, "forward.embedding (embedding)"},
      {{.weights = {{"blocks.1.attention.value.weight", infinity}}}, "forward.blocks.1.attention (linear)"},
      {{.weights = {{"blocks.0.feed_forward.norm.gain", -infinity}}},
       "forward.blocks.0.feed_forward (residual add + norm)"},
      {{.weights = {{"output.weight", nan}}}, "backward.output (linear + cross-entropy)"},
      {{.gradients = {{"blocks.2.attention.output.weight", nan}}}, "backward.blocks.2.attention (linear dw)"},
      {{.gradients = {{"blocks.0.feed_forward.input.weight", infinity}}}, "backward.blocks.0.feed_forward (linear dw)"},
      {{.gradients = {{"blocks.1.feed_forward.norm.bias", nan}}},
       "backward.blocks.1.feed_forward (residual add + norm backward)"},
      {{.gradients = {{"blocks.0.attention.output.bias", nan}}}, "backward.blocks.0.attention (linear dw)"},
      {{.gradients = {{"embedding.token.weight", infinity}}}, "backward.embedding (embedding backward)"},
      // Of several the first: forward goes up the blocks, backward goes down.
      {{.weights = {{"blocks.2.attention.query.weight", nan}, {"blocks.1.feed_forward.input.bias", nan}}},
       "forward.blocks.1.feed_forward (linear)"},
      {{.weights = {{"blocks.2.attention.query.weight", nan}}, .gradients = {{"output.weight", nan}}},
       "forward.blocks.2.attention (linear)"},
      {{.gradients = {{"blocks.0.attention.output.weight", nan}, {"blocks.1.attention.output.weight", nan}}},
       "backward.blocks.1.attention (linear dw)"},
  };
  for (const auto& [faults, expected] : cases) {
    CHECK(found<Ref<float>>(faults) == expected);
    CHECK(found<Cpu<Single>>(faults, {.threads = 1}) == expected);
  }
}

/// Looking needs more than any op of a step.
struct Hungry : Ref<float> {
  template <class T>
  static constexpr std::int64_t scratch_bytes(const op::FirstNonFinite<T>&) {
    return 12345;
  }
  static constexpr std::int64_t scratch_bytes(const auto&) { return 0; }
};
static_assert(training_cost<SmallModel, Hungry>({4 * context, 4, context}).size.scratch == 0);
static_assert(training_cost<SmallModel, FindNonFinite<Hungry>>({4 * context, 4, context}).size.scratch == 12345);

TEST_CASE("what an op reads does not count, and what was found first stays", "[non_finite]") {
  using P = Ref<float>::Precision;
  Context<FindNonFinite<Ref<float>>> context;
  float bad = -infinity, other = 0;
  const Matrix<float> x(&bad, 1, 1), y(&other, 1, 1);
  const auto run = [&](const char* scope, const auto& op) {
    const PackedRows row = PackedRows::uniform(1, 1);
    context.run(row, Pass{}, [&](auto& worker) {
      const auto inside = worker.scope(scope);
      worker(op);
    });
    return context.machine().found();
  };
  CHECK(run("relu", op::Activation<P>{.kind = ActivationKind::relu, .gated = false, .dropout = {}, .x = x, .y = y})
            .empty());
  CHECK(run("copy", op::Copy<P>{.x = x, .y = y}) == "copy (copy)");
  CHECK(run("later", op::Copy<P>{.x = x, .y = y}) == "copy (copy)");
}

}  // namespace non_finite_test
