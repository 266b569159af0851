// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fathom/backend/cpu/matmul/default.hpp"
#include "fathom/backend/cpu/matmul/native.hpp"
#if defined(FATHOM_USE_BLAS)
#include "fathom/backend/cpu/matmul/blas.hpp"
#elif defined(FATHOM_USE_EIGEN)
#include "fathom/backend/cpu/matmul/eigen.hpp"
#endif
