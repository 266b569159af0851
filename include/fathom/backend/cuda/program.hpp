// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

class Session;

/// Calls f(number) for every number of an op that changes from one training step to the next, in a fixed order. Each
/// has eight bytes.
template <class Op>
void each_changing(Op& op, auto&& f) {
  if constexpr (requires { op.dropout.key; }) f(op.dropout.key);
  if constexpr (requires { op.target.learning_rate; }) f(op.target.gradient_scale), f(op.target.learning_rate);
  if constexpr (requires { op.step; }) f(op.step);
  if constexpr (requires { op.target_weight; }) f(op.target_weight);
}

/// Where these numbers of an op lie on the device, handed out in the same order.
class Numbers {
 public:
  explicit Numbers(const std::uint64_t* first) : next_(first) {}
  template <class T>
  const T* next() {
    static_assert(sizeof(T) == sizeof(std::uint64_t));
    return reinterpret_cast<const T*>(next_++);
  }

 private:
  const std::uint64_t* next_;
};

/// Ops in the order in which they were handed in, without the numbers that change with the step, which lie beside them.
/// So the programs of two training steps are equal, and one can be done in the place of the other.
class Program {
 public:
  /// `Op` can be compared; `run_op(session, op, numbers)` is what it does.
  template <class Op>
  void add(Op op) {
    static_assert(std::is_trivially_copyable_v<Op>);
    const std::size_t first_number = numbers_.size();
    each_changing(op, [&](auto& number) {
      using T = std::remove_cvref_t<decltype(number)>;
      numbers_.push_back(std::bit_cast<std::uint64_t>(number));
      number = T{};
    });
    const auto at = std::size_t(align_up(std::int64_t(bytes_.size()), alignof(std::max_align_t)));
    bytes_.resize(at + sizeof(Op));
    std::memcpy(bytes_.data() + at, &op, sizeof(Op));
    calls_.push_back({&kind_of<Op>, at, first_number});
  }

  /// The op that was added last; null: there is none, or it is no `Op`.
  template <class Op>
  const Op* last() const {
    return calls_.empty() || calls_.back().kind != &kind_of<Op> ? nullptr
                                                                : &op_at<Op>(bytes_.data() + calls_.back().at);
  }
  void drop_last() {
    bytes_.resize(calls_.back().at);
    numbers_.resize(calls_.back().first_number);
    calls_.pop_back();
  }

  bool empty() const { return calls_.empty(); }
  std::size_t size() const { return calls_.size(); }
  const std::vector<std::uint64_t>& numbers() const { return numbers_; }

  /// Does all ops; `numbers` is a copy of `numbers()` on the device.
  void run(Session& session, const std::uint64_t* numbers) const {
    for (const Entry& call : calls_) call.kind->run(session, bytes_.data() + call.at, numbers + call.first_number);
  }

  /// Forgets all ops; keeps the memory.
  void clear() {
    bytes_.clear();
    calls_.clear();
    numbers_.clear();
  }

  /// Whether both do the same to the same views. What changes with the step does not count.
  friend bool operator==(const Program& a, const Program& b) {
    if (a.calls_.size() != b.calls_.size()) return false;
    for (std::size_t i = 0; i < a.calls_.size(); ++i) {
      const Entry &x = a.calls_[i], &y = b.calls_[i];
      if (x.kind != y.kind || !x.kind->same(a.bytes_.data() + x.at, b.bytes_.data() + y.at)) return false;
    }
    return true;
  }

 private:
  /// What is known of a type of op.
  struct Kind {
    void (*run)(Session&, const std::byte*, const std::uint64_t*);
    bool (*same)(const std::byte*, const std::byte*);
  };
  template <class Op>
  static const Op& op_at(const std::byte* bytes) {
    return *reinterpret_cast<const Op*>(bytes);
  }
  template <class Op>
  static constexpr Kind kind_of{[](Session& session, const std::byte* op, const std::uint64_t* numbers) {
                                  run_op(session, op_at<Op>(op), Numbers(numbers));
                                },
                                [](const std::byte* a, const std::byte* b) { return op_at<Op>(a) == op_at<Op>(b); }};

  struct Entry {
    const Kind* kind;
    std::size_t at, first_number;
  };

  std::vector<std::byte> bytes_;
  std::vector<Entry> calls_;
  std::vector<std::uint64_t> numbers_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
