// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

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

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
