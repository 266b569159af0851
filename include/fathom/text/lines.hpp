// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/io/gzip.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/pairs.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>

/// Text files with one sentence a line, plain or packed by gzip.

namespace fathom::inline FATHOM_ABI::text {

/// Bounds of a text file: a file beyond them is no text of sentences, or its memory is better asked for by name.
struct LineOptions {
  std::size_t longest_line = std::size_t{1} << 20;  ///< bytes
  std::size_t largest = std::size_t{1} << 35;       ///< bytes of the whole file, unpacked
};

namespace detail {

/// Cuts a text that comes in pieces into lines, and checks each of them.
template <class Take>
class LineCutter {
 public:
  LineCutter(const std::filesystem::path& path, const LineOptions& options, Take& take)
      : path_(path), options_(options), take_(take) {}

  void add(std::string_view piece) {
    if (total_ == 0 && !piece.empty()) begin(piece);
    total_ += piece.size();
    if (total_ > options_.largest)
      throw FileError(path_.string() + ": is longer than " + std::to_string(options_.largest) +
                      " bytes; cut it into parts, or allow more");
    while (!piece.empty()) {
      const std::size_t end = piece.find('\n');
      const std::string_view part = piece.substr(0, end);
      if (begun_.size() + part.size() > options_.longest_line) {
        ++number_;
        refuse("is longer than " + std::to_string(options_.longest_line) + " bytes",
               "give a text with one sentence a line");
      }
      if (end == std::string_view::npos) {
        begun_ += part;
        return;
      }
      if (begun_.empty()) {
        line(part);
      } else {
        line(begun_ += part);
        begun_.clear();
      }
      piece.remove_prefix(end + 1);
    }
  }

  /// A last line needs no line end.
  void finish() {
    if (!begun_.empty()) line(begun_);
    if (number_ == 0) throw FileError(path_.string() + ": " + foreign_file({}));
  }

 private:
  void begin(std::string_view& piece) {
    if (const std::string encoding = wide_encoding(piece); !encoding.empty())
      throw FileError(path_.string() + ": is " + encoding + "; convert it: iconv -f " + encoding + " -t UTF-8");
    known_ = foreign_file(piece.substr(0, 64));
    // What is text, and still surely another one. What is no text is found by its bytes.
    if (!known_.empty() && (piece[0] == 'v' || piece[0] == '<')) throw FileError(path_.string() + ": " + known_);
    if (piece.starts_with("\xEF\xBB\xBF")) piece.remove_prefix(3);
  }

  void line(std::string_view text) {
    ++number_;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (const std::size_t valid = valid_utf8(text); valid < text.size()) {
      if (!known_.empty()) throw FileError(path_.string() + ": " + known_);
      refuse("is not UTF-8 at byte " + std::to_string(valid + 1),
             "convert the file (iconv -f ISO-8859-1 -t UTF-8, if that is what it is) or take the line out");
    }
    if (std::memchr(text.data(), 0, text.size()) != nullptr)
      refuse("has a zero byte", "give a file with text, or take the line out");
    take_(text, number_);
  }

  [[noreturn]] void refuse(const std::string& reason, const char* remedy) const {
    throw FileError(path_.string() + ": line " + std::to_string(number_) + " " + reason + "; " + remedy);
  }

  const std::filesystem::path& path_;
  const LineOptions& options_;
  Take& take_;
  std::string begun_, known_;  // a line whose end has not come; what other file this is, if its bytes tell
  std::size_t number_ = 0, total_ = 0;
};

}  // namespace detail

/// Gives `take(line, number)` each line of a regular file, without its end, which is LF or CR LF; numbers begin at 1. A
/// byte order mark is passed over, and the last line needs no end. Errors: `FileError` for a path that is missing or no
/// regular file, a file that is empty, damaged, UTF-16 or UTF-32, or beyond the bounds; with the line's number where
/// one is too long, not UTF-8, or has a zero byte.
template <class Take>
void read_lines(const std::filesystem::path& path, const LineOptions& options, Take&& take) {
  const MappedFile file(path);
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  detail::LineCutter<std::remove_reference_t<Take>> cutter(path, options, take);
  if (is_gzip(bytes)) {
    Gunzip unpacked(path, bytes);
    for (std::string_view piece = unpacked.next(); !piece.empty(); piece = unpacked.next()) cutter.add(piece);
  } else {
    cutter.add(bytes);
  }
  cutter.finish();
}

/// The same of text that does not lie in a file: `next()` gives it piece by piece, at the end an empty one. `name` is for
/// messages. No text at all has no lines, which is no error here.
template <class Next, class Take>
void read_lines_of(const std::string& name, const LineOptions& options, Next&& next, Take&& take) {
  const std::filesystem::path path = name;
  detail::LineCutter<std::remove_reference_t<Take>> cutter(path, options, take);
  bool any = false;
  for (std::string_view piece = next(); !piece.empty(); piece = next()) {
    any = true;
    cutter.add(piece);
  }
  if (any) cutter.finish();
}

/// All lines of a file; errors as of the other.
inline Lines read_lines(const std::filesystem::path& path, const LineOptions& options = {}) {
  Lines lines;
  read_lines(path, options, [&](std::string_view line, std::size_t) { lines.append(line); });
  return lines;
}

}  // namespace fathom::inline FATHOM_ABI::text
