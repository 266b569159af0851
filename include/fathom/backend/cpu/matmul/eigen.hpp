// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "fathom/backend/cpu/matmul/tiled.hpp"

// g++ 12 takes the undefined registers in its own AVX-512 intrinsics, which Eigen uses, for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {

/// Products by Eigen. Small blocks keep Eigen's packing buffers on the stack, so nothing is allocated, and its OpenMP
/// threads, should the program have them, out of the game.
struct EigenProduct {
  static constexpr std::size_t column_block = 64, depth_block = 256;

  template <Layout A, Layout B, class T>
  static void add(std::size_t rows, std::size_t columns, std::size_t depth, RowMajor<const T> a, RowMajor<const T> b,
                  RowMajor<T> c) {
    for (std::size_t p = 0; p < depth; p += depth_block)
      for (std::size_t j = 0; j < columns; j += column_block) {
        const std::size_t n = std::min(columns - j, column_block), k = std::min(depth - p, depth_block);
        const auto left = block<A>(a, 0, p, rows, k);
        const auto right = block<B>(b, p, j, k, n);
        block<Layout::normal>(c, 0, j, rows, n).noalias() += left * right;
      }
  }

 private:
  /// The block of a matrix at (i, j) of the matrix that enters the product.
  template <Layout L, class T>
  static auto block(RowMajor<T> matrix, std::size_t i, std::size_t j, std::size_t rows, std::size_t width) {
    using Value = std::remove_const_t<T>;
    constexpr int order = L == Layout::normal ? Eigen::RowMajor : Eigen::ColMajor;
    using Matrix = Eigen::Matrix<Value, Eigen::Dynamic, Eigen::Dynamic, order>;
    using View = Eigen::Map<std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>, Eigen::Unaligned,
                            Eigen::OuterStride<>>;
    T* const first = L == Layout::normal ? matrix.row(i) + j : matrix.row(j) + i;
    return View(first, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(width),
                Eigen::OuterStride<>(static_cast<Eigen::Index>(matrix.stride)));
  }
};

}  // namespace detail

/// Matmul by Eigen (≥ 3.4): simple and portable. Two thirds of Native's speed or less with AVX2 or AVX-512, about as fast
/// as Native on x86 without them.
struct EigenMatmul : TiledMatmul<detail::EigenProduct, 32> {};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
