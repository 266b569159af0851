// expect: the header of this backend is missing: include <fathom/backend/cpu/cpu.hpp> for Cpu
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/testing/layer_run.hpp>

using namespace fathom;

void sample() { testing::LayerRun<Linear<8, 8>, Cpu<Double>> run; }
