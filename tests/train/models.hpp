// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

/// The small model of tests/reference/training.safetensors, and batches for it.
namespace fathom_test {
using namespace fathom;

inline constexpr int depth = 3, width = 16, context = 12, vocabulary = 37;

template <class Policy, int Heads = 2>
using PolicyModel = LanguageModel<
    Vocabulary<vocabulary>, ContextLength<context>,
    Repeat<depth, Sequence<Residual<Policy, Attention<width, Heads>>, Residual<Policy, FeedForward<width, 32>>>>,
    PlainEmbedding>;
using SmallModel = PolicyModel<DeepNorm<deepnorm::decoder_only(depth).alpha>>;

/// Sequences of some length with any tokens, each the target of the one before.
struct SomeBatch {
  PackedRows rows;
  std::vector<int> tokens, targets;

  explicit SomeBatch(std::uint64_t seed, int count = 4, int length = context)
      : rows(PackedRows::uniform(count, length)) {
    const Philox random(Key{seed});
    for (int i = 0; i <= count * length; ++i)
      tokens.push_back(int(below(vocabulary, low_bits(random(std::uint64_t(i))))));
    targets.assign(tokens.begin() + 1, tokens.end());
    tokens.pop_back();
  }
  operator TokenBatch() const { return {rows, tokens, targets}; }
};

}  // namespace fathom_test
