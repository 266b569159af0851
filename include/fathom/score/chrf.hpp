// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/score/metric.hpp>
#include <fathom/score/ngrams.hpp>
#include <fathom/score/result.hpp>
#include <fathom/score/segments.hpp>
#include <fathom/score/unicode.hpp>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// chrF (Popović 2015) and chrF++ (Popović 2017) as sacreBLEU 2 computes them.

namespace fathom::inline FATHOM_ABI::score {

struct ChrfOptions {
  int character_order = 6;     ///< n-grams have up to so many characters, at most 10
  int word_order = 0;          ///< and up to so many words, at most 4; 2 is chrF++
  int beta = 2;                ///< recall counts beta² times as much as precision
  bool lowercase = false;
  bool whitespace = false;     ///< spaces count as characters
  bool eps_smoothing = false;  ///< an order that one side does not have counts 1e-16 instead of nothing
};

/// All that chrF needs to know of a segment, by order: of characters first, then of words. Those of a corpus add up.
struct ChrfStatistics {
  struct Order {
    std::int64_t hypothesis = 0;  ///< n-grams; 0 where the reference has none
    std::int64_t reference = 0;   ///< n-grams of the reference with the best score
    std::int64_t matches = 0;
    friend constexpr bool operator==(const Order&, const Order&) = default;
  };
  std::array<Order, 14> orders{};

  constexpr ChrfStatistics& operator+=(const ChrfStatistics& other) {
    for (std::size_t n = 0; n < orders.size(); ++n) {
      orders[n].hypothesis += other.orders[n].hypothesis;
      orders[n].reference += other.orders[n].reference;
      orders[n].matches += other.orders[n].matches;
    }
    return *this;
  }
  friend constexpr bool operator==(const ChrfStatistics&, const ChrfStatistics&) = default;
};

struct ChrfScore {
  double score = 0;  ///< 0 to 100
  std::string name = {};  ///< chrF2, chrF2++
  ChrfStatistics statistics = {};
  std::string signature = {};
  std::optional<Confidence> confidence = {};

  /// sacreBLEU's line: chrF2|nrefs:1|…|version:… = 67.23
  std::string text(int decimals = 2) const {
    return detail::result_line(name, signature, score, decimals, confidence, "");
  }
};

/// The metric, for whoever wants more of it than one score.
class Chrf {
 public:
  using Statistics = ChrfStatistics;
  using Score = ChrfScore;
  static constexpr std::string_view name = "chrF";

  /// Errors: `Error` for orders or a beta out of range.
  explicit Chrf(const ChrfOptions& options = {}) : options_(options) {
    if (options.character_order < 0 || options.character_order > 10 || options.word_order < 0 ||
        options.word_order > 4 || orders() == 0)
      throw Error("chrF: n-grams of up to " + std::to_string(options.character_order) + " characters and " +
                  std::to_string(options.word_order) + " words; choose at most 10 and 4, and not 0 for both");
    if (options.beta < 1) throw Error("chrF: a beta of " + std::to_string(options.beta) + "; choose 1 or more");
  }

  /// Counts segments, one after another. The metric has to stay.
  class Counter {
   public:
    explicit Counter(const Chrf& metric) : metric_(&metric) {}

    Statistics operator()(const Segment& segment) {
      read(segment.hypothesis, hypothesis_);
      Statistics best;
      double most = -1;
      for (const std::string_view line : segment.references) {
        read(line, reference_);
        const Statistics statistics = compare();
        const double value = segment.references.size() > 1 ? metric_->value(statistics) : 0;
        if (value <= most) continue;
        most = value;
        best = statistics;
      }
      return best;
    }

   private:
    struct Line {
      std::string text, lowercase;
      std::u32string points;
      std::vector<std::string_view> words, pieces;
    };

    void read(std::string_view text, Line& line) const {
      text = detail::cased(text, metric_->options_.lowercase, line.lowercase);
      unicode::decode(text, line.points);
      if (!metric_->options_.whitespace) std::erase_if(line.points, unicode::is_space);
      if (metric_->options_.word_order == 0) return;
      unicode::split(line.text = text, line.words);
      line.pieces.clear();
      for (const std::string_view word : line.words) {
        // One sign at the end is a word of its own, else one at the beginning.
        const std::size_t size = word.size();
        const std::size_t cut = size == 1 ? 0 : is_sign(word.back()) ? size - 1 : is_sign(word.front()) ? 1 : 0;
        if (cut > 0) line.pieces.push_back(word.substr(0, cut));
        line.pieces.push_back(word.substr(cut));
      }
    }

    Statistics compare() {
      Statistics statistics;
      auto* order = statistics.orders.data();
      const auto count = [&](const auto& hypothesis, const auto& reference, int orders) {
        shared_.start();
        shared_.set_hypothesis(hypothesis);
        shared_.add_reference(reference);
        for (std::size_t n = 0; n < static_cast<std::size_t>(orders); ++n, ++order) {
          if (reference.size() <= n) continue;
          order->hypothesis = static_cast<std::int64_t>(hypothesis.size() <= n ? 0 : hypothesis.size() - n);
          order->reference = static_cast<std::int64_t>(reference.size() - n);
          order->matches = shared_.next();
        }
      };
      count(hypothesis_.points, reference_.points, metric_->options_.character_order);
      if (metric_->options_.word_order == 0) return statistics;
      numbers_.reset(hypothesis_.pieces.size() + reference_.pieces.size());
      const std::vector<std::uint32_t> hypothesis = numbers_.of(hypothesis_.pieces);
      count(hypothesis, numbers_.of(reference_.pieces), metric_->options_.word_order);
      return statistics;
    }

    /// Of Python's string.punctuation.
    static constexpr bool is_sign(char c) {
      return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    }

    const Chrf* metric_;
    Line hypothesis_, reference_;
    detail::WordNumbers numbers_;
    detail::SharedNgrams shared_;
  };

  double value(const Statistics& statistics) const {
    constexpr double little = 1e-16;
    const double factor = options_.beta * options_.beta;
    double sum = 0, precisions = 0, recalls = 0;
    int effective = 0;
    for (std::size_t n = 0; n < static_cast<std::size_t>(orders()); ++n) {
      const auto [hypothesis, reference, matches] = statistics.orders[n];
      const auto share = [&](std::int64_t of) {
        return of > 0 ? static_cast<double>(matches) / static_cast<double>(of) : little;
      };
      const double precision = share(hypothesis), recall = share(reference);
      const double denominator = factor * precision + recall;
      sum += denominator > 0 ? (1 + factor) * precision * recall / denominator : little;
      if (hypothesis > 0 && reference > 0) {
        precisions += precision;
        recalls += recall;
        ++effective;
      }
    }
    if (options_.eps_smoothing) return 100 * sum / orders();
    if (effective == 0 || precisions + recalls == 0) return 0;
    precisions /= effective;
    recalls /= effective;
    return 100 * ((1 + factor) * precisions * recalls / (factor * precisions + recalls));
  }

  /// The score of statistics, without a signature.
  Score score(const Statistics& statistics) const {
    std::string text = "chrF" + std::to_string(options_.beta);
    text.append(static_cast<std::size_t>(options_.word_order), '+');
    return {.score = value(statistics), .name = text, .statistics = statistics};
  }

  /// What has to be known to repeat a score, in sacreBLEU's form. The version says that fathom computed it.
  std::string signature(std::size_t references, const std::optional<BootstrapOptions>& bootstrap = {}) const {
    std::string text = detail::first_items(references, bootstrap);
    text += options_.lowercase ? "|case:lc" : "|case:mixed";
    text += options_.eps_smoothing ? "|eff:no" : "|eff:yes";
    text += "|nc:" + std::to_string(options_.character_order) + "|nw:" + std::to_string(options_.word_order);
    text += options_.whitespace ? "|space:yes" : "|space:no";
    return text += detail::last_item;
  }

 private:
  int orders() const { return options_.character_order + options_.word_order; }

  ChrfOptions options_;
};

/// chrF of a corpus; `{.word_order = 2}` makes it chrF++. Errors: `ShapeError` unless every hypothesis has its
/// references; `Error` for lines that are not UTF-8.
inline ChrfScore chrf(Lines hypotheses, const References& references, const ChrfOptions& options = {}) {
  return corpus_score(Chrf(options), hypotheses, references);
}

/// chrF of one sentence. Errors: as of `chrf`.
inline ChrfScore sentence_chrf(std::string_view hypothesis, std::span<const std::string_view> references,
                               const ChrfOptions& options = {}) {
  return sentence_score(Chrf(options), hypothesis, references);
}
inline ChrfScore sentence_chrf(std::string_view hypothesis, std::initializer_list<std::string_view> references,
                               const ChrfOptions& options = {}) {
  return sentence_chrf(hypothesis, std::span(references.begin(), references.size()), options);
}
inline ChrfScore sentence_chrf(std::string_view hypothesis, std::string_view reference,
                               const ChrfOptions& options = {}) {
  return sentence_chrf(hypothesis, {reference}, options);
}

}  // namespace fathom::inline FATHOM_ABI::score
