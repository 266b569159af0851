// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

namespace fathom_test {

/// A file or folder of the corpora and models that are too large for this repository: in the folder FATHOM_DATA_DIR, or
/// in shared/data beside the project, in whose root tests run. Skips the test where it is not there.
inline std::filesystem::path data(const std::filesystem::path& name) {
  const char* const chosen = std::getenv("FATHOM_DATA_DIR");
  const auto path = std::filesystem::path(chosen != nullptr ? chosen : "../shared/data") / name;
  if (!std::filesystem::exists(path))
    SKIP(path.string() << " is not there; set FATHOM_DATA_DIR to the folder that has " << name.string());
  return path;
}

}  // namespace fathom_test
