// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "support/near.hpp"
#include "support/ops.hpp"
#include "support/reference.hpp"

namespace pytorch_test {

// Ops that no layer of their own stands for; tests/layers/pytorch_test.cpp has the others.
using namespace fathom_test;
using P = Double;

Values read(const Reference& reference, const std::string& name) {
  return {reference.values(name), reference.columns(name)};
}

TEST_CASE("activations agree with PyTorch", "[ref]") {
  const std::pair<ActivationKind, const char*> kinds[] = {{ActivationKind::relu, "activation_relu"},
                                                          {ActivationKind::gelu, "activation_gelu"},
                                                          {ActivationKind::gelu_tanh, "activation_gelu_tanh"},
                                                          {ActivationKind::silu, "activation_silu"}};
  for (const auto& [kind, name] : kinds) {
    INFO(name);
    const Reference reference(name);
    const Values x = read(reference, "input.x"), dy = read(reference, "upstream.y");
    Values y = like(x), dx = like(x), again = like(x);
    const PackedRows packed = one_sequence(x.rows());
    run(packed, op::Activation<P>{.kind = kind, .dropout = {}, .x = x, .y = y});
    run(packed, op::ActivationBackward<P>{.kind = kind, .dropout = {}, .x = x, .dy = dy, .dx = dx, .y = again});
    require_near(y.span(), reference.values("output.y"), "y");
    require_near(again.span(), reference.values("output.y"), "y again");
    require_near(dx.span(), reference.values("grad.input.x"), "dx");
  }
}

TEST_CASE("attention agrees with PyTorch", "[ref]") {
  for (const char* name :
       {"attention_core_causal", "attention_core_causal_past", "attention_core_full", "attention_core_cross"}) {
    INFO(name);
    const Reference reference(name);
    const Values q = read(reference, "input.q"), k = read(reference, "input.k"), v = read(reference, "input.v");
    const PackedRows packed = pack(reference.lengths("offsets")), keys = pack(reference.lengths("memory_offsets"));
    const Packing packing = packed, key_packing = keys;
    const int heads = reference.integer("heads"), head_width = q.columns / heads;
    const double scale = 1 / std::sqrt(head_width);
    Values o = like(q), lse(heads, q.rows(), -1), dq = like(q), dk = like(k), dv = like(v);
    const bool causal = reference.integer("causal") == 1;
    run(packed, op::AttentionForward<P>{.heads = heads,
                                        .kv_heads = reference.integer("kv_heads"),
                                        .head_width = head_width,
                                        .causal = causal,
                                        .scale = scale,
                                        .dropout = {},
                                        .packing = &packing,
                                        .key_packing = &key_packing,
                                        .q = q,
                                        .k = k,
                                        .v = v,
                                        .bias = {},
                                        .cache = {},
                                        .o = o,
                                        .lse = lse});
    const Values d_o = read(reference, "upstream.o");
    Values restored = like(q);
    op::AttentionBackward<P> backward{.heads = heads,
                                      .kv_heads = reference.integer("kv_heads"),
                                      .head_width = head_width,
                                      .causal = causal,
                                      .scale = scale,
                                      .dropout = {},
                                      .packing = &packing,
                                      .key_packing = &key_packing,
                                      .q = q,
                                      .k = k,
                                      .v = v,
                                      .bias = {},
                                      .o = o,
                                      .restored = {},
                                      .d_o = d_o,
                                      .lse = lse,
                                      .dq = dq,
                                      .dk = dk,
                                      .dv = dv,
                                      .dbias = {}};
    Values lse_by_row(q.rows(), heads);
    for (int n = 0; n < q.rows(); ++n)
      for (int h = 0; h < heads; ++h) lse_by_row.data[n * heads + h] = lse.data[h * q.rows() + n];
    require_near(o.span(), reference.values("output.o"), "o");
    require_near(lse_by_row.span(), reference.values("output.log_sum_exp"), "log-sum-exp");
    for (const bool restores : {false, true}) {
      if (restores) backward.o = {}, backward.restored = restored;
      for (Values* gradient : {&dq, &dk, &dv}) std::ranges::fill(gradient->data, std::nan(""));
      run(packed, backward);
      require_near(dq.span(), reference.values("grad.input.q"), "dq");
      require_near(dk.span(), reference.values("grad.input.k"), "dk");
      require_near(dv.span(), reference.values("grad.input.v"), "dv");
    }
    require_near(restored.span(), reference.values("output.o"), "o, restored");
  }
}

TEST_CASE("rotary positions agree with PyTorch", "[ref]") {
  const Reference reference("rotary");
  const PackedRows packed = pack(reference.lengths("offsets"));
  Values x = read(reference, "input.x"), dx = read(reference, "upstream.y");
  const int head_width = x.columns / reference.integer("heads");
  run(packed, op::Rotate<P>{.head_width = head_width, .base = reference.number("base"), .x = x});
  run(packed, op::Rotate<P>{.head_width = head_width, .base = reference.number("base"), .backward = true, .x = dx});
  require_near(x.span(), reference.values("output.y"), "y");
  require_near(dx.span(), reference.values("grad.input.x"), "dx");
}

TEST_CASE("embeddings agree with PyTorch", "[ref]") {
  using Order = Sinusoids::Order;
  for (const std::string kind : {"learned", "sinusoidal", "halves"}) {
    INFO(kind);
    const bool learned = kind == "learned";
    const Reference reference("embedding_" + kind);
    Sinusoids sinusoids{learned ? Order::none : Order::neighbours};
    if (kind == "halves") sinusoids = {Order::halves, reference.integer("first")};
    const PackedRows packed = pack(reference.lengths("offsets"));
    const std::vector<int> tokens = reference.integers("input.tokens");
    const Values table = read(reference, "parameter.token.weight"), dy = read(reference, "upstream.y");
    const Values positions = learned ? read(reference, "parameter.position.weight") : Values(1, 1);
    Values y = like(dy), dtable(table.rows(), table.columns), dpositions(positions.rows(), positions.columns);
    const double scale = reference.number("scale");
    const auto if_learned = [&](auto&& values) { return learned ? Matrix(values) : decltype(Matrix(values)){}; };
    run(packed, op::Embedding<P>{.tokens = tokens,
                                 .table = table,
                                 .positions = if_learned(Matrix<const double>(positions)),
                                 .sinusoids = sinusoids,
                                 .scale = scale,
                                 .dropout = {},
                                 .y = y});
    run(packed, op::EmbeddingBackward<P>{.tokens = tokens,
                                         .scale = scale,
                                         .dropout = {},
                                         .dy = dy,
                                         .dtable = dtable,
                                         .dpositions = if_learned(Matrix<double>(dpositions))});
    require_near(y.span(), reference.values("output.y"), "y");
    require_near(dtable.span(), reference.values("grad.parameter.token.weight"), "dtable");
    if (learned) require_near(dpositions.span(), reference.values("grad.parameter.position.weight"), "dpositions");
  }
}

TEST_CASE("linear cross-entropy agrees with PyTorch", "[ref]") {
  for (const std::string suffix : {"", "_smoothing", "_ignored", "_z_loss", "_all", "_large_logits"}) {
    INFO(suffix);
    const Reference reference("linear_cross_entropy" + suffix);
    const Values x = read(reference, "input.x"), weight = read(reference, "parameter.weight");
    const bool biased = reference.has("parameter.bias");
    const std::vector<double> bias = biased ? reference.values("parameter.bias") : std::vector<double>{};
    const std::vector<int> targets = reference.integers("input.targets");
    const auto counted = std::ranges::count_if(targets, [](int target) { return target >= 0; });
    Values dx = like(x), dweight(weight.rows(), weight.columns);
    std::vector<double> dbias(bias.size());
    LossSums sums, sums_alone;
    op::LinearCrossEntropy<P> op{
        .x = x,
        .weight = weight,
        .bias = bias,
        .targets = targets,
        .options = {.smoothing = reference.number("smoothing"), .z_loss = reference.number("z_loss")},
        .target_weight = 1.0 / double(counted),
        .sums = &sums,
        .dx = dx,
        .dweight = dweight,
        .dbias = dbias};
    const PackedRows packed = one_sequence(x.rows());
    run(packed, op);
    const double loss = op.options.total(sums) * op.target_weight;
    require_near(std::span(&loss, 1), reference.values("output.loss"), "loss");
    require_near(dx.span(), reference.values("grad.input.x"), "dx");
    require_near(dweight.span(), reference.values("grad.parameter.weight"), "dweight");
    if (biased) require_near(std::span(dbias), reference.values("grad.parameter.bias"), "dbias");
    REQUIRE(sums.targets == counted);

    op.sums = &sums_alone, op.dx = {}, op.dweight = {}, op.dbias = {};
    run(packed, op);
    REQUIRE(op.options.total(sums_alone) == op.options.total(sums));
  }
}

}  // namespace pytorch_test
