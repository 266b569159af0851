// expect: from_eigen: this matrix is gone when the view of it is used
// SPDX-License-Identifier: Apache-2.0
#include <fathom/io/eigen.hpp>

int rows() { return fathom::from_eigen(fathom::EigenMatrix<float>(2, 3)).rows; }
