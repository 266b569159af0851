// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <stdexcept>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Every run-time mistake a caller can make (a missing file, a wrong checkpoint, a bad flag) ends in one of these. The
/// message is one line that says what is wrong, where, and what to do; programs print it and exit non-zero.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A view, batch or buffer whose run-time extent does not fit.
struct ShapeError : Error {
  using Error::Error;
};

/// A file that is missing, unreadable, malformed, truncated or meant for another model.
struct FileError : Error {
  using Error::Error;
};

}  // namespace fathom::inline FATHOM_ABI
