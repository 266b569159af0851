// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/directory.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/text/tokenizer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// From files to tokens in memory.

namespace fathom::inline FATHOM_ABI::text {

struct Document {
  std::filesystem::path path;
  std::string text;
};

/// What does not count as text, and why.
struct LeftOut {
  std::filesystem::path path;
  std::string reason;  ///< follows the path in a sentence; in parentheses at its end is what is of this path alone
};

/// What was read, and what was not.
struct ReadReport {
  std::filesystem::path folder;  ///< empty when a file was named
  std::size_t files = 0, bytes = 0;
  std::vector<LeftOut> left_out;  ///< in the order of their paths
  std::size_t hidden = 0;         ///< names that start with a dot; what is below them is not counted
  std::size_t other_extensions = 0;

  /// For people: nothing when a file was named; else how much text the folder has, the first five that were left out,
  /// and how many more for each reason.
  std::vector<std::string> lines() const;
};

/// What was found at a path, in the order of the paths.
struct Documents {
  std::vector<Document> texts;
  ReadReport report;
};

/// Why a file or a folder does not count as text: what follows its path in a sentence, or nothing when it does count.
using LeaveOut = std::function<std::string(const std::filesystem::path&)>;

namespace detail {

/// The encoding of a text whose characters take two or four bytes: by its byte order mark, or by where the zero bytes
/// of its beginning are. Empty for everything else.
inline std::string wide_encoding(std::string_view content) {
  using namespace std::string_view_literals;
  if (content.starts_with("\xFF\xFE\0\0"sv) || content.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
  if (content.starts_with("\xFF\xFE"sv) || content.starts_with("\xFE\xFF"sv)) return "UTF-16";
  const std::size_t quads = std::min<std::size_t>(content.size() / 4, 1024);
  std::size_t zeros[4]{};  // by their place in four bytes
  for (std::size_t i = 0; i < 4 * quads; ++i) zeros[i % 4] += content[i] == '\0';
  const std::size_t even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3];
  if (quads < 2) return {};
  if (zeros[3] == quads && zeros[0] == 0 && 2 * zeros[2] > quads) return "UTF-32LE";
  if (zeros[0] == quads && zeros[3] == 0 && 2 * zeros[1] > quads) return "UTF-32BE";
  if (odd >= quads && 16 * even <= odd) return "UTF-16LE";
  if (even >= quads && 16 * odd <= even) return "UTF-16BE";
  return {};
}

/// Why a file's content is no text; empty when it is one.
inline std::string why_no_text(std::string_view content) {
  if (content.empty()) return "is empty";
  if (const std::string encoding = wide_encoding(content); !encoding.empty())
    return "is " + encoding + " (convert it: iconv -f " + encoding + " -t UTF-8)";
  if (const std::size_t zero = content.find('\0'); zero != content.npos) {
    const std::string known = foreign_file(content.substr(0, 64));
    return known.empty() ? "has a zero byte, so it is no text (at byte " + std::to_string(zero) + ")" : known;
  }
  if (content.starts_with("version https://git-lfs.github.com/spec/")) return foreign_file(content);
  return {};
}

/// The files below a folder. A link to a folder is followed, and a link to a file is that file; but every folder and
/// file that links lead to counts once, where it is itself, or else under the first of the links.
class Listing {
 public:
  /// Errors: `FileError` for a folder that cannot be listed.
  Listing(const std::filesystem::path& folder, const std::vector<std::string>& extensions, const LeaveOut& leave_out)
      : extensions_(extensions), leave_out_(leave_out) {
    report.folder = folder;
    if (const auto status = status_of(folder, ::stat)) take(folder, *status);
    while (!folder_links_.empty()) take_new(std::exchange(folder_links_, {}));
    take_new(std::exchange(file_links_, {}));
    std::ranges::sort(files);
  }

  std::vector<std::filesystem::path> files;  ///< sorted
  ReadReport report;

 private:
  using Status = struct stat;
  using Identity = std::pair<dev_t, ino_t>;
  static Identity identity(const Status& status) { return {status.st_dev, status.st_ino}; }

  /// Nothing where nothing is: links that go round in circles lead to nothing.
  static std::optional<Status> status_of(const std::filesystem::path& path, int (*ask)(const char*, Status*)) {
    Status status{};
    if (ask(path.c_str(), &status) == 0) return status;
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
    fathom::detail::throw_system_error(path, "read", errno);
  }

  void walk(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> entries = entries_of(folder);
    std::ranges::sort(entries);
    for (const std::filesystem::path& path : entries) {
      if (path.filename().string().starts_with('.')) {
        ++report.hidden;
      } else if (const auto status = status_of(path, ::lstat); status && S_ISLNK(status->st_mode)) {
        const auto target = status_of(path, ::stat);
        if (target)
          (S_ISDIR(target->st_mode) ? folder_links_ : file_links_).push_back(path);
        else
          report.left_out.push_back({path, "is a link to nothing"});
      } else if (status) {
        take(path, *status);
      }
    }
  }

  void take_new(std::vector<std::filesystem::path> links) {
    std::ranges::sort(links);
    for (const std::filesystem::path& link : links)
      if (const auto status = status_of(link, ::stat); status && !seen_.contains(identity(*status)))
        take(link, *status);
  }

  void take(const std::filesystem::path& path, const Status& status) {
    const bool is_folder = S_ISDIR(status.st_mode);
    if (std::string reason = leave_out_ ? leave_out_(path) : ""; !reason.empty()) {
      report.left_out.push_back({path, std::move(reason)});
    } else if (!is_folder && !S_ISREG(status.st_mode)) {
      report.left_out.push_back({path, "is not a regular file"});
    } else if (!is_folder && !extensions_.empty() && !std::ranges::count(extensions_, path.extension().string())) {
      ++report.other_extensions;
    } else {
      const bool is_new = seen_.insert(identity(status)).second;
      if (!is_folder)
        files.push_back(path);
      else if (is_new)
        walk(path);
    }
  }

  const std::vector<std::string>& extensions_;
  const LeaveOut& leave_out_;
  std::set<Identity> seen_;
  std::vector<std::filesystem::path> folder_links_, file_links_;  // for when all else has been seen
};

}  // namespace detail

/// Reads one file, or every file of a folder and the folders below it, in the order of their paths; of a folder only
/// files with one of `extensions` (".txt", …; none given: all), and nothing at or below a path that `leave_out` gives a
/// reason for. Links are followed, but what they lead to counts once. Files are taken as they are, byte by byte. The
/// report names what of a folder was left out: files that are empty, UTF-16 or UTF-32, or hold a zero byte; links to
/// nothing; pipes, sockets and devices. Errors: `FileError` for a path that is missing, unreadable or a device, a file
/// in a folder that is unreadable, a file that would be left out of a folder, a folder without text.
inline Documents read_documents(const std::filesystem::path& path, const std::vector<std::string>& extensions = {},
                                const LeaveOut& leave_out = {}) {
  Documents documents;
  const auto take = [&](const std::filesystem::path& file, std::string content) {
    documents.report.bytes += content.size();
    ++documents.report.files;
    documents.texts.push_back({file, std::move(content)});
  };
  std::error_code error;
  if (std::filesystem::is_character_file(path, error) || std::filesystem::is_block_file(path, error))
    throw FileError(path.string() + ": is a device, which may have no end; give a file with text");
  if (!std::filesystem::is_directory(path, error)) {
    std::string content = read_file(path);
    if (const std::string reason = detail::why_no_text(content); !reason.empty())
      throw FileError(path.string() + ": " + reason + "; give a file with text");
    take(path, std::move(content));
    return documents;
  }
  detail::Listing listing(path, extensions, leave_out);
  documents.report = std::move(listing.report);
  std::vector<LeftOut>& left_out = documents.report.left_out;
  for (const std::filesystem::path& file : listing.files) {
    std::string content = read_file(file);
    if (std::string reason = detail::why_no_text(content); !reason.empty())
      left_out.push_back({file, std::move(reason)});
    else
      take(file, std::move(content));
  }
  std::ranges::sort(left_out, {}, &LeftOut::path);
  if (documents.texts.empty()) {
    std::string wanted, found;
    for (const std::string& extension : extensions) wanted += (wanted.empty() ? " named *" : " or *") + extension;
    for (const std::string& line : documents.report.lines())
      if (line.starts_with("left out: ") && found.empty()) found = " (" + line + ")";
    throw FileError(path.string() + ": is a folder without text files" + wanted + "; give a file or folder with text" +
                    found);
  }
  return documents;
}

inline std::vector<std::string> ReadReport::lines() const {
  if (folder.empty()) return {};
  const auto count = [](std::size_t number, const std::string& one, const std::string& rest = {}) {
    return std::to_string(number) + " " + one + (number == 1 ? "" : "s") + rest;
  };
  std::vector<std::string> lines{folder.string() + ": " + count(files, "file") + ", " + count(bytes, "byte") +
                                 " of text"};
  const std::size_t named = std::min<std::size_t>(left_out.size(), 5), more = left_out.size() - named;
  for (const LeftOut& one : std::span(left_out).first(named))
    lines.push_back("left out: " + one.path.string() + " " + one.reason);
  std::string rest;
  const auto add = [&](std::size_t number, const std::string& text) {
    if (number > 0) rest += (rest.empty() ? "left out: " : ", ") + text;
  };
  std::map<std::string, std::size_t> reasons;
  for (const LeftOut& one : std::span(left_out).subspan(named)) ++reasons[one.reason.substr(0, one.reason.find(" ("))];
  std::string counts;
  for (const auto& [reason, number] : reasons)
    counts += (counts.empty() ? "" : ", ") + reason + ": " + std::to_string(number);
  add(more, std::to_string(more) + " more (" + counts + ")");
  add(hidden, count(hidden, "hidden name"));
  add(other_extensions, count(other_extensions, "file", " with other extensions"));
  if (!rest.empty()) lines.push_back(rest);
  for (std::string& line : lines)
    std::ranges::replace_if(
        line, [](char c) { return c >= 0 && c < ' '; }, '?');  // a path may hold line ends
  return lines;
}

/// The tokens of documents, one after another.
template <class Token>
struct Corpus {
  std::vector<Token> tokens;
  std::vector<std::size_t> offsets{0};  ///< first token of each document, then the number of tokens
  ReadReport report{};                  ///< of what was read for it

  std::size_t documents() const { return offsets.size() - 1; }
  std::span<const Token> document(std::size_t index) const {
    return std::span(tokens).subspan(offsets[index], offsets[index + 1] - offsets[index]);
  }
  void append(std::span<const Token> document) {
    tokens.insert(tokens.end(), document.begin(), document.end());
    offsets.push_back(tokens.size());
  }
};

/// Errors: `FileError` that names the document which the tokenizer refuses.
template <Tokenizer T>
Corpus<typename T::Token> encode(const T& tokenizer, const Documents& documents) {
  Corpus<typename T::Token> corpus;
  corpus.report = documents.report;
  for (const Document& document : documents.texts) {
    try {
      corpus.append(tokenizer.encode(document.text));
    } catch (const Error& error) {
      throw FileError(document.path.string() + ": " + error.what());
    }
  }
  return corpus;
}

/// Reads and encodes; arguments and errors as of `read_documents` and `encode`.
template <Tokenizer T>
Corpus<typename T::Token> load(const T& tokenizer, const std::filesystem::path& path,
                               const std::vector<std::string>& extensions = {}, const LeaveOut& leave_out = {}) {
  return encode(tokenizer, read_documents(path, extensions, leave_out));
}

template <class Token>
struct Split {
  Corpus<Token> train, validation;
};

/// The tokens from `cut` on become the validation part; a document that is cut becomes two.
/// Errors: `Error` when a part would be empty.
template <class Token>
Split<Token> split_at(Corpus<Token> corpus, std::size_t cut) {
  if (cut == 0 || cut >= corpus.tokens.size())
    throw Error("split: cutting " + std::to_string(corpus.tokens.size()) + " tokens at " + std::to_string(cut) +
                " leaves one part empty; give more text or another fraction");
  Split<Token> split;
  for (std::size_t i = 0; i < corpus.documents(); ++i) {
    if (corpus.offsets[i + 1] > cut)
      split.validation.append(corpus.document(i).subspan(std::max(cut, corpus.offsets[i]) - corpus.offsets[i]));
  }
  const auto first = std::ranges::lower_bound(corpus.offsets, cut);  // of the documents that are not for training
  corpus.offsets.erase(first, corpus.offsets.end());
  corpus.offsets.push_back(cut);
  corpus.tokens.resize(cut);
  split.train = std::move(corpus);
  return split;
}

/// The last `fraction` of the tokens is for validation, as nanoGPT does it: training keeps floor(n · (1 - fraction)).
template <class Token>
Split<Token> split_tokens(Corpus<Token> corpus, double fraction) {
  const double kept = static_cast<double>(corpus.tokens.size()) * (1 - fraction);
  return split_at(std::move(corpus), kept >= 0 ? static_cast<std::size_t>(kept) : 0);
}

/// The same with whole documents: cut at the document boundary that is nearest to it.
/// Errors: `Error` when there is only one document.
template <class Token>
Split<Token> split_documents(Corpus<Token> corpus, double fraction) {
  if (corpus.documents() < 2)
    throw Error("split: one document cannot be split by documents; give a folder of several, or split by tokens");
  const double cut = static_cast<double>(corpus.tokens.size()) * (1 - fraction);
  const auto distance = [&](std::size_t offset) { return std::abs(static_cast<double>(offset) - cut); };
  const std::size_t nearest =
      *std::ranges::min_element(corpus.offsets.begin() + 1, corpus.offsets.end() - 1, {}, distance);
  return split_at(std::move(corpus), nearest);
}

}  // namespace fathom::inline FATHOM_ABI::text
