// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/padding.hpp>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <fathom/train/trainer.hpp>
#include <set>
#include <utility>
#include <vector>

#include "train/translator_models.hpp"

namespace padding_test {

using namespace fathom_test;

/// The reference backend, with batches of few shapes.
struct Padding : Ref<double> {
  static constexpr bool pads_batches = true;
};

/// Sequences of any length that fit a capacity: the packing, tokens and targets of each row.
struct Rows {
  PackedRows packed;
  std::vector<int> tokens, targets;

  Rows(const Capacity& capacity, const std::vector<int>& lengths) : packed(capacity) {
    packed.assign(lengths);
    for (int row = 0; row < packed.rows(); ++row) tokens.push_back(row % 7), targets.push_back(row % 5 - 1);
  }
  operator TokenBatch() const { return {packed.view(), tokens, targets}; }
};
std::vector<int> lengths_of(const Packing& packing) {
  std::vector<int> lengths;
  for (int s = 0; s < packing.sequences(); ++s) lengths.push_back(packing.length(s));
  return lengths;
}
/// Lengths from 1 to the longest, until rows or sequences are used up; by `seed`.
std::vector<int> some_lengths(const Capacity& capacity, std::uint64_t seed) {
  const Philox random(Key{seed});
  const int rows = 1 + int(below(std::uint32_t(capacity.rows), low_bits(random(1))));
  std::vector<int> lengths;
  for (int left = rows; left > 0 && int(lengths.size()) < capacity.sequences; left -= lengths.back()) {
    const auto most = std::uint32_t(std::min(left, capacity.longest));
    lengths.push_back(1 + int(below(most, low_bits(random(lengths.size() + 2)))));
  }
  return lengths;
}

/// What any padded side is: the rows as they were; then sequences of token 0 without targets; none too long.
void check_side(const Packing& packing, const Packing& before, const Capacity& planned) {
  CHECK(packing.capacity.rows == planned.rows);
  CHECK(packing.sequences() == planned.sequences);
  REQUIRE(packing.rows() <= planned.rows);
  const std::vector<int> lengths = lengths_of(packing), own = lengths_of(before);
  CHECK(std::equal(own.begin(), own.end(), lengths.begin()));
  CHECK(std::ranges::max(lengths) <= planned.longest);
}

TEST_CASE("padding: batches of any lengths have at most eight shapes") {
  for (const Capacity& capacity :
       {Capacity{100, 20, 13}, {64, 64, 2}, {7, 7, 7}, {9, 4, 9}, {5, 5, 1}, {1, 1, 1}, {4096, 512, 256}}) {
    BatchPadding<Padding, TokenBatch> padding(capacity);
    const Capacity planned = padded(capacity);
    std::set<int> shapes;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const Rows rows(capacity, some_lengths(capacity, seed));
      const TokenBatch batch = padding(rows);
      INFO(text_of(capacity) << ", seed " << seed);
      check_side(batch.packing, rows.packed, planned);
      REQUIRE(int(batch.tokens.size()) == batch.packing.rows());
      REQUIRE(int(batch.targets.size()) == batch.packing.rows());
      CHECK(std::ranges::equal(batch.tokens.first(rows.tokens.size()), rows.tokens));
      CHECK(std::ranges::equal(batch.targets.first(rows.targets.size()), rows.targets));
      CHECK(batch.target_count() == TokenBatch(rows).target_count());
      shapes.insert(batch.packing.rows());
    }
    CHECK(shapes.size() <= 8);
  }
}

TEST_CASE("padding: a pair that is added has rows on both sides") {
  const PairCapacity capacity{{60, 12, 9}, {90, 12, 20}}, planned = padded(capacity);
  BatchPadding<Padding, PairBatch> padding(capacity);
  std::set<std::pair<int, int>> shapes;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    std::vector<int> from = some_lengths(capacity.source, 2 * seed), to = some_lengths(capacity.target, 2 * seed + 1);
    const std::size_t pairs = std::min(from.size(), to.size());
    from.resize(pairs), to.resize(pairs);
    const Rows source(capacity.source, from), target(capacity.target, to);
    const PairBatch batch = padding(PairBatch({source.packed, source.tokens}, target));
    INFO("seed " << seed);
    CHECK(batch.capacity() == planned);
    check_side(batch.source.packing, source.packed, planned.source);
    check_side(batch.target.packing, target.packed, planned.target);
    for (int s = 0; s < planned.source.sequences; ++s)
      CHECK((batch.source.packing.length(s) > 0) == (batch.target.packing.length(s) > 0));
    shapes.emplace(batch.source.packing.rows(), batch.target.packing.rows());
  }
  CHECK(shapes.size() <= 65);
}

TEST_CASE("padding: a batch of whole rows stays as it is, but for empty sequences") {
  const Rows rows({64, 8, 8}, std::vector(8, 8));
  BatchPadding<Padding, TokenBatch> padding(rows.packed.capacity());
  CHECK(padding(rows).packing.rows() == 64);
  BatchPadding<Padding, PairBatch> of_pairs({rows.packed.capacity(), rows.packed.capacity()});
  const PairBatch batch = of_pairs(PairBatch({rows.packed, rows.tokens}, rows));
  CHECK(batch.source.packing.rows() == 64);
  CHECK(batch.target.packing.rows() == 64);
}

/// Three updates of two batches each, with dropout, with and without padding.
template <class Model>
void check_training(const typename Model::Capacity& capacity, auto&& batches_of) {
  TrainerOptions options;
  options.dropout = {0.1, 0.1, 0.1, 0.1};
  Trainer<Model, Padding, AdamW> padding(capacity, options);
  Trainer<Model, Ref<double>, AdamW> plain(capacity, options);
  constexpr double bound = 1e-12;
  for (int step = 0; step < 3; ++step) {
    const auto batches = batches_of(step);
    const StepReport a = padding.step(batches, 1e-3), b = plain.step(batches, 1e-3);
    CHECK(a.tokens == b.tokens);
    CHECK(testing::relative_error(a.loss, b.loss, 1) < bound);
    CHECK(testing::relative_error(a.gradient_norm, b.gradient_norm, 1) < bound);
    const LossSums one = padding.evaluate(batches.front()), other = plain.evaluate(batches.front());
    CHECK(one.targets == other.targets);
    CHECK(testing::relative_error(one.mean(), other.mean(), 1) < bound);
    CHECK(testing::relative_error(padding.loss_with_dropout(batches.front()).mean(),
                                  plain.loss_with_dropout(batches.front()).mean(), 1) < bound);
    padding.differentiate(batches.front()), plain.differentiate(batches.front());
    const auto padded = values_of(padding.gradients()), usual = values_of(plain.gradients());
    double largest = 0;
    for (std::size_t i = 0; i < usual.size(); ++i) largest = std::max(largest, std::abs(padded[i] - usual[i]));
    CHECK(largest < bound);
    padding.clear_gradients(), plain.clear_gradients();
  }
}

TEST_CASE("padding: a language model trains as without") {
  using Model = LanguageModel<Vocabulary<7>, ContextLength<12>, deepnet::DecoderOnly<2, 8, 2, 16>>;
  const Capacity capacity{60, 8, 12};
  const Rows first(capacity, {5, 12, 1, 9}), second(capacity, {12, 12, 12, 12, 3}), third(capacity, {1});
  check_training<Model>(capacity, [&](int step) {
    return std::vector<TokenBatch>{step == 0 ? first : second, step == 1 ? third : first};
  });
}

TEST_CASE("padding: a translator trains as without") {
  using Pairs = ReversedPairs;
  using Model = PairModel<deepnet::EncoderStack<2, 2, 8, 2, 16>, deepnet::DecoderStack<2, 2, 8, 2, 16>>;
  const PairCapacity capacity{{37, 16, Pairs::longest}, {51, 16, Pairs::longest + 1}};
  const Pairs pairs(capacity);
  std::vector<text::PackedPairs> packed;
  std::uint64_t cursor = 0;
  for (int i = 0; i < 4; ++i) cursor = pairs.fill(cursor, packed.emplace_back(capacity));
  check_training<Model>(capacity, [&](int step) {
    return std::vector<PairBatch>{packed[std::size_t(step)], packed[std::size_t(step) + 1]};
  });
}

}  // namespace padding_test
