// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/view.hpp>

int rows_of(const fathom::Matrix<float>& matrix);

int main() { return rows_of({}); }
