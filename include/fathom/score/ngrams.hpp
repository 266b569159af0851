// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <span>
#include <string_view>
#include <vector>

/// Counting of n-grams, exact: nothing is told apart by a hash alone.

namespace fathom::inline FATHOM_ABI::score::detail {

/// Equal words of one segment have equal numbers.
class WordNumbers {
 public:
  /// Forgets all words and makes room for as many different ones.
  void reset(std::size_t words) {
    slots_.assign(std::bit_ceil(2 * words + 2), {});
    count_ = 0;
  }

  /// Of each word; valid until the next line. The words have to stay until the next reset.
  const std::vector<std::uint32_t>& of(std::span<const std::string_view> words) {
    line_.clear();
    for (const std::string_view word : words) line_.push_back(number(word));
    return line_;
  }

 private:
  struct Slot {
    std::string_view word;
    std::uint32_t number = 0;
  };

  std::uint32_t number(std::string_view word) {
    std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    for (std::size_t i = (hash ^ hash >> 32) & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      Slot& slot = slots_[i];
      if (slot.word.data() == nullptr) slot = {word, count_++};
      if (slot.word == word) return slot.number;
    }
  }

  std::vector<Slot> slots_;
  std::vector<std::uint32_t> line_;
  std::uint32_t count_ = 0;
};

/// What a hypothesis shares with its references, one order after another. An n-gram counts as often as the hypothesis
/// has it, but not more often than the reference that has it most.
///
/// The n-grams that references have are numbered order by order: the number of a longer one follows from those of the
/// n-gram without its last and the one without its first symbol. So a key has 64 bits whatever the order.
class SharedNgrams {
 public:
  void start() {
    order_ = 0;
    reference_starts_.assign(1, 0);
    references_.clear();
    hypothesis_.clear();
  }
  template <class Symbols>
  void add_reference(const Symbols& symbols) {
    for (const std::uint64_t symbol : symbols) references_.push_back(symbol + 1);
    reference_starts_.push_back(references_.size());
  }
  template <class Symbols>
  void set_hypothesis(const Symbols& symbols) {
    for (const std::uint64_t symbol : symbols) hypothesis_.push_back(symbol + 1);
  }

  /// The matches of the next order, beginning with single symbols.
  std::int64_t next() {
    slots_.assign(std::bit_ceil(2 * references_.size() + 2), {});
    shift_ = 64 - std::countr_zero(slots_.size());
    for (std::size_t r = 0; r + 1 < reference_starts_.size(); ++r) {
      const auto reference = std::span(references_).subspan(reference_starts_[r]);
      const auto numbers = reference.first(reference_starts_[r + 1] - reference_starts_[r]);
      const std::size_t count = replace_by_keys(numbers);
      for (std::uint64_t& number : numbers.first(count)) {
        Slot& slot = slot_of(number);
        slot.key = number;
        slot.most = std::max(slot.most, ++slot.seen);
        number = number_of(slot);
      }
      for (const std::uint64_t number : numbers.first(count)) slots_[number - 1].seen = 0;
    }
    std::int64_t matches = 0;
    for (std::uint64_t& number : std::span(hypothesis_).first(replace_by_keys(hypothesis_))) {
      if (number == 0) continue;
      Slot& slot = slot_of(number);
      number = slot.key == 0 ? 0 : number_of(slot);
      matches += slot.seen < slot.most;
      slot.seen += slot.seen < slot.most;
    }
    ++order_;
    return matches;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;  // 0: empty
    std::int32_t most = 0;  // in one reference
    std::int32_t seen = 0;  // in the reference or the hypothesis at hand
  };

  /// Makes of the numbers of all n-grams of a line the keys of those that are longer by one; returns how many there
  /// are. The key of an n-gram that no reference has is 0.
  std::size_t replace_by_keys(std::span<std::uint64_t> numbers) const {
    const std::size_t longer = numbers.size() < order_ ? 0 : numbers.size() - order_;
    if (order_ == 0) return longer;
    for (std::size_t i = 0; i < longer; ++i)
      numbers[i] = numbers[i] != 0 && numbers[i + 1] != 0 ? numbers[i] << 32 | numbers[i + 1] : 0;
    return longer;
  }

  Slot& slot_of(std::uint64_t key) {
    std::size_t i = (key * 0x9e3779b97f4a7c15u) >> shift_;
    while (slots_[i].key != 0 && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }
  std::uint64_t number_of(const Slot& slot) const { return static_cast<std::uint64_t>(&slot - slots_.data()) + 1; }

  std::size_t order_ = 0;                                // of the numbers
  std::vector<std::uint64_t> hypothesis_, references_;   // numbers, one reference after another
  std::vector<std::size_t> reference_starts_;
  std::vector<Slot> slots_;
  int shift_ = 0;
};

}  // namespace fathom::inline FATHOM_ABI::score::detail
