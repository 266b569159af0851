// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <fathom/backend/cpu/lane.hpp>
#include <thread>
#include <vector>

namespace lane_test {

using namespace fathom;
using cpu::Deal;
using cpu::Share;

PackedRows packed(const std::vector<int>& lengths, const std::vector<int>& past = {}) {
  int rows = 0;
  for (const int length : lengths) rows += length;
  PackedRows result({rows, int(lengths.size()), *std::ranges::max_element(lengths)});
  result.assign(lengths, past);
  return result;
}

TEST_CASE("every row, sequence and shard is in exactly one share", "[cpu]") {
  const std::vector<int> lengths = GENERATE(std::vector<int>{1}, std::vector<int>(4, 128), std::vector<int>(5, 64),
                                            std::vector<int>{300, 2, 2, 7}, std::vector<int>(16, 1));
  const int parts = GENERATE(1, 2, 3, 7);
  const PackedRows rows = packed(lengths);
  const Packing packing = rows;
  int row = 0, sequence = 0, shard = 0;
  for (int number = 0; number < parts; ++number) {
    const Share share = Share::of(packing, number, parts);
    CHECK(share.deal == Share::of(packing, 0, parts).deal);
    CHECK(share.rows.begin <= share.rows.end);
    if (share.rows.size() == 0) continue;
    CHECK(share.rows.begin == row);
    CHECK(share.shards.begin == shard);
    CHECK(packing.shards[share.shards.begin] == share.rows.begin);
    CHECK(packing.shards[share.shards.end] == share.rows.end);
    if (share.deal == Deal::sequences) CHECK(share.sequences.begin == sequence);
    row = share.rows.end;
    shard = share.shards.end;
    sequence = share.sequences.end;
  }
  CHECK(row == packing.rows());
  CHECK(shard == packing.shard_count());
}

TEST_CASE("sequences stay whole while no thread gets a twentieth more than its part", "[cpu]") {
  CHECK(Share::of(packed(std::vector<int>(8, 128)), 0, 2).deal == Deal::sequences);
  CHECK(Share::of(packed({100, 100, 96}), 0, 3).deal == Deal::sequences);
  const PackedRows uneven = packed(std::vector<int>(5, 256));
  for (const int number : {0, 1}) {
    const Share share = Share::of(uneven, number, 2);
    CHECK(share.deal == Deal::shards);
    CHECK(share.rows.size() == 5 * 256 / 2);
  }
}

/// Deferred work that counts how often each of its rows is done, and notes a run before all lanes have deferred it.
struct Counted {
  int rows = 0;
  std::atomic<int>* done = nullptr;
  std::atomic<int>* lanes = nullptr;  // that have deferred it
  std::atomic<bool>* early = nullptr;

  const char* name() const { return "counted"; }
  double cost() const { return 10.0 * rows; }
  int size() const { return rows; }
  int grain() const { return 8; }
  void run(auto& lane, cpu::Range range) const {
    if (*lanes != lane.parts()) *early = true;
    for (int row = range.begin; row < range.end; ++row) ++done[row];
  }
};

TEST_CASE("each row of deferred work is done once, after all lanes have deferred it", "[cpu][threads]") {
  constexpr int rows[] = {64, 1, 200, 7};
  const int parts = GENERATE(1, 2, 3);
  cpu::Team team(parts);
  std::vector<cpu::Lane<Counted>> lanes;
  for (int number = 0; number < parts; ++number) lanes.emplace_back(number);
  for (int region = 0; region < 2; ++region) {
    constexpr int frames = 3;
    std::atomic<int> done[frames][4][200] = {}, deferred[frames][4] = {};
    std::atomic<bool> early{false}, late{false};
    team.run([&](int number) {
      cpu::Lane<Counted>& lane = lanes[number];
      lane.attach({&team, nullptr, 0});
      for (int frame = 0; frame < frames; ++frame) {
        for (int i = 0; i < 4; ++i) {
          if (number == frame) std::this_thread::sleep_for(std::chrono::milliseconds(5));
          ++deferred[frame][i];
          lane.defer({rows[i], done[frame][i], &deferred[frame][i], &early});
        }
        lane.settle();
        for (int i = 0; i < 4; ++i)
          for (int row = 0; row < rows[i]; ++row)
            if (done[frame][i][row] != 1) late = true;
      }
    });
    CHECK_FALSE(early);
    CHECK_FALSE(late);
  }
}

TEST_CASE("what a failed region has deferred is not done in the next one", "[cpu][threads]") {
  cpu::Team team(2);
  std::vector<cpu::Lane<Counted>> lanes;
  for (int number : {0, 1}) lanes.emplace_back(number);
  std::atomic<int> done[8] = {}, deferred{0};
  std::atomic<bool> early{false};
  CHECK_THROWS_AS(team.run([&](int number) {
    lanes[number].attach({&team, nullptr, 0});
    ++deferred;
    lanes[number].defer({8, done, &deferred, &early});
    throw Error("before the frame closes");
  }),
                  Error);
  team.run([&](int number) {
    lanes[number].attach({&team, nullptr, 0});
    lanes[number].settle();
  });
  CHECK(std::ranges::all_of(done, [](int times) { return times == 0; }));
}

TEST_CASE("a few rows are one thread's", "[cpu]") {
  const PackedRows one = packed({1}, {17});
  CHECK(Share::of(one, 0, 2).deal == Deal::columns);
  CHECK(Share::of(one, 0, 2).rows.size() == 1);
  CHECK(Share::of(one, 1, 2).rows.size() == 0);
}

}  // namespace lane_test
