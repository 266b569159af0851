// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/precision.hpp>
#include <type_traits>

/// What ops of the device need while they run. Constant expressions: a memory plan is made of them.
namespace fathom::inline FATHOM_ABI::cuda {

/// Sums over rows are cut into this many parts, whose sums are then added in their order: the same for every device.
constexpr int parts_of(int rows) { return std::clamp((rows + 15) / 16, 1, 512); }
/// Sums over flat buffers.
inline constexpr int flat_parts = 512;

/// Bytes of `count` elements, so that what comes behind them is aligned.
template <class T>
constexpr std::int64_t room(std::int64_t count) {
  return align_up(count * std::int64_t(sizeof(T)), 256);
}

/// Bytes for the sums of the columns of each part of the rows.
constexpr std::int64_t bytes_of_parts(int rows, int columns) {
  return room<float>(std::int64_t(parts_of(rows)) * columns);
}

/// Rows whose logits live at the same time: about 16 million logits, but 128 rows at least.
constexpr int rows_of_logits(int rows, int vocabulary) {
  return std::min(rows, std::max(128, (1 << 24) / std::max(1, vocabulary)));
}

constexpr std::int64_t scratch_bytes(const auto& /*op*/) { return 0; }

/// A product of a 16-bit precision starts from a skip of the stream's type: its sum is in that type first.
template <class P>
constexpr bool rounds_after(const op::LinearBackwardInput<P>& op) {
  if constexpr (branches_read_stream<P>)
    return false;
  else
    return !op.dx.stream && op.skip.value;
}
template <class P>
constexpr std::int64_t scratch_bytes(const op::LinearBackwardInput<P>& op) {
  return rounds_after(op) ? room<typename P::Stream>(std::int64_t(op.dx.rows) * op.dx.columns) : 0;
}
template <class P>
constexpr std::int64_t scratch_bytes(const op::Variance<P>&) {
  return room<double>(flat_parts + 1);
}
template <class P>
constexpr std::int64_t scratch_bytes(const op::SumOfSquares<P>&) {
  return room<double>(flat_parts);
}
template <class T>
constexpr std::int64_t scratch_bytes(const op::FirstNonFinite<T>&) {
  return room<std::int64_t>(flat_parts);
}
/// Attention of more scores than these is not cuDNN's: backward has two bytes of workspace for each, 1 GiB.
inline constexpr std::int64_t most_scores = std::int64_t{1} << 29;
/// What cuDNN's plans for an H200 ask for at most. (One that asks for more gets memory of its own.)
constexpr std::int64_t attention_workspace(std::int64_t scores, bool backward) {
  return 128_KiB + (backward ? 2 * scores : 0);
}
/// The same for an op, whoever will do it.
template <class P>
constexpr std::int64_t attention_workspace(const auto& op, bool backward) {
  const Capacity &rows = op.packing->capacity, &keys = op.key_packing->capacity;
  const std::int64_t scores = std::int64_t(rows.sequences) * op.heads * rows.longest * keys.longest;
  return sizeof(typename P::Activation) == 2 && scores <= most_scores ? attention_workspace(scores, backward) : 0;
}
template <class P>
constexpr std::int64_t scratch_bytes(const op::AttentionForward<P>& op) {
  return attention_workspace<P>(op, false);
}
/// What attention's backward keeps for each row and head: the product of o and its gradient; cuDNN, which makes o again
/// with its statistics, those too.
template <class P>
constexpr std::int64_t scratch_bytes(const op::AttentionBackward<P>& op) {
  return 2 * room<float>(std::int64_t(op.heads) * std::max(op.q.rows, op.lse.stride)) +
         attention_workspace<P>(op, true);
}
/// Logits, their gradients where these are of another type, and sums of each row.
template <class P>
constexpr std::int64_t scratch_bytes(const op::LinearCrossEntropy<P>& op) {
  const int rows = rows_of_logits(op.x.rows, op.weight.rows);
  const std::int64_t logits = std::int64_t(rows) * op.weight.rows;
  const bool rounded = !std::is_same_v<typename P::Activation, float> && op.dx;
  return room<float>(logits) + (rounded ? room<typename P::Activation>(logits) : 0) + room<LossSums>(op.x.rows);
}
template <class P>
constexpr std::int64_t scratch_bytes(const op::AdafactorUpdate<P>& op) {
  return room<std::int64_t>(std::int64_t(op.table.size()) + 1);
}

/// Of ops that sum columns of what they compute; kept until the frame closes.
template <class P>
constexpr std::int64_t bytes_of_parts(const op::NormBackward<P>& op) {
  return bytes_of_parts(op.dy.rows, op.dy.columns) * (op.dbias.empty() ? 1 : 2);
}
template <class P>
constexpr std::int64_t bytes_of_parts(const op::ResidualAddNormBackward<P>& op) {
  return bytes_of_parts(op.dy.rows, op.dy.columns) * (op.dbias.empty() ? 1 : 2);
}
template <class P>
constexpr std::int64_t bytes_of_parts(const op::ResidualAddBackward<P>& op) {
  return bytes_of_parts(op.dy.rows, op.dy.columns) * (int(!op.da.empty()) + int(!op.db.empty()));
}
template <class P>
constexpr std::int64_t bytes_of_parts(const op::ShiftBackward<P>& op) {
  return bytes_of_parts(op.dy.rows, op.dy.columns);
}
template <class P>
constexpr std::int64_t bytes_of_parts(const op::WeightedSumBackward<P>& op) {
  return bytes_of_parts(op.dy.rows, op.count);
}

template <class Op>
concept SumsColumns = requires(const Op& op) { bytes_of_parts(op); };

constexpr std::int64_t held_bytes(const auto& op) {
  if constexpr (SumsColumns<std::remove_cvref_t<decltype(op)>>)
    return bytes_of_parts(op);
  else
    return 0;
}

}  // namespace fathom::inline FATHOM_ABI::cuda
