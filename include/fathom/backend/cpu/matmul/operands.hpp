// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/row_major.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// The size of one product with a weight W[n,k]: m rows of activations, n output features, k input features.
/// The same three numbers describe all three forms: Y[m,n] = X[m,k]·Wᵀ, dX[m,k] = dY[m,n]·W, dW[n,k] += dYᵀ·X.
struct MatmulSize {
  std::size_t m, n, k;
};

/// A read-only operand; not used to deduce T, so `{pointer, stride}` may be written in its place.
template <class T>
using Operand = RowMajor<const std::type_identity_t<T>>;

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
