// expect: Rows::columns: the slice leaves the row
// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/view.hpp>

static_assert(fathom::Rows<float, 8>().columns<4, 5>().count == 0);
