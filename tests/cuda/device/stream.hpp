// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "work.hpp"

namespace emulated {

/// What a stream has captured: pieces of work, never done themselves, that a launch copies.
struct Graph {
  std::vector<WorkPointer> nodes;
};

/// A capture that is going on.
struct Capture {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();  ///< null when the capture has ended
  const void* origin = nullptr;                              ///< the stream that began it
  bool invalid = false;                                      ///< something was done that cannot be captured
};

struct Stream {
  bool blocking = true;  ///< whether it waits for the legacy stream and the other way round
  Points last;           ///< what its next work comes after
  Points outside;        ///< the same from before the capture, for after it
  std::shared_ptr<Capture> capture;
};

struct Event {
  bool timing = true;
  Points points;  ///< none: never recorded, which counts as reached
  std::shared_ptr<Capture> capture;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
};

/// A graph that can be launched.
struct GraphExec {
  std::vector<WorkPointer> nodes;
  Points last_launch;  ///< the next comes after it
};

}  // namespace emulated
