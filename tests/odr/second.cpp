// SPDX-License-Identifier: Apache-2.0
#include "every_header.hpp"

const void* version_in_second();
const void* version_in_second() { return &fathom::version; }
