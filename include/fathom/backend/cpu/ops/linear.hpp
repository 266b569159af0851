// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/cpu/matmul.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Products with weights: forward and input gradient by rows, weight gradients by output rows once a frame closes.
template <class P, class Matmul>
struct LinearOps {
  using T = typename P::Activation;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr MatmulSize size_of(const auto& rows, const auto& weight) {
    return {std::size_t(rows.rows), std::size_t(weight.rows), std::size_t(weight.columns)};
  }
  static constexpr std::int64_t scratch_for(MatmulSize size) {
    return std::int64_t(Matmul::template scratch_size<T>(size) * sizeof(T));
  }

  static constexpr std::int64_t scratch_bytes(const op::Linear<P>& op) { return scratch_for(size_of(op.x, op.weight)); }
  static constexpr std::int64_t scratch_bytes(const op::LinearBackwardInput<P>& op) {
    return scratch_for(size_of(op.dy, op.weight));
  }
  static constexpr std::int64_t scratch_bytes(const op::LinearBackwardWeight<P>& op) {
    return scratch_for(size_of(op.dy, op.dweight));
  }

  static void run(Lane& lane, const op::Linear<P>& op) {
    const auto weight = RowMajor<const T>{op.weight.data, std::size_t(op.weight.stride)};
    const T* bias = op.bias.empty() ? nullptr : op.bias.data();
    if (lane.share().deal == Deal::columns && op.flops() >= flops_worth_meeting) {
      const Range columns = share_of(op.weight.rows, lane.number(), lane.parts(), 16);
      lane.barrier();  // x is the first lane's work
      const MatmulSize size{std::size_t(op.x.rows), std::size_t(columns.size()), std::size_t(op.weight.columns)};
      if (columns.size() > 0)
        Matmul::template forward_few_rows<T>(
            size, {op.x.data, std::size_t(op.x.stride)}, {weight.row(std::size_t(columns.begin)), weight.stride},
            bias == nullptr ? nullptr : bias + columns.begin,
            RowMajor<T>{op.y.data + columns.begin, std::size_t(op.y.stride)}, scratch(lane, size));
      return lane.barrier();
    }
    each_piece(lane, [&](Range rows) {
      const MatmulSize size{std::size_t(rows.size()), std::size_t(op.weight.rows), std::size_t(op.weight.columns)};
      const RowMajor<const T> x{op.x.row(rows.begin), std::size_t(op.x.stride)};
      const RowMajor<T> y{op.y.row(rows.begin), std::size_t(op.y.stride)};
      // A lane that is dealt rows has enough for the order of summing that all rows at once would have.
      static_assert(rows_worth_dealing >= int(detail::fewest_together));
      if (op.x.rows <= few_rows)
        return Matmul::template forward_few_rows<T>(size, x, weight, bias, y, scratch(lane, size));
      Matmul::template forward<T>(size, x, weight, bias, y, scratch(lane, size));
    });
  }

  static void run(Lane& lane, const op::LinearBackwardInput<P>& op) {
    each_piece(lane, [&](Range rows) { input_gradient(lane, rows, op); });
  }

  static void run(Lane& lane, const op::LinearBackwardWeight<P>& op) { lane.defer({op}); }

 private:
  static T* scratch(Lane& lane, MatmulSize size) {
    return lane.template scratch<T>(std::int64_t(Matmul::template scratch_size<T>(size)));
  }

  /// f(rows) for the lane's rows: all at once where the engine's bits do not depend on the cut, otherwise sequence by
  /// sequence, in which every cut between lanes is one of the engine's tiles too.
  template <class F>
  static void each_piece(Lane& lane, F&& f) {
    static_assert(shard_rows % Matmul::row_granularity == 0, "lanes cut at shards: they must be whole tiles");
    const Range rows = lane.share().rows;
    if constexpr (Matmul::row_granularity > 1)
      each_run(lane.packing(), rows, [&](int, int, int first, int count) { f(Range{first, first + count}); });
    else if (rows.size() > 0)
      f(rows);
  }

  static void input_gradient(Lane& lane, Range rows, const op::LinearBackwardInput<P>& op) {
    const MatmulSize size{std::size_t(rows.size()), std::size_t(op.weight.rows), std::size_t(op.weight.columns)};
    RowMajor<const T> skip;
    if (op.skip.value) skip = {op.skip.value.row(rows.begin), std::size_t(op.skip.value.stride)};
    Matmul::template input_gradient<T>(
        size, {op.dy.row(rows.begin), std::size_t(op.dy.stride)}, {op.weight.data, std::size_t(op.weight.stride)}, skip,
        T(op.skip.scale), RowMajor<T>{op.dx.row(rows.begin), std::size_t(op.dx.stride)}, scratch(lane, size));
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
