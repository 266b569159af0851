// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/view.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// Positions that are computed: sines and cosines of p = first + the place in the sequence, past rows included.
struct Sinusoids {
  enum class Order {
    none,
    neighbours,  ///< channel 2i is sin(p / 10000^(2i/D)), 2i+1 the cosine. Vaswani et al. 2017, section 3.5
    halves,      ///< channel i < D/2 is sin(p / 10000^(i/(D/2−1))), D/2+i the cosine, D even and > 2. tensor2tensor
  };
  Order order = Order::none;
  int first = 0;
  friend constexpr bool operator==(const Sinusoids&, const Sinusoids&) = default;
};

namespace op {

/// y = dropout(scale · table[token] + position row).   tokens (N); table (V, D); positions (L, D), row = place in the
/// sequence, past rows included, or null; with `sinusoids` the position row is computed. y (N, D) overwritten.
template <class P>
struct Embedding {
  static constexpr const char* name = "embedding";
  Indexed<std::span<const int>> tokens;
  Matrix<const typename P::Weight> table, positions;
  Sinusoids sinusoids;
  double scale = 1;
  Dropout dropout;
  StreamResult<P> y;

  constexpr double flops() const { return 2.0 * y.rows * y.columns; }
  constexpr double bytes() const { return 2 * bytes_of(y); }
  constexpr void outputs(auto&& f) const { each_result(f, y); }
  friend constexpr bool operator==(const Embedding&, const Embedding&) = default;
};

/// Backward of `Embedding`.   dtable[token] += scale · dropout'(dy); dpositions += dropout'(dy), its rows as those of
/// `positions`; each null when not wanted. Summed in the order of the rows.
template <class P>
struct EmbeddingBackward {
  static constexpr const char* name = "embedding backward";
  Indexed<std::span<const int>> tokens;
  double scale = 1;
  Dropout dropout;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Gradient> dtable, dpositions;

  constexpr double flops() const { return 2.0 * dy.rows * dy.columns; }
  constexpr double bytes() const { return 3 * bytes_of(dy); }
  constexpr void outputs(auto&& f) const {
    f(dtable);
    f(dpositions);
  }
  friend constexpr bool operator==(const EmbeddingBackward&, const EmbeddingBackward&) = default;
};

}  // namespace op

template <class B>
concept RunsEmbedding = Has<B, op::Embedding, op::EmbeddingBackward>;

}  // namespace fathom::inline FATHOM_ABI
