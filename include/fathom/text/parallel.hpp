// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/text/lines.hpp>
#include <fathom/text/pairs.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

/// Parallel texts from files, each of which may be packed by gzip. A program that reads them links to zlib: the CMake
/// target `fathom::translation`, or `-lz`.

namespace fathom::inline FATHOM_ABI::text {

/// Line n of one file and line n of the other belong together. Errors: `FileError` of `read_lines`, and for files of
/// different length.
inline ParallelText read_pairs(const std::filesystem::path& source, const std::filesystem::path& target,
                               const LineOptions& options = {}) {
  ParallelText text{source.string(), read_lines(source, options), read_lines(target, options)};
  const auto lines = [](const Lines& side) {
    return std::to_string(side.size()) + (side.size() == 1 ? " line" : " lines");
  };
  if (text.source.size() != text.target.size())
    throw FileError(source.string() + " has " + lines(text.source) + " and " + target.string() + " has " +
                    lines(text.target) + "; give two files of which line n and line n belong together");
  return text;
}

/// The files `prefix.en` and `prefix.de` for the languages "en" and "de", as Moses names them, or `prefix.en.gz` where
/// there is no `prefix.en`. Errors: as of `read_pairs`.
inline ParallelText read_moses(const std::string& prefix, const std::string& source_language,
                               const std::string& target_language, const LineOptions& options = {}) {
  const auto file = [&](const std::string& language) {
    const std::filesystem::path plain = prefix + "." + language, packed = plain.string() + ".gz";
    std::error_code ignored;
    return !std::filesystem::exists(plain, ignored) && std::filesystem::exists(packed, ignored) ? packed : plain;
  };
  ParallelText text = read_pairs(file(source_language), file(target_language), options);
  text.name = prefix;
  return text;
}

/// Columns of a file whose columns are parted by tabs; the first is number 1.
struct Columns {
  int source = 1, target = 2;
};

/// A pair a line, in two columns of it; other columns are passed over. Errors: `FileError` of `read_lines`, and for a
/// line that has too few columns, with its number; `Error` for columns that are no two.
inline ParallelText read_tsv(const std::filesystem::path& path, const Columns& columns = {},
                             const LineOptions& options = {}) {
  if (columns.source < 1 || columns.target < 1 || columns.source == columns.target)
    throw Error("read_tsv: columns " + std::to_string(columns.source) + " and " + std::to_string(columns.target) +
                "; give two different ones, of which the first is 1");
  ParallelText text;
  text.name = path.string();
  const int last = std::max(columns.source, columns.target);
  read_lines(path, options, [&](std::string_view line, std::size_t number) {
    std::string_view source, target;
    std::size_t place = 0;
    for (int column = 1; column <= last; ++column) {
      if (place == std::string_view::npos)
        throw FileError(path.string() + ": line " + std::to_string(number) + " has " + std::to_string(column - 1) +
                        (column == 2 ? " column" : " columns") + " of the " + std::to_string(last) +
                        " that are needed; part them by tabs, or name other columns");
      const std::size_t tab = line.find('\t', place);
      const std::string_view value = line.substr(place, tab == std::string_view::npos ? tab : tab - place);
      if (column == columns.source) source = value;
      if (column == columns.target) target = value;
      place = tab == std::string_view::npos ? tab : tab + 1;
    }
    text.append(source, target);
  });
  return text;
}

}  // namespace fathom::inline FATHOM_ABI::text
