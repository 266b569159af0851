// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fathom/backend/cpu/matmul/default.hpp"
#if defined(FATHOM_USE_BLAS)
#include "fathom/backend/cpu/matmul/blas.hpp"
#else
#include "fathom/backend/cpu/matmul/native.hpp"
#endif
