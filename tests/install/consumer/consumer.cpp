// SPDX-License-Identifier: Apache-2.0
// Names of the project's own and a macro of C, before fathom comes: with -Wshadow the headers would warn of each.
#include <complex.h>

extern int rows, columns, width, count, data, x, y;
int rows, columns, width, count, data, x, y;

#include <fathom/fathom.hpp>
#include <iostream>

int main() { std::cout << "fathom " << fathom::version << '\n'; }
