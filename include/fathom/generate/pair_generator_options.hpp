// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/generate/sampling.hpp>
#include <optional>
#include <vector>

/// What a `PairGenerator` is asked for, and what it finds.
namespace fathom::inline FATHOM_ABI {

/// What a hypothesis is worth: ln p(hypothesis | source) / length^alpha. The logarithm is the sum over its tokens and
/// the end token. With alpha 0 it is that sum, with 1 its mean; larger ones favour longer translations.
/// Sources: fairseq, sequence_generator.py, `eos_scores /= (step + 1) ** self.len_penalty`; CTranslate2, decoding.cc,
/// `score /= std::pow(length, length_penalty)`. Both lengths count the end token.
struct LengthPenalty {
  double alpha = 1;
  bool counts_end = true;  ///< whether the length does

  /// Of a hypothesis of `tokens` tokens, its end token not among them.
  double score(double log_probability, int tokens) const {
    return log_probability / std::pow(double(std::max(1, counts_end ? tokens + 1 : tokens)), alpha);
  }
  /// What no hypothesis can exceed that goes on from `log_probability` and has `shortest` to `longest` tokens at last.
  /// Exact: no probability is above 1, and between the two lengths the score is monotonic.
  double bound(double log_probability, int shortest, int longest) const {
    return std::max(score(log_probability, shortest), score(log_probability, longest));
  }
};

/// Tokens of a translation, at most, without its end token: factor · tokens of the source + constant, rounded down,
/// and never more than the decoder's context has room for. A hypothesis that is so long has only its end to come.
struct LengthLimit {
  double factor = 2;
  int constant = 20;

  int of(int source, int most) const {
    return int(std::clamp(std::floor(factor * source + constant), 1.0, double(most)));
  }
};

/// When the search for the translations of a sentence ends. With both rules it ends when no unfinished hypothesis can
/// come among the n best any more, whatever its tokens are: a search without an end would give the same ones.
enum class SearchEnd {
  full_beam,  ///< also when as many hypotheses are finished as the beam is wide, as with fairseq and CTranslate2
  exact,      ///< only then, so it may take long
};

struct PairGeneratorOptions {
  int begin = -1;      ///< the token that a target begins with: must be given
  int end = -1;        ///< the token that it ends with: must be given
  int sentences = 32;  ///< side by side, at most
  int source = 0;      ///< tokens of the longest source; 0: the encoder's context
  LengthLimit limit = {};
  int shortest = 1;             ///< tokens of a translation, at least
  std::vector<int> never = {};  ///< tokens that no translation has, such as the unknown one

  int beam = 1;  ///< hypotheses that are followed at a time; 1: greedy, the most probable token each time
  int best = 1;  ///< translations of a sentence that are kept, at most as many as the beam is wide
  LengthPenalty penalty = {};
  SearchEnd search_end = SearchEnd::full_beam;

  std::optional<Sampling> sampling = {};  ///< instead of a search: `best` translations of a sentence are drawn
  std::uint64_t seed = 1;                 ///< of the draws
};

/// A translation, and what the model says of it.
struct Hypothesis {
  std::vector<int> tokens;                ///< without begin and end
  std::vector<double> log_probabilities;  ///< of each token, and of the end token
  double log_probability = 0;             ///< their sum
  double score = 0;                       ///< by the length penalty
};

}  // namespace fathom::inline FATHOM_ABI
