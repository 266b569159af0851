// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <map>
#include <programs/process.hpp>
#include <programs/refusal.hpp>
#include <random>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>
#include <thread>
#include <vector>

/// Runs of the programs that fathom_add_language_model makes.
namespace fathom_test {

/// The programs under test are models that differ in nothing but the residual policy: PreNorm, PostNorm, and Admin,
/// which also computes activations again instead of keeping them.
inline std::string tiny_model() { return FATHOM_TEST_MODELS "/tiny-lm"; }
inline std::string other_model() { return FATHOM_TEST_MODELS "/other-lm"; }
inline std::string admin_model() { return FATHOM_TEST_MODELS "/admin-lm"; }

/// That many bytes of words.
inline std::string some_text(std::size_t bytes) {
  constexpr std::string_view words[] = {"the", "deep", "layer", "of", "a", "very", "stack", "norm", "adds", "to"};
  std::string text;
  for (std::minstd_rand draw(1); text.size() < bytes;) text.append(words[draw() % 10]) += draw() % 8 ? ' ' : '\n';
  text.resize(bytes);
  return text;
}

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

/// A folder with a text, in which the tiny model trains.
struct Workshop {
  TemporaryDirectory folder{fastest_folder()};
  std::filesystem::path text = folder.write("text.txt", some_text(5000));

  /// A run of some seconds at most, which saves often. Later arguments win.
  Arguments train(std::string_view output, const Arguments& more = {}) const {
    return Arguments{tiny_model(), "train", text, "--output", folder / output} +
           Arguments{"--steps", "120",          "--batch", "2", "--warmup", "10", "--validation-every",
                     "10",      "--save-every", "7"} +
           more;
  }
};

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
