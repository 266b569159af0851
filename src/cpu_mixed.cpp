// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/cpu.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {
FATHOM_CPU(, Mixed)
}
