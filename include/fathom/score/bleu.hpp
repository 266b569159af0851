// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/report/format.hpp>
#include <fathom/score/metric.hpp>
#include <fathom/score/ngrams.hpp>
#include <fathom/score/result.hpp>
#include <fathom/score/segments.hpp>
#include <fathom/score/tokenizer.hpp>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// BLEU (Papineni et al. 2002) as sacreBLEU 2 computes it (Post 2018, arXiv 1804.08771).

namespace fathom::inline FATHOM_ABI::score {

/// What an order without matches counts (Chen and Cherry 2014). A corpus without any matches has BLEU 0 nevertheless.
enum class Smoothing {
  exponential,  ///< `exp`: half a match of the first such order, a quarter of the second …
  floor,        ///< so many matches, 0.1 unless said otherwise
  add_k,        ///< so many matches and n-grams more of every order but the first, 1 unless said otherwise
  none,         ///< nothing: BLEU is 0
};

/// As signatures name it.
constexpr std::string_view name(Smoothing smoothing) {
  constexpr std::array<std::string_view, 4> names{"exp", "floor", "add-k", "none"};
  return names[static_cast<std::size_t>(smoothing)];
}

struct BleuOptions {
  Tokenization tokenizer = Tokenization::mteval_13a;
  bool lowercase = false;
  Smoothing smoothing = Smoothing::exponential;
  std::optional<double> smoothing_value = {};  ///< of `floor` and `add_k`
  bool effective_order = false;  ///< orders that are longer than all hypotheses do not count; for single sentences
};

/// The n-grams that BLEU counts have 1 to 4 words.
inline constexpr std::size_t bleu_orders = 4;

/// All that BLEU needs to know of a segment. Those of a corpus add up.
struct BleuStatistics {
  std::int64_t hypothesis_length = 0;  ///< words
  std::int64_t reference_length = 0;   ///< of the reference whose length is the closest, the shorter of two
  std::array<std::int64_t, bleu_orders> matches{}, totals{};  ///< n-grams by order

  constexpr BleuStatistics& operator+=(const BleuStatistics& other) {
    hypothesis_length += other.hypothesis_length;
    reference_length += other.reference_length;
    for (std::size_t n = 0; n < bleu_orders; ++n) {
      matches[n] += other.matches[n];
      totals[n] += other.totals[n];
    }
    return *this;
  }
  friend constexpr bool operator==(const BleuStatistics&, const BleuStatistics&) = default;
};

struct BleuScore {
  double score = 0;                              ///< 0 to 100
  std::array<double, bleu_orders> precisions{};  ///< in percent, smoothed
  double brevity_penalty = 1;
  BleuStatistics statistics = {};
  std::string signature = {};
  std::optional<Confidence> confidence = {};

  /// Words of the hypotheses for each of the references; 0 without any.
  double ratio() const {
    const auto [hypothesis, reference] = std::pair(statistics.hypothesis_length, statistics.reference_length);
    return reference == 0 ? 0 : static_cast<double>(hypothesis) / static_cast<double>(reference);
  }
  /// 66.7/50.0/37.5/25.0 (BP = 0.982 ratio = 0.982 hyp_len = 55 ref_len = 56)
  std::string details() const {
    std::string text;
    for (std::size_t n = 0; n < bleu_orders; ++n) {
      if (n > 0) text += '/';
      format::append_fixed(text, precisions[n], 1);
    }
    format::append_fixed(text += " (BP = ", brevity_penalty, 3);
    format::append_fixed(text += " ratio = ", ratio(), 3);
    format::append(text += " hyp_len = ", statistics.hypothesis_length);
    format::append(text += " ref_len = ", statistics.reference_length);
    return text += ')';
  }
  /// sacreBLEU's line: BLEU|nrefs:1|…|version:… = 42.07 66.7/50.0/37.5/25.0 (BP = …)
  std::string text(int decimals = 2) const {
    return detail::result_line("BLEU", signature, score, decimals, confidence, details());
  }
};

/// The metric, for whoever wants more of it than one score.
class Bleu {
 public:
  using Statistics = BleuStatistics;
  using Score = BleuScore;
  static constexpr std::string_view name = "BLEU";

  /// Errors: `Error` for a smoothing value that is negative or not finite, or one where none belongs.
  explicit Bleu(const BleuOptions& options = {}) : options_(options) {
    const bool has_value = options.smoothing == Smoothing::floor || options.smoothing == Smoothing::add_k;
    value_ = options.smoothing_value.value_or(options.smoothing == Smoothing::floor ? 0.1 : 1.0);
    if (options.smoothing_value && !has_value)
      throw Error("BLEU: smoothing " + std::string(score::name(options.smoothing)) +
                  " takes no value; leave it out, or choose floor or add-k");
    if (!(value_ >= 0) || !std::isfinite(value_)) throw Error("BLEU: the smoothing value must be 0 or more");
  }

  /// Counts segments, one after another.
  class Counter {
   public:
    explicit Counter(const Bleu& metric) : options_(metric.options_) {}

    Statistics operator()(const Segment& segment) {
      words_.resize(segment.references.size() + 1);
      const auto& hypothesis = words(0, segment.hypothesis);
      const auto length = static_cast<std::int64_t>(hypothesis.size());
      Statistics statistics{.hypothesis_length = length};
      std::size_t all_words = hypothesis.size();
      for (std::size_t r = 0; r < segment.references.size(); ++r) {
        const std::size_t count = words(r + 1, segment.references[r]).size();
        all_words += count;
        const auto is = static_cast<std::int64_t>(count), was = statistics.reference_length;
        const std::int64_t nearer = std::abs(was - length) - std::abs(is - length);
        if (r == 0 || nearer > 0 || (nearer == 0 && is < was)) statistics.reference_length = is;
      }
      numbers_.reset(all_words);
      shared_.start();
      shared_.set_hypothesis(numbers_.of(hypothesis));
      for (std::size_t r = 0; r < segment.references.size(); ++r)
        shared_.add_reference(numbers_.of(words_[r + 1].words()));
      for (std::size_t n = 0; n < bleu_orders; ++n) {
        statistics.matches[n] = shared_.next();
        statistics.totals[n] = std::max<std::int64_t>(0, length - static_cast<std::int64_t>(n));
      }
      return statistics;
    }

   private:
    const std::vector<std::string_view>& words(std::size_t place, std::string_view line) {
      return words_[place].assign(detail::cased(line, options_.lowercase, lowercase_), options_.tokenizer);
    }

    BleuOptions options_;
    std::string lowercase_;
    std::vector<detail::Words> words_;  // of the hypothesis and the references
    detail::WordNumbers numbers_;
    detail::SharedNgrams shared_;
  };

  double value(const Statistics& statistics) const { return score(statistics).score; }

  /// The score of statistics, without a signature.
  Score score(const Statistics& statistics) const {
    Score result{.statistics = statistics};
    const auto hypothesis = static_cast<double>(statistics.hypothesis_length);
    const auto reference = static_cast<double>(statistics.reference_length);
    if (hypothesis < reference) result.brevity_penalty = hypothesis > 0 ? std::exp(1 - reference / hypothesis) : 0;
    if (std::ranges::none_of(statistics.matches, [](std::int64_t matches) { return matches > 0; })) return result;
    std::size_t orders = bleu_orders;
    double denominator = 1;
    for (std::size_t n = 0; n < bleu_orders; ++n) {
      const double more = options_.smoothing == Smoothing::add_k && n > 0 ? value_ : 0;
      const double matches = static_cast<double>(statistics.matches[n]) + more;
      const double total = static_cast<double>(statistics.totals[n]) + more;
      if (total == 0) break;
      if (options_.effective_order) orders = n + 1;
      if (matches > 0) {
        result.precisions[n] = 100 * matches / total;
      } else if (options_.smoothing == Smoothing::exponential) {
        result.precisions[n] = 100 / ((denominator *= 2) * total);
      } else if (options_.smoothing == Smoothing::floor) {
        result.precisions[n] = 100 * value_ / total;
      }
    }
    double logarithms = 0;
    for (std::size_t n = 0; n < orders; ++n)
      logarithms += result.precisions[n] > 0 ? std::log(result.precisions[n]) : -9999999999;
    result.score = result.brevity_penalty * std::exp(logarithms / static_cast<double>(orders));
    return result;
  }

  /// What has to be known to repeat a score, in sacreBLEU's form. The version says that fathom computed it.
  std::string signature(std::size_t references, const std::optional<BootstrapOptions>& bootstrap = {}) const {
    std::string text = detail::first_items(references, bootstrap);
    text += options_.lowercase ? "|case:lc" : "|case:mixed";
    text += options_.effective_order ? "|eff:yes" : "|eff:no";
    (text += "|tok:") += score::name(options_.tokenizer);
    (text += "|smooth:") += score::name(options_.smoothing);
    if (options_.smoothing == Smoothing::floor || options_.smoothing == Smoothing::add_k) {
      format::append_fixed(text += '[', value_, 2);
      text += ']';
    }
    return text += detail::last_item;
  }

 private:
  BleuOptions options_;
  double value_;
};

/// BLEU of a corpus:
///
///   const score::BleuScore result = score::bleu(hypotheses, references, {.tokenizer = score::Tokenization::none});
///   std::puts(result.text().c_str());
///
/// Errors: `ShapeError` unless every hypothesis has its references; `Error` for lines that are not UTF-8.
inline BleuScore bleu(Lines hypotheses, const References& references, const BleuOptions& options = {}) {
  return corpus_score(Bleu(options), hypotheses, references);
}

/// BLEU of one sentence. By itself it is a rough measure; orders that it is too short for do not count unless
/// `options` says so. Errors: as of `bleu`.
inline BleuScore sentence_bleu(std::string_view hypothesis, std::span<const std::string_view> references,
                               const BleuOptions& options = {.effective_order = true}) {
  return sentence_score(Bleu(options), hypothesis, references);
}
inline BleuScore sentence_bleu(std::string_view hypothesis, std::initializer_list<std::string_view> references,
                               const BleuOptions& options = {.effective_order = true}) {
  return sentence_bleu(hypothesis, std::span(references.begin(), references.size()), options);
}
inline BleuScore sentence_bleu(std::string_view hypothesis, std::string_view reference,
                               const BleuOptions& options = {.effective_order = true}) {
  return sentence_bleu(hypothesis, {reference}, options);
}

}  // namespace fathom::inline FATHOM_ABI::score
