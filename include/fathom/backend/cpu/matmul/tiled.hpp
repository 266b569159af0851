// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "fathom/backend/cpu/matmul/few_rows.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// How an operand lies in memory: as it enters the product, or transposed.
enum class Layout { normal, transposed };

/// A matmul engine (interface and contracts: see Native) on top of another library's matrix product.
///
/// The sums of a library may depend on the number of rows in a call. So results are cut into tiles of `Granularity`
/// rows, one library call each: the bits of an element do not depend on the cut of the rows if callers cut at multiples
/// of `row_granularity`.
///
/// Product has `add<LayoutA, LayoutB>(rows, columns, depth, a, b, c)`: C[rows, columns] += A[rows, depth]·B[depth,
/// columns], on the calling thread, where a transposed operand is given as its transpose in memory.
template <class Product, std::size_t Granularity>
struct TiledMatmul {
  /// Cuts at multiples of this many rows (forward, input_gradient) or output features (weight_gradient) give the same
  /// bits.
  static constexpr std::size_t row_granularity = Granularity;

  template <class T>
  static constexpr std::size_t scratch_size(MatmulSize largest) {
    return detail::forward_together_scratch<T>(largest);
  }

  template <class T>
  static void forward(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias, RowMajor<T> y,
                      std::type_identity_t<T>*) {
    for_each_tile(size.m, [&](std::size_t i, std::size_t rows) {
      const RowMajor<T> tile{y.row(i), y.stride};
      for (std::size_t r = 0; r < rows; ++r)
        if (bias)
          std::copy_n(bias, size.n, tile.row(r));
        else
          std::fill_n(tile.row(r), size.n, T(0));
      Product::template add<Layout::normal, Layout::transposed, T>(rows, size.n, size.k, {x.row(i), x.stride}, w, tile);
    });
  }

  template <class T>
  static void input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip,
                             std::type_identity_t<T> scale, RowMajor<T> dx, std::type_identity_t<T>*) {
    for_each_tile(size.m, [&](std::size_t i, std::size_t rows) {
      const RowMajor<T> tile{dx.row(i), dx.stride};
      for (std::size_t r = 0; r < rows; ++r)
        if (skip.data)
          std::transform(skip.row(i + r), skip.row(i + r) + size.k, tile.row(r), [=](T x) { return scale * x; });
        else
          std::fill_n(tile.row(r), size.k, T(0));
      Product::template add<Layout::normal, Layout::normal, T>(rows, size.k, size.n, {dy.row(i), dy.stride}, w, tile);
    });
  }

  template <class T>
  static void weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, std::type_identity_t<T>* db,
                              std::type_identity_t<T>*) {
    for_each_tile(size.n, [&](std::size_t j, std::size_t rows) {
      Product::template add<Layout::transposed, Layout::normal, T>(rows, size.k, size.m, {dy.data + j, dy.stride}, x,
                                                                   {dw.row(j), dw.stride});
    });
    if (db) detail::add_column_sums(dy, size.m, size.n, db);
  }

  template <class T>
  static void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias,
                               RowMajor<T> y, std::type_identity_t<T>* scratch) {
    detail::forward_few_rows(size, x, w, bias, y, scratch);
  }

 private:
  static void for_each_tile(std::size_t rows, auto multiply) {
    for (std::size_t i = 0; i < rows; i += Granularity) multiply(i, std::min(rows - i, Granularity));
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
