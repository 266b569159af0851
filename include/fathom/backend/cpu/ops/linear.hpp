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
  using Engine = Products<P, Matmul>;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr MatmulSize size_of(const auto& rows, const auto& weight) {
    return {std::size_t(rows.rows), std::size_t(weight.rows), std::size_t(weight.columns)};
  }
  static constexpr std::int64_t scratch_for(MatmulSize size) {
    return std::int64_t(Engine::scratch_size(size) * sizeof(typename Engine::Number));
  }

  static constexpr std::int64_t scratch_bytes(const op::LinearForward<P>& op) {
    return scratch_for(size_of(op.x, op.weight));
  }
  static constexpr std::int64_t scratch_bytes(const op::LinearBackwardInput<P>& op) {
    return scratch_for(size_of(op.dy, op.weight));
  }
  static constexpr std::int64_t scratch_bytes(const op::LinearBackwardWeight<P>& op) {
    return scratch_for(size_of(op.dy, op.dweight));
  }

  static void run(Lane& lane, const op::LinearForward<P>& op) {
    const auto* bias = op.bias.empty() ? nullptr : op.bias.data();
    if (lane.share().deal == Deal::columns && op.flops() >= flops_worth_meeting) {
      const Range columns = share_of(op.weight.rows, lane.number(), lane.parts(), 16);
      lane.barrier();  // x is the first lane's work
      const MatmulSize size{std::size_t(op.x.rows), std::size_t(columns.size()), std::size_t(op.weight.columns)};
      if (columns.size() > 0)
        Engine::forward_few_rows(size, row_major(op.x), row_major(op.weight, columns.begin),
                                 bias == nullptr ? nullptr : bias + columns.begin, row_major(op.y, 0, columns.begin),
                                 scratch(lane, size));
      return lane.barrier();
    }
    each_piece(lane, [&](Range rows) {
      const MatmulSize size{std::size_t(rows.size()), std::size_t(op.weight.rows), std::size_t(op.weight.columns)};
      const auto x = row_major(op.x, rows.begin);
      const auto y = row_major(op.y, rows.begin);
      // A lane that is dealt rows has enough for the order of summing that all rows at once would have.
      static_assert(rows_worth_dealing >= int(detail::fewest_together));
      if (op.x.rows <= few_rows)
        return Engine::forward_few_rows(size, x, row_major(op.weight), bias, y, scratch(lane, size));
      Engine::forward(size, x, row_major(op.weight), bias, y, scratch(lane, size));
    });
  }

  static void run(Lane& lane, const op::LinearBackwardInput<P>& op) {
    each_piece(lane, [&](Range rows) {
      const MatmulSize size{std::size_t(rows.size()), std::size_t(op.weight.rows), std::size_t(op.weight.columns)};
      RowMajor<const typename P::Stream> skip;
      if (op.skip.value) skip = row_major(op.skip.value, rows.begin);
      Engine::input_gradient(size, row_major(op.dy, rows.begin), row_major(op.weight), skip, op.skip.scale,
                             Engine::result(op.dx, rows.begin), scratch(lane, size));
    });
  }

  static void run(Lane& lane, const op::LinearBackwardWeight<P>& op) { lane.defer({op}); }

 private:
  static auto* scratch(Lane& lane, MatmulSize size) {
    return lane.template scratch<typename Engine::Number>(std::int64_t(Engine::scratch_size(size)));
  }

  /// f(rows) for the lane's rows: all at once where the engine's bits do not depend on the cut, otherwise sequence by
  /// sequence, in which every cut between lanes is one of the engine's tiles too.
  template <class F>
  static void each_piece(Lane& lane, F&& f) {
    static_assert(shard_rows % Engine::row_granularity == 0, "lanes cut at shards: they must be whole tiles");
    const Range rows = lane.share().rows;
    if constexpr (Engine::row_granularity > 1)
      each_run(lane.packing(), rows, [&](int, int, int first, int count) { f(Range{first, first + count}); });
    else if (rows.size() > 0)
      f(rows);
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
