// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/observed.hpp>
#include <fathom/core/config.hpp>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Looks at everything that ops write, one op at a time, and notes the first value that is not finite.
class NonFiniteFinder {
 public:
  void start() {}
  void stop() {}
  void enter(std::string_view name, int index) { path_.enter(name, index); }
  void leave() { path_.leave(); }
  void begin(const auto& /*op*/) {}
  template <class Op>
  void end(const Op& op, auto& lane) {
    if (!found_.empty()) return;
    lane.settle();
    op.outputs([&](const auto& matrix) {
      for (int r = 0; r < matrix.rows && found_.empty(); ++r)
        for (int c = 0; c < matrix.columns; ++c)
          if (!std::isfinite(double(matrix.row(r)[c]))) {
            found_ = path_.text() + " (" + Op::name + ")";
            break;
          }
    });
  }

  /// Where, in which op; empty: everything was finite.
  const std::string& found() const { return found_; }

 private:
  ScopePath path_;
  std::string found_;
};

/// Backend `B`, on one thread, that names the first op which wrote something that is not finite:
/// backward.blocks.17.attention (linear dx).
template <class B>
struct FindNonFinite : Observed<B, NonFiniteFinder> {
  struct Machine : Observed<B, NonFiniteFinder>::Machine {
    using Observed<B, NonFiniteFinder>::Machine::Machine;
    const std::string& found() const { return this->observers().front().found(); }
  };
};

}  // namespace fathom::inline FATHOM_ABI
