// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/backend/cuda/program.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>

/// Ops as a program holds them: what they name in memory of the host is on the device, and what they take from the lane
/// stands beside them.
namespace fathom::inline FATHOM_ABI::cuda {

/// With the packing of its rows.
template <class Op>
struct OnRows {
  Op op;
  Packing rows;
  friend bool operator==(const OnRows&, const OnRows&) = default;
};

/// What cuDNN wants to know of packings, for as many sequences as there may be: their lengths, and where they begin in
/// each matrix. Null where cuDNN does not do the op.
struct Ragged {
  const int *query_lengths = nullptr, *key_lengths = nullptr;
  const std::int64_t *query = nullptr, *key = nullptr, *value = nullptr, *output = nullptr, *statistics = nullptr;

  explicit operator bool() const { return query_lengths != nullptr; }
  friend bool operator==(const Ragged&, const Ragged&) = default;
};

/// With the packings of its queries and its keys, which `op` does not point to any more.
template <class Op>
struct OnKeys {
  Op op;
  Packing rows, keys;
  AttentionShape shape;  ///< what cuDNN has planned, if it does the op
  Ragged ragged;
  friend bool operator==(const OnKeys&, const OnKeys&) = default;
};

/// With the tokens of its rows in ascending order, and the rows that have them; rows of one token in their order.
template <class Op>
struct OnTokens {
  Op op;
  Packing rows;
  Indexed<std::span<const int>> sorted, order;
  friend bool operator==(const OnTokens&, const OnTokens&) = default;
};

/// With the memory for the sums of columns of each part of its rows.
template <class Op>
struct WithParts {
  Op op;
  float* parts;
  friend bool operator==(const WithParts&, const WithParts&) = default;
};

/// With relu behind it, in the same place: two ops in one.
template <class P>
struct WithRelu {
  op::LinearForward<P> op;
  friend bool operator==(const WithRelu&, const WithRelu&) = default;
};
/// Whether an activation makes one of the product before it.
template <class P>
bool joins(const op::LinearForward<P>& product, const op::Activation<P>& op) {
  return op.kind == ActivationKind::relu && !op.gated && !op.dropout.active() && product.y == op.y && product.y == op.x;
}

/// Whether an op leaves column sums that wait for the frame to close.
template <class Op>
inline constexpr bool leaves_sums = false;
template <class Op>
inline constexpr bool leaves_sums<WithParts<Op>> = true;
template <class P>
inline constexpr bool leaves_sums<op::LinearBackwardWeight<P>> = true;

/// Column sums that wait are added to their gradients: a frame closes.
struct Settle {
  friend bool operator==(const Settle&, const Settle&) = default;
};

template <class Op>
void each_changing(WithParts<Op>& with, auto&& f) {
  each_changing(with.op, f);
}
template <class Op>
void each_changing(OnRows<Op>& packed, auto&& f) {
  each_changing(packed.op, f);
}
template <class Op>
void each_changing(OnKeys<Op>& packed, auto&& f) {
  each_changing(packed.op, f);
}
template <class Op>
void each_changing(OnTokens<Op>& packed, auto&& f) {
  each_changing(packed.op, f);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
