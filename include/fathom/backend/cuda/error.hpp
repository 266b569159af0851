// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>

namespace fathom::inline FATHOM_ABI {

/// What the CUDA runtime or one of its libraries has refused or failed to do: which call, and its text.
struct CudaError : Error {
  using Error::Error;
};

}  // namespace fathom::inline FATHOM_ABI
