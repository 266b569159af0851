// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/matmul/default.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/precision.hpp>

/// The backends by name. Whoever runs one includes its header.
namespace fathom::inline FATHOM_ABI {

namespace cpu::inline FATHOM_CPU_ABI {
template <class P = Single, class MatmulEngine = DefaultMatmul>
struct Cpu;  // backend/cpu/cpu.hpp
}
using cpu::Cpu;
template <class P = double>
struct Ref;  // backend/ref/ref.hpp
template <class P = Single>
struct Cuda;  // backend/cuda/cuda.hpp

/// `B` is defined; the template argument is the message.
template <class B>
struct CheckBackend {
  static_assert(
      requires { sizeof(B); },
      "fathom: the header of this backend is missing: include <fathom/backend/cpu/cpu.hpp> for Cpu, "
      "<fathom/backend/ref/ref.hpp> for Ref, <fathom/backend/cuda/cuda.hpp> for Cuda");
  static constexpr bool value = true;
};

}  // namespace fathom::inline FATHOM_ABI
