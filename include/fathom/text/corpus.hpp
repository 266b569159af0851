// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/train/file.hpp>
#include <filesystem>
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

/// What was found at a path. `skipped` are files of a folder that are no text (they hold a zero byte).
struct Documents {
  std::vector<Document> texts;
  std::vector<std::filesystem::path> skipped;
};

namespace detail {

inline bool is_text(std::string_view content) { return content.find('\0') == std::string_view::npos; }

/// The files below a folder, sorted; names that start with a dot, and what is below them, are left out.
inline std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder,
                                                      const std::vector<std::string>& extensions) try {
  std::vector<std::filesystem::path> files;
  for (auto entry = std::filesystem::recursive_directory_iterator(folder);
       entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    if (entry->path().filename().string().starts_with('.')) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file() &&
               (extensions.empty() || std::ranges::count(extensions, entry->path().extension().string()) > 0)) {
      files.push_back(entry->path());
    }
  }
  std::ranges::sort(files);
  return files;
} catch (const std::filesystem::filesystem_error& error) {
  throw FileError(error.path1().string() + ": cannot list: " + error.code().message() + "; check the permissions");
}

}  // namespace detail

/// Reads one file, or every file of a folder and the folders below it, in the order of their paths; of a folder only
/// files with one of `extensions` (".txt", …; none given: all). Files are taken as they are, byte by byte; empty ones
/// in a folder do not count. Errors: `FileError` for a path that is missing, unreadable or a device, a file that is
/// empty or no text, a folder without text.
inline Documents read_documents(const std::filesystem::path& path, const std::vector<std::string>& extensions = {}) {
  Documents documents;
  std::error_code error;
  if (std::filesystem::is_character_file(path, error) || std::filesystem::is_block_file(path, error))
    throw FileError(path.string() + ": is a device, which may have no end; give a file with text");
  if (!std::filesystem::is_directory(path, error)) {
    std::string content = read_file(path);
    if (content.empty()) throw FileError(path.string() + ": is empty; give a file with text");
    if (!detail::is_text(content))
      throw FileError(path.string() + ": has a zero byte at " + std::to_string(content.find('\0')) +
                      ", so it is no text; give a text file");
    documents.texts.push_back({path, std::move(content)});
    return documents;
  }
  for (std::filesystem::path& file : detail::files_below(path, extensions)) {
    std::string content = read_file(file);
    if (!detail::is_text(content)) {
      documents.skipped.push_back(std::move(file));
    } else if (!content.empty()) {
      documents.texts.push_back({std::move(file), std::move(content)});
    }
  }
  if (documents.texts.empty()) {
    std::string wanted;
    for (const std::string& extension : extensions) wanted += (wanted.empty() ? " named *" : " or *") + extension;
    throw FileError(path.string() + ": is a folder without text files" + wanted + "; give a file or folder with text");
  }
  return documents;
}

/// The tokens of documents, one after another.
template <class Token>
struct Corpus {
  std::vector<Token> tokens;
  std::vector<std::size_t> offsets{0};  ///< first token of each document, then the number of tokens

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
                               const std::vector<std::string>& extensions = {}) {
  return encode(tokenizer, read_documents(path, extensions));
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
