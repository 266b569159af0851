// expect: from_eigen: this expression has no memory yet
// SPDX-License-Identifier: Apache-2.0
#include <fathom/io/eigen.hpp>

int rows(fathom::EigenMatrix<float>& matrix) { return fathom::from_eigen(matrix * 2).rows; }
