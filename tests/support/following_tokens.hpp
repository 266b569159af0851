// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/core/batch.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// Sequences in which the next token follows from the one before it, but for one in eight, which is any.
template <int Vocabulary>
struct FollowingTokens {
  PackedRows rows;
  std::vector<int> tokens, targets;

  FollowingTokens(std::uint64_t seed, int sequences, int length) : rows(PackedRows::uniform(sequences, length)) {
    const Philox random(Key{seed}.child("tokens"));
    std::uint64_t drawn = 0;
    for (int s = 0; s < sequences; ++s) {
      int token = int(below(Vocabulary, low_bits(random(drawn++))));
      for (int i = 0; i < length; ++i) {
        tokens.push_back(token);
        const auto bits = random(drawn++);
        token = bits[0] % 8 == 0 ? int(below(Vocabulary, high_bits(bits))) : (5 * token + 3) % Vocabulary;
        targets.push_back(token);
      }
    }
  }
  operator TokenBatch() const { return {rows, tokens, targets}; }
};

}  // namespace fathom_test
