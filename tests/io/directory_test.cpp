// SPDX-License-Identifier: Apache-2.0
#include <fathom/io/directory.hpp>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/error.hpp>
#include <filesystem>
#include <system_error>
#include <vector>

#include "support/temporary_directory.hpp"

namespace directory_test {

using namespace fathom_test;
using fathom::entries_of;

TEST_CASE("all that is in a directory is listed, and nothing below it", "[directory]") {
  const TemporaryDirectory folder;
  CHECK(entries_of(folder.path()).empty());
  folder.write("file", "a");
  folder.write(".hidden", "b");
  folder.write("inner/file", "c");
  std::filesystem::create_symlink("nowhere", folder / "link");
  std::vector<std::filesystem::path> entries = entries_of(folder.path());
  std::ranges::sort(entries);
  CHECK(entries ==
        std::vector<std::filesystem::path>{folder / ".hidden", folder / "file", folder / "inner", folder / "link"});
}

TEST_CASE("what cannot be listed has a reason", "[directory]") {
  const TemporaryDirectory folder;
  std::error_code error;
  CHECK(entries_of(folder.path(), error).empty());
  CHECK(!error);
  CHECK(entries_of(folder / "missing", error).empty());
  CHECK(error == std::errc::no_such_file_or_directory);
  CHECK(entries_of(folder.write("file", "a"), error).empty());
  CHECK(error == std::errc::not_a_directory);
  CHECK_THROWS_AS(entries_of(folder / "missing"), fathom::FileError);
}

}  // namespace directory_test
