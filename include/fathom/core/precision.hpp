// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// A precision is a bundle of number types; layers and ops name its members and never a type of their own.
///
///   Weight      what matrix products read          Activation  what branches compute in and save
///   Stream      the residual stream                Statistic   means, reciprocal deviations, log-sum-exps, losses
///   Gradient    gradients of parameters            Master      what the optimizer updates
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

}  // namespace fathom::inline FATHOM_ABI
