// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/train/memory_plan.hpp>

#include "train/models.hpp"

namespace {
using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};
static_assert(training_memory<SmallModel, Cpu<Single>, AdamW>(capacity).total() > 0, "the plan is a compile-time fact");

TEST_CASE("the memory plan is what a trainer allocates", "[memory_plan]") {
  for (const int threads : {1, 2, 3})
    for (const double rate : {0.0, 0.1}) {
      TrainerOptions options;
      options.dropout.residual = options.dropout.attention = rate;
      options.average = rate;
      Trainer<SmallModel, Cpu<Single>, AdamW> trainer(capacity, options, {}, {.threads = threads});
      trainer.step(SomeBatch(1));
      const auto planned =
          double(training_memory<SmallModel, Cpu<Single>, AdamW>(capacity, threads, options.dropout, rate > 0).total());
      INFO(planned << " bytes planned, " << trainer.allocated_bytes() << " allocated by " << threads << " threads");
      CHECK(std::abs(planned / double(trainer.allocated_bytes()) - 1) <= 0.05);
    }
}

}  // namespace
