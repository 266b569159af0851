// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include "fathom/backend/cpu/config.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// The size of one product with a weight W[n,k]: m rows of activations, n output features, k input features.
/// The same three numbers describe all three forms: Y[m,n] = X[m,k]·Wᵀ, dX[m,k] = dY[m,n]·W, dW[n,k] += dYᵀ·X.
struct MatmulSize {
  std::size_t m, n, k;
};

/// A row-major matrix in memory somebody else owns: element (i, j) is data[i·stride + j]. A null `data` means "none"
/// where the callee allows it.
template <class T>
struct RowMajor {
  T* data = nullptr;
  std::size_t stride = 0;

  constexpr T* row(std::size_t i) const { return data + i * stride; }
  constexpr operator RowMajor<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, stride};
  }
};

template <class T>
RowMajor(T*, std::size_t) -> RowMajor<T>;

/// A read-only operand; not used to deduce T, so `{pointer, stride}` may be written in its place.
template <class T>
using Operand = RowMajor<const std::type_identity_t<T>>;

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
