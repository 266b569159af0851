// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fathom/core/error.hpp>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/generate/pair_scorer.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/report/format.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <fathom/text/subwords.hpp>
#include <numeric>
#include <programs/line_translator.hpp>
#include <programs/parallel_files.hpp>
#include <programs/run_program.hpp>
#include <programs/translation_data.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Pairs of lines in, what a model says of them out, in their order.
namespace fathom::program {

/// Scores pairs that come one after another, many in a pass, similar lengths together. Prints a line for each: the
/// log-probability of the target, its tokens without the end, and the score by the length penalty, parted by tabs. The
/// weights are viewed.
template <class Model, class B>
class PairLineScorer {
 public:
  /// `longest`: tokens of a side, its end among them; `tokens`: of a side that are scored at a time; `language`: the
  /// token that begins each source, or none.
  PairLineScorer(const Weights<Model, B>& weights, const text::Subwords& subwords, int language, int longest,
                 int tokens, LengthPenalty penalty, const typename B::Options& machine)
      : subwords_(subwords),
        language_(language),
        longest_(longest),
        penalty_(penalty),
        batch_(capacity(longest, std::max(longest, tokens))),
        scorer_(weights, batch_.capacity(), machine) {}

  /// A line of a table: source and target, parted by a tab. Errors: `Error` for one without a tab, and as of the other.
  void add(std::string_view line) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos) {
      finish();
      throw Error("stdin: line " + std::to_string(printed_ + 1) +
                  " has no tab; give source and translation in a line, parted by one");
    }
    add(line.substr(0, tab), line.substr(tab + 1), "stdin");
  }
  /// Errors: `Error` for a side that is too long; the pairs before it are printed.
  void add(std::string_view source, std::string_view target, const std::string& name) {
    Pair pair{source_tokens(subwords_, source, language_), {subwords_.begin()}};
    const auto tokens = subwords_.encode(target);
    pair.target.insert(pair.target.end(), tokens.begin(), tokens.end());
    const auto number = printed_ + pairs_.size() + 1;
    for (const auto* side : {&pair.source, &pair.target})
      if (side->size() > std::size_t(longest_)) {
        finish();
        throw Error(name + ": line " + std::to_string(number) + ": its " +
                    (side == &pair.source ? "source" : "translation") + " has " + std::to_string(side->size()) +
                    " tokens, and the model reads at most " + std::to_string(longest_) + "; cut it into sentences");
      }
    waiting_ += pair.source.size() + pair.target.size();
    pairs_.push_back(std::move(pair));
    if (waiting_ >= batches_ahead * 2 * std::size_t(batch_.capacity().target.rows)) finish();
  }

  /// Scores and prints what has come.
  void finish() {
    std::vector<std::size_t> order(pairs_.size());
    std::iota(order.begin(), order.end(), std::size_t(0));
    std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(pairs_[i].target.size(), i); });
    for (std::size_t begin = 0, end; begin < order.size(); begin = end) {
      batch_.clear();
      for (end = begin; end < order.size(); ++end) {
        const Pair& pair = pairs_[order[end]];
        if (!batch_.fits(pair.source.size(), pair.target.size())) break;
        batch_.template append<int>(pair.source, pair.target, subwords_.end());
      }
      batch_.pack();
      std::span<const double> rows = scorer_(batch_);
      for (std::size_t i = begin; i < end; ++i) {
        Pair& pair = pairs_[order[i]];
        const auto own = rows.first(pair.target.size());
        pair.log_probability = std::accumulate(own.begin(), own.end(), 0.0);
        rows = rows.subspan(own.size());
      }
    }
    for (const Pair& pair : pairs_) print(pair);
    if (!pairs_.empty()) flush_stdout();
    printed_ += pairs_.size();
    pairs_.clear();
    waiting_ = 0;
  }

 private:
  static constexpr std::size_t batches_ahead = 8;

  struct Pair {
    std::vector<int> source, target;
    double log_probability = 0;
  };

  static PairCapacity capacity(int longest, int rows) {
    const Capacity side{.rows = rows, .sequences = std::max(1, rows / 4), .longest = longest};
    return {side, side};
  }

  void print(const Pair& pair) {
    const int tokens = int(pair.target.size()) - 1;
    text_.clear();
    format::append_fixed(text_, pair.log_probability, 4);
    (text_ += '\t') += std::to_string(tokens);
    format::append_fixed(text_ += '\t', penalty_.score(pair.log_probability, tokens), 4);
    text_ += '\n';
    std::fwrite(text_.data(), 1, text_.size(), stdout);
  }

  text::Subwords subwords_;
  int language_, longest_;
  LengthPenalty penalty_;
  text::PackedPairs batch_;
  PairScorer<Model, B> scorer_;
  std::vector<Pair> pairs_;
  std::size_t printed_ = 0, waiting_ = 0;
  std::string text_;
};

/// Gives `scorer` the pairs of a text, or of a table that comes from stdin where none is named. Errors: as of
/// `read_text`, of `read_lines` and of the scorer.
template <class Scorer>
void score_pairs(const PairFiles& files, const PairFormat& format, Scorer& scorer) {
  if (files.empty()) return translate_lines({}, scorer);
  const text::ParallelText text = read_text(files, format);
  for (std::size_t i = 0; i < text.size(); ++i) scorer.add(text.source[i], text.target[i], text.name);
  scorer.finish();
}

}  // namespace fathom::program
