// SPDX-License-Identifier: Apache-2.0
#include <fathom/fathom.hpp>
#include <iostream>

int main() { std::cout << "fathom " << fathom::version << '\n'; }
