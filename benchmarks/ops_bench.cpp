// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <string>
#include <vector>

#include "rates.hpp"

/// Every op of a training step as the CPU backend runs it, at the shapes of compare_pytorch.py, on one thread and on
/// two: `<op>/<shape>/<threads>`. Operations and bytes are the op's own count; of_sgemm and of_copy are shares of what
/// the machine does with as many threads. Operands of the small shapes stay in the caches, where of_copy may exceed 1.
namespace {
using namespace fathom;
using benchmark::State;
using Backend = Cpu<>;
using P = Single;
using bench::Numbers;

struct Shape {
  const char* name;
  int width, heads, hidden, vocabulary, batch, context, layers;
};
constexpr Shape shapes[] = {
    {"W", 512, 8, 2048, 4096, 4, 128, 12}, {"M", 256, 4, 1024, 4096, 8, 128, 6}, {"N", 64, 4, 256, 1024, 8, 128, 48}};

/// Operands for the ops of one layer, and for an update of all layers' weights.
struct Operands {
  Shape shape;
  PackedRows rows = PackedRows::uniform(shape.batch, shape.context);
  int n = rows.rows(), d = shape.width, f = shape.hidden, v = shape.vocabulary;
  std::size_t parameters = std::size_t(shape.layers) * 12 * d * d;
  Numbers x{size(n, d)}, y{size(n, d)}, z{size(n, d)}, dx{size(n, d)}, dy{size(n, d)};
  Numbers qkv{size(n, 3 * d)}, dqkv{size(n, 3 * d)}, lse{size(shape.heads, n)};
  Numbers h{size(n, f)}, a{size(n, f)}, da{size(n, f)};
  Numbers weight{size(3 * d, d)}, dweight{size(3 * d, d)}, bias{size(1, 3 * d)}, dbias{size(1, 3 * d)};
  Numbers gain{size(1, d)}, dgain{size(1, d)}, mean{size(1, n)}, rstd{size(1, n)};
  Numbers table{size(v, d)}, dtable{size(v, d)}, positions{size(shape.context, d)}, dpositions{size(shape.context, d)};
  Numbers master{parameters}, gradient{parameters}, first{parameters}, second{parameters};
  std::vector<int> tokens;
  LossSums sums;

  explicit Operands(const Shape& s) : shape(s) {
    for (int i = 0; i < n; ++i) tokens.push_back(i * 7919 % v);
    for (float& variance : second.span()) variance = 1;
  }
  static std::size_t size(int row_count, int columns) { return std::size_t(row_count) * std::size_t(columns); }

  Matrix<float> narrow(Numbers& m) const { return {m.data(), n, d}; }
  Matrix<float> wide(Numbers& m) const { return {m.data(), n, f}; }
  /// Query, key or value of a fused projection.
  Matrix<float> part(Numbers& m, int index) const { return {m.data() + index * d, n, d, 3 * d}; }
  Matrix<float> fused(Numbers& m) const { return {m.data(), n, 3 * d}; }
  UpdateTarget<P> target() {
    return {.weights = master.span(), .gradient = gradient.span(), .learning_rate = 1e-4, .weight_decay = 0.1};
  }
};

constexpr Dropout some_dropout{.rate = 0.1, .key = {}};

/// What a lane may ask for in a region: ops that put work off end it with their frame.
template <class Op>
void measure(State& state, const Operands& operands, int threads, const Op& op) {
  Context<Backend> context({.threads = threads});
  const Capacity capacity = operands.rows.capacity();
  context.reserve(dry_run<Backend>(capacity, {}, [&](auto& worker) { worker(op); }).size);
  const auto& machine = bench::machine(threads);
  constexpr int repetitions = 8;
  const bench::Meter meter(state);
  while (state.KeepRunningBatch(repetitions))
    context.run(operands.rows.view(), Pass{}, [&](auto& worker) {
      for (int i = 0; i < repetitions; ++i) {
        const auto frame = worker.frame();
        worker(op);
      }
    });
  if (op.flops() / machine.sgemm > op.bytes() / machine.copy)
    meter.flops(op.flops(), threads);
  else
    meter.bytes(op.bytes(), threads);
}

op::Attention<P> attention(Operands& o, const Packing& packing, const Dropout& dropout) {
  const int head_width = o.d / o.shape.heads;
  return {.heads = o.shape.heads,
          .kv_heads = o.shape.heads,
          .head_width = head_width,
          .causal = true,
          .scale = 1 / std::sqrt(double(head_width)),
          .dropout = dropout,
          .packing = &packing,
          .key_packing = &packing,
          .q = o.part(o.qkv, 0),
          .k = o.part(o.qkv, 1),
          .v = o.part(o.qkv, 2),
          .cache = {},
          .o = o.narrow(o.y),
          .lse = {o.lse.data(), o.shape.heads, o.n}};
}
op::AttentionBackward<P> attention_backward(Operands& o, const Packing& packing, const Dropout& dropout) {
  const auto forward = attention(o, packing, dropout);
  return {.heads = forward.heads,
          .kv_heads = forward.kv_heads,
          .head_width = forward.head_width,
          .causal = true,
          .scale = forward.scale,
          .dropout = dropout,
          .packing = &packing,
          .key_packing = &packing,
          .q = forward.q,
          .k = forward.k,
          .v = forward.v,
          .o = forward.o,
          .restored = {},
          .d_o = o.narrow(o.dy),
          .lse = forward.lse,
          .dq = o.part(o.dqkv, 0),
          .dk = o.part(o.dqkv, 1),
          .dv = o.part(o.dqkv, 2)};
}
op::JoinNorm<P> join_norm(Operands& o, const Dropout& dropout) {
  return {.x = o.narrow(o.x),
          .f = o.narrow(o.y),
          .a = {.constant = 2, .learned = {}},
          .b = {},
          .dropout = dropout,
          .kind = NormKind::layer,
          .epsilon = 1e-5,
          .gain = o.gain.span(),
          .bias = o.gain.span(),
          .z = o.narrow(o.z),
          .mean = o.mean.span(),
          .rstd = o.rstd.span(),
          .y = o.narrow(o.dx)};
}

/// f(operands, packing) makes the op.
template <class F>
void add(const char* name, F make) {
  for (const Shape& shape : shapes)
    for (const int threads : {1, 2})
      benchmark::RegisterBenchmark((std::string(name) + "/" + shape.name + "/" + std::to_string(threads)).c_str(),
                                   [=](State& state) {
                                     Operands operands(shape);
                                     const Packing packing = operands.rows.view();
                                     measure(state, operands, threads, make(operands, packing));
                                   })
          ->UseRealTime();
}

const bool registered = [] {
  using O = Operands;
  add("linear", [](O& o, const Packing&) {
    return op::Linear<P>{
        .x = o.narrow(o.x), .weight = {o.weight.data(), 3 * o.d, o.d}, .bias = o.bias.span(), .y = o.fused(o.qkv)};
  });
  add("linear dx", [](O& o, const Packing&) {
    return op::LinearBackwardInput<P>{.dy = o.fused(o.dqkv),
                                      .weight = {o.weight.data(), 3 * o.d, o.d},
                                      .skip = {o.narrow(o.x), 2},
                                      .dx = o.narrow(o.dx)};
  });
  add("linear dw", [](O& o, const Packing&) {
    return op::LinearBackwardWeight<P>{.x = o.narrow(o.x),
                                       .dy = o.fused(o.dqkv),
                                       .dweight = {o.dweight.data(), 3 * o.d, o.d},
                                       .dbias = o.dbias.span()};
  });
  add("attention", [](O& o, const Packing& packing) { return attention(o, packing, {}); });
  add("attention, dropout", [](O& o, const Packing& packing) { return attention(o, packing, some_dropout); });
  add("attention backward", [](O& o, const Packing& packing) { return attention_backward(o, packing, {}); });
  add("attention backward, dropout",
      [](O& o, const Packing& packing) { return attention_backward(o, packing, some_dropout); });
  const auto activation = [](const Dropout& dropout) {
    return [=](O& o, const Packing&) {
      return op::Activation<P>{.kind = ActivationKind::gelu, .dropout = dropout, .x = o.wide(o.h), .y = o.wide(o.a)};
    };
  };
  add("gelu", activation({}));
  add("gelu, dropout", activation(some_dropout));
  const auto activation_backward = [](const Dropout& dropout) {
    return [=](O& o, const Packing&) {
      return op::ActivationBackward<P>{.kind = ActivationKind::gelu,
                                       .dropout = dropout,
                                       .x = o.wide(o.h),
                                       .dy = o.wide(o.a),
                                       .dx = o.wide(o.da),
                                       .y = o.wide(o.da)};
    };
  };
  add("gelu dx", activation_backward({}));
  add("gelu dx, dropout", activation_backward(some_dropout));
  add("join + norm", [](O& o, const Packing&) { return join_norm(o, {}); });
  add("join + norm, dropout", [](O& o, const Packing&) { return join_norm(o, some_dropout); });
  add("norm backward", [](O& o, const Packing&) {
    return op::NormBackward<P>{.kind = NormKind::layer,
                               .x = o.narrow(o.x),
                               .mean = o.mean.span(),
                               .rstd = o.rstd.span(),
                               .gain = o.gain.span(),
                               .dy = o.narrow(o.dy),
                               .skip = {},
                               .dx = o.narrow(o.dx),
                               .dgain = o.dgain.span(),
                               .dbias = o.dbias.span().first(o.gain.span().size())};
  });
  add("embedding", [](O& o, const Packing&) {
    return op::Embedding<P>{.tokens = o.tokens,
                            .table = {o.table.data(), o.v, o.d},
                            .positions = {o.positions.data(), o.shape.context, o.d},
                            .dropout = {},
                            .y = o.narrow(o.y)};
  });
  add("embedding backward", [](O& o, const Packing&) {
    return op::EmbeddingBackward<P>{.tokens = o.tokens,
                                    .dropout = {},
                                    .dy = o.narrow(o.dy),
                                    .dtable = {o.dtable.data(), o.v, o.d},
                                    .dpositions = {o.dpositions.data(), o.shape.context, o.d}};
  });
  const auto loss = [](bool gradients) {
    return [=](O& o, const Packing&) {
      op::LinearCrossEntropy<P> op{.x = o.narrow(o.x),
                                   .weight = {o.table.data(), o.v, o.d},
                                   .bias = {},
                                   .targets = o.tokens,
                                   .options = {},
                                   .normalizer = 1e-3,
                                   .sums = &o.sums,
                                   .dx = {},
                                   .dweight = {},
                                   .dbias = {}};
      if (gradients) op.dx = o.narrow(o.dx), op.dweight = {o.dtable.data(), o.v, o.d};
      return op;
    };
  };
  add("linear + cross-entropy, loss alone", loss(false));
  add("linear + cross-entropy", loss(true));
  add("sum of squares", [](O& o, const Packing&) {
    static double squares[2];
    return op::SumOfSquares<P>{.x = o.gradient.span(), .result = squares};
  });
  add("adam", [](O& o, const Packing&) {
    return op::Adam<P>{.target = o.target(),
                       .first = o.first.span(),
                       .second = o.second.span(),
                       .beta1 = 0.9,
                       .beta2 = 0.999,
                       .epsilon = 1e-8,
                       .decoupled = true,
                       .step = 1};
  });
  add("lion", [](O& o, const Packing&) {
    return op::Lion<P>{.target = o.target(), .momentum = o.first.span(), .beta1 = 0.9, .beta2 = 0.99};
  });
  add("sgd, momentum", [](O& o, const Packing&) {
    return op::Sgd<P>{.target = o.target(), .momentum = o.first.span(), .momentum_factor = 0.9, .nesterov = false};
  });
  add("average", [](O& o, const Packing&) {
    return op::Average<P>{.x = o.master.span(), .average = o.first.span(), .decay = 0.999};
  });
  return true;
}();

}  // namespace
