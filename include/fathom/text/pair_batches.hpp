// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/core/random.hpp>
#include <fathom/text/batch.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <fathom/text/pairs.hpp>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

struct PairBatchOptions {
  int source_rows = 4096;    ///< tokens of all sources of a batch, with an end token each
  int target_rows = 4096;    ///< tokens of all targets of a batch, with a begin token each
  int pairs = 512;           ///< pairs of a batch
  int longest_source = 256;  ///< tokens of a source
  int longest_target = 256;  ///< tokens of a target
  int chunk = 1 << 14;       ///< pairs that are sorted by length together
  bool shuffle = true;       ///< false: in the order of the corpora, each pair once, whatever the weights: to evaluate
  std::uint64_t seed = 0;
  std::vector<double> weights = {};  ///< how often a pair of each corpus comes in an epoch; none given: once
};

/// Weights for corpora of these sizes that take the same number of pairs together, of each in proportion to
/// size^(1 / temperature): 1 takes every pair once, larger ones take more of small corpora. Errors: `Error` for a
/// temperature below 1.
///
/// Source: Arivazhagan et al., Massively Multilingual Neural Machine Translation in the Wild (arXiv:1907.05019), 4.
inline std::vector<double> temperature_weights(std::span<const std::size_t> sizes, double temperature) {
  if (!(temperature >= 1))
    throw Error("temperature_weights: a temperature of " + std::to_string(temperature) + "; give at least 1");
  double all = 0, sum = 0;
  for (const std::size_t size : sizes) {
    all += static_cast<double>(size);
    sum += std::pow(static_cast<double>(size), 1 / temperature);
  }
  std::vector<double> weights;
  for (const std::size_t size : sizes)
    weights.push_back(size == 0 ? 1 : all / sum * std::pow(static_cast<double>(size), 1 / temperature - 1));
  return weights;
}

/// Which pair: a corpus, and the index of the pair in it.
struct PairPlace {
  std::size_t corpus = 0, pair = 0;
  friend auto operator<=>(const PairPlace&, const PairPlace&) = default;
};

/// Batches of sentence pairs for a translator: as many pairs as keep the rows of both sides within their budgets.
///
/// The pairs of an epoch are shuffled, over all corpora; cut into chunks of equal size; sorted by length within each;
/// cut into batches; and the batches of a chunk are shuffled. All of that follows from (seed, epoch).
///
/// Of a corpus with weight w, epoch e takes the pairs from floor(e · w · size) to floor((e + 1) · w · size) of an
/// endless series of permutations of it. So a pair comes exactly w times in an epoch when w is a whole number, and in
/// all epochs together at most one time more or less than another pair of its corpus.
///
/// A batch has each source with its end token. Of each target it has the begin token and the target to read, the target
/// and the end token to predict.
///
/// A cursor counts pairs: those of all batches before it, in the order in which they come. It is all that a run needs
/// to go on. A cursor within a batch means that batch, but without shuffling, where it begins one.
///
/// The corpora are viewed and must outlive the sampler. Copies share a plan of the chunk that was asked for last, which
/// no result depends on.
template <class Token>
class PairBatches {
 public:
  using Packed = PackedPairs;

  /// Errors: `ShapeError` for capacities that cannot be; `Error` for a chunk, weights or corpora that cannot be, and
  /// with its number for a pair that is longer than the options allow.
  PairBatches(std::span<const PairCorpus<Token>> corpora, PairBatchOptions options)
      : options_(std::move(options)), key_(Key{options_.seed}.child("pairs")) {
    check_capacity(source_capacity(), "PairBatches: source");
    check_capacity(target_capacity(), "PairBatches: target");
    if (options_.chunk < 1) throw Error("PairBatches: a chunk of " + std::to_string(options_.chunk) + " pairs");
    if (options_.weights.empty()) options_.weights.assign(corpora.size(), 1.0);
    if (options_.weights.size() != corpora.size())
      throw Error("PairBatches: " + std::to_string(options_.weights.size()) + " weights for " +
                  std::to_string(corpora.size()) + " corpora; give one for each");
    double share = 0;
    for (std::size_t i = 0; i < corpora.size(); ++i) {
      const double weight = options_.weights[i], most = 1000;
      if (!(weight >= 0 && weight <= most))
        throw Error("PairBatches: a weight of " + std::to_string(weight) + " for " + corpora[i].name +
                    "; it is how often a pair comes in an epoch, from 0 to 1000");
      corpora_.push_back(&corpora[i]);
      check_lengths(corpora[i]);
      share += weight * static_cast<double>(corpora[i].size());
      all_ += corpora[i].size();
    }
    if (all_ == 0) throw Error("PairBatches: the corpora have no pairs; give some, or clean them less");
    if (options_.shuffle && share < 1)
      throw Error("PairBatches: with these weights an epoch has less than one pair; give larger ones");
    per_epoch_ = share;
    if (options_.shuffle) plan_ = std::make_shared<Plan>(longest_chunk());
  }
  PairBatches(const std::vector<PairCorpus<Token>>& corpora, PairBatchOptions options)
      : PairBatches(std::span(corpora), std::move(options)) {}
  PairBatches(const PairCorpus<Token>& corpus, PairBatchOptions options)
      : PairBatches(std::span(&corpus, 1), std::move(options)) {}
  PairBatches(std::vector<PairCorpus<Token>>&&, PairBatchOptions) = delete;
  PairBatches(PairCorpus<Token>&&, PairBatchOptions) = delete;

  PairCapacity capacity() const { return {source_capacity(), target_capacity()}; }
  Capacity source_capacity() const { return {options_.source_rows, options_.pairs, options_.longest_source}; }
  Capacity target_capacity() const { return {options_.target_rows, options_.pairs, options_.longest_target}; }

  /// Pairs of the first epoch: cursors 0, …, epoch() - 1. With weights that are no whole numbers, other epochs may
  /// have one more or less of each corpus.
  std::uint64_t epoch() const { return begin_of(1); }
  /// The epoch that a cursor is in.
  std::uint64_t epoch_of(std::uint64_t cursor) const {
    if (!options_.shuffle) return cursor / all_;
    auto epoch = static_cast<std::uint64_t>(static_cast<double>(cursor) / per_epoch_);
    while (begin_of(epoch) > cursor) --epoch;
    while (begin_of(epoch + 1) <= cursor) ++epoch;
    return epoch;
  }

  std::uint64_t fill(std::uint64_t cursor, Packed& batch) const {
    batch.clear();
    const std::uint64_t next = select(
        cursor, [&](PairPlace place) { batch.append(source(place), target(place), corpora_[place.corpus]->end); });
    batch.pack();
    return next;
  }

  /// Calls `take(place)` for each pair of the batch at `cursor`; returns the cursor of the next batch. Allocates
  /// nothing; may be called by several threads.
  template <class Take>
  std::uint64_t select(std::uint64_t cursor, Take&& take) const {
    return options_.shuffle ? select_shuffled(cursor, take) : select_in_order(cursor, take);
  }

  std::span<const Token> source(PairPlace place) const { return corpora_[place.corpus]->source.document(place.pair); }
  std::span<const Token> target(PairPlace place) const { return corpora_[place.corpus]->target.document(place.pair); }
  int source_rows(PairPlace place) const { return static_cast<int>(source(place).size()); }
  int target_rows(PairPlace place) const { return static_cast<int>(target(place).size()); }

 private:
  struct Item {
    int source = 0, target = 0;  ///< rows
    std::uint64_t slot = 0;      ///< its place in the shuffled epoch: decides between equal lengths
    PairPlace place;
    auto order() const { return std::tuple(source, target, slot); }
  };
  struct Part {
    std::size_t first = 0, count = 0;  ///< items of the batch
    std::uint64_t cursor = 0;
  };
  /// A chunk's pairs and its batches in the order in which they come. Memory for the longest chunk.
  struct Plan {
    explicit Plan(std::size_t longest) {
      items.reserve(longest);
      sorted.reserve(longest);
      parts.reserve(longest);
    }
    std::mutex mutex;
    std::uint64_t begin = 0, end = 0;  ///< cursors; equal: there is no plan yet
    std::vector<Item> items;
    std::vector<Part> sorted, parts;
  };
  /// Counts what a batch has room for.
  struct Room {
    int source, target, pairs;
    bool take(int source_rows, int target_rows) {
      if (source_rows > source || target_rows > target || pairs == 0) return false;
      source -= source_rows;
      target -= target_rows;
      --pairs;
      return true;
    }
  };

  Room room() const { return {options_.source_rows, options_.target_rows, options_.pairs}; }

  void check_lengths(const PairCorpus<Token>& corpus) const {
    const auto check = [&](const char* side, std::size_t pair, std::size_t tokens, int longest) {
      if (tokens > 0 && tokens <= static_cast<std::size_t>(longest)) return;
      throw Error("PairBatches: pair " + std::to_string(pair + 1) + " of " + corpus.name + " has " +
                  std::to_string(tokens) + " " + side + " tokens, the longest may have " + std::to_string(longest) +
                  "; encode with longest_" + side + " = " + std::to_string(longest) + ", or allow more");
    };
    if (corpus.source.documents() != corpus.target.documents())
      throw Error("PairBatches: " + corpus.name + " has " + std::to_string(corpus.source.documents()) +
                  " sources and " + std::to_string(corpus.target.documents()) + " targets");
    for (std::size_t pair = 0; pair < corpus.size(); ++pair) {
      check("source", pair, corpus.source.document(pair).size(), options_.longest_source);
      check("target", pair, corpus.target.document(pair).size(), options_.longest_target);
    }
  }

  /// Pairs of a corpus that all epochs before this one took.
  std::uint64_t taken(std::size_t corpus, std::uint64_t epoch) const {
    const double weight = options_.weights[corpus];
    return static_cast<std::uint64_t>(static_cast<double>(epoch) * weight *
                                      static_cast<double>(corpora_[corpus]->size()));
  }
  /// Position of an epoch's first pair.
  std::uint64_t begin_of(std::uint64_t epoch) const {
    if (!options_.shuffle) return epoch * all_;
    std::uint64_t sum = 0;
    for (std::size_t corpus = 0; corpus < corpora_.size(); ++corpus) sum += taken(corpus, epoch);
    return sum;
  }
  std::size_t longest_chunk() const {
    const double largest_epoch = per_epoch_ + static_cast<double>(corpora_.size()) + 1;
    return static_cast<std::size_t>(std::min(largest_epoch, 2.0 * options_.chunk));
  }

  /// The pair in a slot of an epoch. `size` is the number of slots.
  PairPlace at(std::uint64_t epoch, std::uint64_t size, std::uint64_t slot) const {
    std::uint64_t index = Permutation{key_.child("epoch").child(epoch), size}(slot);
    for (std::size_t corpus = 0;; ++corpus) {
      const std::uint64_t first = taken(corpus, epoch), count = taken(corpus, epoch + 1) - first;
      if (index >= count) {
        index -= count;
        continue;
      }
      const std::uint64_t number = first + index, pairs = corpora_[corpus]->size();
      const Permutation order{key_.child("corpus").child(corpus).child(number / pairs), pairs};
      return {corpus, static_cast<std::size_t>(order(number % pairs))};
    }
  }

  /// Plans the chunk that has the cursor.
  void make(Plan& plan, std::uint64_t cursor) const {
    const std::uint64_t epoch = epoch_of(cursor), begin = begin_of(epoch), size = begin_of(epoch + 1) - begin;
    const auto chunk = static_cast<std::uint64_t>(options_.chunk);
    const std::uint64_t chunks = std::max<std::uint64_t>(1, (size + chunk / 2) / chunk);
    const auto first_of = [&](std::uint64_t n) { return size / chunks * n + size % chunks * n / chunks; };
    std::uint64_t number = (cursor - begin) / (size / chunks + 1);
    while (first_of(number + 1) <= cursor - begin) ++number;
    const std::uint64_t first = first_of(number), end = first_of(number + 1);

    plan.begin = plan.end = 0;
    plan.items.clear();
    for (std::uint64_t slot = first; slot < end; ++slot) {
      const PairPlace place = at(epoch, size, slot);
      plan.items.push_back({source_rows(place), target_rows(place), slot, place});
    }
    std::ranges::sort(plan.items, {}, &Item::order);
    plan.sorted.clear();
    for (std::size_t i = 0; i < plan.items.size();) {
      Part part{i, 0};
      for (Room left = room(); i < plan.items.size() && left.take(plan.items[i].source, plan.items[i].target); ++i)
        ++part.count;
      plan.sorted.push_back(part);
    }
    const Permutation order{key_.child("batches").child(epoch).child(number), plan.sorted.size()};
    plan.parts.clear();
    std::uint64_t next = begin + first;
    for (std::size_t i = 0; i < plan.sorted.size(); ++i) {
      Part part = plan.sorted[order(i)];
      part.cursor = next;
      next += part.count;
      plan.parts.push_back(part);
    }
    plan.begin = begin + first;
    plan.end = begin + end;
  }

  template <class Take>
  std::uint64_t select_shuffled(std::uint64_t cursor, Take& take) const {
    Plan& plan = *plan_;
    const std::lock_guard lock(plan.mutex);
    if (cursor < plan.begin || cursor >= plan.end) make(plan, cursor);
    const auto after = std::ranges::upper_bound(plan.parts, cursor, {}, &Part::cursor);
    const Part& part = *(after - 1);
    for (std::size_t i = 0; i < part.count; ++i) take(plan.items[part.first + i].place);
    return part.cursor + part.count;
  }

  template <class Take>
  std::uint64_t select_in_order(std::uint64_t cursor, Take& take) const {
    PairPlace place{0, static_cast<std::size_t>(cursor % all_)};
    while (place.pair >= corpora_[place.corpus]->size()) place.pair -= corpora_[place.corpus++]->size();
    for (Room left = room();;) {
      while (place.corpus < corpora_.size() && place.pair == corpora_[place.corpus]->size())
        place = {place.corpus + 1, 0};
      if (place.corpus == corpora_.size() || !left.take(source_rows(place), target_rows(place))) return cursor;
      take(std::as_const(place));
      ++place.pair;
      ++cursor;
    }
  }

  std::vector<const PairCorpus<Token>*> corpora_;
  PairBatchOptions options_;
  Key key_;
  std::uint64_t all_ = 0;  // pairs of all corpora
  double per_epoch_ = 0;   // pairs of an epoch, on average
  std::shared_ptr<Plan> plan_;
};

static_assert(Sampler<PairBatches<int>>);

}  // namespace fathom::inline FATHOM_ABI::text
