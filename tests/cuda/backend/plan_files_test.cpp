// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cuda/plan_files.hpp>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>

#include "support/temporary_directory.hpp"

namespace plan_files_test {

using namespace fathom;
using fathom_test::TemporaryDirectory;

TEST_CASE("plans are kept by their keys, and damaged ones are not there", "[cuda]") {
  const TemporaryDirectory folder;
  const cuda::PlanFiles files(folder / "plans");
  CHECK(files.find("a\nkey").empty());
  files.keep("a\nkey", "a plan\nof two lines");
  files.keep("another key", "another plan");
  CHECK(files.find("a\nkey") == "a plan\nof two lines");
  CHECK(files.find("another key") == "another plan");
  CHECK(files.find("a third key").empty());
  files.keep("another key", "a new plan");
  CHECK(files.find("another key") == "a new plan");

  for (const auto& entry : std::filesystem::directory_iterator(folder / "plans")) {
    std::string text = read_file(entry.path());
    text.back() ^= 1;
    write_file(entry.path(), text);
  }
  CHECK(files.find("a\nkey").empty());
  CHECK(files.find("another key").empty());
}

TEST_CASE("a folder that cannot be made keeps no plans, and that is no error", "[cuda]") {
  const TemporaryDirectory folder;
  const cuda::PlanFiles files(folder.write("a file", "text") / "plans");
  files.keep("key", "plan");
  CHECK(files.find("key").empty());
}

}  // namespace plan_files_test
