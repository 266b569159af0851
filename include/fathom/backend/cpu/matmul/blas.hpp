// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cblas.h>

#include <cstddef>
#include <type_traits>

#include "fathom/backend/cpu/matmul/tiled.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {

/// Products by a BLAS through its C interface.
struct BlasProduct {
  template <Layout A, Layout B, class T>
  static void add(std::size_t rows, std::size_t columns, std::size_t depth, RowMajor<const T> a, RowMajor<const T> b,
                  RowMajor<T> c) {
    constexpr auto transpose = [](Layout layout) { return layout == Layout::normal ? CblasNoTrans : CblasTrans; };
    const auto gemm = [] {
      if constexpr (std::is_same_v<T, float>)
        return &cblas_sgemm;
      else
        return &cblas_dgemm;
    }();
    const auto integer = [](std::size_t n) { return static_cast<int>(n); };
    gemm(CblasRowMajor, transpose(A), transpose(B), integer(rows), integer(columns), integer(depth), T(1), a.data,
         integer(a.stride), b.data, integer(b.stride), T(1), c.data, integer(c.stride));
  }
};

}  // namespace detail

/// Matmul by the BLAS the program is linked with.
///
/// The calls come from fathom's own threads, so the BLAS must not start threads of its own. No standard call says so
/// for one product, and fathom changes no global state: link a serial BLAS (Debian: libopenblas0-serial), or set
/// OPENBLAS_NUM_THREADS=1 (MKL_NUM_THREADS, BLIS_NUM_THREADS) in the environment.
struct BlasMatmul : TiledMatmul<detail::BlasProduct, 32> {};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
