// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>

namespace memory_test {

// What ops of the CPU need beside their operands.
using namespace fathom;

/// Bytes of attention over one sequence, on a thread, forward or backward, without and with a cache.
template <class P, template <class> class Op>
constexpr std::int64_t attention(int length, int cache = 0) {
  return dry_run<Cpu<P>>({.rows = length, .sequences = 1, .longest = length}, {},
                         [&](auto& worker) {
                           Op<P> op{};
                           op.heads = 6, op.kv_heads = 2, op.head_width = 64;
                           op.packing = op.key_packing = &worker.packing();
                           if constexpr (requires { op.cache; }) op.cache.length = cache;
                           worker(op);
                         })
      .size.total(1);
}

/// Of the loss and its gradients, of all threads and of each one.
template <class P>
constexpr WorkspaceSize loss(int rows, int vocabulary) {
  constexpr int width = 64;
  return dry_run<Cpu<P>>({.rows = rows, .sequences = 1, .longest = rows}, {},
                         [=](auto& worker) {
                           op::LinearCrossEntropy<P> op{};
                           op.x = {nullptr, rows, width};
                           op.weight = {nullptr, vocabulary, width};
                           op.dx = {nullptr, rows, width};
                           op.dweight = {nullptr, vocabulary, width};
                           worker(op);
                         })
      .size;
}

TEMPLATE_TEST_CASE("attention never stores the T×T matrix", "[cpu]", Single, Double) {
  // Four times the length needs at most four times the memory.
  STATIC_REQUIRE(attention<TestType, op::AttentionForward>(4096) <=
                 4 * attention<TestType, op::AttentionForward>(1024));
  STATIC_REQUIRE(attention<TestType, op::AttentionBackward>(4096) <=
                 4 * attention<TestType, op::AttentionBackward>(1024));
  STATIC_REQUIRE(attention<TestType, op::AttentionForward>(1, 4096) <=
                 4 * attention<TestType, op::AttentionForward>(1, 1024));
}

TEST_CASE("all logits never live at once", "[cpu]") {
  // They take about 8 MiB for any number of rows, or 32 rows where these are longer.
  STATIC_REQUIRE(loss<Single>(1'000'000, 100'000).workspace == loss<Single>(32, 100'000).workspace);
  STATIC_REQUIRE(loss<Single>(1'000'000, 100'000).workspace < 32 * 100'000 * 4 + 4096);
  STATIC_REQUIRE(loss<Double>(1'000'000, 100'000).workspace < 32 * 100'000 * 8 + 4096);
  STATIC_REQUIRE(loss<Single>(1'000'000, 50'000).workspace < 9_MiB);
  STATIC_REQUIRE(loss<Double>(1'000'000, 30'000).workspace < 9_MiB);
  STATIC_REQUIRE(loss<Single>(1'000'000, 300).workspace < 9_MiB);
  STATIC_REQUIRE(loss<Single>(1'000'000, 100'000).scratch == loss<Single>(32, 100'000).scratch);
}

}  // namespace memory_test
