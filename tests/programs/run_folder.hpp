// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <map>
#include <programs/process.hpp>
#include <string>
#include <thread>

/// What programs leave in the folder of a run.
namespace fathom_test {

/// What a folder holds: each file's path and bytes. Folders without files count as well.
inline std::map<std::string, std::string> content_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    content[entry.path().lexically_relative(folder)] = entry.is_directory() ? "" : fathom::read_file(entry.path());
  return content;
}

/// Equal files, byte for byte; a difference is reported by its path.
inline void check_same(const std::map<std::string, std::string>& found,
                       const std::map<std::string, std::string>& expected) {
  for (const auto& [path, bytes] : expected) {
    INFO(path);
    CHECK(found.contains(path));
    CHECK((!found.contains(path) || found.at(path) == bytes));
  }
  for (const auto& [path, bytes] : found) {
    INFO(path);
    CHECK(expected.contains(path));
  }
}

/// Steps that a run's log has; 0 where there is no log yet.
inline long logged_steps(const std::filesystem::path& output) {
  if (!std::filesystem::exists(output / "log.csv")) return 0;
  const std::string log = fathom::read_file(output / "log.csv");
  return std::max(0L, std::ranges::count(log, '\n') - 1);
}

/// Waits until the log has that many steps, or the process has ended.
inline void wait_for_steps(const Process& process, const std::filesystem::path& output, long steps) {
  while (logged_steps(output) < steps && process.running()) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

/// Where a run keeps the checkpoint behind a step below 100.
inline std::filesystem::path checkpoint_of(const std::filesystem::path& output, int step) {
  return output / "checkpoints" / ("000000" + std::to_string(100 + step).substr(1));
}

}  // namespace fathom_test
