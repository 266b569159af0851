// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/ops/norm.hpp>
#include <type_traits>

/// Normalisation of rows, alone and joined with the residual sum before it.
///
/// With z a row of n numbers, forward and backward are
///   y  = gain · x̂ + bias,            x̂ = (z - mean) · rstd,   rstd = 1 / √(mean((z - mean)²) + epsilon)
///   dz = rstd · (g - mean(g) - x̂ · mean(g · x̂)),   g = dy · gain
///   dgain = Σ dy · x̂,   dbias = Σ dy   over the rows.
/// Kind `layer` is LayerNorm (Ba, Kiros, Hinton 2016, arXiv 1607.06450). Kind `rms` is RMSNorm (Zhang, Sennrich 2019,
/// arXiv 1910.07467): mean = 0, and mean(g) is left out. A row is read two or three times while it lies in L1. Rows are
/// independent of each other and of how the caller cuts them; dgain and dbias are added to row by row. T is what is
/// computed in; gain, bias, f and y may be stored otherwise (Weight, Branch, and Out, which place.store knows).
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// The scale a of a residual stream: one number, or one for each column.
template <class T>
struct Everywhere {
  T value;
  template <class Place>
  Simd<T> at(Place) const {
    return broadcast(value);
  }
};
template <class T, class Stored = T>
struct PerColumn {
  const Stored* values;  // (width)
  T factor;              // of all of them
  template <class Place>
  Simd<T> at(Place place) const {
    return place.load(values) * factor;
  }
};

/// What the backward pass needs of the forward one.
template <class T>
struct NormSaved {
  const T* z;     // (rows, width), the normalised rows: x, or what residual_add_norm_forward saved
  const T* mean;  // (rows), not read by rms
  const T* rstd;  // (rows)
};

namespace detail {

/// Statistics and output of `Rows` rows at once, so that their sums proceed side by side; `first(row, place)` gives a
/// row's numbers (and may store them to z), once each.
template <NormKind Kind, std::size_t Rows, class T, class Weight, class First, class Out>
void norm_rows(std::size_t row, std::size_t width, T epsilon, const Weight* gain,
               const std::type_identity_t<Weight>* bias, First first, const T* z, Out y, T* saved_mean, T* saved_rstd) {
  constexpr bool centered = Kind == NormKind::layer;
  const T n = static_cast<T>(width);
  Simd<T> sum[Rows] = {}, squares[Rows] = {};
  T mean[Rows] = {}, rstd[Rows];
  sweep<T>(width, [&](auto place) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Rows; ++i) {
      const Simd<T> v = first(row + i, place);
      if constexpr (centered)
        sum[i] += v;
      else
        squares[i] = fma(v, v, squares[i]);
    }
  });
  if constexpr (centered) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Rows; ++i) saved_mean[row + i] = mean[i] = horizontal_sum(sum[i]) / n;
    sweep<T>(width, [&](auto place) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < Rows; ++i) {
        const Simd<T> v = place.select(place.load(z + (row + i) * width) - mean[i], 0);
        squares[i] = fma(v, v, squares[i]);
      }
    });
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < Rows; ++i)
    saved_rstd[row + i] = rstd[i] = 1 / std::sqrt(horizontal_sum(squares[i]) / n + epsilon);
  sweep<T>(width, [&](auto place) {
    const Simd<T> scale = place.load(gain), offset = bias ? place.load(bias) : Simd<T>{};
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Rows; ++i) {
      const std::size_t at = (row + i) * width;
      place.store(y + at, fma((place.load(z + at) - mean[i]) * rstd[i], scale, offset));
    }
  });
}

/// `Rows` rows at once, so that gain, dgain and dbias pass through the registers once for all of them.
template <NormKind Kind, std::size_t Rows, class T, class Weight, class Output>
void norm_backward_rows(std::size_t row, std::size_t width, NormSaved<T> saved, const Weight* gain, const T* dy,
                        T* dgain, T* dbias, Output output) {
  const auto normalized = [&](std::size_t r, auto place) {
    const Simd<T> z = place.load(saved.z + r * width);
    if constexpr (Kind == NormKind::layer)
      return place.select((z - saved.mean[r]) * saved.rstd[r], 0);
    else
      return z * saved.rstd[r];
  };
  Simd<T> sum[Rows] = {}, product[Rows] = {};
  sweep<T>(width, [&](auto place) {
    const Simd<T> scale = place.load(gain);
    Simd<T> dscale = place.load(dgain), doffset = dbias ? place.load(dbias) : Simd<T>{};
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Rows; ++i) {
      const Simd<T> d = place.load(dy + (row + i) * width), normal = normalized(row + i, place), g = d * scale;
      dscale = fma(d, normal, dscale);
      doffset += d;
      sum[i] += g;
      product[i] = fma(g, normal, product[i]);
    }
    place.store(dgain, dscale);
    if (dbias) place.store(dbias, doffset);
  });
#pragma GCC unroll 4
  for (std::size_t i = 0; i < Rows; ++i) {
    const std::size_t r = row + i;
    const T mean = Kind == NormKind::layer ? horizontal_sum(sum[i]) / static_cast<T>(width) : T(0);
    const T correlation = horizontal_sum(product[i]) / static_cast<T>(width);
    sweep<T>(width, [&](auto place) {
      const Simd<T> g = place.load(dy + r * width) * place.load(gain);
      output(r, place, (g - mean - normalized(r, place) * correlation) * saved.rstd[r]);
    });
  }
}

/// f(std::integral_constant<n>, row) for blocks of n rows.
template <class F>
void each_block(std::size_t rows, F f) {
  constexpr std::size_t block = 4;
  std::size_t row = 0;
  for (; row + block <= rows; row += block) f(std::integral_constant<std::size_t, block>{}, row);
  for (; row < rows; ++row) f(std::integral_constant<std::size_t, 1>{}, row);
}

template <NormKind Kind, class T, class Weight, class First, class Out>
void norm_forward(std::size_t rows, std::size_t width, T epsilon, const Weight* gain,
                  const std::type_identity_t<Weight>* bias, First first, const T* z, Out y, T* mean, T* rstd) {
  each_block(rows, [&](auto count, std::size_t row) {
    norm_rows<Kind, count()>(row, width, epsilon, gain, bias, first, z, y, mean, rstd);
  });
}

/// dgain and dbias (if not null) are added to; output(row, place, dz) is called once for each number.
template <NormKind Kind, class T, class Weight, class Output>
void norm_backward(std::size_t rows, std::size_t width, NormSaved<T> saved, const Weight* gain, const T* dy, T* dgain,
                   T* dbias, Output output) {
  each_block(rows, [&](auto count, std::size_t row) {
    norm_backward_rows<Kind, count()>(row, width, saved, gain, dy, dgain, dbias, output);
  });
}

}  // namespace detail

/// y = norm(x), x and y (rows, width), y may be x; saves mean (not for rms) and rstd (rows). bias may be null.
template <NormKind Kind, class T, class Weight, class Out>
void norm_forward(std::size_t rows, std::size_t width, T epsilon, const Weight* gain,
                  const std::type_identity_t<Weight>* bias, const T* x, Out y, T* mean, T* rstd) {
  const auto first = [&](std::size_t row, auto place) { return place.load(x + row * width); };
  detail::norm_forward<Kind>(rows, width, epsilon, gain, bias, first, x, y, mean, rstd);
}

/// z = a · x + f and y = norm(z), all (rows, width): DeepNorm's residual (arXiv 2203.00555). z may be x or f, y may be
/// any of the three; otherwise as norm_forward.
template <NormKind Kind, class T, class Weight, class Branch, class Scale, class Out>
void residual_add_norm_forward(std::size_t rows, std::size_t width, T epsilon, const Weight* gain,
                               const std::type_identity_t<Weight>* bias, Scale a, const T* x, const Branch* f, T* z,
                               Out y, T* mean, T* rstd) {
  const auto join = [&](std::size_t row, auto place) {
    const Simd<T> v = fma(a.at(place), place.load(x + row * width), place.load(f + row * width));
    place.store(z + row * width, v);
    return v;
  };
  detail::norm_forward<Kind>(rows, width, epsilon, gain, bias, join, z, y, mean, rstd);
}

/// dx = gradient of the norm's input. dgain, dbias (width) are ADDED TO; dbias may be null. dx may be dy.
template <NormKind Kind, class T, class Weight>
void norm_backward(std::size_t rows, std::size_t width, NormSaved<T> saved, const Weight* gain, const T* dy, T* dx,
                   T* dgain, T* dbias) {
  detail::norm_backward<Kind>(rows, width, saved, gain, dy, dgain, dbias,
                              [&](std::size_t row, auto place, Simd<T> dz) { place.store(dx + row * width, dz); });
}

/// dx = skip_scale · skip + gradient of the norm's input: a residual branch that begins with a norm. dx may be dy or
/// skip.
template <NormKind Kind, class T, class Weight>
void norm_backward_with_skip(std::size_t rows, std::size_t width, NormSaved<T> saved, const Weight* gain, const T* dy,
                             const T* skip, T skip_scale, T* dx, T* dgain, T* dbias) {
  detail::norm_backward<Kind>(rows, width, saved, gain, dy, dgain, dbias, [&](std::size_t row, auto place, Simd<T> dz) {
    place.store(dx + row * width, fma(broadcast(skip_scale), place.load(skip + row * width), dz));
  });
}

/// dz = gradient of z = a · x + b · f, and df = b · dz. dz may be dy.
template <NormKind Kind, class T, class Weight, class Branch>
void residual_add_norm_backward(std::size_t rows, std::size_t width, NormSaved<T> saved, const Weight* gain, T b,
                                const T* dy, T* dz, Branch* df, T* dgain, T* dbias) {
  detail::norm_backward<Kind>(rows, width, saved, gain, dy, dgain, dbias, [&](std::size_t row, auto place, Simd<T> v) {
    place.store(dz + row * width, v);
    place.store(df + row * width, broadcast(b) * v);
  });
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
