// SPDX-License-Identifier: Apache-2.0
// Bytes that kernels move, counted at their loads and stores.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>

#include "launch.hpp"

namespace traffic_test {

using namespace fathom;

/// Runs single ops on rows that lie in the device's memory.
template <class P>
class Bench {
 public:
  Bench(int rows, int width)
      : packed_(PackedRows::uniform(rows / 64, 64)),
        bytes_(std::int64_t(rows) * (width * 40 + 64) + 64 * width + 65536),
        arena_(bytes_.data(), bytes_.size()),
        machine_(cuda::Options{.workspace = 1_MiB}) {}

  template <class T>
  Matrix<T> matrix(int rows, int columns) {
    return {arena_.take<T>(std::int64_t(rows) * columns), rows, columns};
  }
  template <class T>
  Elements<T> vector(int size) {
    return {arena_.take<T>(size), std::size_t(size)};
  }

  /// Bytes that all kernels of an op load and store, sums of columns included.
  template <class Op>
  double bytes(const Op& op) {
    const Packing packing = packed_;
    machine_.reserve(Cuda<P>::scratch_bytes(op));
    cuda::DeviceBuffer<std::byte> memory(Cuda<P>::held_bytes(op, packing.capacity) + 1);
    const emulated::Traffic before = emulated::traffic();
    machine_.run([&](cuda::Lane& lane) {
      Arena workspace(memory.data(), memory.size());
      lane.use(workspace);
      lane.on(packing);
      Cuda<P>::run(lane, op);
      lane.settle();
    });
    const emulated::Traffic after = emulated::traffic();
    return double(after.loaded - before.loaded + after.stored - before.stored);
  }

 private:
  PackedRows packed_;
  cuda::DeviceBuffer<std::byte> bytes_;
  Arena arena_;
  cuda::Machine machine_;
};

TEMPLATE_TEST_CASE("emulated: DeepNorm moves little more than its rows", "[cuda]", Single, Mixed) {
  using P = TestType;
  using Stream = typename P::Stream;
  using Branch = typename P::Activation;
  constexpr bool two_types = !branches_read_stream<P>;
  const int rows = 8192, width = 512;
  Bench<P> bench(rows, width);
  const auto x = bench.template matrix<Stream>(rows, width), z = bench.template matrix<Stream>(rows, width),
             y = bench.template matrix<Stream>(rows, width);
  const auto f = bench.template matrix<Branch>(rows, width);
  const auto gain = bench.template vector<typename P::Weight>(width),
             bias = bench.template vector<typename P::Weight>(width);
  const auto mean = bench.template vector<float>(rows), rstd = bench.template vector<float>(rows);
  const auto dgain = bench.template vector<float>(width), dbias = bench.template vector<float>(width);
  const double rate = GENERATE(0.0, 0.1);
  const Dropout dropout{rate, Key{7}};
  const double stream = sizeof(Stream), branch = sizeof(Branch), statistics = 8;
  const auto per_row = [&](double bytes) { return bytes / rows; };

  // Forward reads x and f, writes z, and y for the stream and for the next branch.
  op::ResidualAddNorm<P> forward{.x = x,
                                 .f = f,
                                 .a = {2, {}},
                                 .b = {},
                                 .dropout = dropout,
                                 .kind = NormKind::layer,
                                 .epsilon = 1e-5,
                                 .gain = gain,
                                 .bias = bias,
                                 .z = z,
                                 .mean = mean,
                                 .rstd = rstd,
                                 .y = {}};
  if constexpr (two_types)
    forward.y = {y, bench.template matrix<Branch>(rows, width)};
  else
    forward.y = y;
  const double least = (3 * stream + branch + (two_types ? branch : 0)) * width + statistics;
  const double moved = per_row(bench.bytes(forward));
  // Backward reads dy and z, writes dz, and the branch's gradient where that is another one.
  op::ResidualAddNormBackward<P> backward{.b = 1,
                                          .dropout = dropout,
                                          .kind = NormKind::layer,
                                          .z = z,
                                          .mean = mean,
                                          .rstd = rstd,
                                          .gain = gain,
                                          .dy = y,
                                          .dz = x,
                                          .df = {},
                                          .dgain = dgain,
                                          .dbias = dbias};
  if (two_types || rate > 0) backward.df = f;
  const double least_back = (3 * stream + (backward.df ? branch : 0)) * width + statistics;
  const double moved_back = per_row(bench.bytes(backward));
  INFO("dropout " << rate << ", bytes of a row: forward " << moved << " of " << least << ", backward " << moved_back
                  << " of " << least_back);
  CHECK(moved >= least);
  CHECK(moved <= 1.1 * least);
  CHECK(moved_back >= least_back);
  CHECK(moved_back <= 1.1 * least_back);
}

}  // namespace traffic_test
