// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/activation.hpp>
#include <fathom/backend/cpu/attention.hpp>
#include <fathom/backend/cpu/cross_entropy.hpp>
#include <fathom/backend/cpu/norm.hpp>
#include <fathom/backend/cpu/update.hpp>
#include <vector>

#include "rates.hpp"

/// Attention and row kernels on one thread, in float. Attention counts the multiplications and additions of its matrix
/// products, a causal one only those at and below the diagonal; the others count the bytes they must read and write.

namespace cpu = fathom::cpu;
using benchmark::State;
using fathom::bench::Meter;
using fathom::bench::Numbers;

namespace {

/// `heads` heads of a packed projection, as a layer calls it.
struct AttentionBench {
  static constexpr std::size_t heads = 4;
  cpu::AttentionShape<float> shape;
  std::size_t model, stride;
  Numbers qkv, o, lse, d_o, dqkv, scratch;

  AttentionBench(std::size_t length, std::size_t width, bool causal)
      : shape{length, length, width, 1, causal, 1 / std::sqrt(static_cast<float>(width))},
        model(heads * width),
        stride(3 * model),
        qkv(length * stride),
        o(length * model),
        lse(heads * length),
        d_o(length * model),
        dqkv(length * stride),
        scratch(std::max(cpu::attention_forward_scratch(shape), cpu::attention_backward_scratch(shape))) {}

  void forward() {
    for (std::size_t h = 0; h < heads; ++h) {
      const float* q = qkv.data() + h * shape.width;
      cpu::attention_forward<float>(shape, {q, stride}, {q + model, stride}, {q + 2 * model, stride},
                                    {o.data() + h * shape.width, model}, {lse.data() + h * shape.queries, 0},
                                    scratch.data());
    }
  }

  void backward() {
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t column = h * shape.width;
      const float* q = qkv.data() + column;
      float* dq = dqkv.data() + column;
      cpu::attention_backward<float>(shape, {q, stride}, {q + model, stride}, {q + 2 * model, stride},
                                     {.given = {o.data() + column, model}}, {lse.data() + h * shape.queries, 0},
                                     {d_o.data() + column, model}, {dq, stride}, {dq + model, stride},
                                     {dq + 2 * model, stride}, nullptr, scratch.data());
    }
  }

  /// Of one product of queries and keys.
  double operations() const {
    const double pairs = static_cast<double>(shape.queries) * (static_cast<double>(shape.queries) + 1);
    return heads * static_cast<double>(shape.width) *
           (shape.causal ? pairs : 2.0 * static_cast<double>(shape.queries) * static_cast<double>(shape.keys));
  }
};

void attention_forward(State& state, bool causal) {
  AttentionBench bench(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)), causal);
  const Meter meter(state);
  for (auto _ : state) {
    bench.forward();
    benchmark::ClobberMemory();
  }
  meter.flops(2 * bench.operations());
}

void attention_backward(State& state, bool causal) {
  AttentionBench bench(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)), causal);
  bench.forward();
  const Meter meter(state);
  for (auto _ : state) {
    bench.backward();
    benchmark::ClobberMemory();
  }
  meter.flops(5 * bench.operations());
}

const std::vector<std::vector<std::int64_t>> lengths_and_widths = {{64, 128, 256, 512}, {16, 32, 64}};
BENCHMARK_CAPTURE(attention_forward, causal, true)->ArgNames({"T", "K"})->ArgsProduct(lengths_and_widths);
BENCHMARK_CAPTURE(attention_backward, causal, true)->ArgNames({"T", "K"})->ArgsProduct(lengths_and_widths);
BENCHMARK_CAPTURE(attention_forward, full, false)->ArgNames({"T", "K"})->Args({128, 32})->Args({512, 64});
BENCHMARK_CAPTURE(attention_backward, full, false)->ArgNames({"T", "K"})->Args({128, 32})->Args({512, 64});

/// One new query for each of four heads against a cache.
void attention_decode(State& state) {
  AttentionBench bench(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)), true);
  bench.shape.queries = 1;
  const Meter meter(state);
  for (auto _ : state) {
    bench.forward();
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 2.0 * AttentionBench::heads * static_cast<double>(bench.shape.keys * bench.shape.width));
}
BENCHMARK(attention_decode)->ArgNames({"T", "K"})->ArgsProduct({{128, 512, 2048}, {16, 32, 64}});

constexpr std::size_t rows = 128;

struct NormBench {
  std::size_t width;
  Numbers x{rows * width}, f{rows * width}, z{rows * width}, y{rows * width}, dz{rows * width}, df{rows * width};
  Numbers gain{width}, dgain{width}, dbias{width}, mean{rows}, rstd{rows};
};

void residual_add_norm_forward(State& state) {
  NormBench b{static_cast<std::size_t>(state.range(0))};
  const Meter meter(state);
  for (auto _ : state) {
    cpu::residual_add_norm_forward<fathom::NormKind::layer, float>(rows, b.width, 1e-5f, b.gain.data(), b.gain.data(),
                                                           cpu::Everywhere<float>{2.0f}, b.x.data(), b.f.data(),
                                                           b.z.data(), b.y.data(), b.mean.data(), b.rstd.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 4.0 * rows * static_cast<double>(b.width));
}
void residual_add_norm_backward(State& state) {
  NormBench b{static_cast<std::size_t>(state.range(0))};
  const Meter meter(state);
  for (auto _ : state) {
    cpu::residual_add_norm_backward<fathom::NormKind::layer, float, float, float>(
        rows, b.width, {b.z.data(), b.mean.data(), b.rstd.data()}, b.gain.data(), 1.0f, b.y.data(), b.dz.data(),
        b.df.data(), b.dgain.data(), b.dbias.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 4.0 * rows * static_cast<double>(b.width));
}
BENCHMARK(residual_add_norm_forward)->Arg(64)->Arg(256)->Arg(512);
BENCHMARK(residual_add_norm_backward)->Arg(64)->Arg(256)->Arg(512);

template <class Activation>
void activation_forward(State& state) {
  const std::size_t n = rows * static_cast<std::size_t>(state.range(0));
  Numbers h(n), a(n);
  const Meter meter(state);
  for (auto _ : state) {
    cpu::activation_forward<Activation>(n, h.data(), a.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 2.0 * static_cast<double>(n));
}
template <class Activation>
void activation_backward(State& state) {
  const std::size_t n = rows * static_cast<std::size_t>(state.range(0));
  Numbers h(n), da(n), a(n);
  const Meter meter(state);
  for (auto _ : state) {
    cpu::activation_backward<Activation>(n, h.data(), da.data(), da.data(), a.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 4.0 * static_cast<double>(n));
}
BENCHMARK(activation_forward<cpu::ReluKernel>)->Arg(256);
BENCHMARK(activation_forward<cpu::GeluKernel>)->Arg(256);
BENCHMARK(activation_forward<cpu::GeluTanhKernel>)->Arg(256);
BENCHMARK(activation_forward<cpu::SiluKernel>)->Arg(256);
BENCHMARK(activation_backward<cpu::ReluKernel>)->Arg(256);
BENCHMARK(activation_backward<cpu::GeluKernel>)->Arg(256);
BENCHMARK(activation_backward<cpu::GeluTanhKernel>)->Arg(256);
BENCHMARK(activation_backward<cpu::SiluKernel>)->Arg(256);

void cross_entropy_backward(State& state) {
  const std::size_t width = static_cast<std::size_t>(state.range(0));
  Numbers logits(rows * width);
  const Meter meter(state);
  for (auto _ : state) {
    for (std::size_t row = 0; row < rows; ++row)
      benchmark::DoNotOptimize(cpu::cross_entropy_backward<float>(width, logits.data() + row * width, 3, 1.0f));
  }
  meter.bytes(sizeof(float) * 2.0 * static_cast<double>(rows * width));
}
BENCHMARK(cross_entropy_backward)->Arg(256)->Arg(1024)->Arg(4096);

/// A span larger than the caches.
constexpr std::size_t span = 16u << 20;

void adam_update(State& state) {
  Numbers w(span), g(span), m(span), v(span);
  std::fill_n(v.data(), span, 1.0f);
  const Meter meter(state);
  for (auto _ : state) {
    cpu::adam_update(span, {.rate = 1e-3, .decay = 0.1, .clear_gradient = true}, w.data(), g.data(), m.data(),
                     v.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 8.0 * span);
}
void sum_of_squares(State& state) {
  const Numbers x(span);
  const Meter meter(state);
  for (auto _ : state) benchmark::DoNotOptimize(cpu::sum_of_squares(span, x.data()));
  meter.bytes(sizeof(float) * 1.0 * span);
}
void axpy(State& state) {
  Numbers x(span), y(span);
  const Meter meter(state);
  for (auto _ : state) {
    cpu::axpy(span, 0.5f, x.data(), y.data());
    benchmark::ClobberMemory();
  }
  meter.bytes(sizeof(float) * 3.0 * span);
}
BENCHMARK(adam_update);
BENCHMARK(sum_of_squares);
BENCHMARK(axpy);

}  // namespace
