// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "memory.hpp"
#include "stream.hpp"
#include "work.hpp"

/// A device for machines without one: what fathom calls of the CUDA runtime, cuBLASLt and cuDNN, as a library to link
/// to. It is strict: what the real libraries leave undefined, or allow and fathom shall not do, is refused here, and
/// every refusal says why. docs/gpu.md says what is emulated and what is not.
namespace emulated {

struct Settings {
  int devices = 1;
  std::size_t capacity = std::size_t{8} << 30;
  bool poison = true;  ///< else memory is counted and not touched
  bool works =
      true;  ///< else calls are counted and checked, and nothing is done: for plans of models that no host holds
  Order order = Order::forward;
  int driver = 13000;               ///< the version of CUDA that the driver has
  std::size_t cudnn_version = 0;    ///< of cuDNN; 0: that of the header
  std::int64_t plan_bytes = 0;      ///< of workspace that each plan of cuDNN asks for beside the usual
};

/// Lets one call fail: the `at`-th from now, counted from 0 over all libraries.
struct Injection {
  std::int64_t at = -1;
  bool sticky = false;  ///< and all calls after it, as when a kernel has failed
};

class Device {
 public:
  static Device& get();

  /// A fresh device: without memory, streams, mistakes and counts. Whatever is left of the old one must not be used.
  void reset(const Settings& settings = {});

  const Settings& settings() const { return settings_; }
  void set_order(Order order) { settings_.order = order; }

  // ---- what a test asks
  std::int64_t calls() const { return calls_; }
  std::int64_t calls(const std::string& name) const;
  /// The numbers of the first and the last call of each name, counted from 0.
  std::vector<std::int64_t> first_and_last_calls() const;
  void inject(const Injection& injection);
  /// The call that an injection has hit; empty: none.
  const std::string& injected() const { return injected_; }
  /// What the program did that it must not do, a sentence each; the last is what error texts end with.
  const std::vector<std::string>& mistakes() const { return mistakes_; }
  void forgive() { mistakes_.clear(); }
  /// What was not given back, a line each: memory, streams, events, graphs, handles.
  std::vector<std::string> leaks() const;
  std::int64_t launches() const { return launches_; }  ///< of kernels and libraries' work that was done
  Memory& memory() { return *memory_; }

  // ---- what the libraries are made of
  std::recursive_mutex& mutex() { return mutex_; }
  /// Counts a call; true if it shall fail.
  bool count_call(const char* name);
  int sticky() const { return sticky_; }
  void set_sticky(int error) { sticky_ = error; }
  /// What cudaGetLastError answers. (The runtime has one for each thread.)
  int& last_error() { return last_error_; }
  void mistake(std::string text) { mistakes_.push_back(std::move(text)); }

  Stream& legacy() { return legacy_; }
  std::set<Stream*>& streams() { return streams_; }
  std::set<Event*>& events() { return events_; }
  std::set<Graph*>& graphs() { return graphs_; }
  std::set<GraphExec*>& execs() { return execs_; }
  std::map<const void*, std::size_t>& pinned() { return pinned_; }
  /// Handles and descriptors of cuBLASLt and cuDNN, and what they are called.
  std::map<const void*, std::string>& handles() { return handles_; }
  bool captures() const;  ///< whether any stream does
  void invalidate_captures();

  /// Hands work to a stream, or to the graph that it captures. Null: why not is a mistake already.
  WorkPointer submit(Stream& stream, std::string name, std::function<void()> run, bool counts = true);
  void reach(const Points& points);
  void reach_all();
  bool reached(const Points& points) const { return queue_.reached(points); }
  void add(WorkPointer work) { queue_.add(std::move(work)); }
  std::size_t pending() const { return queue_.pending(); }
  /// What the device is doing now, for messages.
  const std::string& doing() const { return doing_; }

 private:
  Device();
  void perform(Work& work);
  void drain(const std::function<void()>& work);

  Settings settings_;
  std::recursive_mutex mutex_;
  std::unique_ptr<Memory> memory_;
  WorkQueue queue_;
  Stream legacy_;
  std::set<Stream*> streams_;
  std::set<Event*> events_;
  std::set<Graph*> graphs_;
  std::set<GraphExec*> execs_;
  std::map<const void*, std::size_t> pinned_;
  std::map<const void*, std::string> handles_;
  std::vector<std::string> mistakes_;
  struct CallsOfName {
    std::int64_t count = 0, first = 0, last = 0;
  };
  std::map<std::string, CallsOfName> calls_by_name_;
  std::int64_t calls_ = 0, launches_ = 0;
  Injection injection_;
  std::string injected_, doing_;
  int sticky_ = 0, last_error_ = 0;
};

/// What a kernel has done wrong. It ends the work that is being done; its text becomes a mistake.
struct Mistake {
  std::string text;
};

}  // namespace emulated
