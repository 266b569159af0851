// SPDX-License-Identifier: Apache-2.0
#include "check_op.hpp"

using namespace fathom_test;

namespace {
constexpr int width = 36;
constexpr int flat = 3 * (1 << 16) + 17;  // several shards of a flat buffer
}  // namespace

TEST_CASE("copy and zero", "[cpu][threads]") {
  check_op([]<class P>(Operands<P>& o) { return op::Copy<P>{.x = o.rows_of(width), .y = o.poison(width)}; });
  check_op(
      []<class P>(Operands<P>& o) { return op::Copy<P>{.x = o.rows_of(width), .y = o.rows_of(width), .add = true}; });
  check_op([]<class P>(Operands<P>& o) { return op::Zero<P>{.y = o.poison(width)}; });
}

TEST_CASE("weighted sum, forward and backward", "[cpu][threads]") {
  for (const int count : {1, 3}) {
    check_op([=]<class P>(Operands<P>& o) {
      const auto streams = o.values(count * o.rows(), width);
      return op::WeightedSum<P>{.first = streams.block(0, o.rows()),
                                .pitch = std::int64_t(o.rows()) * width,
                                .count = count,
                                .weights = o.values(count),
                                .y = o.poison(width)};
    });
    check_op([=]<class P>(Operands<P>& o) {
      const auto streams = o.values(count * o.rows(), width), gradients = o.values(count * o.rows(), width);
      return op::WeightedSumBackward<P>{.first = streams.block(0, o.rows()),
                                        .pitch = std::int64_t(o.rows()) * width,
                                        .count = count,
                                        .weights = o.values(count),
                                        .dy = o.rows_of(width),
                                        .dfirst = gradients.block(0, o.rows()),
                                        .dweights = o.values(count)};
    });
  }
}

TEST_CASE("variance", "[cpu][threads]") {
  check_op([]<class P>(Operands<P>& o) { return op::Variance<P>{.x = o.rows_of(width), .result = nullptr}; });
}

TEST_CASE("embedding, forward and backward", "[cpu][threads]") {
  constexpr int vocabulary = 11, positions = 160;
  enum class Positions { none, learned, sinusoidal };
  for (const auto kind : {Positions::none, Positions::learned, Positions::sinusoidal}) {
    const auto forward = [=]<class P>(Operands<P>& o) {
      return op::Embedding<P>{
          .tokens = o.integers(0, vocabulary),
          .table = o.values(vocabulary, width),
          .positions = kind == Positions::learned ? o.values(positions, width) : Matrix<typename P::Weight>{},
          .sinusoidal = kind == Positions::sinusoidal,
          .scale = 6,
          .dropout = o.dropout,
          .y = o.poison(width)};
    };
    check_op(forward, {.dropout = true});
    check_op(TestRows("past", {1, 1, 2}, {0, 7, 30}), forward);
    check_op(
        [=]<class P>(Operands<P>& o) {
          return op::EmbeddingBackward<P>{
              .tokens = o.integers(0, vocabulary),
              .scale = 6,
              .dropout = o.dropout,
              .dy = o.rows_of(width),
              .dtable = o.values(vocabulary, width),
              .dpositions = kind == Positions::learned ? o.values(positions, width) : Matrix<typename P::Gradient>{}};
        },
        {.dropout = true});
  }
}

TEST_CASE("passes over flat buffers", "[cpu][threads]") {
  const TestRows& any = all_rows().front();
  check_op(any, []<class P>(Operands<P>& o) { return op::SumOfSquares<P>{.x = o.values(flat), .result = nullptr}; });
  check_op(any, []<class P>(Operands<P>& o) { return op::Scale<P>{.x = o.values(flat), .factor = -0.75}; });
  check_op(any, []<class P>(Operands<P>& o) {
    return op::Average<P>{.x = o.values(flat), .average = o.values(flat), .decay = 0.75};
  });
  check_op(any, []<class P>(Operands<P>& o) {
    const auto poison = o.poison(1, flat, flat);
    return op::Scale<P>{.x = {poison.data, std::size_t(flat)}, .factor = 0};
  });
}
