// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/matmul.hpp>
#include <fathom/backend/cpu/matmul/bf16_matmul.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

template <class T>
RowMajor<T> row_major(const Matrix<T>& matrix, int row = 0, int column = 0) {
  return {matrix.row(row) + column, std::size_t(matrix.stride)};
}

/// The products of a precision by its engine: `Matmul` where all numbers are of one type, `Bf16Matmul` for bf16 weights
/// and activations beside floats. Sizes, contracts and scratch as `Native` has them.
template <class P, class Matmul>
struct Products {
  using T = typename P::Activation;
  using Number = T;                                ///< of scratch
  using Result = RowMajor<T>;                      ///< where an input gradient goes
  using Logits = T;                                ///< what logits are computed as
  static constexpr bool rounds_gradients = false;  ///< whether the gradient of logits is another matrix than logits
  static constexpr std::size_t row_granularity = Matmul::row_granularity;

  static constexpr std::size_t scratch_size(MatmulSize largest) { return Matmul::template scratch_size<T>(largest); }

  static void forward(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, T* scratch) {
    Matmul::template forward<T>(size, x, w, bias, y, scratch);
  }
  static void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, T* scratch) {
    Matmul::template forward_few_rows<T>(size, x, w, bias, y, scratch);
  }
  static Result result(const Matrix<T>& matrix, int row) { return row_major(matrix, row); }
  static void input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip, double scale, Result dx,
                             T* scratch) {
    Matmul::template input_gradient<T>(size, dy, w, skip, T(scale), dx, scratch);
  }
  static void weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, T* db, T* scratch) {
    Matmul::template weight_gradient<T>(size, dy, x, dw, db, scratch);
  }
};

template <class P, class Matmul>
  requires(std::is_same_v<typename P::Activation, Bf16>)
struct Products<P, Matmul> {
  using T = Bf16;
  using Number = float;
  using Result = Bf16Result;
  using Logits = float;
  static constexpr bool rounds_gradients = true;
  static constexpr std::size_t row_granularity = Bf16Matmul::row_granularity;

  static constexpr std::size_t scratch_size(MatmulSize largest) { return Bf16Matmul::scratch_size(largest); }

  static void forward(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, float* scratch) {
    Bf16Matmul::forward(size, x, w, bias, {.sums = {}, .rounded = y}, scratch);
  }
  static void forward(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<float> y, float* scratch) {
    Bf16Matmul::forward(size, x, w, bias, {.sums = y, .rounded = {}}, scratch);
  }
  static void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, float*) {
    Bf16Matmul::forward_few_rows(size, x, w, bias, y);
  }
  static Result result(const StreamMatrix<float, Bf16>& matrix, int row) {
    Result to;
    if (matrix.stream) to.sums = row_major(matrix.stream, row);
    if (matrix.branch) to.rounded = row_major(matrix.branch, row);
    return to;
  }
  static void input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<float> skip, double scale, Result dx,
                             float* scratch) {
    Bf16Matmul::input_gradient(size, dy, w, skip, float(scale), dx, scratch);
  }
  static void weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<float> dw, float* db,
                              float* scratch) {
    Bf16Matmul::weight_gradient(size, dy, x, dw, db, scratch);
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
