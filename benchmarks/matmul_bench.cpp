// SPDX-License-Identifier: Apache-2.0
//
// GFLOP/s of the matmul engines in their three forms, at the weight shapes (outputs x inputs) of transformers of width
// 512, 256 and 64, beside the FMA peak of the core. Every thread multiplies its own rows by the same weight, as in a
// training step. Weights, activations and results stay in the caches as far as they fit.
// They mean little while anything else runs: look at fma_peak first. With FATHOM_BLAS, set OPENBLAS_NUM_THREADS=1 (see
// matmul/blas.hpp).
#include <benchmark/benchmark.h>

#include <cstddef>
#include <memory>
#include <new>
#include <string>

#include "fathom/backend/cpu/matmul.hpp"
#include "fathom/backend/cpu/simd.hpp"
#if __has_include(<Eigen/Core>)
#include "fathom/backend/cpu/matmul/eigen.hpp"
#endif

namespace {

namespace cpu = fathom::cpu;
using cpu::MatmulSize, cpu::RowMajor;

/// Memory that begins at a cache line, filled with small numbers that are neither denormal nor growing.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : data_(static_cast<float*>(operator new[](size * sizeof(float) + 64, line))) {
    for (std::size_t i = 0; i < size; ++i) data_.get()[i] = static_cast<float>(i * 7919 % 1000) / 1000.0f - 0.5f;
  }
  operator float*() const { return data_.get(); }

 private:
  static constexpr std::align_val_t line{64};
  struct Delete {
    void operator()(float* p) const { operator delete[](p, line); }
  };
  std::unique_ptr<float, Delete> data_;
};

void report(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

double flops(MatmulSize size) { return 2 * static_cast<double>(size.m * size.n * size.k); }

/// Independent chains of fma in registers: what no matmul can exceed.
void fma_peak(benchmark::State& state) {
  constexpr std::size_t chains = 12, rounds = 10000;
  auto factor = cpu::broadcast(0.999f), summand = cpu::broadcast(0.001f);
  benchmark::DoNotOptimize(factor);
  benchmark::DoNotOptimize(summand);
  cpu::Simd<float> sum[chains] = {};
  for (auto _ : state) {
    for (std::size_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
      for (std::size_t c = 0; c < chains; ++c) sum[c] = cpu::fma(sum[c], factor, summand);
    benchmark::DoNotOptimize(sum);
  }
  report(state, 2.0 * chains * rounds * cpu::lanes<float>);
}

/// Read by all threads.
const Buffer& shared_weight() {
  static const Buffer weight(4096 * 512);
  return weight;
}

template <class Engine>
void forward(benchmark::State& state, MatmulSize size) {
  const Buffer x(size.m * size.k), bias(size.n), y(size.m * size.n),
      scratch(Engine::template scratch_size<float>(size));
  const Buffer& w = shared_weight();
  for (auto _ : state) Engine::forward(size, {x, size.k}, {w, size.k}, bias, RowMajor<float>{y, size.n}, scratch);
  report(state, flops(size));
}

template <class Engine>
void input_gradient(benchmark::State& state, MatmulSize size) {
  const Buffer dy(size.m * size.n), dx(size.m * size.k), scratch(Engine::template scratch_size<float>(size));
  const Buffer& w = shared_weight();
  for (auto _ : state)
    Engine::input_gradient(size, {dy, size.n}, {w, size.k}, {}, 1, RowMajor<float>{dx, size.k}, scratch);
  report(state, flops(size));
}

template <class Engine>
void weight_gradient(benchmark::State& state, MatmulSize size) {
  const Buffer dy(size.m * size.n), x(size.m * size.k), db(size.n), scratch(Engine::template scratch_size<float>(size)),
      dw(size.n * size.k);
  for (auto _ : state)
    Engine::weight_gradient(size, {dy, size.n}, {x, size.k}, RowMajor<float>{dw, size.k}, db, scratch);
  report(state, flops(size));
}

template <class Engine>
void forward_few_rows(benchmark::State& state, MatmulSize size) {
  const Buffer x(size.m * size.k), bias(size.n), y(size.m * size.n);
  const Buffer& w = shared_weight();
  for (auto _ : state) {
    Engine::forward_few_rows(size, {x, size.k}, {w, size.k}, bias, RowMajor<float>{y, size.n});
    benchmark::ClobberMemory();
  }
  report(state, flops(size));
}

struct Shape {
  const char* model;
  std::size_t outputs, inputs;
};
constexpr Shape shapes[] = {
    {"width512", 1536, 512}, {"width512", 512, 512},  {"width512", 2048, 512}, {"width512", 512, 2048},
    {"width512", 4096, 512}, {"width256", 768, 256},  {"width256", 256, 256},  {"width256", 1024, 256},
    {"width256", 256, 1024}, {"width256", 4096, 256}, {"width64", 192, 64},    {"width64", 64, 64},
    {"width64", 256, 64},    {"width64", 64, 256},    {"width64", 1024, 64},
};

void add(const std::string& name, const auto& function, const Shape& shape, std::size_t rows) {
  const MatmulSize size{rows, shape.outputs, shape.inputs};
  const std::string full = name + "/" + shape.model + "/" + std::to_string(shape.outputs) + "x" +
                           std::to_string(shape.inputs) + "/rows:" + std::to_string(rows);
  for (const int threads : {1, 2})
    benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) { function(state, size); })
        ->Threads(threads)
        ->UseRealTime();
}

template <class Engine>
void add_engine(const std::string& name) {
  for (const Shape& shape : shapes)
    for (const std::size_t rows : {128, 256, 512}) {
      add(name + "/forward", forward<Engine>, shape, rows);
      add(name + "/input_gradient", input_gradient<Engine>, shape, rows);
      add(name + "/weight_gradient", weight_gradient<Engine>, shape, rows);
    }
}

const bool registered = [] {
  for (const int threads : {1, 2}) benchmark::RegisterBenchmark("fma_peak", fma_peak)->Threads(threads)->UseRealTime();
  add_engine<cpu::Native>("native");
#if defined(FATHOM_USE_BLAS)
  add_engine<cpu::BlasMatmul>("blas");
#endif
#if __has_include(<Eigen/Core>)
  add_engine<cpu::EigenMatmul>("eigen");
#endif
  for (const Shape& shape : shapes)
    for (const std::size_t rows : {1, 2, 4, 8})
      add("native/forward_few_rows", forward_few_rows<cpu::Native>, shape, rows);
  return true;
}();

}  // namespace
