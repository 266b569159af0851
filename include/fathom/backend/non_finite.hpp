// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/observed.hpp>
#include <fathom/core/config.hpp>
#include <string>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// Looks at everything that ops write, one op at a time, and notes the first value that is not finite.
template <class B>
class NonFiniteFinder : public ScopeObserver {
 public:
  void begin(const auto& /*op*/) {}
  static constexpr void each_own(const auto& op, auto&& f) {
    op.outputs([&](const auto& matrix) { f(look<value_of<decltype(matrix)>>(matrix, nullptr)); });
  }
  template <class Op>
  void end(const Op& op, typename B::Lane& lane) {
    if (!found_.empty()) return;
    lane.settle();
    op.outputs([&](const auto& matrix) {
      if (!found_.empty() || !matrix) return;
      std::int64_t first = -1;
      B::run(lane, look<value_of<decltype(matrix)>>(matrix, first_.data()));
      lane.read(&first, first_.data(), sizeof first);
      if (first >= 0) found_ = path_.text() + " (" + Op::name + ")";
    });
  }

  /// Where, in which op; empty: everything was finite.
  const std::string& found() const { return found_; }

 private:
  template <class M>
  using value_of = std::remove_cvref_t<decltype(*std::declval<M>().data)>;
  template <class T>
  static constexpr op::FirstNonFinite<T> look(const Matrix<const T>& matrix, std::int64_t* result) {
    return {matrix, result};
  }

  std::string found_;
  typename B::template Buffer<std::int64_t> first_{1};
};

/// Backend `B`, on one thread, that names the first op which wrote something that is not finite:
/// backward.blocks.17.attention (linear dx).
template <class B>
struct FindNonFinite : Observed<B, NonFiniteFinder<B>> {
  struct Machine : Observed<B, NonFiniteFinder<B>>::Machine {
    using Observed<B, NonFiniteFinder<B>>::Machine::Machine;
    const std::string& found() const { return this->observers().front().found(); }
  };
};

}  // namespace fathom::inline FATHOM_ABI
