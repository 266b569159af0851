// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>

#include <cerrno>
#include <fathom/core/config.hpp>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The paths of all that is in a directory, in any order; none, and the reason in `error`, where it cannot be listed.
/// Memory that is missing is thrown, where libstdc++'s iterators of directories end the program.
inline std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory, std::error_code& error) {
  std::vector<std::filesystem::path> entries;
  const auto close = [](DIR* open) { ::closedir(open); };
  const std::unique_ptr<DIR, decltype(close)> open(::opendir(directory.c_str()), close);
  int reason = open ? 0 : errno;
  while (open) {
    errno = 0;
    const dirent* const entry = ::readdir(open.get());
    reason = entry == nullptr ? errno : 0;
    if (entry == nullptr) break;
    if (const std::string_view name = entry->d_name; name != "." && name != "..") entries.push_back(directory / name);
  }
  error = {reason, std::generic_category()};
  if (error) entries.clear();
  return entries;
}

/// Errors: `FileError` for one that cannot be listed.
inline std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory) {
  std::error_code error;
  std::vector<std::filesystem::path> entries = entries_of(directory, error);
  if (error) detail::throw_system_error(directory, "list", error.value());
  return entries;
}

}  // namespace fathom::inline FATHOM_ABI
