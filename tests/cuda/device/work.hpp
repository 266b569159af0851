// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace emulated {

/// The order in which what has none is done: threads, blocks, and work of different streams.
enum class Order { forward, reverse, random };

/// A piece of work of the device, which comes after others. `run` may be empty: then it is a point in time.
struct Work {
  std::string name;
  std::function<void()> run;
  std::vector<std::shared_ptr<Work>> after;
  bool done = false;
};
using WorkPointer = std::shared_ptr<Work>;
using Points = std::vector<WorkPointer>;  ///< of time

/// Work that was handed in and is not done. It is done when it is waited for, not before.
///
///   forward   what is waited for and what it comes after, in the order in which it was handed in; nothing else
///   reverse   everything, the youngest first among what may be next
///   random    everything, in an order of its own each time
///
/// So a missing wait is seen in the first (what was not waited for was not done), or in the others (what should have
/// waited was done).
class WorkQueue {
 public:
  void add(WorkPointer work) { pending_.push_back(std::move(work)); }

  /// Until all of these points are reached. `perform` does a piece of work.
  void reach(const Points& points, Order order, const std::function<void(Work&)>& perform);
  void reach_all(Order order, const std::function<void(Work&)>& perform);

  bool reached(const Points& points) const;
  std::size_t pending() const { return pending_.size(); }
  /// Gives all up.
  void clear();

 private:
  void perform_all(std::vector<WorkPointer> chosen, Order order, const std::function<void(Work&)>& perform);

  std::vector<WorkPointer> pending_;
  std::uint64_t random_ = 1;
};

}  // namespace emulated
