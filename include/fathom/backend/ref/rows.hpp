// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/precision.hpp>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI::ref {

/// What ops of a precision compute in, and what they sum up in: a float, or T where all is a T that has arithmetic. A
/// precision that has a `Sum` of its own is summed up in that.
template <class P>
struct Arithmetic {
  using Compute = float;
};
template <std::floating_point T>
struct Arithmetic<Uniform<T>> {
  using Compute = T;
};
template <class P>
using Compute = typename Arithmetic<P>::Compute;

template <class P>
struct SumOf {
  using type = Compute<P>;
};
template <class P>
requires requires { typename P::Sum; }
struct SumOf<P> {
  using type = typename P::Sum;
};
template <class P>
using Sum = typename SumOf<P>::type;

/// Where a row of a packed matrix stands.
struct Place {
  int sequence;  ///< that it belongs to
  int position;  ///< in the sequence, past rows included
};

/// Calls f(row of the matrix, place) for every row.
void each_row(const Packing& packing, auto&& f) {
  for (int s = 0; s < packing.sequences(); ++s)
    for (int row = 0; row < packing.length(s); ++row) f(packing.offsets[s] + row, Place{s, packing.past_of(s) + row});
}

/// What dropout multiplies one element by.
template <class C>
C factor(const Dropout& dropout, int sequence, int head, int position, int column) {
  if (!dropout.active()) return 1;
  return Indexed(dropout.factors<C>(sequence, head, position, column / Dropout::block))[column % Dropout::block];
}
template <class C>
C factor(const Dropout& dropout, const Place& place, int column) {
  return factor<C>(dropout, place.sequence, 0, place.position, column);
}

/// scale · value of a skip, 0 where there is none.
template <class P>
Compute<P> at(const Skip<P>& skip, int row, int column) {
  using C = Compute<P>;
  return skip.value ? C(skip.scale) * C(skip.value.row(row)[column]) : C(0);
}

/// The learned part of a residual scale for one channel, 1 where nothing is learned.
template <class P>
Compute<P> learned(const ResidualScale<P>& scale, int channel) {
  if (scale.learned.empty()) return 1;
  return Compute<P>(scale.learned[scale.learned.size() == 1 ? 0 : channel]);
}
template <class P>
Compute<P> at(const ResidualScale<P>& scale, int channel) {
  return Compute<P>(scale.constant) * learned(scale, channel);
}

/// An element of what an op reads, in the type that is there.
template <class C, class T>
C load(const Matrix<T>& m, int row, int column) {
  return C(m.row(row)[column]);
}
template <class C, class S, class B>
C load(const StreamMatrix<S, B>& m, int row, int column) {
  return m.stream ? load<C>(m.stream, row, column) : load<C>(m.branch, row, column);
}

/// Writes an element of a result, rounded, in each type that is wanted.
template <class T>
void store(const Matrix<T>& m, int row, int column, auto value) {
  m.row(row)[column] = T(value);
}
template <class S, class B>
void store(const StreamMatrix<S, B>& m, int row, int column, auto value) {
  if (m.stream) store(m.stream, row, column, value);
  if (m.branch) store(m.branch, row, column, value);
}

/// Elements of type T that are added to, each in a sum of type S. Where that is T they are the sums; else the sums are
/// beside them, and `round` writes them back.
template <class S, class T>
class Sums {
 public:
  explicit Sums(const Matrix<T>& result) : result_(result) {
    if constexpr (!std::is_same_v<S, T>) {
      sums_.resize(std::size_t(result.rows) * std::size_t(result.columns));
      each([](S& sum, T value) { sum = S(value); });
    }
  }
  explicit Sums(Elements<T> result) : Sums(op::as_row(result)) {}

  S& operator()(int row, int column) {
    if constexpr (std::is_same_v<S, T>)
      return result_.row(row)[column];
    else
      return sums_[index(row, column)];
  }
  S& operator[](int index) { return (*this)(0, index); }
  void round() {
    if constexpr (!std::is_same_v<S, T>) each([](S sum, T& value) { value = T(sum); });
  }

 private:
  std::size_t index(int row, int column) const {
    return std::size_t(row) * std::size_t(result_.columns) + std::size_t(column);
  }
  void each(auto&& f) {
    for (int r = 0; r < result_.rows; ++r)
      for (int c = 0; c < result_.columns; ++c) f(sums_[index(r, c)], result_.row(r)[c]);
  }

  Matrix<T> result_;
  std::vector<S> sums_;
};

}  // namespace fathom::inline FATHOM_ABI::ref
