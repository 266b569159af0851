// expect: from_eigen: fathom's matrices are row-major: say Eigen::RowMajor in the type of yours
// SPDX-License-Identifier: Apache-2.0
#include <fathom/io/eigen.hpp>

int rows(Eigen::MatrixXf& matrix) { return fathom::from_eigen(matrix).rows; }
