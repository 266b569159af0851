// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/view.hpp>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

/// fathom's views as Eigen's maps, and back. Nothing is copied: both are the same memory, which belongs to neither.
///
///   as_eigen(weights.params().token)             a parameter matrix, to be read
///   as_eigen(Matrix(t, rows, columns))           t = weights.flat().data() + info.offset: a parameter matrix of Cpu or
///                                                Ref, to be written
///   as_eigen(inference.logits(0)).maxCoeff()     one row of logits
///   as_eigen(batch.tokens)                       the tokens of a batch
///   from_eigen(hidden)                           a row-major Eigen::Matrix, Map or Block as rows of an op
///
/// Whoever wants this includes this header; no other one of io/ needs Eigen.
namespace fathom::inline FATHOM_ABI {

/// Row-major, extents and the stride between rows known at run time. Its results are of dynamic size too, so that a
/// vocabulary's matrix is not put on the stack.
template <class T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using EigenMatrixMap =
    Eigen::Map<std::conditional_t<std::is_const_v<T>, const EigenMatrix<std::remove_const_t<T>>, EigenMatrix<T>>,
               Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using EigenVector = Eigen::Matrix<T, Eigen::Dynamic, 1>;
template <class T>
using EigenVectorMap =
    Eigen::Map<std::conditional_t<std::is_const_v<T>, const EigenVector<std::remove_const_t<T>>, EigenVector<T>>>;

template <class T>
EigenMatrixMap<T> as_eigen(const Matrix<T>& matrix) {
  return {matrix.data, matrix.rows, matrix.columns, Eigen::OuterStride<>(matrix.stride)};
}
template <class T, int Width, int Stride>
EigenMatrixMap<T> as_eigen(const Rows<T, Width, Stride>& rows) {
  return as_eigen(Matrix<T>(rows));
}
template <class T, int Out, int In>
EigenMatrixMap<T> as_eigen(const WeightMatrix<T, Out, In>& matrix) {
  return as_eigen(Matrix<T>(matrix));
}

template <class T>
EigenVectorMap<T> as_eigen(Elements<T> elements) {
  return {elements.data(), Eigen::Index(elements.size())};
}
template <class T, int Size>
EigenVectorMap<T> as_eigen(const Vector<T, Size>& vector) {
  return as_eigen(Elements<T>(vector));
}
template <class T, std::size_t Extent>
EigenVectorMap<T> as_eigen(std::span<T, Extent> elements) {
  return {elements.data(), Eigen::Index(elements.size())};
}

/// A view of what an Eigen matrix, map, block or reference has in memory: `Elements` of a vector, `Matrix` otherwise.
/// The view ends with what it shows. Errors: `ShapeError` when elements of a row do not lie side by side, or an int
/// cannot count rows or columns.
template <class Expression>
auto from_eigen(Expression&& expression) {
  using Plain = std::remove_cvref_t<Expression>;
  static_assert(bool(Plain::Flags & Eigen::DirectAccessBit),
                "from_eigen: this expression has no memory yet; give a matrix that holds its value");
  static_assert(std::is_lvalue_reference_v<Expression> || !std::is_base_of_v<Eigen::PlainObjectBase<Plain>, Plain>,
                "from_eigen: this matrix is gone when the view of it is used; give it a name");
  using T = std::remove_pointer_t<decltype(expression.data())>;
  if (expression.innerStride() != 1)
    throw ShapeError("from_eigen: elements of a row lie " + std::to_string(expression.innerStride()) +
                     " apart; copy them into a matrix of their own");
  if constexpr (bool(Plain::IsVectorAtCompileTime)) {
    return Elements<T>(expression.data(), std::size_t(expression.size()));
  } else {
    static_assert(bool(Plain::IsRowMajor),
                  "from_eigen: fathom's matrices are row-major: say Eigen::RowMajor in the type of yours, or give its "
                  "transpose()");
    constexpr Eigen::Index most = std::numeric_limits<int>::max();
    if (expression.rows() > most || expression.outerStride() > most)
      throw ShapeError("from_eigen: " + std::to_string(expression.rows()) + " rows, " +
                       std::to_string(expression.outerStride()) + " elements apart, are more than an int counts");
    return Matrix<T>(expression.data(), int(expression.rows()), int(expression.cols()), int(expression.outerStride()));
  }
}

}  // namespace fathom::inline FATHOM_ABI
