// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/backend.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/view.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The scopes around an op, outermost first.
class ScopePath {
 public:
  void enter(std::string_view name, int index) {
    scopes_.push_back(std::string(name) + (index < 0 ? "" : "." + std::to_string(index)));
  }
  void leave() { scopes_.pop_back(); }
  /// backward.blocks.17.attention
  std::string text() const {
    std::string text;
    for (const std::string& scope : scopes_) text += (text.empty() ? "" : ".") + scope;
    return text;
  }

 private:
  std::vector<std::string> scopes_;
};

/// Copies what an op has written to the host: the rows one behind another, without the gaps of the matrix.
template <class T>
std::vector<std::remove_const_t<T>> read_rows(auto& lane, const Matrix<T>& matrix) {
  const auto count = std::size_t(matrix.rows), columns = std::size_t(matrix.columns),
             stride = std::size_t(matrix.stride);
  if (count == 0) return {};
  std::vector<std::remove_const_t<T>> values((count - 1) * stride + columns);
  lane.read(values.data(), matrix.data, values.size() * sizeof(T));
  for (std::size_t row = 1; row < count; ++row)
    std::copy_n(values.begin() + std::ptrdiff_t(row * stride), columns, values.begin() + std::ptrdiff_t(row * columns));
  values.resize(count * columns);
  return values;
}

/// What an observer begins with that wants to know where its ops are.
class ScopeObserver {
 public:
  void start() {}
  void stop() {}
  void enter(std::string_view name, int index) { path_.enter(name, index); }
  void leave() { path_.leave(); }

 protected:
  ScopePath path_;
};

/// Backend `B`, whose lanes tell an observer each what they do. Neither layers nor B know of it. An `Observer` has
///   start(), stop()                around the work of a lane in a region
///   enter(name, index), leave()    around a scope
///   begin(op), end(op, lane)       around an op; `lane` is B's
///   each_own(op, f)                if it runs ops of its own behind an op: calls f(own) for each, on no data
/// and hears what else the lane does when it is a `Listener` and B's lanes have such to tell.
template <class B, class Observer>
struct Observed {
  using Precision = typename B::Precision;
  using Options = typename B::Options;
  template <class T>
  using Buffer = typename B::template Buffer<T>;

  static constexpr Options one_lane(const Options& options = {}) { return B::one_lane(options); }
  static constexpr bool saves_all = fathom::saves_all<B>;
  static constexpr bool pads_batches = fathom::pads_batches<B>;
  static std::int64_t free_bytes(const Options& options)
    requires requires { B::free_bytes(options); }
  {
    return B::free_bytes(options);
  }

  static constexpr std::int64_t scratch_bytes(const auto& op) {
    return most(op, [](const auto& each) { return std::int64_t(B::scratch_bytes(each)); });
  }
  static constexpr std::int64_t shared_bytes(const auto& op) {
    return most(op, [](const auto& each) { return std::int64_t(B::shared_bytes(each)); });
  }
  static constexpr std::int64_t held_bytes(const auto& op, const Capacity& capacity) {
    return B::held_bytes(op, capacity);
  }

  struct Lane {
    typename B::Lane* inner = nullptr;
    Observer* observer = nullptr;

    void use(Arena& workspace) { inner->use(workspace); }
    void on(const Packing& packing) { inner->on(packing); }
    void settle() { inner->settle(); }
    void enter(std::string_view name, int index) {
      inner->enter(name, index);
      observer->enter(name, index);
    }
    void leave() {
      observer->leave();
      inner->leave();
    }
    bool first() const { return inner->first(); }
    void wait() { inner->wait(); }
    void read(void* into, const void* from, std::size_t bytes) { inner->read(into, from, bytes); }

    /// So that what is observed can be observed again.
    int number() const requires requires { inner->number(); }
    { return inner->number(); }
    void listen(Listener* listener) requires requires { inner->listen(listener); }
    { inner->listen(listener); }
  };

  /// B's machine and the observers of its lanes, which see all regions one after another.
  class Machine {
   public:
    explicit Machine(const Options& options) : inner_(options), observers_(std::size_t(inner_.lanes())) {}

    int lanes() const { return inner_.lanes(); }
    std::int64_t allocated_bytes() const { return inner_.allocated_bytes(); }
    void reserve(std::int64_t scratch) { inner_.reserve(scratch); }

    template <class F>
    void run(F&& f) {
      inner_.run([&](typename B::Lane& inner) {
        Observer& observer = observers_[number_of(inner)];
        if constexpr (requires { inner.listen(&observer); }) inner.listen(&observer);
        observer.start();
        Lane lane{&inner, &observer};
        f(lane);
        observer.stop();
      });
    }

    /// One for each lane.
    std::span<const Observer> observers() const { return observers_; }
    std::span<Observer> observers() { return observers_; }

   private:
    static std::size_t number_of(const typename B::Lane& lane) {
      if constexpr (requires { lane.number(); })
        return std::size_t(lane.number());
      else
        return 0;
    }

    typename B::Machine inner_;
    std::vector<Observer> observers_;
  };

  template <class Op>
  static void run(Lane& lane, const Op& op) requires Runs<B, Op> {
    lane.observer->begin(op);
    B::run(*lane.inner, op);
    lane.observer->end(op, *lane.inner);
  }

 private:
  /// The most of an op and of what its observer runs behind it.
  static constexpr std::int64_t most(const auto& op, auto&& bytes_of) {
    std::int64_t bytes = bytes_of(op);
    const auto raise = [&](const auto& own) { bytes = std::max(bytes, bytes_of(own)); };
    if constexpr (requires { Observer::each_own(op, raise); }) Observer::each_own(op, raise);
    return bytes;
  }
};

}  // namespace fathom::inline FATHOM_ABI
