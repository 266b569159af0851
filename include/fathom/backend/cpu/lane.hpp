// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/team.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/packing.hpp>
#include <string_view>
#include <variant>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// A range of indices, end excluded.
struct Range {
  int begin = 0, end = 0;
  constexpr int size() const { return end - begin; }
};

/// Share `number` of `parts` equal shares of [0, count), cut at multiples of `grain`.
constexpr Range share_of(int count, int number, int parts, int grain = 1) {
  const auto cut = [=](int n) {
    const std::int64_t at = std::int64_t(count) * n / parts;
    return n == parts ? count : int(at / grain * grain);
  };
  return {cut(number), cut(number + 1)};
}

/// How the rows of a packing are dealt to the threads.
enum class Deal {
  sequences,  ///< each thread has sequences of its own: no thread ever reads another's rows in a forward pass
  shards,     ///< sequences are cut between threads at shard boundaries: attention waits for everybody
  columns,    ///< too few rows to deal: all are the first thread's, but large products are cut by output columns
};

/// Rows up to which products read W unpacked: generation, one token for each sequence.
inline constexpr int few_rows = 16;
/// With fewer rows than this for each thread, reading W costs more than multiplying: then threads rather share W.
inline constexpr int rows_worth_dealing = 4;
/// Operations of an op on few rows below which the first thread is done with it before two have met twice.
inline constexpr double flops_worth_meeting = 100'000;

/// Where the next share begins: the first entry of `starts` (ascending, last entry: the number of rows) that is nearest
/// to `row`.
constexpr int nearest(Packing::Places starts, int row) {
  const auto above = std::lower_bound(starts.begin(), starts.end(), row);
  const int index = int(above - starts.begin());
  return index > 0 && row - starts[index - 1] < starts[index] - row ? index - 1 : index;
}

/// The part of a packed batch that belongs to one thread.
struct Share {
  Deal deal = Deal::sequences;
  Range rows, sequences, shards;

  static Share of(const Packing& packing, int number, int parts) {
    const int rows = packing.rows(), sequences = packing.sequences(), shards = packing.shard_count();
    if (parts == 1) return {Deal::sequences, {0, rows}, {0, sequences}, {0, shards}};
    const bool all = number == 0;
    const Share columns{Deal::columns, {0, all ? rows : 0}, {0, all ? sequences : 0}, {0, all ? shards : 0}};
    if (rows <= few_rows && rows < rows_worth_dealing * parts) return columns;
    const auto cut = [&](Packing::Places starts, int n) {
      return nearest(starts, int(std::int64_t(rows) * n / parts));
    };
    int largest = 0;
    for (int n = 0; n < parts; ++n)
      largest =
          std::max(largest, packing.offsets[cut(packing.offsets, n + 1)] - packing.offsets[cut(packing.offsets, n)]);
    // Within a twentieth: attention that waits for everybody costs less than uneven shares.
    const bool balanced = std::int64_t(largest) * parts * 20 <= std::int64_t(rows) * 21;
    if (balanced) {
      const Range own{cut(packing.offsets, number), cut(packing.offsets, number + 1)};
      return {Deal::sequences,
              {packing.offsets[own.begin], packing.offsets[own.end]},
              own,
              {packing.sequence_shard[own.begin], packing.sequence_shard[own.end]}};
    }
    if (rows <= few_rows) return columns;
    const Range own{cut(packing.shards, number), cut(packing.shards, number + 1)};
    return {Deal::shards, {packing.shards[own.begin], packing.shards[own.end]}, {}, own};
  }
};

/// Calls f(sequence, row in the sequence counted with its past, first row, count) for the runs of rows of one sequence.
template <class F>
void each_run(const Packing& packing, Range rows, F&& f) {
  if (rows.size() == 0) return;
  int sequence =
      int(std::upper_bound(packing.offsets.begin(), packing.offsets.end(), rows.begin) - packing.offsets.begin()) - 1;
  for (int row = rows.begin; row < rows.end; ++sequence) {
    const int end = std::min(rows.end, packing.offsets[sequence + 1]);
    f(sequence, packing.past_of(sequence) + row - packing.offsets[sequence], row, end - row);
    row = end;
  }
}

/// What a machine gives to a lane for one region.
struct LaneResources {
  Team* team = nullptr;
  std::byte* scratch = nullptr;  ///< of this lane alone
  std::int64_t scratch_bytes = 0;
};

/// One thread of the CPU. `Deferred` is work that is put off until `settle`, cut there into pieces for whoever comes:
/// its `size` in rows or columns is cut at multiples of `grain`.
template <class Deferred>
class Lane {
 public:
  explicit Lane(int number = 0) : number_(number) {}

  void attach(const LaneResources& resources) {
    resources_ = resources;
    share_ = {};
    count_ = advances_ = tickets_ = 0;
  }
  void listen(Listener* listener) { listener_ = listener; }

  void use(Arena& workspace) { workspace_ = &workspace; }
  void on(const Packing& packing) {
    const bool alone = share_.deal == Deal::columns;
    packing_ = &packing;
    share_ = Share::of(packing, number_, parts());
    if (alone && share_.deal != Deal::columns) barrier();  // what the first lane did alone is everybody's now
  }
  void enter(std::string_view, int) {}
  void leave() {}

  const Packing& packing() const { return *packing_; }
  const Share& share() const { return share_; }
  int number() const { return number_; }
  int parts() const { return resources_.team->size(); }

  bool first() const { return number_ == 0; }
  void wait() { barrier(); }

  /// Every op that writes a result at `from` ends with a barrier, so it is there.
  void read(void* into, const void* from, std::size_t bytes) {
    std::memcpy(into, from, bytes);
    barrier();
  }

  void barrier() {
    const Listener::Notice notice(listener_, "waiting");
    resources_.team->barrier();
  }

  /// Waits until every lane has deferred `count` pieces of work in this region.
  void await(int count) {
    const Listener::Notice notice(listener_, "waiting");
    resources_.team->await(std::uint32_t(count));
  }

  /// This lane's memory while one op runs.
  template <class T>
  T* scratch(std::int64_t count) {
    if (count * std::int64_t(sizeof(T)) > resources_.scratch_bytes)
      throw Error("Cpu: an op needs more scratch memory than was reserved; reserve the context with this pass's plan");
    return reinterpret_cast<T*>(resources_.scratch);
  }
  /// Memory that all lanes share: every lane has an equal cursor over the one block, and takes the same.
  Arena& workspace() { return *workspace_; }

  /// Puts work off until `settle`. This lane has done its share of what the work reads; other lanes may begin with it.
  void defer(const Deferred& work) {
    if (count_ == int(deferred_.size())) settle();
    deferred_[count_++] = work;
    ++advances_;
    resources_.team->advance(number_);
  }

  /// Ends the deferred work. A lane that comes early begins with what all lanes have deferred already; pieces become
  /// smaller towards the end, so that all lanes end together whatever else their cores do (guided self-scheduling,
  /// Polychronopoulos and Kuck 1987). Waits for all lanes even without such work, because memory that a frame frees is
  /// used again with other rows in other places.
  void settle();

 private:
  int number_ = 0;
  LaneResources resources_;
  Arena* workspace_ = nullptr;
  Listener* listener_ = nullptr;
  const Packing* packing_ = nullptr;
  Share share_;
  Indexed<std::array<Deferred, 64>> deferred_;
  int count_ = 0;
  int advances_ = 0;  // how much has been deferred in this region
  int tickets_ = 0;   // how many have been drawn in it by all lanes
};

template <class Deferred>
void Lane<Deferred>::settle() {
  if (count_ == 0 && share_.deal == Deal::columns) return;  // the memory was the first lane's alone
  double left = 0;
  for (int i = 0; i < count_; ++i) left += deferred_[i].cost();
  const double least = left / (16 * parts());
  int mine = count_ > 0 ? resources_.team->ticket() : 0;
  for (int i = 0; i < count_; ++i) {
    const Deferred& work = deferred_[i];
    const double cost_of_one = work.cost() / work.size();
    for (Range piece; piece.begin < work.size(); piece.begin = piece.end) {
      const double cost = std::max(left / (2 * parts() - 1), least);
      const double grains = std::max(1.0, std::round(cost / cost_of_one / work.grain()));
      piece.end = int(std::min(double(work.size()), piece.begin + grains * work.grain()));
      left -= cost_of_one * piece.size();
      if (tickets_++ != mine) continue;
      await(advances_ - count_ + i + 1);
      const Listener::Notice notice(listener_, work.name());
      work.run(*this, piece);
      mine = resources_.team->ticket();
    }
  }
  if (count_ > 0) tickets_ += parts();  // each lane has drawn one beyond the last piece
  count_ = 0;
  barrier();
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
