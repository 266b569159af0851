// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/score/unicode.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// How BLEU cuts a line into words: the tokenizers of sacreBLEU (Post 2018, arXiv 1804.08771), rule by rule.

namespace fathom::inline FATHOM_ABI::score {

enum class Tokenization {
  mteval_13a,     ///< `13a`, that of WMT: ASCII punctuation is cut off; so are periods and commas not between digits
  none,           ///< `none`: words are what spaces separate; for text that is tokenized
  international,  ///< `intl`, mteval-v14's: the punctuation and symbols of all scripts
};

/// As signatures name it.
constexpr std::string_view name(Tokenization tokenizer) {
  constexpr std::array<std::string_view, 3> names{"13a", "none", "intl"};
  return names[static_cast<std::size_t>(tokenizer)];
}

namespace detail {

inline void replace_all(std::string& text, std::string_view what, std::string_view by) {
  std::size_t found = text.find(what);
  if (found == text.npos) return;
  std::string result;
  std::size_t start = 0;
  for (; found != text.npos; found = text.find(what, start)) {
    result.append(text, start, found - start).append(by);
    start = found + what.size();
  }
  text = result.append(text, start);
}

/// The words of a line, valid until the next one is assigned.
class Words {
 public:
  /// `line` is UTF-8.
  const std::vector<std::string_view>& assign(std::string_view line, Tokenization tokenizer) {
    line = unicode::without_spaces_behind(line);
    if (tokenizer == Tokenization::mteval_13a) {
      mteval_13a(line);
    } else if (tokenizer == Tokenization::none) {
      text_ = line;
    } else {
      international(line);
    }
    unicode::split(text_, words_);
    return words_;
  }
  const std::vector<std::string_view>& words() const { return words_; }

 private:
  // The rules are regular expressions, applied one after the other to the whole line; a match begins where the one
  // before it ended. All characters that they name are ASCII, so bytes do.
  void mteval_13a(std::string_view line) {
    text_ = ' ';
    text_ += line;
    replace_all(text_, "<skipped>", "");
    replace_all(text_, "-\n", "");
    replace_all(text_, "\n", " ");
    if (text_.find('&') != text_.npos) {
      replace_all(text_, "&quot;", "\"");
      replace_all(text_, "&amp;", "&");
      replace_all(text_, "&lt;", "<");
      replace_all(text_, "&gt;", ">");
    }
    text_ += ' ';
    rewrite([](const char*& in, const char*, char*& out) {  // s/([\{-\~\[-\` -\&\(-\+\:-\@\/])/ $1 /
      is_cut(*in) ? put(out, ' ', *in, ' ') : put(out, *in);
      ++in;
    });
    rewrite([](const char*& in, const char* end, char*& out) {  // s/([^0-9])([\.,])/$1 $2 /
      const bool matches = !is_digit(*in) && in + 1 < end && is_period(in[1]);
      matches ? put(out, in[0], ' ', in[1], ' ') : put(out, *in);
      in += matches ? 2 : 1;
    });
    rewrite([](const char*& in, const char* end, char*& out) {  // s/([\.,])([^0-9])/ $1 $2/
      const bool matches = is_period(*in) && in + 1 < end && !is_digit(in[1]);
      matches ? put(out, ' ', in[0], ' ', in[1]) : put(out, *in);
      in += matches ? 2 : 1;
    });
    rewrite([](const char*& in, const char* end, char*& out) {  // s/([0-9])(-)/$1 $2 /
      const bool matches = is_digit(*in) && in + 1 < end && in[1] == '-';
      matches ? put(out, in[0], ' ', in[1], ' ') : put(out, *in);
      in += matches ? 2 : 1;
    });
  }

  /// Replaces the text by what `step` makes of it, piece by piece; it writes at most three bytes for each that it takes.
  template <class Step>
  void rewrite(Step step) {
    other_.resize(3 * text_.size());
    char* out = other_.data();
    for (const char *in = text_.data(), *const end = in + text_.size(); in != end;) step(in, end, out);
    other_.resize(static_cast<std::size_t>(out - other_.data()));
    std::swap(text_, other_);
  }
  template <class... Chars>
  static void put(char*& out, Chars... chars) {
    ((*out++ = chars), ...);
  }

  void international(std::string_view line) {
    using unicode::Category, unicode::category;
    unicode::decode(line, points_);
    const auto is_number = [](char32_t point) { return category(point) == Category::number; };
    const auto is_punctuation = [](char32_t point) { return category(point) == Category::punctuation; };
    other_points_.clear();
    for (std::size_t i = 0; i < points_.size(); ++i) {  // s/(\P{N})(\p{P})/$1 $2 /
      other_points_ += points_[i];
      if (i + 1 < points_.size() && is_punctuation(points_[i + 1]) && !is_number(points_[i]))
        other_points_ += {U' ', points_[++i], U' '};
    }
    points_.clear();
    for (std::size_t i = 0; i < other_points_.size(); ++i) {  // s/(\p{P})(\P{N})/ $1 $2/
      const char32_t point = other_points_[i];
      if (is_punctuation(point) && i + 1 < other_points_.size() && !is_number(other_points_[i + 1])) {
        points_ += {U' ', point, U' ', other_points_[++i]};
      } else {
        points_ += point;
      }
    }
    text_.clear();
    for (const char32_t point : points_) {  // s/(\p{S})/ $1 /
      const bool cut = category(point) == Category::symbol;
      if (cut) text_ += ' ';
      unicode::append(text_, point);
      if (cut) text_ += ' ';
    }
  }

  static constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static constexpr bool is_period(char c) { return c == '.' || c == ','; }
  static bool is_cut(char c) {
    static constexpr auto table = [] {
      std::array<bool, 256> cut{};
      for (const std::string_view range : {"{~", "[`", " &", "(+", ":@", "//"})
        for (char cuts = range[0]; cuts <= range[1]; ++cuts) cut[static_cast<unsigned char>(cuts)] = true;
      return cut;
    }();
    return table[static_cast<unsigned char>(c)];
  }

  std::string text_, other_;
  std::u32string points_, other_points_;
  std::vector<std::string_view> words_;
};

}  // namespace detail

/// The words that BLEU counts of a line.
inline std::vector<std::string> tokenize(std::string_view line, Tokenization tokenizer = Tokenization::mteval_13a) {
  detail::Words words;
  const auto& found = words.assign(line, tokenizer);
  return {found.begin(), found.end()};
}

}  // namespace fathom::inline FATHOM_ABI::score
