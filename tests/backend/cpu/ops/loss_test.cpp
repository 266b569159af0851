// SPDX-License-Identifier: Apache-2.0
#include "check_op.hpp"

using namespace fathom_test;

namespace {

/// Bytes that the loss and its gradients need beside their operands, of all threads and of each one.
template <class P>
constexpr WorkspaceSize needed(int rows, int vocabulary) {
  constexpr int width = 64;
  return dry_run<Cpu<P>>({.rows = rows, .sequences = 1, .longest = rows}, {},
                         [=](auto& worker) {
                           op::LinearCrossEntropy<P> op{};
                           op.x = {nullptr, rows, width};
                           op.weight = {nullptr, vocabulary, width};
                           op.dx = {nullptr, rows, width};
                           op.dweight = {nullptr, vocabulary, width};
                           worker(op);
                         })
      .size;
}

}  // namespace

// All logits never live at once: they take about 8 MiB for any number of rows, or 32 rows where these are longer.
static_assert(needed<Single>(1'000'000, 100'000).workspace == needed<Single>(32, 100'000).workspace);
static_assert(needed<Single>(1'000'000, 100'000).workspace < 32 * 100'000 * 4 + 4096);
static_assert(needed<Double>(1'000'000, 100'000).workspace < 32 * 100'000 * 8 + 4096);
static_assert(needed<Single>(1'000'000, 50'000).workspace < 9_MiB &&
              needed<Double>(1'000'000, 30'000).workspace < 9_MiB);
static_assert(needed<Single>(1'000'000, 300).workspace < 9_MiB);
static_assert(needed<Single>(1'000'000, 100'000).scratch == needed<Single>(32, 100'000).scratch);

TEST_CASE("linear + cross-entropy", "[cpu][threads]") {
  constexpr int width = 20;
  for (const int vocabulary : {7, 300, 20'000})  // the last one in several chunks
    for (const bool bias : {false, true})
      for (const bool gradients : {false, true})
        for (const LossOptions options : {LossOptions{}, LossOptions{.smoothing = 0.1, .z_loss = 1e-2}}) {
          const auto make = [=]<class P>(Operands<P>& o) {
            using T = typename P::Gradient;
            return op::LinearCrossEntropy<P>{.x = o.rows_of(width),
                                             .weight = o.values(vocabulary, width),
                                             .bias = o.values(bias ? vocabulary : 0),
                                             .targets = o.integers(-2, vocabulary),
                                             .options = options,
                                             .normalizer = 0.25,
                                             .sums = &o.sums,
                                             .dx = gradients ? o.poison(width) : Matrix<T>{},
                                             .dweight = gradients ? o.values(vocabulary, width) : Matrix<T>{},
                                             .dbias = o.values(bias && gradients ? vocabulary : 0)};
          };
          if (vocabulary < 1000)
            check_op(make);
          else if (bias && options.z_loss > 0)
            check_op(all_rows()[2], make);
        }
}
