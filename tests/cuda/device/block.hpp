// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>
#include <vector>

#include "work.hpp"

namespace emulated {

/// The threads of one block, each a fiber: warps run in the device's order, each as far as it comes, and in it the
/// lanes, one until it waits, then the next.
class Block {
 public:
  static constexpr int warp_size = 32;

  /// Calls body(index) on each of these threads, and ends when all have ended. `shared`: bytes that they share, which
  /// start as NaN, with a page without rights behind them.
  /// Errors: Mistake, with the kernel, the block and the threads, if not all come to a barrier, or to a shuffle.
  static void run(const char* kernel, int number, int threads, std::size_t shared, Order order,
                  const std::function<void(int)>& body);

  /// Of the block that runs now.
  static Block& current();
  std::byte* shared() const { return shared_; }

  /// From thread `index`: until all threads of the block, or of the warp, are there.
  void barrier(int index, const std::source_location& where);
  /// Until all lanes of the warp are there.
  void warp_barrier(int index, const std::source_location& where);

  /// Brings `value` to an exchange of the warp of thread `index`, and waits for all its lanes.
  template <class T>
  void bring(int index, const T& value, const std::source_location& where) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= slot_bytes);
    Thread& thread = threads_[std::size_t(index)];
    std::memcpy(thread.slots[thread.exchanges % 2], &value, sizeof value);
    ++thread.exchanges;
    wait(index, State::warp, where);
  }
  /// What lane `from` has brought to that exchange.
  template <class T>
  T brought(int index, int from) const {
    const int last =
        threads_[std::size_t(index)].exchanges - 1;  // that lane may have come to the next, and not further
    T value;
    std::memcpy(&value, threads_[std::size_t(index / warp_size * warp_size + from)].slots[last % 2], sizeof value);
    return value;
  }

 private:
  enum class State { runs, barrier, warp, ended };
  static constexpr std::size_t slot_bytes = 32;

  struct Thread {
    State state = State::runs;
    std::source_location where;
    int exchanges = 0;  ///< so far; slots of two exchanges in a row are different ones
    std::byte slots[2][slot_bytes];
  };

  void start(const char* kernel, int number, int threads, std::size_t shared, const std::function<void(int)>& body);
  void schedule(Order order);
  /// As far as its lanes come without other warps: on a device, too, one may be far ahead of the rest.
  void run_warp(int warp, Order order);
  /// Lets all go on that are where they must be; false: some are elsewhere.
  bool release(State state, int first, int count);
  [[noreturn]] void divergent() const;
  /// Whether the barrier there is to let everyone pass (mutation.hpp).
  bool dropped(const std::source_location& where) const;
  void wait(int index, State state, const std::source_location& where);

  const char* kernel_ = "";
  int number_ = 0, running_ = 0;
  std::vector<Thread> threads_;
  const std::function<void(int)>* body_ = nullptr;
  std::byte* shared_ = nullptr;
  std::uint64_t random_ = 1;
};

/// The numbers 0, …, count - 1 in this order.
std::vector<int> ordered(int count, Order order, std::uint64_t& random);

/// Which kernel, block and thread runs, for messages; what is thrown if it is wrong.
struct Running {
  const char* kernel = nullptr;
  int block = 0, thread = 0;
};
Running& running();
[[noreturn]] void wrong(const std::string& what);

}  // namespace emulated
