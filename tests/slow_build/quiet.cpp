// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/slow_build.hpp>
