// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/threads.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/tokenizer.hpp>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

/// Sentences and their translations: as text, and as tokens.

namespace fathom::inline FATHOM_ABI::text {

/// Lines of text without their ends, one after another in memory.
class Lines {
 public:
  std::size_t size() const { return offsets_.size() - 1; }
  std::string_view operator[](std::size_t index) const {
    return std::string_view(text_).substr(offsets_[index], offsets_[index + 1] - offsets_[index]);
  }
  void append(std::string_view line) {
    text_ += line;
    offsets_.push_back(text_.size());
  }
  std::size_t bytes() const { return text_.size(); }

 private:
  std::string text_;
  std::vector<std::size_t> offsets_{0};
};

/// Two texts of equally many lines: a line and its translation have the same index.
struct ParallelText {
  std::string name;  ///< for messages and tables
  Lines source, target;

  std::size_t size() const { return source.size(); }
  void append(std::string_view source_line, std::string_view target_line) {
    source.append(source_line);
    target.append(target_line);
  }
};

/// Views of all lines of both sides: what a joint subword model is trained on.
inline std::vector<std::string_view> all_lines(std::span<const ParallelText> texts) {
  std::vector<std::string_view> lines;
  for (const ParallelText& text : texts) {
    for (std::size_t i = 0; i < text.size(); ++i) lines.push_back(text.source[i]);
    for (std::size_t i = 0; i < text.size(); ++i) lines.push_back(text.target[i]);
  }
  return lines;
}

/// The tokens of a parallel text: document n of one side and document n of the other belong together. They are what a
/// translator reads: a source and the end token; the begin token and a target. After the last token of a target it is to
/// predict the end token.
template <class Token>
struct PairCorpus {
  std::string name;
  int end = -1;  ///< the end token
  Corpus<Token> source, target;
  std::size_t too_long = 0;  ///< pairs of the text that are left out, because a side has too many tokens

  std::size_t size() const { return source.documents(); }
};

struct PairEncoding {
  static constexpr int none = -1, any = std::numeric_limits<int>::max();

  int begin = none, end = none;  ///< tokens, such as `begin()` and `end()` of `Subwords`; they may be one
  int source_prefix = none;      ///< a token in front of every source, such as the one that names the target's language
  int longest_source = any, longest_target = any;  ///< with those tokens; longer pairs are left out
  int threads = 0;                                 ///< 0: as many as the processor has
};

namespace detail {

/// Appends the tokens of lines to a corpus. A tokenizer may have an `encoder()` that is faster from line to line.
template <Tokenizer T>
class LineEncoder {
 public:
  explicit LineEncoder(const T& tokenizer) : tokenizer_(tokenizer) {}
  std::vector<typename T::Token> operator()(std::string_view line) { return tokenizer_.encode(line); }

 private:
  const T& tokenizer_;
};

template <Tokenizer T>
  requires requires(const T& tokenizer) { tokenizer.encoder(); }
class LineEncoder<T> {
 public:
  explicit LineEncoder(const T& tokenizer) : encoder_(tokenizer.encoder()) {}
  const std::vector<typename T::Token>& operator()(std::string_view line) { return encoder_(line); }

 private:
  decltype(std::declval<const T&>().encoder()) encoder_;
};

template <class Token>
void append_all(Corpus<Token>& corpus, const Corpus<Token>& more) {
  const std::size_t first = corpus.tokens.size();
  corpus.tokens.insert(corpus.tokens.end(), more.tokens.begin(), more.tokens.end());
  for (std::size_t i = 1; i < more.offsets.size(); ++i) corpus.offsets.push_back(first + more.offsets[i]);
}

template <Tokenizer T>
PairCorpus<typename T::Token> encode_range(const T& tokenizer, const ParallelText& text, const PairEncoding& options,
                                           std::size_t first, std::size_t end) {
  using Token = typename T::Token;
  PairCorpus<Token> corpus;
  LineEncoder<T> encoder(tokenizer);
  std::vector<Token> source, target;
  const auto is_longer = [](const std::vector<Token>& side, int longest) {
    return side.size() > static_cast<std::size_t>(longest);
  };
  for (std::size_t i = first; i < end; ++i) {
    const char* side = "source";
    try {
      source.clear();
      if (options.source_prefix != PairEncoding::none) source.push_back(static_cast<Token>(options.source_prefix));
      const auto& of_source = encoder(text.source[i]);
      source.insert(source.end(), of_source.begin(), of_source.end());
      source.push_back(static_cast<Token>(options.end));
      side = "target";
      target.assign(1, static_cast<Token>(options.begin));
      const auto& of_target = encoder(text.target[i]);
      target.insert(target.end(), of_target.begin(), of_target.end());
      if (is_longer(source, options.longest_source) || is_longer(target, options.longest_target)) {
        ++corpus.too_long;
      } else {
        corpus.source.append(source);
        corpus.target.append(target);
      }
    } catch (const Error& error) {
      throw Error(text.name + ": " + side + " of pair " + std::to_string(i + 1) + ": " + error.what());
    }
  }
  return corpus;
}

}  // namespace detail

/// Encodes both sides. The result does not depend on the number of threads. Errors: `Error` for begin, end or prefix
/// tokens that are not in the vocabulary, and with the pair's number for text that the tokenizer refuses.
template <Tokenizer T>
PairCorpus<typename T::Token> encode_pairs(const T& tokenizer, const ParallelText& text,
                                           const PairEncoding& options) {
  const auto check = [&](const char* name, int id) {
    if (id < 0 || id >= tokenizer.vocabulary())
      throw Error("encode_pairs: the " + std::string(name) + " token " + std::to_string(id) +
                  " is not in the vocabulary of " + std::to_string(tokenizer.vocabulary()) +
                  "; give one of the tokenizer's");
  };
  check("begin", options.begin);
  check("end", options.end);
  if (options.source_prefix != PairEncoding::none) check("prefix", options.source_prefix);
  const auto wanted = static_cast<std::size_t>(options.threads > 0 ? options.threads : available_threads());
  constexpr std::size_t fewest = 1000;  // pairs that are worth a thread
  const std::size_t parts = std::min(wanted, text.size() / fewest + 1);
  std::vector<PairCorpus<typename T::Token>> corpora(parts);
  std::vector<std::exception_ptr> failures(parts);
  const auto encode_part = [&](std::size_t part) {
    try {
      corpora[part] = detail::encode_range(tokenizer, text, options, text.size() * part / parts,
                                           text.size() * (part + 1) / parts);
    } catch (...) {
      failures[part] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(parts);
  for (std::size_t part = 1; part < parts; ++part) {
    try {
      threads.emplace_back(encode_part, part);
    } catch (const std::system_error&) {  // the system gives none
      encode_part(part);
    }
  }
  encode_part(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  PairCorpus<typename T::Token>& corpus = corpora[0];
  for (std::size_t part = 1; part < parts; ++part) {
    detail::append_all(corpus.source, corpora[part].source);
    detail::append_all(corpus.target, corpora[part].target);
    corpus.too_long += corpora[part].too_long;
    corpora[part] = {};
  }
  corpus.name = text.name;
  corpus.end = options.end;
  return std::move(corpus);
}

}  // namespace fathom::inline FATHOM_ABI::text
