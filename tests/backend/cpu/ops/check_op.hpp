// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <deque>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/core/random.hpp>
#include <fathom/testing/compare.hpp>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

/// Runs ops on the CPU backend against the reference. A case is a function from `Operands<P>` to an op: it is asked
/// once for each backend, packing and dropout, gets the same random numbers each time, and every number that it was
/// handed is compared afterwards, inputs too.
namespace fathom_test {
using namespace fathom;

/// The rows that an op is about.
struct TestRows {
  std::string name;
  std::vector<int> lengths, past;
  PackedRows packed, keys;  ///< `keys`: as many sequences of other lengths
  Packing packing, key_packing;

  TestRows(std::string rows_name, std::vector<int> row_lengths, std::vector<int> row_past = {})
      : name(std::move(rows_name)),
        lengths(std::move(row_lengths)),
        past(std::move(row_past)),
        packed(capacity_of(lengths)),
        keys(capacity_of(reversed(lengths))) {
    packed.assign(lengths, past);
    keys.assign(reversed(lengths));
    packing = packed.view();
    key_packing = keys.view();
  }

 private:
  static std::vector<int> reversed(std::vector<int> of) {
    std::ranges::reverse(of);
    for (int& length : of) ++length;
    return of;
  }
  /// Larger than the rows need, as in training.
  static Capacity capacity_of(const std::vector<int>& of) {
    return {std::reduce(of.begin(), of.end()) + 5, int(of.size()) + 2, *std::ranges::max_element(of) + 3};
  }
};

/// Each way of dealing rows to threads: by columns, by sequences, by shards of one and of several sequences.
inline const std::deque<TestRows>& all_rows() {
  static const std::deque<TestRows> rows = [] {
    std::deque<TestRows> list;
    list.emplace_back("few", std::vector{3, 1, 4});
    list.emplace_back("equal", std::vector(6, 12));
    list.emplace_back("one", std::vector{150});
    list.emplace_back("ragged", std::vector{70, 5, 33, 1, 20});
    return list;
  }();
  return rows;
}

/// Hands out what an op reads and writes: the n-th thing asked for is the same for every P, rounded.
template <class P>
class Operands {
 public:
  using T = typename P::Stream;
  const Packing& packing;
  const Packing& key_packing;
  Dropout dropout;
  LossSums sums;

  Operands(const TestRows& rows, double dropout_rate)
      : packing(rows.packing), key_packing(rows.key_packing), dropout{dropout_rate, Key{5}} {}

  int rows() const { return packing.rows(); }

  /// Random numbers: inputs, and outputs that are added to.
  Matrix<T> values(int row_count, int columns, int stride) {
    return {take(std::int64_t(row_count) * stride, true), row_count, columns, stride};
  }
  Matrix<T> values(int row_count, int columns) { return values(row_count, columns, columns); }
  std::span<T> values(int count) { return {take(count, true), std::size_t(count)}; }
  /// One row for each of the packing's.
  Matrix<T> rows_of(int columns) { return values(rows(), columns); }

  /// NaNs: what must be overwritten.
  Matrix<T> poison(int row_count, int columns, int stride) {
    return {take(std::int64_t(row_count) * stride, false), row_count, columns, stride};
  }
  Matrix<T> poison(int columns) { return poison(rows(), columns, columns); }
  std::span<T> poisoned_statistic() { return {take(rows(), false), std::size_t(rows())}; }

  /// One integer below `end` for each row, at least `begin`.
  std::span<const int> integers(int begin, int end) {
    std::vector<int>& list = integers_.emplace_back(std::size_t(rows()));
    const Philox random(Key{3});
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = begin + int(random(i)[0] % std::uint32_t(end - begin));
    return list;
  }

  const std::deque<std::vector<T>>& buffers() const { return buffers_; }

 private:
  static constexpr std::size_t border = 19;

  T* take(std::int64_t count, bool random) {
    constexpr T sentinel = T(12345.5), nan = std::numeric_limits<T>::quiet_NaN();
    auto& buffer = buffers_.emplace_back(std::size_t(count) + 2 * border, sentinel);
    const Philox numbers(Key{7}.child(buffers_.size()));
    for (std::size_t i = 0; i < std::size_t(count); ++i)
      buffer[border + i] = random ? T(float(normals(numbers(i))[0])) : nan;
    return buffer.data() + border;
  }

  std::deque<std::vector<T>> buffers_;
  std::deque<std::vector<int>> integers_;
};

struct OpOptions {
  bool dropout = false;  ///< try it on as well
  int times = 1;         ///< so many ops, with operands of their own, in one frame
  double single_tolerance = 1e-4;
};

/// Operands as an op has left them.
template <class P>
struct Outcome {
  Operands<P> operands;
  std::vector<double> results;  ///< what each lane's `*result` holds, for ops that have one
};

template <class B, class Make>
Outcome<typename B::Precision> run_op(Context<B>& context, const TestRows& rows, double dropout, int times, Make make) {
  using P = typename B::Precision;
  Outcome<P> outcome{Operands<P>(rows, dropout), std::vector<double>(std::size_t(context.lanes()))};
  std::vector<decltype(make(outcome.operands))> ops;
  for (int time = 0; time < times; ++time) ops.push_back(make(outcome.operands));
  context.reserve(dry_run<B>(rows.packing.capacity, {}, [&](auto& worker) {
                    for (const auto& op : ops) worker(op);
                  }).size);
  std::atomic<std::size_t> next = 0;
  context.run(rows.packing, Pass{}, [&](auto& worker) {
    double result = 0;
    {
      const auto frame = worker.frame();
      for (auto op : ops) {
        if constexpr (requires { op.result; }) op.result = &result;
        worker(op);
      }
    }
    outcome.results[next++] = result;
  });
  return outcome;
}

template <class P>
void require_equal(const Outcome<P>& actual, const Outcome<Double>& expected, double tolerance) {
  const auto& a = actual.operands.buffers();
  const auto& b = expected.operands.buffers();
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto worst = testing::compare(std::span(a[i]), std::span(b[i]), 1.0);
    INFO("operand " << i << ", element " << worst.column << " with its border: " << worst.actual << ", expected "
                    << worst.expected);
    REQUIRE(worst.error <= tolerance);
  }
  for (const double result : actual.results)
    REQUIRE(testing::relative_error(result, expected.results[0], 1.0) <= tolerance);
  const LossSums &sums = actual.operands.sums, &right = expected.operands.sums;
  REQUIRE(testing::relative_error(sums.cross_entropy, right.cross_entropy, 1.0) <= tolerance);
  REQUIRE(testing::relative_error(sums.smoothing, right.smoothing, 1.0) <= tolerance);
  REQUIRE(testing::relative_error(sums.z, right.z, 1.0) <= tolerance);
  REQUIRE((sums.targets == right.targets && sums.correct == right.correct));
}

template <class P>
void require_equal_bits(const Outcome<P>& a, const Outcome<P>& b) {
  for (std::size_t i = 0; i < a.operands.buffers().size(); ++i) {
    const auto &x = a.operands.buffers()[i], &y = b.operands.buffers()[i];
    INFO("operand " << i);
    REQUIRE(std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0);
  }
  for (const double result : b.results) REQUIRE(result == a.results[0]);
  REQUIRE(a.operands.sums.cross_entropy == b.operands.sums.cross_entropy);
  REQUIRE((a.operands.sums.smoothing == b.operands.sums.smoothing && a.operands.sums.z == b.operands.sums.z));
}

/// One team of each size for all cases.
template <class B>
Context<B>& context_of(int threads) {
  static std::deque<Context<B>> contexts;
  static const bool made = [] {
    for (const int count : {1, 2, 3, 5}) contexts.emplace_back(typename B::Options{count});
    return true;
  }();
  static_cast<void>(made);
  return *std::ranges::find(contexts, threads, &Context<B>::lanes);
}

/// Runs the op on backend B with 1, 2, 3 and 5 threads: the result is the expected one, and always the same bits.
template <class B, class Make>
void check_on_cpu(const TestRows& rows, double dropout, int times, Make make, const Outcome<Double>& expected,
                  double tolerance) {
  const auto one = run_op(context_of<B>(1), rows, dropout, times, make);
  require_equal(one, expected, tolerance);
  for (const int threads : {2, 3, 5}) {
    INFO(threads << " threads");
    require_equal_bits(one, run_op(context_of<B>(threads), rows, dropout, times, make));
  }
}

/// Runs the op on these rows in both precisions and with 1, 2, 3 and 5 threads.
template <class Make>
void check_op(const TestRows& rows, Make make, const OpOptions& options = {}) {
  for (const double dropout : {0.0, 0.3}) {
    if (dropout > 0 && !options.dropout) continue;
    INFO("rows " << rows.name << ", dropout " << dropout);
    Context<Ref<double>> reference;
    const auto expected = run_op(reference, rows, dropout, options.times, make);
    {
      INFO("double");
      check_on_cpu<Cpu<Double>>(rows, dropout, options.times, make, expected, 1e-11);
    }
    INFO("float");
    check_on_cpu<Cpu<Single>>(rows, dropout, options.times, make, expected, options.single_tolerance);
  }
}

/// The same on every kind of rows.
template <class Make>
void check_op(Make make, const OpOptions& options = {}) {
  for (const TestRows& rows : all_rows()) check_op(rows, make, options);
}

}  // namespace fathom_test
