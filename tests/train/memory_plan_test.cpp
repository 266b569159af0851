// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/train/memory_plan.hpp>
#include <tuple>

#include "support/allocations.hpp"
#include "train/models.hpp"

namespace memory_plan_test {

using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};
static_assert(training_memory<SmallModel, Cpu<Single>, AdamW>(capacity).total() > 0, "the plan is a compile-time fact");

template <class Model, class B, class Optimizer>
struct Setting {
  using Trainer = fathom::Trainer<Model, B, Optimizer>;
  static MemoryPlan plan(int threads, const TrainerOptions& options) {
    return training_memory<Model, B, Optimizer>(capacity, threads, options.dropout, options.average > 0);
  }
};
template <int Tokens, class... Options>
using Recomputing =
    LanguageModel<Vocabulary<Tokens>, ContextLength<context>,
                  Repeat<9, Sequence<Residual<PreNorm, Attention<width, 2>>, Residual<PreNorm, FeedForward<width, 32>>>,
                         RecomputeSqrt>,
                  Options...>;
using Settings = std::tuple<Setting<SmallModel, Cpu<>, AdamW>, Setting<SmallModel, Cpu<Double>, Sgd>,
                            Setting<SmallModel, Cpu<Mixed>, AdamW>,
                            Setting<Recomputing<vocabulary, TiedOutput, ScaledLogits>, Cpu<>, Adafactor>,
                            Setting<Recomputing<50'000>, Cpu<>, AdamW>>;

TEMPLATE_LIST_TEST_CASE("the memory plan is what training takes from the system, within 5 %", "[memory_plan]",
                        Settings) {
  for (const int threads : {1, 2, 3})
    for (const double rate : {0.0, 0.1}) {
      TrainerOptions options;
      options.dropout.residual = options.dropout.attention = rate;
      options.average = rate;
      const MemoryPlan plan = TestType::plan(threads, options);
      const double planned = double(plan.total());
      const long before = allocated_bytes;
      typename TestType::Trainer trainer(capacity, options, {}, {.threads = threads});
      trainer.step(SomeBatch(1));
      const double own = double(trainer.allocated_bytes()), real = double(allocated_bytes - before);
      INFO(planned << " bytes planned, " << own << " counted by the trainer, " << real << " taken by " << threads
                   << " threads");
      CHECK(planned == own);
      // Beside the plan: large buffers fill their last huge page, there are the names of all tensors, the threads, and
      // for a moment the system's files that tell how many of them may run.
      double beside = 256 * 1024;
      for (const auto bytes : {plan.weights, plan.gradients, plan.optimizer, plan.average, plan.activations})
        beside += bytes >= 2_MiB ? double(2_MiB) : 0;
      if (allocations_are_counted) CHECK(std::abs(real - planned) <= 0.05 * planned + beside);
    }
}

}  // namespace memory_plan_test
