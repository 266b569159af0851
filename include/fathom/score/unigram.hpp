// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <vector>

namespace fathom::inline FATHOM_ABI::score {

/// The unigram model: it knows how frequent each token is in a text, and nothing else. What reads its input has to beat
/// it.
class Unigram {
 public:
  /// Each token counts once ahead of any text, so that none has probability 0.
  explicit Unigram(std::size_t vocabulary) : counts_(vocabulary, 1.0), all_(double(vocabulary)) {}

  /// Counts a token of the text to learn from; it is below `vocabulary`.
  void add(std::size_t token, double weight = 1) {
    counts_[token] += weight;
    all_ += weight;
  }
  /// −log p of a token, nats; it is below `vocabulary`.
  double loss(std::size_t token) const { return std::log(all_ / counts_[token]); }

 private:
  std::vector<double> counts_;
  double all_;
};

}  // namespace fathom::inline FATHOM_ABI::score
