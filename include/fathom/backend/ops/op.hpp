// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

/// What an input gradient starts from: `scale * value`; null: zero.
template <class P>
struct Skip {
  Matrix<const typename P::Stream> value;
  double scale = 1;
};

namespace op {

template <class T>
constexpr double bytes_of(const Matrix<T>& m) {
  return double(m.rows) * m.columns * sizeof(T);
}
template <class T>
constexpr double bytes_of(Elements<T> s) {
  return double(s.size()) * sizeof(T);
}
/// A vector as the only row of a matrix; without rows when it is empty.
template <class T>
constexpr Matrix<T> as_row(Elements<T> vector) {
  return {vector.data(), vector.empty() ? 0 : 1, int(vector.size())};
}

}  // namespace op
}  // namespace fathom::inline FATHOM_ABI
