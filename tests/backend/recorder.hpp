// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/observed.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// One op as a layer has asked for it.
struct Call {
  /// Rows and columns of a matrix.
  struct Shape {
    int rows, columns;
    friend bool operator==(const Shape&, const Shape&) = default;
  };
  std::string scope;  ///< batch.0.backward.blocks.17.attention
  std::string op;
  std::vector<Shape> outputs;
  double flops = 0, bytes = 0;

  friend bool operator==(const Call&, const Call&) = default;

  /// forward.blocks.0.attention: linear (48, 64)
  std::string text() const {
    std::string text = scope + (scope.empty() ? "" : ": ") + op;
    for (const auto& [rows, columns] : outputs)
      text += " (" + std::to_string(rows) + ", " + std::to_string(columns) + ")";
    return text;
  }
};

/// Writes down the calls of a lane, in their order.
class Recorder : public ScopeObserver {
 public:
  template <class Op>
  void begin(const Op& op) {
    Call call{path_.text(), Op::name, {}, op.flops(), op.bytes()};
    op.outputs([&](const auto& matrix) {
      if (matrix) call.outputs.push_back({matrix.rows, matrix.columns});
    });
    calls_.push_back(std::move(call));
  }
  void end(const auto& /*op*/, const auto& /*lane*/) {}

  std::span<const Call> calls() const { return calls_; }
  void clear() { calls_.clear(); }

 private:
  std::vector<Call> calls_;
};

/// Backend `B` that writes down what layers ask of it; the lists are `machine().observers()[lane].calls()`, the same
/// for every lane.
template <class B>
using Recorded = Observed<B, Recorder>;

}  // namespace fathom_test
