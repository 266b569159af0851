// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/backend.hpp>
#include <fathom/core/config.hpp>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Backend `B` that looks at everything its ops write, one op at a time, and notes the first value that is not finite:
/// where (backward.blocks.17.attention), which op, and what.
template <class B>
struct FindNonFinite {
  using Precision = typename B::Precision;
  using Options = typename B::Options;

  struct Lane : B::Lane {
    using B::Lane::Lane;
    std::vector<std::string> path;
    std::string found;  ///< empty: everything was finite

    void enter(std::string_view name, int index) {
      path.push_back(std::string(name) + (index < 0 ? "" : "." + std::to_string(index)));
    }
    void leave() { path.pop_back(); }
  };

  /// B's machine with one lane of this kind.
  class Machine {
   public:
    explicit Machine(const Options& options) : inner_(options) {}
    int lanes() const { return inner_.lanes(); }
    std::int64_t allocated_bytes() const { return inner_.allocated_bytes(); }
    void reserve(std::int64_t shared, std::int64_t scratch) { inner_.reserve(shared, scratch); }
    template <class F>
    void run(F&& f) {
      inner_.run([&](typename B::Lane& lane) {
        static_cast<typename B::Lane&>(lane_) = lane;
        f(lane_);
      });
    }
    const std::string& found() const { return lane_.found; }

   private:
    typename B::Machine inner_;
    Lane lane_;
  };

  template <class Op>
  static void run(Lane& lane, const Op& op) {
    B::run(lane, op);
    if (!lane.found.empty()) return;
    lane.settle();
    op.outputs([&](const auto& matrix) {
      for (int r = 0; r < matrix.rows && lane.found.empty(); ++r)
        for (int c = 0; c < matrix.columns; ++c)
          if (!std::isfinite(double(matrix.row(r)[c]))) {
            for (const std::string& scope : lane.path) lane.found += scope + ".";
            lane.found.pop_back();
            lane.found += std::string(" (") + Op::name + ")";
            break;
          }
    });
  }
};

}  // namespace fathom::inline FATHOM_ABI
