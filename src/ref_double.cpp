// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>

namespace fathom::inline FATHOM_ABI {
FATHOM_REF(, double)
}
