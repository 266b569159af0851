// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "check_op.hpp"

using namespace fathom_test;

namespace {

struct Heads {
  int count, groups, width;
};
constexpr Heads shapes[] = {{1, 1, 20}, {4, 4, 8}, {6, 2, 16}};

/// q, k and v as columns of one matrix, as a fused projection leaves them; with `cross`, k and v of other rows.
template <class P>
struct Projections {
  Matrix<typename P::Activation> q, k, v;

  template <class Take>
  Projections(const Operands<P>& o, Heads heads, bool cross, Take take) {
    const int queries = heads.count * heads.width, keys = heads.groups * heads.width, all = queries + 2 * keys;
    const int rows = o.rows(), key_rows = cross ? o.key_packing.rows() : rows;
    const auto own = take(rows, all), other = cross ? take(key_rows, all) : own;
    q = {own.data, rows, queries, all};
    k = {other.data + queries, key_rows, keys, all};
    v = {other.data + queries + keys, key_rows, keys, all};
  }
};

/// Bytes that attention over one sequence needs on a thread beside its operands, forward or backward, without and with
/// a cache.
template <class P, template <class> class Op>
constexpr std::int64_t needed(int length, int cache = 0) {
  return dry_run<Cpu<P>>({.rows = length, .sequences = 1, .longest = length}, {},
                         [&](auto& worker) {
                           Op<P> op{};
                           op.heads = 6, op.kv_heads = 2, op.head_width = 64;
                           op.packing = op.key_packing = &worker.packing();
                           if constexpr (requires { op.cache; }) op.cache.length = cache;
                           worker(op);
                         })
      .size.total(1);
}

}  // namespace

// The T×T matrix is never stored: four times the length needs at most four times the memory.
static_assert(needed<Single, op::Attention>(4096) <= 4 * needed<Single, op::Attention>(1024));
static_assert(needed<Double, op::Attention>(4096) <= 4 * needed<Double, op::Attention>(1024));
static_assert(needed<Single, op::AttentionBackward>(4096) <= 4 * needed<Single, op::AttentionBackward>(1024));
static_assert(needed<Double, op::AttentionBackward>(4096) <= 4 * needed<Double, op::AttentionBackward>(1024));
static_assert(needed<Single, op::Attention>(1, 4096) <= 4 * needed<Single, op::Attention>(1, 1024));

TEST_CASE("attention", "[cpu][threads]") {
  for (const Heads heads : shapes)
    for (const bool causal : {false, true})
      for (const bool cross : {false, true}) {
        if (causal && cross) continue;
        check_op(
            [=]<class P>(Operands<P>& o) {
              const Projections<P> in(o, heads, cross, [&](int rows, int columns) { return o.values(rows, columns); });
              return op::Attention<P>{.heads = heads.count,
                                      .kv_heads = heads.groups,
                                      .head_width = heads.width,
                                      .causal = causal,
                                      .scale = 0.3,
                                      .dropout = o.dropout,
                                      .packing = &o.packing,
                                      .key_packing = cross ? &o.key_packing : &o.packing,
                                      .q = in.q,
                                      .k = in.k,
                                      .v = in.v,
                                      .cache = {},
                                      .o = o.poison(heads.count * heads.width),
                                      .lse = o.poison(heads.count, o.rows(), o.rows())};
            },
            {.dropout = true});
      }
}

TEST_CASE("attention with a cache", "[cpu][threads]") {
  constexpr int length = 200;
  for (const Heads heads : shapes)
    for (const TestRows& rows :
         {TestRows("generation", {1, 1, 1}, {0, 7, 130}), TestRows("prompt", {40, 3, 25}, {0, 90, 1})})
      check_op(rows, [=]<class P>(Operands<P>& o) {
        const int keys = heads.groups * heads.width, sequences = o.packing.sequences();
        const Projections<P> in(o, heads, false, [&](int count, int columns) { return o.values(count, columns); });
        return op::Attention<P>{
            .heads = heads.count,
            .kv_heads = heads.groups,
            .head_width = heads.width,
            .causal = true,
            .scale = 0.3,
            .dropout = {},
            .packing = &o.packing,
            .key_packing = &o.packing,
            .q = in.q,
            .k = in.k,
            .v = in.v,
            .cache = {o.values(sequences * length, keys).data, o.values(sequences * length, keys).data, length},
            .o = o.poison(heads.count * heads.width),
            .lse = o.poison(heads.count, o.rows(), o.rows())};
      });
}

TEST_CASE("attention, backward", "[cpu][threads]") {
  for (const Heads heads : shapes)
    for (const auto [causal, cross, restores] : {std::array{false, false, false},
                                                 {true, false, false},
                                                 {false, true, false},
                                                 {true, false, true},
                                                 {false, true, true}})
      check_op(
          [=]<class P>(Operands<P>& o) {
            const Projections<P> in(o, heads, cross, [&](int rows, int columns) { return o.values(rows, columns); });
            const Projections<P> d(o, heads, cross,
                                   [&](int rows, int columns) { return o.poison(rows, columns, columns); });
            // Any log-sum-exp makes "probabilities"; a large one keeps them as small as real ones.
            const auto lse = o.values(heads.count, o.rows());
            std::fill_n(lse.data, std::int64_t(heads.count) * o.rows(), typename P::Statistic(restores ? 6 : 4));
            const int width = heads.count * heads.width;
            const Matrix<typename P::Activation> none;
            return op::AttentionBackward<P>{.heads = heads.count,
                                            .kv_heads = heads.groups,
                                            .head_width = heads.width,
                                            .causal = causal,
                                            .scale = 0.3,
                                            .dropout = o.dropout,
                                            .packing = &o.packing,
                                            .key_packing = cross ? &o.key_packing : &o.packing,
                                            .q = in.q,
                                            .k = in.k,
                                            .v = in.v,
                                            .o = restores ? none : o.rows_of(width),
                                            .restored = restores ? o.poison(width) : none,
                                            .d_o = o.rows_of(width),
                                            .lse = lse,
                                            .dq = d.q,
                                            .dk = d.k,
                                            .dv = d.v};
          },
          {.dropout = true});
}

TEST_CASE("rotary", "[cpu][threads]") {
  for (const bool backward : {false, true}) {
    const auto rotary = [=]<class P>(Operands<P>& o) {
      return op::Rotary<P>{.head_width = 12, .base = 10000, .backward = backward, .x = o.rows_of(36)};
    };
    check_op(rotary);
    check_op(TestRows("past", {1, 20, 2}, {0, 7, 30}), rotary);
  }
}
