// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/backend/timer.hpp>
#include <map>
#include <string>

#include "backend/recorder.hpp"
#include "train/models.hpp"

namespace timer_test {

using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};

template <class B>
auto profile_of_steps(int steps, int threads) {
  Trainer<SmallModel, Timed<B>, AdamW> trainer(capacity, {}, {}, {.threads = threads});
  for (int step = 0; step < steps; ++step) trainer.step(SomeBatch(1));
  return profile_of(trainer.context().machine().observers());
}

TEST_CASE("a profile counts the calls, operations and bytes that are asked for", "[timer][threads]") {
  Trainer<SmallModel, Recorded<Cpu<Single>>, AdamW> recorded(capacity, {});
  Recorder& recorder = recorded.context().machine().observers()[0];
  std::map<std::string, OpCost> expected;
  const auto expect = [&](int times) {
    for (const Call& call : recorder.calls())
      expected[call.op] += {
          .name = call.op, .calls = times, .flops = times * call.flops, .bytes = times * call.bytes};
    recorder.clear();
  };
  expect(1);  // initialization
  recorded.step(SomeBatch(1));
  expect(2);
  for (const int threads : {1, 3}) {
    std::size_t named = 0;
    for (const OpCost& op : profile_of_steps<Cpu<Single>>(2, threads).ops()) {
      INFO(op.name << ", " << threads << " threads");
      CHECK(op.seconds + op.waiting > 0);
      if (op.calls == 0) {
        CHECK((op.name == "waiting" || op.name == "sum of shards"));
        continue;
      }
      ++named;
      CHECK(op.calls == expected[op.name].calls);
      CHECK(op.flops == expected[op.name].flops);
      CHECK(op.bytes == expected[op.name].bytes);
    }
    CHECK(named == expected.size());
  }
}

TEST_CASE("every moment of a region is charged to one place", "[timer][threads]") {
  const Profile profile = profile_of_steps<Cpu<Single>>(3, 2);
  double sum = profile.between();
  for (const OpCost& op : profile.ops()) sum += op.seconds + op.waiting;
  CHECK(std::abs(sum / profile.seconds - 1) < 1e-9);
}

/// A backend whose residual adds take a while.
struct Slow : Ref<float> {
  template <class Op>
  static void run(Lane& lane, const Op& op) requires Runs<Ref<float>, Op> {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
    if constexpr (std::is_same_v<Op, op::ResidualAdd<Precision>>)
      while (std::chrono::steady_clock::now() < end) {
      }
    Ref<float>::run(lane, op);
  }
};

TEST_CASE("time is charged to the op and the scope that took it", "[timer]") {
  Context<Timed<Slow>> context;
  const PackedRows rows = PackedRows::uniform(1, 1);
  context.run(rows.view(), Pass{}, [](auto& worker) {
    float x = 1, y = 2;
    const Matrix<float> a(&x, 1, 1), b(&y, 1, 1);
    for (int index = 0; index < 5; ++index) {
      const auto scope = worker.scope("blocks", index);
      worker(op::ResidualAdd<Slow::Precision>{.x = a, .f = a, .a = {}, .b = {}, .dropout = {}, .y = b});
    }
    const auto scope = worker.scope("blocks");
    worker(op::Zero<Slow::Precision>{.y = b});
  });
  const Profile profile = profile_of(context.machine().observers());
  const auto blocks = std::ranges::find(profile.scopes, "blocks", &Profile::Scope::path);
  REQUIRE(blocks != profile.scopes.end());
  REQUIRE(blocks->ops.size() == 2);
  const auto ops = profile.ops();
  REQUIRE(ops.front().name == "residual add");
  CHECK(ops.front().calls == 5);
  CHECK(ops.front().seconds >= 5 * 0.002);
  CHECK(ops.back().seconds < 0.002);
  CHECK(profile.seconds >= ops.front().seconds);

  context.machine().observers()[0].clear();
  CHECK(profile_of(context.machine().observers()).seconds == 0);
}

TEST_CASE("a timed model computes the same bits", "[timer]") {
  Trainer<SmallModel, Timed<Cpu<Single>>, AdamW> timed(capacity, {}, {}, {.threads = 2});
  Trainer<SmallModel, Cpu<Single>, AdamW> plain(capacity, {}, {}, {.threads = 2});
  for (int step = 0; step < 3; ++step) {
    const double loss = plain.step(SomeBatch(std::uint64_t(step))).loss;
    CHECK(timed.step(SomeBatch(std::uint64_t(step))).loss == loss);
  }
  CHECK(training_memory<SmallModel, Timed<Cpu<Single>>, AdamW>(capacity, 2).total() ==
        training_memory<SmallModel, Cpu<Single>, AdamW>(capacity, 2).total());
}

}  // namespace timer_test
