// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <ranges>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// `pointer + offset`, also in constant evaluation for the null pointers of a dry run.
template <class T>
constexpr T* offset(T* pointer, std::int64_t count) {
  return pointer == nullptr ? nullptr : pointer + count;
}

/// What ops see of a vector: elements one after another. Owns nothing; empty means "absent". Converts from and to
/// std::span, but need not have memory: in a dry run it is a null pointer with a size, which no std::span may be.
template <class T>
class Elements {
 public:
  constexpr Elements() = default;
  constexpr Elements(T* first, std::size_t count) : data_(first), size_(count) {}
  /// Of a std::span, a vector, or the elements that may be written as those that may be read.
  template <class Range>
  requires(!std::is_same_v<std::remove_cvref_t<Range>, Elements>) &&
      std::ranges::contiguous_range<Range>&& std::ranges::sized_range<Range>&& std::is_convertible_v<
          std::remove_reference_t<std::ranges::range_reference_t<Range>> (*)[], T (*)[]> constexpr Elements(Range&&
                                                                                                                range)
      : data_(std::ranges::data(range)),
  size_(std::ranges::size(range)) {}

  /// Of all that a buffer holds.
  template <class Memory>
  requires(!std::ranges::range<Memory>) && requires(Memory&& memory) {
    { memory.data() } -> std::convertible_to<T*>;
    { memory.size() } -> std::same_as<std::int64_t>;
  }
  constexpr Elements(Memory&& memory) : data_(memory.data()), size_(std::size_t(memory.size())) {}

  constexpr T* data() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T& operator[](std::integral auto index) const { return data_[index]; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }
  /// `count` elements from `first` on.
  constexpr Elements part(std::int64_t first, std::size_t count) const { return {offset(data_, first), count}; }
  /// Of views: whether they are of the same elements, whatever these are.
  friend constexpr bool operator==(const Elements&, const Elements&) = default;

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// What ops see: a row-major matrix whose extents are known at run time. Owns nothing; no rows means "absent". Presence
/// is a matter of extents and not of pointers, because a dry run has none.
template <class T>
struct Matrix {
  T* data = nullptr;
  int rows = 0, columns = 0;
  int stride = 0;  ///< elements from one row to the next

  constexpr Matrix() = default;
  constexpr Matrix(T* first, int row_count, int column_count, int row_stride)
      : data(first), rows(row_count), columns(column_count), stride(row_stride) {}
  constexpr Matrix(T* first, int row_count, int column_count) : Matrix(first, row_count, column_count, column_count) {}
  template <class Element>
  requires std::is_same_v<const Element, T>
  constexpr Matrix(Matrix<Element> other) : Matrix(other.data, other.rows, other.columns, other.stride) {}

  constexpr explicit operator bool() const { return rows > 0; }
  /// Whether its elements lie one behind another, without gaps between the rows.
  constexpr bool contiguous() const { return rows <= 1 || stride == columns; }
  constexpr T* row(int index) const { return offset(data, std::int64_t(index) * stride); }
  constexpr Matrix block(int first_row, int count) const { return {row(first_row), count, columns, stride}; }
  /// Columns `first` to `first + count` of every row.
  constexpr Matrix columns_at(int first, int count) const { return {offset(data, first), rows, count, stride}; }
  friend constexpr bool operator==(const Matrix&, const Matrix&) = default;
};

/// What layers see: one row per token, the width and the stride known at compile time, the number of rows at run time.
template <class T, int Width, int Stride = Width>
struct Rows {
  static_assert(Width > 0 && Stride >= Width, "Rows: the width must be positive and no larger than the stride");
  T* data = nullptr;
  int count = 0;

  constexpr Rows() = default;
  constexpr Rows(T* first, int row_count) : data(first), count(row_count) {}
  template <class Element>
  requires std::is_same_v<const Element, T>
  constexpr Rows(Rows<Element, Width, Stride> other) : Rows(other.data, other.count) {}

  constexpr operator Matrix<T>() const { return {data, count, Width, Stride}; }
  constexpr operator Matrix<const T>() const requires(!std::is_const_v<T>) { return {data, count, Width, Stride}; }

  /// Columns `First` to `First + Count` of every row.
  template <int First, int Count>
  constexpr Rows<T, Count, Stride> columns() const {
    static_assert(First >= 0 && First + Count <= Width, "Rows::columns: the slice leaves the row");
    return {offset(data, First), count};
  }
};

template <class T, class Element>
concept SameButConst = std::is_same_v<T, Element> || std::is_same_v<const T, Element>;

/// What ops write for the residual stream, for branches, or for both: one matrix twice, as the stream has it and,
/// rounded, as branches read it. Absent is what is not wanted.
template <class Stream, class Branch>
struct StreamMatrix {
  Matrix<Stream> stream;
  Matrix<Branch> branch;
  int rows = 0, columns = 0;

  constexpr StreamMatrix() = default;
  constexpr StreamMatrix(Matrix<Stream> as_stream, Matrix<Branch> as_branch)
      : stream(as_stream),
        branch(as_branch),
        rows(as_stream ? as_stream.rows : as_branch.rows),
        columns(as_stream ? as_stream.columns : as_branch.columns) {}
  template <SameButConst<Stream> T>
  constexpr StreamMatrix(Matrix<T> as_stream) : StreamMatrix(as_stream, {}) {}
  template <SameButConst<Branch> T>
  constexpr StreamMatrix(Matrix<T> as_branch) : StreamMatrix({}, as_branch) {}
  template <class T, int Width, int Stride>
  constexpr StreamMatrix(Rows<T, Width, Stride> one) : StreamMatrix(Matrix<T>(one)) {}

  constexpr explicit operator bool() const { return rows > 0; }
  friend constexpr bool operator==(const StreamMatrix&, const StreamMatrix&) = default;
};

/// What layers see of a residual stream that has another type than branches: each row in both. A layer that nobody wants
/// one of them from gets it without rows.
template <class Stream, class Branch, int Width>
struct StreamRows {
  Rows<Stream, Width> stream;
  Rows<Branch, Width> branch;
  int count = 0;

  constexpr StreamRows() = default;
  constexpr StreamRows(Rows<Stream, Width> as_stream, Rows<Branch, Width> as_branch)
      : stream(as_stream), branch(as_branch), count(as_stream.count > 0 ? as_stream.count : as_branch.count) {}
  template <class S, class B>
  requires std::is_same_v<const S, Stream> && std::is_same_v<const B, Branch>
  constexpr StreamRows(StreamRows<S, B, Width> other) : StreamRows(other.stream, other.branch) {}

  constexpr operator StreamMatrix<Stream, Branch>() const { return {stream, branch}; }
};

/// The first `count` rows: saved values are laid out for the capacity of a batch and used for its extent.
template <class T, int Width, int Stride>
constexpr Rows<T, Width, Stride> resized(Rows<T, Width, Stride> rows, int count) {
  return {rows.data, count};
}
template <class Stream, class Branch, int Width>
constexpr StreamRows<Stream, Branch, Width> resized(StreamRows<Stream, Branch, Width> rows, int count) {
  const auto resize = [count](auto view) { return view.count > 0 ? resized(view, count) : view; };
  return {resize(rows.stream), resize(rows.branch)};
}

/// A parameter matrix [Out, In], row-major and contiguous; every extent known at compile time.
template <class T, int Out, int In>
struct WeightMatrix {
  static_assert(Out > 0 && In > 0, "WeightMatrix: both extents must be positive");
  static constexpr int rows = Out, columns = In;
  T* data = nullptr;

  constexpr operator Matrix<T>() const { return {data, Out, In}; }
  constexpr operator Matrix<const T>() const requires(!std::is_const_v<T>) { return {data, Out, In}; }
  constexpr explicit operator bool() const { return data != nullptr; }

  /// Rows `First` to `First + Count`: one part of a fused matrix.
  template <int First, int Count>
  constexpr WeightMatrix<T, Count, In> slice() const {
    static_assert(First >= 0 && First + Count <= Out, "WeightMatrix::slice: the slice leaves the matrix");
    return {offset(data, std::int64_t(First) * In)};
  }
};

/// A parameter vector [Size].
template <class T, int Size>
struct Vector {
  static_assert(Size > 0, "Vector: the size must be positive");
  static constexpr int rows = 1, columns = Size;
  T* data = nullptr;

  constexpr operator Elements<T>() const { return {data, std::size_t(Size)}; }
  constexpr operator Elements<const T>() const requires(!std::is_const_v<T>) { return {data, std::size_t(Size)}; }

  /// Elements `First` to `First + Count`.
  template <int First, int Count>
  constexpr Vector<T, Count> slice() const {
    static_assert(First >= 0 && First + Count <= Size, "Vector::slice: the slice leaves the vector");
    return {offset(data, First)};
  }
};

/// In place of a parameter vector that a layer does not have.
template <class T>
struct NoVector {
  template <int First, int Count>
  constexpr NoVector slice() const {
    return {};
  }
  constexpr operator Elements<T>() const { return {}; }
  constexpr operator Elements<const T>() const requires(!std::is_const_v<T>) { return {}; }
};

/// A parameter vector [Size], if there is one.
template <class T, int Size, bool Present>
using OptionalVector = std::conditional_t<Present, Vector<T, Size>, NoVector<T>>;

}  // namespace fathom::inline FATHOM_ABI

template <class T>
inline constexpr bool std::ranges::enable_borrowed_range<fathom::Elements<T>> = true;
