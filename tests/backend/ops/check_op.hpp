// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <concepts>
#include <cstring>
#include <deque>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/testing/compare.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "backend/ops/sample.hpp"

/// Judges a backend by `Ref<double>`, op by op. A case is a function from `Operands<P>` to an op: it is asked once for
/// each backend, machine, rows and dropout, gets the same random numbers each time, and every number that it
/// was handed is compared afterwards: outputs, inputs, and what lies between and beside them.
namespace fathom_test {

/// The backends that every op is judged on. A new one is named here, and has its `tolerance` if the usual is not its.
/// One whose operands stand in other memory takes the same sources with a header ahead of them
/// (cuda/backend/backends.hpp).
#if defined(FATHOM_TEST_CUDA)
using Backends = std::tuple<Cuda<Single>>;
#else
using Backends = std::tuple<Cpu<Single>, Cpu<Double>, Ref<float>>;

/// Operands stand where the backend's ops find them.
class OnDevice {
 public:
  void add(void*, std::int64_t) {}
  template <class Op>
  const Op& moved(const Op& op) const {
    return op;
  }
  void take_back() {}
};
inline void choose_machine(std::size_t) {}
#endif
template <class B>
inline constexpr bool has_own_memory = !std::same_as<typename B::template Buffer<float>, Buffer<float>>;

/// The greatest relative difference from Ref<double>, absolute below 1.
template <class B>
inline constexpr double tolerance = sizeof(typename B::Precision::Activation) == sizeof(double) ? 1e-11 : 1e-4;

/// The machines of a backend that must give the same bits: of 1, 2 and 5 threads where it has threads.
template <class B>
std::deque<Context<B>>& machines() {
  static std::deque<Context<B>> machines;
  if (machines.empty()) {
    if constexpr (requires(typename B::Options options) { options.threads; })
      for (const int threads : {1, 2, 5}) machines.emplace_back(typename B::Options{.threads = threads});
    else if constexpr (has_own_memory<B>)
      for (int machine = 0; machine < 3; ++machine) machines.emplace_back(typename B::Options{.workspace = 1_MiB});
    else
      machines.emplace_back();
  }
  return machines;
}

/// Each way of dealing rows to threads: by columns, by sequences, by shards of one and of several sequences; rows of
/// which there is one, of which each is a sequence, which stand behind past ones, and of which there are none. With and
/// without gaps, and nowhere aligned.
inline const std::deque<OpRows>& all_rows() {
  static const std::deque<OpRows> rows = [] {
    constexpr Layout contiguous{.gap = 0, .shift = 3}, strided{.gap = 5, .shift = 1};
    std::deque<OpRows> list;
    list.emplace_back("few", contiguous, std::vector{3, 1, 4});
    list.emplace_back("equal", contiguous, std::vector(6, 12));
    list.emplace_back("long", contiguous, std::vector{110});
    list.emplace_back("one", contiguous, std::vector{1});
    list.emplace_back("tokens", strided, std::vector(20, 1));
    list.emplace_back("past", contiguous, std::vector{40, 0, 3, 25}, std::vector{0, 7, 90, 1});
    list.emplace_back("generation", strided, std::vector{1, 1, 0, 1}, std::vector{0, 7, 7, 90});
    list.emplace_back("none", strided, std::vector{0, 0}, std::vector{5, 0});
    list.emplace_back("ragged", strided, std::vector{70, 5, 33, 1, 20});
    return list;
  }();
  return rows;
}

struct OpOptions {
  bool dropout = false;  ///< try it on as well
  int times = 1;         ///< so many ops, with operands of their own, in one frame
};

/// Operands as an op has left them.
template <class P>
struct Outcome {
  Operands<P> operands;
  double result = 77;       ///< of ops that have one
  std::int64_t place = 77;  ///< of ops that have this one
};

template <class B, class Make>
auto run_op(Context<B>& context, const OpRows& rows, double dropout, int times, Make make, bool brief = false) {
  using P = typename B::Precision;
  Outcome<P> outcome{Operands<P>(rows, dropout)};
  outcome.operands.brief = brief;
  std::vector<decltype(make(outcome.operands))> ops;
  for (int time = 0; time < times; ++time) ops.push_back(make(outcome.operands));
  context.reserve(dry_run<B>(rows.packing.capacity, {}, [&](auto& worker) {
                    for (const auto& op : ops) worker(op);
                  }).size);
  OnDevice memory;
  if constexpr (has_own_memory<B>) {
    for (auto& block : outcome.operands.blocks()) memory.add(block.bytes.data(), block.bytes.size());
    for (auto& twin : outcome.operands.twins()) memory.add(twin.block.bytes.data(), twin.block.bytes.size());
    memory.add(&outcome.result, sizeof outcome.result);
    memory.add(&outcome.place, sizeof outcome.place);
    memory.add(&outcome.operands.sums, sizeof outcome.operands.sums);
  }
  context.run(rows.packing, Pass{}, [&](auto& worker) {
    const auto frame = worker.frame();
    for (auto op : ops) {
      if constexpr (requires { op.result = &outcome.result; }) op.result = &outcome.result;
      if constexpr (requires { op.result = &outcome.place; }) op.result = &outcome.place;
      worker(memory.moved(op));
    }
  });
  memory.take_back();
  return outcome;
}

template <class P>
void require_equal(const Outcome<P>& actual, const Outcome<Double>& expected, double bound) {
  const auto& a = actual.operands.blocks();
  const auto& b = expected.operands.blocks();
  REQUIRE(a.size() == b.size());
  for (std::size_t n = 0; n < a.size(); ++n) {
    REQUIRE(a[n].count == b[n].count);
    testing::Difference worst;
    for (std::int64_t i = 0; i < a[n].count; ++i) worst.add(a[n][i], b[n][i], 1.0, 0, i);
    INFO("operand " << n << ", element " << worst.column << " of its block: " << worst.actual << ", expected "
                    << worst.expected);
    REQUIRE(worst.error <= bound);
  }
  const auto near = [&](double x, double y) { return testing::relative_error(x, y, 1.0) <= bound; };
  REQUIRE(near(actual.result, expected.result));
  REQUIRE(actual.place == expected.place);
  const LossSums &sums = actual.operands.sums, &right = expected.operands.sums;
  REQUIRE((near(sums.cross_entropy, right.cross_entropy) && near(sums.smoothing, right.smoothing)));
  REQUIRE((near(sums.z, right.z) && sums.targets == right.targets && sums.correct == right.correct));
}

template <class P>
void require_equal_bits(const Outcome<P>& a, const Outcome<P>& b) {
  for (std::size_t i = 0; i < a.operands.blocks().size(); ++i) {
    const auto &x = a.operands.blocks()[i].bytes, &y = b.operands.blocks()[i].bytes;
    INFO("operand " << i);
    REQUIRE((x.size() == y.size() && std::memcmp(x.data(), y.data(), std::size_t(x.size())) == 0));
  }
  const auto same = [](double x, double y) { return std::memcmp(&x, &y, sizeof x) == 0; };
  REQUIRE((same(b.result, a.result) && b.place == a.place));
  const LossSums &s = a.operands.sums, &t = b.operands.sums;
  REQUIRE((same(s.cross_entropy, t.cross_entropy) && same(s.smoothing, t.smoothing) && same(s.z, t.z)));
}

/// Runs the op on these rows, on all machines of backend B: the result is the reference's, and always the same bits.
template <class B, class Make>
void check_op(const OpRows& rows, Make make, const OpOptions& options = {}) {
  for (const double dropout : {0.0, 0.3}) {
    if (dropout > 0 && !options.dropout) continue;
    INFO("rows " << rows.name << ", dropout " << dropout);
    Context<Ref<double>> reference;
    const auto run = [&](auto& machine) { return run_op(machine, rows, dropout, options.times, make); };
    choose_machine(0);
    const auto first = run(machines<B>().front());
    require_equal(first, run(reference), tolerance<B>);
    for (std::size_t i = 1; i < machines<B>().size(); ++i) {
      INFO("machine " << i);
      choose_machine(i);
      require_equal_bits(first, run(machines<B>()[i]));
    }
  }
}

/// The same on every kind of rows.
template <class B, class Make>
void check_op(Make make, const OpOptions& options = {}) {
  for (const OpRows& rows : all_rows()) check_op<B>(rows, make, options);
}

}  // namespace fathom_test
