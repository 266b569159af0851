// SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// With the packings of its queries and its keys, which `op` does not point to any more.
template <class Op>
struct OnKeys {
  Op op;
  Packing rows, keys;
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
