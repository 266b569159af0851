// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/cross_entropy.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/products.hpp>
#include <fathom/backend/cpu/ranking.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Linear + cross-entropy, one chunk of rows after another: all lanes share the logits of a chunk, each has some of its
/// rows for the softmax and some of the vocabulary for the weight gradient. And the ranks of logits.
template <class P, class Matmul>
struct LossOps {
  using Engine = Products<P, Matmul>;
  using T = typename Engine::Logits;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  /// Rows of a chunk: its logits take about 8 MiB, or the 32 rows that a chunk has at least, whatever the number of
  /// threads. Every chunk reads W twice and adds to dW, so few rows would wait for memory.
  static constexpr int chunk_rows(int vocabulary) {
    return int(
        std::clamp<std::int64_t>((8_MiB) / (std::int64_t(vocabulary) * std::int64_t(sizeof(T))) / 32 * 32, 32, 512));
  }
  static constexpr int largest_chunk(const op::LinearCrossEntropy<P>& op) {
    return std::min(op.x.rows, chunk_rows(op.weight.rows));
  }
  static constexpr std::int64_t shared_bytes(const op::LinearCrossEntropy<P>& op) {
    const std::int64_t rows = largest_chunk(op), logits = rows * op.weight.rows;
    return align_up(logits * std::int64_t(sizeof(T))) + align_up(rows * std::int64_t(sizeof(RowLoss<T>))) +
           (Engine::rounds_gradients && op.dx ? align_up(logits * std::int64_t(sizeof(typename P::Activation))) : 0);
  }
  static constexpr std::int64_t scratch_bytes(const op::LinearCrossEntropy<P>& op) {
    return std::int64_t(Engine::scratch_size(chunk_size(op, largest_chunk(op))) * sizeof(typename Engine::Number));
  }

  static void run(Lane& lane, const op::LinearCrossEntropy<P>& op) {
    const std::int64_t mark = lane.workspace().used();
    const int vocabulary = op.weight.rows, chunk = largest_chunk(op);
    const Matrix<T> logits(lane.workspace().template take<T>(std::int64_t(chunk) * vocabulary), chunk, vocabulary);
    RowLoss<T>* losses = lane.workspace().template take<RowLoss<T>>(chunk);
    const auto gradient = gradient_of(lane, op, logits);
    auto* const scratch =
        lane.template scratch<typename Engine::Number>(std::int64_t(Engine::scratch_size(chunk_size(op, chunk))));
    const auto weight = row_major(op.weight);
    LossSums sums;
    lane.barrier();  // rows of x are other lanes' work
    for (int begin = 0; begin < op.x.rows; begin += chunk) {
      const int rows = std::min(chunk, op.x.rows - begin);
      const Range own = share_of(rows, lane.number(), lane.parts(), int(Engine::row_granularity));
      if (own.size() > 0) {
        const MatmulSize size = chunk_size(op, own.size());
        Engine::forward(size, row_major(op.x, begin + own.begin), weight, op.bias.empty() ? nullptr : op.bias.data(),
                        row_major(logits, own.begin), scratch);
        for (int r = own.begin; r < own.end; ++r) losses[r] = row_loss(op, begin + r, logits.row(r), gradient.row(r));
        if (op.dx)
          Engine::input_gradient(size, row_major(gradient, own.begin), weight, {}, 0,
                                 Engine::result(op.dx, begin + own.begin), scratch);
      }
      lane.barrier();
      if (lane.number() == 0) add(op, begin, rows, losses, sums);
      if (op.dx) {
        const Range words =
            share_of(vocabulary, lane.number(), lane.parts(), std::max(16, int(Engine::row_granularity)));
        if (words.size() > 0)
          Engine::weight_gradient({std::size_t(rows), std::size_t(words.size()), std::size_t(op.weight.columns)},
                                  row_major(gradient, 0, words.begin), row_major(op.x, begin),
                                  row_major(op.dweight, words.begin),
                                  op.dbias.empty() ? nullptr : op.dbias.data() + words.begin, scratch);
      }
      lane.barrier();
    }
    if (lane.number() == 0) *op.sums = sums;
    lane.barrier();
    lane.workspace().release(mark);
  }

  static constexpr std::int64_t scratch_bytes(const op::RankLogits<P>& op) {
    return std::int64_t(rank_logits_scratch<T>(std::size_t(op.logits.columns)) * sizeof(T));
  }

  /// A lane takes its own rows; where they are too few to be dealt, every n-th.
  static void run(Lane& lane, const op::RankLogits<P>& op) {
    T* const scratch = lane.template scratch<T>(scratch_bytes(op) / std::int64_t(sizeof(T)));
    const auto vocabulary = std::size_t(op.logits.columns), count = std::size_t(op.values.columns);
    const auto rank = [&](int row) {
      op.log_sum[row] =
          rank_logits<T>(vocabulary, op.logits.row(row), count, op.values.row(row), op.indices.row(row), scratch);
    };
    if (lane.share().deal != Deal::columns || op.flops() < flops_worth_meeting) {
      for (int row = lane.share().rows.begin; row < lane.share().rows.end; ++row) rank(row);
      return;
    }
    lane.barrier();
    for (int row = lane.number(); row < op.logits.rows; row += lane.parts()) rank(row);
    lane.barrier();
  }

 private:
  static constexpr MatmulSize chunk_size(const op::LinearCrossEntropy<P>& op, int rows) {
    return {std::size_t(rows), std::size_t(op.weight.rows), std::size_t(op.weight.columns)};
  }

  /// Where products read the gradient of logits: over the logits, or in a matrix of its own, rounded.
  static auto gradient_of(Lane& lane, const op::LinearCrossEntropy<P>& op, const Matrix<T>& logits) {
    if constexpr (Engine::rounds_gradients) {
      using Rounded = typename P::Activation;
      if (!op.dx) return Matrix<Rounded>();
      return Matrix<Rounded>(lane.workspace().template take<Rounded>(std::int64_t(logits.rows) * logits.columns),
                             logits.rows, logits.columns);
    } else {
      return logits;
    }
  }

  static RowLoss<T> row_loss(const op::LinearCrossEntropy<P>& op, int row, T* logits, auto* gradient) {
    const auto vocabulary = std::size_t(op.weight.rows);
    if (!op.dx) return cross_entropy<T>(vocabulary, logits, op.targets[row]);
    const CrossEntropy<T> options{.smoothing = T(op.options.smoothing), .z_loss = T(op.options.z_loss)};
    const auto loss = cross_entropy_backward<T>(vocabulary, logits, op.targets[row], T(op.target_weight), options);
    if constexpr (Engine::rounds_gradients)
      sweep<T>(vocabulary, [&](auto place) { place.store(gradient, place.load(logits)); });
    return loss;
  }

  static void add(const op::LinearCrossEntropy<P>& op, int begin, int rows, const RowLoss<T>* losses, LossSums& sums) {
    for (int r = 0; r < rows; ++r) {
      if (op.targets[begin + r] < 0) continue;
      sums.cross_entropy += double(losses[r].likelihood);
      sums.smoothing += double(losses[r].smooth);
      sums.z += double(losses[r].z);
      sums.targets += 1;
      sums.correct += losses[r].best;
    }
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
