// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

/// `B` has arithmetic for an op.
template <class B, class Op>
concept Runs = requires(typename B::Lane& lane, const Op& op) {
  B::run(lane, op);
};
/// A dry run can ask `B` what memory an op needs.
template <class B, class Op>
concept Plans = requires(const Op& op, const Capacity& capacity) {
  { B::scratch_bytes(op) } -> std::convertible_to<std::int64_t>;
  { B::shared_bytes(op) } -> std::convertible_to<std::int64_t>;
  { B::held_bytes(op, capacity) } -> std::convertible_to<std::int64_t>;
};
/// `B` has an op, or all of these for its own precision.
template <class B, class Op>
concept HasOp = Runs<B, Op> && Plans<B, Op>;
template <class B, template <class> class... Ops>
concept Has = (HasOp<B, Ops<typename B::Precision>> && ...);

/// What an input gradient starts from: `scale * value`; null: zero.
template <class P>
struct Skip {
  Matrix<const typename P::Stream> value;
  double scale = 1;
  friend constexpr bool operator==(const Skip&, const Skip&) = default;
};

namespace op {

template <class T>
constexpr double bytes_of(const Matrix<T>& m) {
  return double(m.rows) * m.columns * sizeof(T);
}
template <class T>
constexpr double bytes_of(Elements<T> s) {
  return double(s.size()) * sizeof(T);
}
template <class S, class B>
constexpr double bytes_of(const StreamMatrix<S, B>& m) {
  return bytes_of(m.stream) + bytes_of(m.branch);
}
/// Calls f(matrix) for what an op writes.
constexpr void each_result(auto&& f, auto matrix) { f(matrix); }
template <class S, class B>
constexpr void each_result(auto&& f, const StreamMatrix<S, B>& m) {
  f(m.stream);
  f(m.branch);
}
/// A vector as the only row of a matrix; without rows when it is empty.
template <class T>
constexpr Matrix<T> as_row(Elements<T> vector) {
  return {vector.data(), vector.empty() ? 0 : 1, int(vector.size())};
}

}  // namespace op
}  // namespace fathom::inline FATHOM_ABI
