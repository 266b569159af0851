// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// What a GPU makes of single ops in mixed precision: a line for each, with its time, the bytes and operations a
/// second, and for ops that are about memory the share of what a copy reaches.
///   gpu_ops --rows 8192 --width 512 --context 256 --repeat 50
namespace fathom::bench {

using B = Cuda<Mixed>;
using P = Mixed;

/// Memory of the device for matrices that are taken one after the other; it starts as zeros.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes) : bytes_(bytes), arena_(bytes_.data(), bytes) {}
  template <class T>
  Matrix<T> matrix(int rows, int columns) {
    return {arena_.take<T>(std::int64_t(rows) * columns), rows, columns};
  }
  template <class T>
  Elements<T> vector(std::int64_t size) {
    return {arena_.take<T>(size), std::size_t(size)};
  }

 private:
  cuda::DeviceBuffer<std::byte> bytes_;
  Arena arena_;
};

class Rates {
 public:
  Rates(const Packing& packing, int repeat)
      : packing_(packing), repeat_(repeat), machine_(cuda::Options{.timed = true}) {}

  /// Prints a line. `fraction_of`: bytes a second to hold it against; 0: none. Returns bytes a second.
  template <class Op>
  double print(const char* name, const Op& op, double fraction_of = 0) {
    machine_.reserve(B::scratch_bytes(op));
    workspace_ = cuda::DeviceBuffer<std::byte>(B::held_bytes(op, packing_.capacity) + 1);
    const double few = seconds(op, 1), many = seconds(op, 1 + repeat_), one = (many - few) / repeat_;
    const double bytes = op.bytes() / one, flops = op.flops() / one;
    std::printf("%-28s %9.1f us %8.0f GB/s %8.1f TFLOP/s", name, 1e6 * one, 1e-9 * bytes, 1e-12 * flops);
    if (fraction_of > 0) std::printf(" %5.2f of a copy", bytes / fraction_of);
    std::printf("\n");
    std::fflush(stdout);
    return bytes;
  }

 private:
  /// Of a region of `count` such ops, one behind another: the median of some, once it is a graph.
  template <class Op>
  double seconds(const Op& op, int count) {
    const auto region = [&] {
      machine_.run([&](cuda::Lane& lane) {
        Arena workspace(workspace_.data(), workspace_.size());
        lane.use(workspace);
        lane.on(packing_);
        for (int i = 0; i < count; ++i) {
          const std::int64_t mark = workspace.used();
          B::run(lane, op);
          lane.settle();
          workspace.release(mark);
        }
      });
    };
    for (int warm_up = 0; warm_up < 3; ++warm_up) region();
    std::vector<double> times;
    for (int i = 0; i < 7; ++i) times.push_back(seconds_of(region));
    return median(times);
  }

  const Packing& packing_;
  int repeat_;
  cuda::Machine machine_;
  cuda::DeviceBuffer<std::byte> workspace_;
};

int run(int argc, char** argv) {
  const int rows = option(argc, argv, "--rows", 8192), width = option(argc, argv, "--width", 512);
  const int context = option(argc, argv, "--context", 256), heads = width / 64 > 0 ? width / 64 : 1;
  if (context == 0 || width == 0 || rows % context != 0 || rows == 0)
    throw Error("--rows is a multiple of --context, and --context and --width are above 0");
  const PackedRows packed = PackedRows::uniform(rows / context, context);
  const Packing packing = packed;
  DeviceMemory memory(std::int64_t(rows) * width * 100 + std::int64_t(width) * width * 32 + (std::int64_t{1} << 20));
  Rates rates(packing, option(argc, argv, "--repeat", 50));
  using T = P::Activation;

  const auto x = memory.matrix<float>(rows, width), z = memory.matrix<float>(rows, width),
             y = memory.matrix<float>(rows, width), dy = memory.matrix<float>(rows, width);
  const auto f = memory.matrix<T>(rows, width), branch = memory.matrix<T>(rows, width);
  const auto gain = memory.vector<T>(width), bias = memory.vector<T>(width);
  const auto mean = memory.vector<float>(rows), rstd = memory.vector<float>(rows);
  const auto dgain = memory.vector<float>(width), dbias = memory.vector<float>(width);
  const double copy = rates.print("copy", op::Copy<P>{.x = x, .y = z, .add = false});
  rates.print("DeepNorm",
              op::ResidualAddNorm<P>{.x = x,
                                     .f = f,
                                     .a = {2, {}},
                                     .b = {1, {}},
                                     .dropout = {},
                                     .kind = NormKind::layer,
                                     .epsilon = 1e-5,
                                     .gain = gain,
                                     .bias = bias,
                                     .z = z,
                                     .mean = mean,
                                     .rstd = rstd,
                                     .y = {y, branch}},
              copy);
  rates.print("DeepNorm backward",
              op::ResidualAddNormBackward<P>{.b = 1,
                                             .dropout = {},
                                             .kind = NormKind::layer,
                                             .z = z,
                                             .mean = mean,
                                             .rstd = rstd,
                                             .gain = gain,
                                             .dy = dy,
                                             .dz = y,
                                             .df = branch,
                                             .dgain = dgain,
                                             .dbias = dbias},
              copy);

  const auto wide = memory.matrix<T>(rows, 4 * width), wide_gradient = memory.matrix<T>(rows, 4 * width);
  const auto weight = memory.matrix<T>(4 * width, width);
  const auto dweight = memory.matrix<float>(4 * width, width);
  const auto wide_bias = memory.vector<T>(4 * width);
  const auto wide_dbias = memory.vector<float>(4 * width);
  rates.print("linear, d to 4 d", op::LinearForward<P>{.x = f, .weight = weight, .bias = wide_bias, .y = wide});
  rates.print("linear dx, 4 d to d",
              op::LinearBackwardInput<P>{.dy = wide, .weight = weight, .skip = {x, 2}, .dx = {y, {}}});
  rates.print("linear dw and db",
              op::LinearBackwardWeight<P>{.x = f, .dy = wide, .dweight = dweight, .dbias = wide_dbias});
  rates.print(
      "relu, 4 d",
      op::Activation<P>{.kind = ActivationKind::relu, .gated = false, .dropout = {}, .x = wide, .y = wide_gradient},
      copy);

  const auto q = memory.matrix<T>(rows, width), k = memory.matrix<T>(rows, width), v = memory.matrix<T>(rows, width),
             o = memory.matrix<T>(rows, width);
  const auto lse = memory.matrix<float>(heads, rows);
  for (const bool causal : {false, true})
    rates.print(causal ? "attention, causal" : "attention", op::AttentionForward<P>{.heads = heads,
                                                                                    .kv_heads = heads,
                                                                                    .head_width = width / heads,
                                                                                    .causal = causal,
                                                                                    .scale = 0.125,
                                                                                    .dropout = {},
                                                                                    .packing = &packing,
                                                                                    .key_packing = &packing,
                                                                                    .q = q,
                                                                                    .k = k,
                                                                                    .v = v,
                                                                                    .bias = {},
                                                                                    .cache = {},
                                                                                    .o = o,
                                                                                    .lse = lse});
  rates.print("attention backward", op::AttentionBackward<P>{.heads = heads,
                                                             .kv_heads = heads,
                                                             .head_width = width / heads,
                                                             .causal = true,
                                                             .scale = 0.125,
                                                             .dropout = {},
                                                             .packing = &packing,
                                                             .key_packing = &packing,
                                                             .q = q,
                                                             .k = k,
                                                             .v = v,
                                                             .bias = {},
                                                             .o = o,
                                                             .restored = {},
                                                             .d_o = branch,
                                                             .lse = lse,
                                                             .dq = f,
                                                             .dk = memory.matrix<T>(rows, width),
                                                             .dv = memory.matrix<T>(rows, width),
                                                             .dbias = {}});

  const std::int64_t elements = std::int64_t(rows) * width;
  const auto flat = [&] { return memory.vector<float>(elements); };
  rates.print("AdamW",
              op::AdamUpdate<P>{.target = {.weights = flat(), .gradient = flat(), .learning_rate = 1e-4},
                                .first = flat(),
                                .second = flat(),
                                .beta1 = 0.9,
                                .beta2 = 0.98,
                                .epsilon = 1e-8,
                                .decoupled = true,
                                .step = 1},
              copy);
  return 0;
}

}  // namespace fathom::bench

int main(int argc, char** argv) { return fathom::bench::run_main(argc, argv, fathom::bench::run); }
