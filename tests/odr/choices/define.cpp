// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/backends.hpp>

bool runs_on(const fathom::Cpu<>* cpu);
bool runs_on(const fathom::Cpu<>* cpu) { return cpu != nullptr; }
