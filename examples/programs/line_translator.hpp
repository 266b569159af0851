// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/report/format.hpp>
#include <fathom/text/lines.hpp>
#include <filesystem>
#include <optional>
#include <programs/run_program.hpp>
#include <programs/sentence_translator.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Lines in, their translations out, in their order.
namespace fathom::program {

/// Translates lines that come one after another. It waits for as many as make good batches; a translation is printed
/// as soon as all before it are.
template <class Model, class B>
class LineTranslator {
 public:
  /// With `best` 0 a line gives a line. Otherwise a line gives that many: its number, score and text, parted by tabs.
  LineTranslator(SentenceTranslator<Model, B>& translator, std::string name, const DecodingOptions& options)
      : translator_(translator), name_(std::move(name)), options_(options) {}

  /// Errors: `Error` for a line that is too long; those before it are printed.
  void add(std::string_view line) {
    const auto number = printed_ + sources_.size() + 1;
    try {
      sources_.push_back(translator_.encode(line, name_ + ": line " + std::to_string(number)));
    } catch (...) {
      finish();
      throw;
    }
    if (sources_.size() >= batches_ahead * std::size_t(options_.sentences)) finish();
  }

  /// Translates and prints what has come.
  void finish() {
    std::vector<std::optional<typename SentenceTranslator<Model, B>::Translations>> found(sources_.size());
    std::size_t next = 0;
    const auto done = [&](int i, auto translations) {
      found[std::size_t(i)] = std::move(translations);
      const std::size_t before = next;
      for (; next < found.size() && found[next]; ++next) print(printed_ + next + 1, *found[next]);
      if (next > before) flush_stdout();
    };
    translator_(sources_, int(printed_), done, [] { return true; });
    printed_ += sources_.size();
    sources_.clear();
  }

 private:
  static constexpr std::size_t batches_ahead = 8;

  void print(std::size_t number, const std::vector<TranslatedSentence>& translations) {
    text_.clear();
    for (const TranslatedSentence& translation : translations) {
      if (options_.best > 0) {
        (text_ += std::to_string(number)) += '\t';
        format::append_fixed(text_, translation.score, 4);
        text_ += '\t';
      }
      (text_ += translation.text) += '\n';
    }
    std::fwrite(text_.data(), 1, text_.size(), stdout);
  }

  SentenceTranslator<Model, B>& translator_;
  std::string name_;
  DecodingOptions options_;
  std::vector<std::vector<int>> sources_;
  std::size_t printed_ = 0;
  std::string text_;
};

/// Gives `translator` the lines of a file, or of stdin where the path is empty or "-"; when nothing more of that has
/// come yet, what has is translated. Errors: `FileError` of `text::read_lines`; lines before the bad one are translated.
template <class Lines>
void translate_lines(const std::filesystem::path& path, Lines& translator) {
  const auto take = [&](std::string_view line, std::size_t) { translator.add(line); };
  try {
    if (!path.empty() && path != "-") {
      text::read_lines(path, {}, take);
    } else {
      std::array<char, 1 << 16> buffer;
      const auto next = [&]() -> std::string_view {
        pollfd input{STDIN_FILENO, POLLIN, 0};
        if (::poll(&input, 1, 0) == 0) translator.finish();
        ssize_t count;
        do count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        while (count < 0 && errno == EINTR);
        if (count < 0) fathom::detail::throw_system_error("stdin", "read", errno);
        return {buffer.data(), std::size_t(count)};
      };
      text::read_lines_of("stdin", {}, next, take);
    }
  } catch (const FileError&) {
    translator.finish();
    throw;
  }
  translator.finish();
}

}  // namespace fathom::program
