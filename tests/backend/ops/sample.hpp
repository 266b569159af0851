// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/ops/sample/activation.hpp"  // IWYU pragma: export
#include "backend/ops/sample/attention.hpp"   // IWYU pragma: export
#include "backend/ops/sample/embedding.hpp"   // IWYU pragma: export
#include "backend/ops/sample/linear.hpp"      // IWYU pragma: export
#include "backend/ops/sample/loss.hpp"        // IWYU pragma: export
#include "backend/ops/sample/norm.hpp"        // IWYU pragma: export
#include "backend/ops/sample/residual.hpp"    // IWYU pragma: export
#include "backend/ops/sample/update.hpp"      // IWYU pragma: export

/// `fathom_test::sample`: one maker for each op of the vocabulary, a file for each family. A maker returns the op with
/// operands of its own, for the choices that its contract leaves.
