// SPDX-License-Identifier: Apache-2.0
//
// GFLOP/s of the matmul engines in their three forms, at the weight shapes (outputs x inputs) of transformers of width
// 512, 256 and 64, and their share of the largest rate. Every thread multiplies its own rows by the same weight, as in
// a training step. Weights, activations and results stay in the caches as far as they fit. They mean little while
// anything else runs. With FATHOM_BLAS, set OPENBLAS_NUM_THREADS=1 (see matmul/blas.hpp).
#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>

#include "fathom/backend/cpu/matmul.hpp"
#if __has_include(<Eigen/Core>)
#include "fathom/backend/cpu/matmul/eigen.hpp"
#endif

#include "rates.hpp"

namespace {

namespace cpu = fathom::cpu;
using benchmark::State;
using cpu::MatmulSize, cpu::RowMajor;
using fathom::bench::Meter;
using fathom::bench::Numbers;

/// Read by all threads.
const float* shared_weight() {
  static const Numbers weight(4096 * 512);
  return weight.data();
}

double flops(MatmulSize size) { return 2 * static_cast<double>(size.m * size.n * size.k); }

template <class Engine>
void forward(State& state, MatmulSize size) {
  Numbers x(size.m * size.k), bias(size.n), y(size.m * size.n), scratch(Engine::template scratch_size<float>(size));
  const float* w = shared_weight();
  const Meter meter(state);
  for (auto _ : state)
    Engine::forward(size, {x.data(), size.k}, {w, size.k}, bias.data(), RowMajor<float>{y.data(), size.n},
                    scratch.data());
  meter.flops(flops(size), state.threads());
}

template <class Engine>
void input_gradient(State& state, MatmulSize size) {
  Numbers dy(size.m * size.n), dx(size.m * size.k), scratch(Engine::template scratch_size<float>(size));
  const float* w = shared_weight();
  const Meter meter(state);
  for (auto _ : state)
    Engine::input_gradient(size, {dy.data(), size.n}, {w, size.k}, {}, 1, RowMajor<float>{dx.data(), size.k},
                           scratch.data());
  meter.flops(flops(size), state.threads());
}

template <class Engine>
void weight_gradient(State& state, MatmulSize size) {
  Numbers dy(size.m * size.n), x(size.m * size.k), db(size.n), dw(size.n * size.k),
      scratch(Engine::template scratch_size<float>(size));
  const Meter meter(state);
  for (auto _ : state)
    Engine::weight_gradient(size, {dy.data(), size.n}, {x.data(), size.k}, RowMajor<float>{dw.data(), size.k},
                            db.data(), scratch.data());
  meter.flops(flops(size), state.threads());
}

template <class Engine>
void forward_few_rows(State& state, MatmulSize size) {
  Numbers x(size.m * size.k), bias(size.n), y(size.m * size.n), scratch(Engine::template scratch_size<float>(size));
  const float* w = shared_weight();
  const Meter meter(state);
  for (auto _ : state) {
    Engine::forward_few_rows(size, {x.data(), size.k}, {w, size.k}, bias.data(), RowMajor<float>{y.data(), size.n},
                             scratch.data());
    benchmark::ClobberMemory();
  }
  meter.flops(flops(size), state.threads());
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
    benchmark::RegisterBenchmark(full.c_str(), [=](State& state) { function(state, size); })
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
  add_engine<cpu::Native>("native");
#if defined(FATHOM_USE_BLAS)
  add_engine<cpu::BlasMatmul>("blas");
#endif
#if __has_include(<Eigen/Core>)
  add_engine<cpu::EigenMatmul>("eigen");
#endif
  for (const Shape& shape : shapes)
    for (const std::size_t rows : {1, 2, 4, 8, 16})
      add("native/forward_few_rows", forward_few_rows<cpu::Native>, shape, rows);
  return true;
}();

}  // namespace
