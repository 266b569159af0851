// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <programs/process.hpp>
#include <string>
#include <string_view>
#include <vector>

/// Programs that are given something without sense.
namespace fathom_test {

using Arguments = std::vector<std::string>;

inline Arguments operator+(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

inline std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t end; !text.empty(); text.remove_prefix(std::min(end + 1, text.size())))
    lines.emplace_back(text.substr(0, end = std::min(text.find('\n'), text.size())));
  return lines;
}

/// What a program wrote to stderr, without the line about a slow build (backend/cpu/slow_build.hpp): the example
/// programs have one where the whole project is built without optimization or for every processor.
inline std::vector<std::string> lines_without_remark(const Ended& ended) {
  std::vector<std::string> lines = lines_of(ended.err);
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("fathom: this program was compiled "); });
  return lines;
}

/// The error of a program that refused: one line on stderr, beside those of the progress.
inline std::string error_line(const Ended& ended) {
  std::vector<std::string> lines = lines_without_remark(ended);
  std::erase_if(lines,
                [](const std::string& line) { return line.starts_with("train ") || line.starts_with("evaluate "); });
  CAPTURE(ended.err);
  CHECK(lines.size() == 1);
  return lines.empty() ? "" : lines.front();
}

/// One line on stderr that says all of `parts`, nothing on stdout, and an exit code that is neither 0 nor a crash.
inline void check_refused(const Arguments& command, const std::vector<std::string>& parts) {
  const Ended ended = run(command);
  const std::string line = error_line(ended);
  CAPTURE(command, line);
  CHECK(ended.code > 0);
  CHECK(ended.out.empty());
  CHECK(line.starts_with(std::filesystem::path(command[0]).filename().string() + ": "));
  CHECK(line.size() < 400);
  for (const std::string& part : parts) {
    INFO("expected: " << part);
    CHECK(line.find(part) != std::string::npos);
  }
}

}  // namespace fathom_test
