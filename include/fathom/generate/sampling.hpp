// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// How the next token is drawn from p = softmax(logits / temperature). The filters act in this order, each on what the
/// one before has left, rescaled to a sum of 1; of equal tokens the one with the lower id counts as more probable.
struct Sampling {
  double temperature = 1;  ///< 0: greedy, the most probable token
  int top_k = 0;           ///< the k most probable tokens; 0: all.   Fan et al. 2018, arXiv:1805.04833, section 5.4
  /// The smallest set of most probable tokens with a sum of at least p; 1: all.
  /// Holtzman et al. 2020, arXiv:1904.09751, section 3.1
  double top_p = 1;
  double min_p = 0;  ///< tokens at least this many times as probable as the first.   arXiv:2407.01082, section 3
};

/// Draws tokens. The draw of (key, sequence, position) is a function of these and of the logits: other sequences, the
/// order of calls and threads change nothing. Allocates when it is made, never again.
class TokenSampler {
 public:
  /// Errors: `Error` for a rule that has no meaning.
  TokenSampler(int vocabulary, const Sampling& rule, Key key)
      : rule_(rule), random_(key), weights_(std::size_t(vocabulary)), ranked_(std::size_t(vocabulary)) {
    if (!(rule.temperature >= 0 && std::isfinite(rule.temperature)))
      throw Error("Sampling: the temperature is a number from 0 on, not " + std::to_string(rule.temperature));
    if (rule.top_k < 0) throw Error("Sampling: top_k is a count from 0 on, not " + std::to_string(rule.top_k));
    if (!(rule.top_p > 0 && rule.top_p <= 1))
      throw Error("Sampling: top_p is above 0 and at most 1, not " + std::to_string(rule.top_p));
    if (!(rule.min_p >= 0 && rule.min_p <= 1))
      throw Error("Sampling: min_p is between 0 and 1, not " + std::to_string(rule.min_p));
  }

  /// A token for `position` of `sequence`. A logit may be minus infinity: that token is never drawn.
  /// Errors: `Error` for logits that are NaN, infinite or all minus infinity.
  template <class T>
  int operator()(std::span<const T> logits, std::int64_t sequence, int position) {
    const int best = most_probable(logits);
    if (rule_.temperature == 0) return best;
    const double top = double(logits[std::size_t(best)]);
    for (std::size_t i = 0; i < logits.size(); ++i)
      weights_[i] = std::exp((double(logits[i]) - top) / rule_.temperature);
    filter();
    const double u = uniform(low_bits(random_(std::uint64_t(position), std::uint64_t(sequence))));
    return draw(u * std::accumulate(weights_.begin(), weights_.end(), 0.0));
  }

 private:
  template <class T>
  static int most_probable(std::span<const T> logits) {
    using Number = decltype(logits[0] + logits[0]);  // what T is compared as: a float for one of 16 bits
    Number top = -std::numeric_limits<Number>::infinity();
    int best = -1;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const Number logit = logits[i];
      if (!(logit < std::numeric_limits<Number>::infinity()))
        throw Error("TokenSampler: the logit of token " + std::to_string(i) + " is " + std::to_string(logit) +
                    "; the model's weights or its input are not finite");
      if (logit > top) top = logit, best = int(i);
    }
    if (best < 0) throw Error("TokenSampler: no logit is above minus infinity, so there is no token to draw");
    return best;
  }

  /// Sets the weights of all tokens that a filter drops to zero.
  void filter() {
    const auto vocabulary = weights_.size();
    const bool few = rule_.top_k > 0 && std::size_t(rule_.top_k) < vocabulary;
    if (!few && rule_.top_p == 1 && rule_.min_p == 0) return;
    const auto before = [this](int a, int b) {
      return weights_[a] > weights_[b] || (weights_[a] == weights_[b] && a < b);
    };
    std::iota(ranked_.begin(), ranked_.end(), 0);
    auto end = ranked_.end();
    const auto drop = [&](auto from, auto to) { std::for_each(from, to, [&](int token) { weights_[token] = 0; }); };
    if (few) {
      end = ranked_.begin() + rule_.top_k;
      std::nth_element(ranked_.begin(), end, ranked_.end(), before);
      drop(end, ranked_.end());
    }
    if (rule_.top_p < 1) {
      // A heap yields the most probable tokens one by one, so that a small nucleus of a large vocabulary is not sorted.
      const auto after = [&](int a, int b) { return before(b, a); };
      const double enough = rule_.top_p * std::accumulate(weights_.begin(), weights_.end(), 0.0);
      std::make_heap(ranked_.begin(), end, after);
      auto rest = end;
      for (double sum = 0; sum < enough && rest != ranked_.begin();) {
        std::pop_heap(ranked_.begin(), rest, after);
        sum += weights_[*--rest];
      }
      drop(ranked_.begin(), rest);
    }
    for (double& weight : weights_)
      if (weight < rule_.min_p) weight = 0;  // the first token's weight is 1
  }

  /// The token at `point` of the cumulative weights.
  int draw(double point) const {
    int last = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      if (weights_[i] == 0) continue;
      last = int(i);
      point -= weights_[i];
      if (point < 0) break;
    }
    return last;
  }

  Sampling rule_;
  Philox random_;
  Indexed<std::vector<double>> weights_;  // of every token, relative to the most probable one
  std::vector<int> ranked_;
};

}  // namespace fathom::inline FATHOM_ABI
