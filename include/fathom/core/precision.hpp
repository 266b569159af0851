// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/view.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// A precision is a bundle of number types; layers and ops name its members and never a type of their own.
///
///   Weight      what matrix products read          Activation  what branches compute in and save
///   Stream      the residual stream, and gradients of what is read from it
///   Statistic   means, reciprocal deviations, log-sum-exps, losses
///   Gradient    gradients of parameters            Master      what the optimizer updates
///
/// They may all differ. They say how numbers are stored; what ops compute and sum up in is the backend's matter.
template <class P>
concept PrecisionBundle = Number<typename P::Weight> && Number<typename P::Activation> && Number<typename P::Stream> &&
                          Number<typename P::Statistic> && Number<typename P::Gradient> && Number<typename P::Master>;

template <class T>
struct Uniform {
  using Weight = T;
  using Activation = T;
  using Stream = T;
  using Statistic = T;
  using Gradient = T;
  using Master = T;
};

using Single = Uniform<float>;
using Double = Uniform<double>;

/// Weights and activations of 16 bits; the rest as floats, or the stream of 16 bits too.
template <class T, class StreamType = float>
struct MixedOf {
  using Weight = T;
  using Activation = T;
  using Stream = StreamType;
  using Statistic = float;
  using Gradient = float;
  using Master = float;
};
using Mixed = MixedOf<Bf16>;

/// Whether the optimizer updates the weights themselves. Else it updates masters, and weights are their rounding.
template <class P>
inline constexpr bool updates_weights = std::is_same_v<typename P::Weight, typename P::Master>;

/// Whether branches read the residual stream as it stands, so that the two may share memory.
template <class P>
inline constexpr bool branches_read_stream = std::is_same_v<typename P::Stream, typename P::Activation>;

/// The residual stream as layers read and write it: rows of its type, or of both types where branches read another one.
template <class P, int Width>
using StreamIn = std::conditional_t<branches_read_stream<P>, Rows<const typename P::Stream, Width>,
                                    StreamRows<const typename P::Stream, const typename P::Activation, Width>>;
template <class P, int Width>
using StreamOut = std::conditional_t<branches_read_stream<P>, Rows<typename P::Stream, Width>,
                                     StreamRows<typename P::Stream, typename P::Activation, Width>>;
/// As ops write it.
template <class P>
using StreamResult = std::conditional_t<branches_read_stream<P>, Matrix<typename P::Stream>,
                                        StreamMatrix<typename P::Stream, typename P::Activation>>;
/// As ops read it, in one of the two types.
template <class P>
using StreamOperand = std::conditional_t<branches_read_stream<P>, Matrix<const typename P::Stream>,
                                         StreamMatrix<const typename P::Stream, const typename P::Activation>>;

/// The rows as the stream has them, and as branches read them.
template <class T, int Width, int Stride>
constexpr Rows<T, Width, Stride> as_stream(Rows<T, Width, Stride> rows) {
  return rows;
}
template <class T, int Width, int Stride>
constexpr Rows<T, Width, Stride> as_branch(Rows<T, Width, Stride> rows) {
  return rows;
}
template <class S, class B, int Width>
constexpr Rows<S, Width> as_stream(StreamRows<S, B, Width> rows) {
  return rows.stream;
}
template <class S, class B, int Width>
constexpr Rows<B, Width> as_branch(StreamRows<S, B, Width> rows) {
  return rows.branch;
}

/// A place for results that are wanted in one of the types alone.
template <class P, int Width>
constexpr StreamOut<P, Width> only_stream(Rows<typename P::Stream, Width> rows) {
  if constexpr (branches_read_stream<P>)
    return rows;
  else
    return {rows, {}};
}
template <class P, int Width>
constexpr StreamOut<P, Width> only_branch(Rows<typename P::Activation, Width> rows) {
  if constexpr (branches_read_stream<P>)
    return rows;
  else
    return {{}, rows};
}

/// Uninitialized rows of a stream.
template <class P, int Width>
constexpr StreamOut<P, Width> take_stream(Arena& arena, int count) {
  const auto stream = arena.rows<typename P::Stream, Width>(count);
  if constexpr (branches_read_stream<P>)
    return stream;
  else
    return {stream, arena.rows<typename P::Activation, Width>(count)};
}

}  // namespace fathom::inline FATHOM_ABI
