// SPDX-License-Identifier: Apache-2.0
#include "every_header.hpp"

const void* version_in_second();

// An inline variable has one address in the program, whichever translation unit asks.
int main() { return version_in_second() == &fathom::version ? 0 : 1; }
