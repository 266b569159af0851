// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>

/// One block, DEPTH times: forward and backward on the CPU. Compiled for three depths, see compare_text.cmake.
using namespace fathom;
using Block = Sequence<Residual<PreNorm, Attention<64, 2>>, Residual<PreNorm, FeedForward<64, 256>>>;
using Stack = Repeat<DEPTH, Block>;

void forward(Worker<Cpu<>>& worker, const Stack::Params<const float>& p, Rows<const float, 64> x, Rows<float, 64> y,
             Stack::Saved<Single>& saved) {
  Stack::forward(worker, p, Flow<Single>{}, x, y, saved);
}

void backward(Worker<Cpu<>>& worker, const Stack::Params<const float>& p, const Stack::Params<float>& dp,
              Rows<const float, 64> x, const Stack::Saved<Single>& saved, Rows<const float, 64> dy,
              Rows<float, 64> dx) {
  Stack::backward(worker, p, dp, Flow<Single>{}, x, saved, dy, dx, Skip<Single>{});
}
