// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "fault.hpp"

namespace emulated {

Device::Device() { reset(); }

Device& Device::get() {
  static Device* const device = new Device;  // outlives all that is of it
  return *device;
}

void Device::reset(const Settings& settings) {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
  queue_.clear();
  for (Stream* stream : streams_) delete stream;
  for (Event* event : events_) delete event;
  for (Graph* graph : graphs_) delete graph;
  for (GraphExec* exec : execs_) delete exec;
  for (const auto& [block, bytes] : pinned_) std::free(const_cast<void*>(block));
  streams_.clear(), events_.clear(), graphs_.clear(), execs_.clear(), pinned_.clear(), handles_.clear();
  legacy_ = {};
  mistakes_.clear();
  calls_by_name_.clear();
  calls_ = launches_ = 0;
  injection_ = {};
  injected_.clear();
  sticky_ = last_error_ = 0;
  memory_ = std::make_unique<Memory>(settings.capacity, settings.poison);
  report_faults();
}

std::int64_t Device::calls(const std::string& name) const {
  const auto found = calls_by_name_.find(name);
  return found == calls_by_name_.end() ? 0 : found->second.count;
}

std::vector<std::int64_t> Device::first_and_last_calls() const {
  std::vector<std::int64_t> numbers;
  for (const auto& [name, of_name] : calls_by_name_) {
    numbers.push_back(of_name.first);
    if (of_name.last != of_name.first) numbers.push_back(of_name.last);
  }
  return numbers;
}

void Device::inject(const Injection& injection) {
  injection_ = injection;
  if (injection.at >= 0) injection_.at += calls_;
  injected_.clear();
}

bool Device::count_call(const char* name) {
  CallsOfName& of_name = calls_by_name_[name];
  if (of_name.count++ == 0) of_name.first = calls_;
  of_name.last = calls_;
  if (calls_++ != injection_.at) return false;
  injected_ = name;
  if (injection_.sticky) sticky_ = cudaErrorIllegalAddress;
  return true;
}

std::vector<std::string> Device::leaks() const {
  std::vector<std::string> list;
  const auto count = [&](std::size_t number, const char* what) {
    if (number > 0) list.push_back(std::to_string(number) + " " + what);
  };
  count(memory_->blocks(), "blocks of device memory");
  count(pinned_.size(), "blocks of pinned memory");
  count(streams_.size(), "streams");
  count(events_.size(), "events");
  count(graphs_.size(), "graphs");
  count(execs_.size(), "instantiated graphs");
  std::map<std::string, std::size_t> kinds;
  for (const auto& [handle, kind] : handles_) ++kinds[kind];
  for (const auto& [kind, number] : kinds) count(number, kind.c_str());
  return list;
}

bool Device::captures() const {
  return std::ranges::any_of(streams_, [](const Stream* stream) { return stream->capture != nullptr; });
}

void Device::invalidate_captures() {
  for (Stream* stream : streams_)
    if (stream->capture) stream->capture->invalid = true;
}

WorkPointer Device::submit(Stream& stream, std::string name, std::function<void()> run, bool counts) {
  auto body = !run ? std::move(run) : [this, counts, run = std::move(run)] {
    if (settings_.works) run();
    launches_ += counts;
  };
  auto work = std::make_shared<Work>(Work{std::move(name), std::move(body), stream.last});
  stream.last = {work};
  if (stream.capture) {
    stream.capture->graph->nodes.push_back(work);
    return work;
  }
  if (&stream == &legacy_) {  // it waits for all blocking streams, and they for it
    for (Stream* other : streams_) {
      if (!other->blocking || other->capture) continue;
      work->after.insert(work->after.end(), other->last.begin(), other->last.end());
      other->last = {work};
    }
  }
  queue_.add(work);
  return work;
}

void Device::perform(Work& work) {
  if (!work.run || sticky_ != 0) return;
  doing_ = work.name;
  try {
    work.run();
  } catch (const Mistake& wrong) {
    mistake(wrong.text);
    sticky_ = cudaErrorLaunchFailure;
  }
  doing_.clear();
}

void Device::drain(const std::function<void()>& work) {
  if (memory_->is_open()) return work();
  memory_->open();
  work();
  if (memory_->damaged()) {
    mistake("work has written beside a block of memory, before its begin or behind its end");
    sticky_ = cudaErrorIllegalAddress;
  }
  memory_->close();
}

void Device::reach(const Points& points) {
  if (reached(points)) return;
  drain([&] { queue_.reach(points, settings_.order, [this](Work& work) { perform(work); }); });
}

void Device::reach_all() {
  if (pending() == 0) return;
  drain([&] { queue_.reach_all(settings_.order, [this](Work& work) { perform(work); }); });
}

}  // namespace emulated
