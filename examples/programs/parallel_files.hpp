// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <fathom/core/error.hpp>
#include <fathom/report/format.hpp>
#include <fathom/text/parallel.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <programs/rules.hpp>
#include <programs/saved_run.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// Parallel texts as a command line names them.
namespace fathom::program {

/// How sentence pairs lie in files.
struct PairFormat {
  std::string languages;  ///< "en-de": files are named by a prefix, as Moses does it; empty: they are named whole
  bool tables = false;    ///< each file is a table; one that is alone is one
  int source_column = 1, target_column = 2;  ///< of a table
};

inline constexpr int most_columns = 1000;

/// Texts: of each a source and a target file, a table, or Moses' prefix.
using PairFiles = std::vector<std::string>;

inline void add_pair_format(CLI::App& command, PairFormat& format) {
  command.add_option("--languages", format.languages,
                     "such as en-de: what is given are beginnings of names, each of two files that end so");
  command.add_flag("--tables", format.tables, "each file is a table, with both sides in a line, as one alone is");
  command.add_option("--source-column", format.source_column, "of a table whose columns are parted by tabs")
      ->transform(whole(format.source_column, 1, most_columns));
  command.add_option("--target-column", format.target_column, "the same")
      ->transform(whole(format.target_column, 1, most_columns));
}

/// Errors: `FileError` of the readers; `Error` for names without sense.
inline std::vector<text::ParallelText> read_texts(const PairFiles& files, const PairFormat& format) {
  std::vector<text::ParallelText> texts;
  if (!format.languages.empty()) {
    const std::size_t dash = format.languages.find('-');
    if (dash == std::string::npos || dash == 0 || dash + 1 == format.languages.size())
      throw Error("--languages " + format.languages +
                  ": two endings of file names with - between them are needed, "
                  "such as en-de");
    for (const std::string& file : files) {
      std::error_code ignored;
      if (std::filesystem::is_regular_file(file, ignored))
        throw Error("--languages " + format.languages + ": belongs to names that two files begin with, and " + file +
                    " is a file; leave one of them out");
      texts.push_back(text::read_moses(file, format.languages.substr(0, dash), format.languages.substr(dash + 1)));
    }
  } else if (format.tables || files.size() == 1) {
    for (const std::string& file : files)
      texts.push_back(text::read_tsv(file, {.source = format.source_column, .target = format.target_column}));
  } else {
    if (files.size() % 2 != 0)
      throw Error(files.back() + ": has no file of translations behind it; give two files for each text, or --tables");
    for (std::size_t i = 0; i < files.size(); i += 2) texts.push_back(text::read_pairs(files[i], files[i + 1]));
  }
  return texts;
}

/// The one text that the files are. Errors: as of `read_texts`; `Error` for several.
inline text::ParallelText read_text(const PairFiles& files, const PairFormat& format) {
  std::vector<text::ParallelText> texts = read_texts(files, format);
  if (texts.size() > 1)
    throw Error(texts[1].name + ": is a second text, and this command takes one at a time; leave one out");
  return std::move(texts.front());
}

/// The names as a checkpoint stores them: from the root, so that a run goes on wherever it is resumed.
inline std::string recorded(const PairFiles& files) {
  nlohmann::json names = nlohmann::json::array();
  for (const std::string& file : files) names.push_back(as_utf8(std::filesystem::absolute(file)));
  return names.dump();
}
inline std::string recorded(const PairFormat& format) {
  return nlohmann::json{{"languages", format.languages},
                        {"tables", format.tables},
                        {"source_column", format.source_column},
                        {"target_column", format.target_column}}
      .dump();
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

/// The same of a format. Errors: `Error` where it is none.
inline PairFormat recorded_format(const std::string& text) {
  try {
    const auto stored = nlohmann::json::parse(text);
    const auto column = [&](const char* name) {
      const auto value = format::parse<int>(stored.at(name).dump());
      return value && *value >= 1 && *value <= most_columns ? std::optional(*value) : std::nullopt;
    };
    const auto source = column("source_column"), target = column("target_column");
    if (source && target) return {stored.at("languages"), stored.at("tables"), *source, *target};
  } catch (const nlohmann::json::exception&) {
  }
  throw Error("the run to resume has recorded no format of texts: '" + text +
              "'; its checkpoint is damaged: restore it from a copy");
}

}  // namespace fathom::program
