// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <fathom/backend/context.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <vector>

#include "support/far.hpp"

namespace far_test {

using namespace fathom_test;
using P = Single;
using Machine = Far<Ref<float>>;

static_assert(CompleteBackend<Machine>);

/// Whether `f` ends a process with a fault of memory.
bool faults(auto&& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    f();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

FarBuffer<float> on_machine(const std::vector<float>& values) {
  FarBuffer<float> memory(std::ssize(values));
  memory.upload(0, values);
  return memory;
}

TEST_CASE("what lies in far memory is read and written by copies alone", "[far]") {
  FarBuffer<float> memory = on_machine({1, 2, 3});
  CHECK(values_of(memory) == std::vector<float>{1, 2, 3});
  volatile float* const stray = memory.data() + 1;
  CHECK(faults([&] { (void)*stray; }));
  CHECK(faults([&] { *stray = 5; }));
  CHECK_FALSE(faults([] {}));
  memory.zero();
  CHECK(values_of(memory) == std::vector<float>{0, 0, 0});
}

TEST_CASE("far memory that is used again is zero", "[far]") {
  float* first;
  {
    FarBuffer<float> memory = on_machine(std::vector<float>(5000, 7));
    first = memory.data();
  }
  const FarBuffer<float> again(5000);
  CHECK(again.data() == first);
  CHECK(values_of(again) == std::vector<float>(5000, 0));
}

TEST_CASE("ops reach far memory through every view that they have", "[far]") {
  const auto x = on_machine({1, 2, 3, 4}), skip = on_machine({10, 20, 30, 40}), gain = on_machine({1, 1});
  const auto rstd = on_machine({1, 1});
  FarBuffer<float> dy(4), dx(4), dgain(2);
  const PackedRows rows = PackedRows::uniform(1, 2);
  Context<Machine> context;
  context.run(rows, Pass{}, [&](auto& worker) {
    worker(op::NormBackward<P>{.kind = NormKind::rms,
                               .x = {x.data(), 2, 2},
                               .mean = {},
                               .rstd = rstd,
                               .gain = gain,
                               .dy = {dy.data(), 2, 2},
                               .skip = {{skip.data(), 2, 2}, 0.5},
                               .dx = {dx.data(), 2, 2},
                               .dgain = dgain,
                               .dbias = {}});
    worker(op::SumOfSquares<P>{.x = x, .result = worker.slot(&Slots::squares)});
    CHECK(worker.read(&Slots::squares) == 30);
  });
  CHECK(values_of(dx) == std::vector<float>{5, 10, 15, 20});
}

TEST_CASE("tokens are copied once in a region, and again in the next", "[far]") {
  const auto table = on_machine({0, 1, 2});
  std::vector<int> tokens{2, 1};
  const PackedRows rows = PackedRows::uniform(1, 2);
  Context<Machine> context;
  const auto embedded = [&](auto&& between) {
    FarBuffer<float> y(2), other(2);
    context.run(rows, Pass{}, [&](auto& worker) {
      const auto embed = [&](FarBuffer<float>& to) {
        worker(op::Embedding<P>{.tokens = tokens,
                                .table = {table.data(), 3, 1},
                                .positions = {},
                                .sinusoids = {},
                                .dropout = {},
                                .y = {to.data(), 2, 1}});
      };
      embed(y);
      between();
      embed(other);
    });
    CHECK(values_of(y) == values_of(other));
    return values_of(y);
  };
  CHECK(embedded([&] { tokens = {0, 0}; }) == std::vector<float>{2, 1});
  CHECK(embedded([] {}) == std::vector<float>{0, 0});
}

}  // namespace far_test
