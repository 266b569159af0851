// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// Clipping by the global norm: the factor for gradients whose norm, over all parameters, is `norm`, so that it becomes
/// at most `limit`; 0: no limit. `norm` must be finite (a step without a finite gradient is no step).
/// PyTorch's clip_grad_norm_ differs by 1e-6, which it adds to the norm.
/// Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
constexpr double clip_scale(double norm, double limit) { return limit > 0 && norm > limit ? limit / norm : 1; }

}  // namespace fathom::inline FATHOM_ABI
