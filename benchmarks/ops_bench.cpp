// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <string>
#include <vector>

#include "backend/ops/sample.hpp"
#include "rates.hpp"

/// Every op of a training step as the CPU backend runs it, at the shapes of compare_pytorch.py, on one thread and on
/// two: `<op>/<shape>/<threads>`. Operations and bytes are the op's own count; of_sgemm and of_copy are shares of what
/// the machine does with as many threads. Operands of the small shapes stay in the caches, where of_copy may exceed 1.
namespace {
using namespace fathom;
using benchmark::State;
using Backend = Cpu<>;
using Operands = fathom_test::Operands<Single>;
namespace sample = fathom_test::sample;

struct Shape {
  const char* name;
  int width, heads, hidden, vocabulary, batch, context, layers;

  fathom_test::OpRows rows() const { return {name, {}, std::vector<int>(std::size_t(batch), context)}; }
  sample::Heads attention() const { return {heads, heads, width / heads}; }
  /// Of the matrices of all layers, about.
  int parameters() const { return layers * 12 * width * width; }
};
constexpr Shape shapes[] = {
    {"W", 512, 8, 2048, 4096, 4, 128, 12}, {"M", 256, 4, 1024, 4096, 8, 128, 6}, {"N", 64, 4, 256, 1024, 8, 128, 48}};

constexpr double dropout_rate = 0.1;

template <class Op>
void run_once(auto& worker, Op op) {
  if constexpr (requires { op.result; }) op.result = worker.slot(&Slots::squares);
  const auto frame = worker.frame();
  worker(op);
}

/// What a lane may ask for in a region: ops that put work off end it with their frame.
template <class Op>
void measure(State& state, const Packing& packing, int threads, const Op& op) {
  Context<Backend> context({.threads = threads});
  context.reserve(dry_run<Backend>(packing.capacity, {}, [&](auto& worker) { worker(op); }).size);
  const auto& machine = bench::machine(threads);
  constexpr int repetitions = 8;
  const bench::Meter meter(state);
  while (state.KeepRunningBatch(repetitions))
    context.run(packing, Pass{}, [&](auto& worker) {
      for (int i = 0; i < repetitions; ++i) run_once(worker, op);
    });
  if (op.flops() / machine.sgemm > op.bytes() / machine.copy)
    meter.flops(op.flops(), threads);
  else
    meter.bytes(op.bytes(), threads);
}

/// f(operands, shape) makes the op.
template <class F>
void add(const char* name, F make, double dropout = 0) {
  for (const Shape& shape : shapes)
    for (const int threads : {1, 2})
      benchmark::RegisterBenchmark((std::string(name) + "/" + shape.name + "/" + std::to_string(threads)).c_str(),
                                   [=](State& state) {
                                     const fathom_test::OpRows rows = shape.rows();
                                     Operands operands(rows, dropout);
                                     measure(state, rows.packing, threads, make(operands, shape));
                                   })
          ->UseRealTime();
}
/// The same, and with dropout.
template <class F>
void add_both(const std::string& name, F make) {
  add(name.c_str(), make);
  add((name + ", dropout").c_str(), make, dropout_rate);
}

const bool registered = [] {
  using O = Operands;
  using S = Shape;
  const auto keys = sample::Keys::own;
  add("linear", [](O& o, const S& s) { return sample::linear(o, s.width, 3 * s.width, true); });
  add("linear dx", [](O& o, const S& s) { return sample::linear_backward_input(o, s.width, 3 * s.width, true); });
  add("linear dw", [](O& o, const S& s) { return sample::linear_backward_weight(o, s.width, 3 * s.width, true); });
  add_both("attention", [=](O& o, const S& s) { return sample::attention(o, s.attention(), true, keys, false, false); });
  add_both("attention backward",
           [=](O& o, const S& s) { return sample::attention_backward(o, s.attention(), true, keys, false, false); });
  add("rotary", [](O& o, const S& s) { return sample::rotary(o, s.heads, s.width / s.heads, false); });
  add_both("gelu", [](O& o, const S& s) { return sample::activation(o, ActivationKind::gelu, false, s.hidden); });
  add_both("gelu dx",
           [](O& o, const S& s) { return sample::activation_backward(o, ActivationKind::gelu, false, s.hidden); });
  add_both("residual add + norm", [](O& o, const S& s) { return sample::residual_add_norm(o, NormKind::layer, s.width, {}); });
  add_both("residual add + norm backward", [](O& o, const S& s) {
    return sample::residual_add_norm_backward(o, NormKind::layer, s.width, 0.75, true);
  });
  add_both("residual add", [](O& o, const S& s) { return sample::residual_add(o, s.width, {}); });
  add("norm", [](O& o, const S& s) { return sample::norm(o, NormKind::layer, s.width, true); });
  add("norm backward",
      [](O& o, const S& s) { return sample::norm_backward(o, NormKind::layer, s.width, true, false); });
  add("embedding",
      [](O& o, const S& s) { return sample::embedding(o, s.width, s.vocabulary, sample::Positions::learned); });
  add("embedding backward", [](O& o, const S& s) {
    return sample::embedding_backward(o, s.width, s.vocabulary, sample::Positions::learned);
  });
  const auto loss = [](bool gradients) {
    return [=](O& o, const S& s) {
      return sample::linear_cross_entropy(o, s.width, s.vocabulary, false, gradients, LossOptions{});
    };
  };
  add("linear + cross-entropy, loss alone", loss(false));
  add("linear + cross-entropy", loss(true));
  add("sum of squares", [](O& o, const S& s) { return sample::sum_of_squares(o, s.parameters()); });
  add("adam", [](O& o, const S& s) { return sample::adam(o, s.parameters(), true); });
  add("lion", [](O& o, const S& s) { return sample::lion(o, s.parameters()); });
  add("sgd, momentum", [](O& o, const S& s) { return sample::sgd(o, s.parameters(), true, 0.9, false); });
  add("average", [](O& o, const S& s) { return sample::average(o, s.parameters(), 0.999); });
  return true;
}();

}  // namespace
