// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/report/format.hpp>
#include <fathom/report/series.hpp>
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
/// are values. Each row is in the file when row() returns. What a crash leaves at the end is no row: a line that a
/// killed program has cut short, and zero bytes in place of what a lost power supply kept from the disk. Anything else
/// that is no row is damage, and refused.
namespace fathom::inline FATHOM_ABI {

/// A log as read back. The first column is the step, which rises.
struct CsvTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::optional<double>>> rows;  // each as long as `columns`

  /// One column over the first, without the rows that miss it. Throws Error if there is no such column.
  Series series(std::string_view column) const;
};

/// Throws FileError when the file is missing, or names the line that is no row of numbers under the header or whose
/// step does not rise.
CsvTable read_csv(const std::filesystem::path& path);

/// Writes such a file, one row per step, in rising order of steps.
class CsvLog {
 public:
  /// `columns` are those after the step, named without commas, quotes or line ends. A file that is there is replaced,
  /// unless a run resumes after a step: then its rows up to that step stay and later ones are cut off, because the run
  /// writes them again. Throws FileError if the file cannot be written, has other columns than the run, or is damaged
  /// in any row; it is then what it was.
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

  /// Of the last row; -1: there is none.
  std::int64_t last_step() const { return last_step_; }
  /// Rows that were kept of the run that this one resumes.
  std::int64_t kept_rows() const { return kept_rows_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  /// Whether a log with our header is there; its rows after `last_step` are gone then.
  bool cut_after(std::int64_t last_step);
  void write(std::string_view line);

  std::filesystem::path path_;
  std::size_t columns_;
  std::int64_t last_step_ = -1, kept_rows_ = 0;
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

/// The rows of a log, one after another. Throws FileError that names the line.
class CsvReader {
 public:
  explicit CsvReader(const std::filesystem::path& path) : path_(path), text_(read_file(path)) {
    text_.resize(text_.find_last_not_of('\0') + 1);  // no text at all: npos + 1 is 0
    rest_ = text_;
    header_ = take_until(rest_, '\n');
  }
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  /// Without its line end; nothing if the file ends before it.
  std::optional<std::string_view> header() const { return header_; }
  /// Bytes of the header and the rows so far.
  std::size_t position() const { return text_.size() - rest_.size(); }
  /// What is left of the file.
  std::string_view rest() const { return rest_; }
  std::int64_t step() const { return step_; }

  /// The next row: its step, and a value for each column of the header. False behind the last one.
  bool next(std::vector<std::optional<double>>& row) {
    auto line = take_until(rest_, '\n');
    if (!line) return false;
    ++line_;
    const auto columns = static_cast<std::size_t>(std::ranges::count(*header_, ',')) + 1;
    const auto step = format::parse<std::int64_t>(line->substr(0, line->find(',')));
    row.clear();
    bool numbers = step.has_value();
    while (line) {
      const auto cell = take_until(*line, ',');
      const auto text = cell.value_or(*line);
      numbers &= row.emplace_back(format::parse<double>(text)).has_value() || text.empty();
      if (!cell) line.reset();
    }
    if (!numbers || row.size() != columns)
      refuse("is no row of a step and " + std::to_string(columns - 1) + " numbers");
    if (*step <= step_)
      refuse("has step " + std::to_string(*step) + ", which does not follow " + std::to_string(step_));
    step_ = *step;
    return true;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw FileError(path_.string() + ": line " + std::to_string(line_) + " " + what +
                    "; the file is damaged: repair that line, or move the file away");
  }

  const std::filesystem::path& path_;
  std::string text_;
  std::string_view rest_;
  std::optional<std::string_view> header_;
  std::int64_t line_ = 1, step_ = -1;
};

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
  detail::CsvReader log(path);
  auto header = log.header();
  if (!header) throw FileError(path.string() + ": not a log, the header is missing");
  CsvTable table;
  while (const auto name = detail::take_until(*header, ',')) table.columns.emplace_back(*name);
  table.columns.emplace_back(*header);
  for (std::vector<std::optional<double>> row; log.next(row);) table.rows.push_back(row);
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
  if (std::error_code none; std::filesystem::is_fifo(path_, none))  // which would wait for a reader
    throw FileError(path_.string() + ": is a pipe; move it away");
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
  detail::CsvReader log(path_);
  const std::string header(log.header() ? std::string(*log.header()) + '\n' : log.rest());
  if (header != (log.header() ? line_ : line_.substr(0, header.size())))
    throw FileError(path_.string() + ": its columns are '" + header.substr(0, header.find('\n')) +
                    "', this run writes others; move it away");
  if (!log.header()) return false;  // cut short
  std::size_t kept = log.position();
  for (std::vector<std::optional<double>> row; log.next(row);) {
    if (log.step() > last_step) continue;
    last_step_ = log.step();
    ++kept_rows_;
    kept = log.position();
  }
  if (::truncate(path_.c_str(), static_cast<off_t>(kept)) != 0) detail::throw_system_error(path_, "shorten", errno);
  return true;
}

inline void CsvLog::write(std::string_view line) {
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0)
    detail::throw_system_error(path_, "write", errno);
}

}  // namespace fathom::inline FATHOM_ABI
