// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/testing/layer_run.hpp>
#include <limits>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::testing {

/// What a row of `L` sees: one row of x after the other gets other values, and the rows of y that change with it tell.
///
///   REQUIRE(testing::seen_rows<MyLayer>() == MyLayer::sees);
///
/// Errors: `Error` when a row of another sequence changes, which no layer may do.
template <Layer L, Backend B = Ref<double>>
Sees seen_rows(const LayerRows& batch = {}, const typename B::Options& machine = {}) {
  LayerRun<L, B> run(batch, machine);
  run.randomize(1);
  run.forward();
  const auto x = values_of(run.x), y = values_of(run.y);
  typename LayerRun<L, B>::Memory drawn(run.x.size());
  run.fill_normal(drawn, Key{2});
  const auto other = values_of(drawn);
  Indexed<std::vector<int>> sequence;  // of each row
  for (std::size_t s = 0; s < batch.lengths.size(); ++s)
    sequence.insert(sequence.end(), std::size_t(batch.lengths[s]), int(s));

  Sees seen = Sees::itself;
  const int rows = int(run.rows());
  for (int from = 0; from < rows; ++from) {
    auto changed = x;
    std::copy_n(other.begin() + from * L::input_width, L::input_width, changed.begin() + from * L::input_width);
    run.x.upload(0, changed);
    run.forward();
    const auto now = values_of(run.y);
    for (int to = 0; to < rows; ++to) {
      const std::int64_t first = std::int64_t(to) * L::output_width;
      if (to == from || std::equal(y.begin() + first, y.begin() + first + L::output_width, now.begin() + first))
        continue;
      if (sequence[to] != sequence[from])
        throw Error("seen_rows: row " + std::to_string(to) + " changes with row " + std::to_string(from) +
                    " of another sequence; a layer must keep the sequences of its worker's packing apart");
      seen = std::max(seen, from < to ? Sees::earlier : Sees::all);
    }
  }
  return seen;
}

/// The worst difference between one pass over whole sequences and passes over pieces of them with a cache, for several
/// ways to cut them, and after their ends were forgotten.
///
///   REQUIRE(testing::check_cache<MyLayer>().error <= 1e-12);
template <Layer L, Backend B = Ref<double>>
requires reads_in_pieces<L>
Difference check_cache(const LayerRows& batch = {}, const typename B::Options& machine = {}) {
  LayerRun<L, B> run(batch, machine);
  run.randomize(1);
  run.forward();
  const std::vector whole = values_of(run.y);
  const int longest = *std::ranges::max_element(batch.lengths);
  /// Every sequence's place after `row` rows, or its end.
  const auto at = [&](int row) {
    std::vector<int> places = batch.lengths;
    for (int& place : places) place = std::min(place, row);
    return places;
  };
  Difference worst;
  const auto compare_rows = [&] {
    const std::vector pieces = values_of(run.y);
    const Difference found = compare(std::span(pieces), std::span(whole), 1);
    if (found.error > worst.error) worst = found;
    run.fill(run.y, std::numeric_limits<typename LayerRun<L, B>::T>::quiet_NaN());
  };

  for (int row = 0; row < longest; ++row) run.forward_piece(at(row), at(row + 1));
  compare_rows();
  for (int cut = 0; cut < longest; ++cut) {
    run.forward_piece(at(0), at(cut));
    run.forward_piece(at(cut), at(longest));
    compare_rows();
    run.forward_piece(at(0), at(longest));
    run.forward_piece(at(cut), at(longest));  // once more: the cache holds rows behind these
    compare_rows();
  }
  return worst;
}

}  // namespace fathom::inline FATHOM_ABI::testing
