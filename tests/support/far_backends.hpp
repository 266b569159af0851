// SPDX-License-Identifier: Apache-2.0
#pragma once

// Ahead of a test's source, for the programs of the tier `far`: what the test calls Cpu and Ref are these backends with
// far memory. All headers that name the backends themselves come first.
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cpu/matmul/eigen.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/fathom.hpp>
#include <fathom/testing/gradient_check.hpp>
#include <fathom/testing/row_check.hpp>

#include "support/far.hpp"

namespace fathom {
template <class P = Single, class Matmul = cpu::DefaultMatmul>
using FarCpu = fathom_test::Far<Cpu<P, Matmul>>;
template <class T = double>
using FarRef = fathom_test::Far<Ref<T>>;

static_assert(CompleteBackend<FarCpu<>> && CompleteBackend<FarRef<>>);
}  // namespace fathom

#define FATHOM_TEST_FAR
#define Cpu FarCpu
#define Ref FarRef
