// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <fathom/core/error.hpp>
#include <fathom/text/parallel.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <programs/rules.hpp>
#include <programs/saved_run.hpp>
#include <string>
#include <string_view>
#include <vector>

/// Parallel texts as a command line names them.
namespace fathom::program {

/// How sentence pairs lie in files.
struct PairFormat {
  std::string languages;  ///< "en-de": files are named by a prefix, as Moses does it; empty: they are named whole
  int source_column = 1, target_column = 2;  ///< of a table
};

/// A source and a target file, a table, or Moses' prefix.
using PairFiles = std::vector<std::string>;

inline void add_pair_format(CLI::App& command, PairFormat& format) {
  command.add_option("--languages", format.languages,
                     "such as en-de: what is given is the beginning of the names of two files that end so");
  command.add_option("--source-column", format.source_column, "of a table whose columns are parted by tabs")
      ->transform(whole(format.source_column, 1, 1000));
  command.add_option("--target-column", format.target_column, "the same")
      ->transform(whole(format.target_column, 1, 1000));
}

/// Errors: `FileError` of the readers; `Error` for names without sense.
inline text::ParallelText read_pair_files(const PairFiles& files, const PairFormat& format) {
  if (files.size() == 2) {
    if (!format.languages.empty())
      throw Error("--languages " + format.languages + ": belongs to one name that two files begin with, and " +
                  files[0] + " and " + files[1] + " are two; leave one of them out");
    return text::read_pairs(files[0], files[1]);
  }
  if (format.languages.empty())
    return text::read_tsv(files.at(0), {.source = format.source_column, .target = format.target_column});
  const std::size_t dash = format.languages.find('-');
  if (dash == std::string::npos || dash == 0 || dash + 1 == format.languages.size())
    throw Error("--languages " + format.languages + ": two endings of file names with - between them are needed, "
                "such as en-de");
  return text::read_moses(files.at(0), format.languages.substr(0, dash), format.languages.substr(dash + 1));
}

/// The names as a checkpoint stores them: from the root, so that a run goes on wherever it is resumed.
inline std::string recorded(const PairFiles& files) {
  nlohmann::json names = nlohmann::json::array();
  for (const std::string& file : files) names.push_back(as_utf8(std::filesystem::absolute(file)));
  return names.dump();
}
/// What `recorded` has stored; nothing where it is no such list.
inline PairFiles recorded_files(std::string_view names) {
  const auto list = nlohmann::json::parse(names, nullptr, false);
  PairFiles files;
  if (list.is_array())
    for (const auto& name : list)
      if (name.is_string()) files.push_back(name.get<std::string>());
  return files;
}

}  // namespace fathom::program
