// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

namespace fathom_test {

/// A file or folder of the corpora and models that are too large for this repository, in the folder FATHOM_DATA_DIR.
/// Skips the test where it is not there.
inline std::filesystem::path data(const std::filesystem::path& name) {
  const char* const folder = std::getenv("FATHOM_DATA_DIR");
  if (folder == nullptr) SKIP("FATHOM_DATA_DIR is not set; set it to the folder that has " << name.string());
  const auto path = std::filesystem::path(folder) / name;
  if (!std::filesystem::exists(path))
    SKIP(path.string() << " is not there; set FATHOM_DATA_DIR to the folder that has " << name.string());
  return path;
}

}  // namespace fathom_test
