// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/train/file.hpp>
#include <fathom/train/format.hpp>
#include <fathom/train/series.hpp>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// A run's numbers as comma-separated values:
///
///   step,loss,validation_loss,learning_rate
///   1,5.545177459716797,,1e-05
///   2,5.54512882232666,5.5451,2e-05
///
/// Numbers are the shortest text that reads back as the same bits, a missing value is an empty cell, and nan and inf
/// are values. Each row is in the file when row() returns; a row that was cut short by a killed program is no row.
namespace fathom::inline FATHOM_ABI {

/// A log as read back. The first column is the step.
struct CsvTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::optional<double>>> rows;  // each as long as `columns`

  /// One column over the first, without the rows that miss it. Throws Error if there is no such column.
  Series series(std::string_view column) const;
};

/// Throws FileError when the file is missing or a line is no row of numbers under its header.
CsvTable read_csv(const std::filesystem::path& path);

/// Writes such a file, one row per step, in rising order of steps.
class CsvLog {
 public:
  /// `columns` are those after the step, named without commas, quotes or line ends. A file that is there is replaced,
  /// unless a run resumes after a step: then its rows up to that step stay and later ones are cut off, because the run
  /// writes them again. Throws FileError if the file cannot be written or has other columns than the run.
  CsvLog(std::filesystem::path path, std::span<const std::string> columns,
         std::optional<std::int64_t> resume_after = std::nullopt);
  CsvLog(std::filesystem::path path, std::initializer_list<std::string> columns,
         std::optional<std::int64_t> resume_after = std::nullopt)
      : CsvLog(std::move(path), std::span(columns.begin(), columns.size()), resume_after) {}

  /// Appends the values of one step, one for each column. Throws Error if the step does not rise or the number of
  /// values is another, FileError if the disk does not take the row.
  void row(std::int64_t step, std::span<const std::optional<double>> values);
  void row(std::int64_t step, std::initializer_list<std::optional<double>> values) {
    row(step, std::span(values.begin(), values.size()));
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  /// Whether a log with our header is there; its rows after `last_step` are gone then.
  bool cut_after(std::int64_t last_step);
  void write(std::string_view line);

  std::filesystem::path path_;
  std::size_t columns_;
  std::int64_t last_step_ = -1;
  std::string line_;  // kept, so that a row allocates nothing
  std::unique_ptr<std::FILE, Close> file_;
};

namespace detail {

/// Takes the part before the next separator off the front of `text`; nothing if no separator is left.
inline std::optional<std::string_view> take_until(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  if (end == text.npos) return std::nullopt;
  const auto part = text.substr(0, end);
  text.remove_prefix(end + 1);
  return part;
}

template <class Number>
std::optional<Number> parse_cell(std::string_view cell) {
  Number number{};
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  if (error != std::errc{} || end != cell.data() + cell.size()) return std::nullopt;
  return number;
}

}  // namespace detail

inline Series CsvTable::series(std::string_view column) const {
  std::size_t index = 0;
  while (index < columns.size() && columns[index] != column) ++index;
  if (index == columns.size()) throw Error("log: there is no column '" + std::string(column) + "'");
  Series result{.name = std::string(column), .x = {}, .y = {}};
  for (const auto& row : rows) {
    if (!row[0] || !row[index]) continue;
    result.x.push_back(*row[0]);
    result.y.push_back(*row[index]);
  }
  return result;
}

inline CsvTable read_csv(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::string_view rest = text;
  CsvTable table;
  for (std::size_t number = 1; auto line = detail::take_until(rest, '\n'); ++number) {
    std::vector<std::string_view> cells;
    while (const auto cell = detail::take_until(*line, ',')) cells.push_back(*cell);
    cells.push_back(*line);
    if (number == 1) {
      table.columns.assign(cells.begin(), cells.end());
      continue;
    }
    auto& row = table.rows.emplace_back();
    bool numbers = cells.size() == table.columns.size();
    for (const auto cell : cells)
      numbers &= row.emplace_back(detail::parse_cell<double>(cell)).has_value() || cell.empty();
    if (!numbers)
      throw FileError(path.string() + ": line " + std::to_string(number) + " is not a row of numbers under the header");
  }
  if (table.columns.empty()) throw FileError(path.string() + ": not a log, the header is missing");
  return table;
}

inline CsvLog::CsvLog(std::filesystem::path path, std::span<const std::string> columns,
                      std::optional<std::int64_t> resume_after)
    : path_(std::move(path)), columns_(columns.size()), line_("step") {
  for (const auto& column : columns) {
    if (column.empty() || column.find_first_of(",\"\r\n") != column.npos)
      throw Error("log: '" + column + "' cannot name a column, leave out commas, quotes and line ends");
    line_ += ',' + column;
  }
  line_ += '\n';
  const bool continues = resume_after && std::filesystem::exists(path_) && cut_after(*resume_after);
  file_.reset(std::fopen(path_.c_str(), continues ? "ab" : "wb"));
  if (!file_) detail::throw_system_error(path_, "write", errno);
  if (!continues) write(line_);
}

inline void CsvLog::row(std::int64_t step, std::span<const std::optional<double>> values) {
  if (step <= last_step_)
    throw Error("log: step " + std::to_string(step) + " does not follow " + std::to_string(last_step_));
  if (values.size() != columns_)
    throw Error("log: " + std::to_string(values.size()) + " values for " + std::to_string(columns_) + " columns");
  line_.clear();
  format::append(line_, step);
  for (const auto& value : values) {
    line_ += ',';
    if (value) format::append_exact(line_, *value);
  }
  line_ += '\n';
  write(line_);
  last_step_ = step;
}

inline bool CsvLog::cut_after(std::int64_t last_step) {
  const std::string text = read_file(path_);
  std::string_view rest = text;
  const auto header = detail::take_until(rest, '\n');
  if (!header) return false;
  if (std::string(*header) + '\n' != line_)
    throw FileError(path_.string() + ": its columns are '" + std::string(*header) +
                    "', this run writes others; move it away");
  std::size_t kept = text.size() - rest.size();
  while (auto line = detail::take_until(rest, '\n')) {
    const auto step = detail::parse_cell<std::int64_t>(detail::take_until(*line, ',').value_or(*line));
    if (!step)
      throw FileError(path_.string() + ": the row after step " + std::to_string(last_step_) + " names no step");
    if (*step > last_step) break;
    last_step_ = *step;
    kept = text.size() - rest.size();
  }
  if (::truncate(path_.c_str(), static_cast<off_t>(kept)) != 0) detail::throw_system_error(path_, "shorten", errno);
  return true;
}

inline void CsvLog::write(std::string_view line) {
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0)
    detail::throw_system_error(path_, "write", errno);
}

}  // namespace fathom::inline FATHOM_ABI
