// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/matmul/eigen.hpp>

#include "check_op.hpp"

using namespace fathom_test;

namespace {
constexpr int in = 36, out = 52;
constexpr int fused = 60;  // columns of a matrix of which an op sees some
}  // namespace

TEST_CASE("linear", "[cpu][threads]") {
  for (const bool bias : {false, true})
    for (const int stride : {0, fused - out})
      check_op([=]<class P>(Operands<P>& o) {
        return op::Linear<P>{.x = o.values(o.rows(), in, in + stride),
                             .weight = o.values(out, in),
                             .bias = o.values(bias ? out : 0),
                             .y = o.poison(o.rows(), out, out + stride)};
      });
}

TEST_CASE("linear, input gradient", "[cpu][threads]") {
  enum class SkipFrom { nowhere, elsewhere, dx };
  for (const auto from : {SkipFrom::nowhere, SkipFrom::elsewhere, SkipFrom::dx})
    check_op([=]<class P>(Operands<P>& o) {
      op::LinearBackwardInput<P> op{
          .dy = o.values(o.rows(), out, fused), .weight = o.values(out, in), .skip = {}, .dx = o.poison(in)};
      if (from != SkipFrom::nowhere) op.skip = {o.rows_of(in), -1.5};
      if (from == SkipFrom::dx) op.skip.value = op.dx = o.rows_of(in);
      return op;
    });
}

TEST_CASE("linear, weight gradient", "[cpu][threads]") {
  const auto make = [](bool bias) {
    return [=]<class P>(Operands<P>& o) {
      return op::LinearBackwardWeight<P>{.x = o.rows_of(in),
                                         .dy = o.values(o.rows(), out, fused),
                                         .dweight = o.values(out, in),
                                         .dbias = o.values(bias ? out : 0)};
    };
  };
  check_op(make(false));
  check_op(make(true));
  check_op(all_rows().back(), make(true), {.times = 3});  // cut by cost, not one by one
}

TEST_CASE("linear by Eigen, whose sums depend on the rows of a call", "[cpu][threads]") {
  const auto forward = []<class P>(Operands<P>& o) {
    return op::Linear<P>{
        .x = o.rows_of(in), .weight = o.values(out, in), .bias = o.values(out), .y = o.poison(o.rows(), out, out)};
  };
  const auto weight = []<class P>(Operands<P>& o) {
    return op::LinearBackwardWeight<P>{
        .x = o.rows_of(in), .dy = o.rows_of(out), .dweight = o.values(out, in), .dbias = o.values(out)};
  };
  for (const TestRows& rows : all_rows()) {
    INFO("rows " << rows.name);
    Context<Ref<double>> reference;
    const auto check = [&](auto make) {
      check_on_cpu<Cpu<Single, cpu::EigenMatmul>>(rows, 0, 1, make, run_op(reference, rows, 0, 1, make), 1e-4);
    };
    check(forward);
    check(weight);
  }
}
