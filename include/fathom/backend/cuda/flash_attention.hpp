// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/attention_kernels.hpp>
#include <fathom/backend/cuda/kernel.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <limits>

/// Attention of 16 bits on tensor cores: a block has 64 queries of a head, or 64 keys, of one sequence, and each of its
/// warps 16 of them; the others come by in tiles that the block shares. Scores and sums are floats in registers;
/// probabilities and their gradients are rounded for the next product, not for the sums of probabilities. Nothing is
/// added to by two blocks, so the bits are the same every time.
/// Source: Dao 2023, arXiv:2307.08691, algorithms 1 and 2, with the gradient of queries in a pass of its own.
namespace fathom::inline FATHOM_ABI::cuda {

/// Rows of one head that a block shares, two elements in a word. Rows are so far apart that those which a warp reads at
/// a time lie in different banks.
template <int Rows, int Width>
struct HeadTile {
  using Step = MatrixStep;
  alignas(16) std::uint32_t words[Rows][Width / 2 + 4];

  /// Fills the tile by all threads of the block: `count` rows from `row_of(0)` on, `width` elements of each, and zeros
  /// behind them. `whole`: rows begin at multiples of 16 bytes.
  template <class Thread>
  constexpr void fill(Thread& thread, int threads, int count, int width, bool whole, auto&& row_of) {
    constexpr int octets = Width / octet;
    for (int i = thread.index(); i < Rows * octets; i += threads) {
      const int r = i / octets, c = i % octets * octet;
      Sixteen bits{};
      if (r < count && c < width) {
        if (whole && width % octet == 0) {
          bits = thread.load(reinterpret_cast<const Sixteen*>(row_of(r) + c));
        } else {
          for (int k = 0; k < octet && c + k < width; ++k)
            bits.words[k / 2] |= std::uint32_t(thread.load(row_of(r) + c + k).bits) << (k % 2 * 16);
        }
      }
      for (int k = 0; k < 4; ++k) words[r][c / 2 + k] = bits.words[k];
    }
  }

  constexpr float at(int row, int column) const { return float(element(row, column)); }

  /// The lane's fragments of the rows from `row` and the columns from `column` on: of the left matrix; of the right one
  /// transposed; of the right one.
  constexpr void left(int lane, int row, int column, Bf16 (&x)[Step::a_elements]) const {
    for (int i = 0; i < Step::a_elements; i += 2)
      pair(row + Step::a_row(lane, i), column + Step::a_column(lane, i), x[i], x[i + 1]);
  }
  constexpr void transposed(int lane, int row, int column, Bf16 (&x)[Step::b_elements]) const {
    for (int i = 0; i < Step::b_elements; i += 2)
      pair(row + Step::b_column(lane, i), column + Step::b_row(lane, i), x[i], x[i + 1]);
  }
  constexpr void right(int lane, int row, int column, Bf16 (&x)[Step::b_elements]) const {
    for (int i = 0; i < Step::b_elements; ++i)
      x[i] = element(row + Step::b_row(lane, i), column + Step::b_column(lane, i));
  }

 private:
  constexpr Bf16 element(int row, int column) const {
    return Bf16::from_bits(std::uint16_t(words[row][column / 2] >> (column % 2 * 16)));
  }
  constexpr void pair(int row, int column, Bf16& first, Bf16& second) const {
    const std::uint32_t word = words[row][column / 2];
    first = Bf16::from_bits(std::uint16_t(word));
    second = Bf16::from_bits(std::uint16_t(word >> 16));
  }
};

/// What a lane has of a matrix of 16 rows: four elements of each 8 columns.
template <int Columns>
struct Fragments {
  float at[Columns / MatrixStep::columns][MatrixStep::c_elements] = {};
};
/// f(row, column, j, i) for the lane's elements `at[j][i]`. It has two rows, the second one from i = 2 on.
template <int Columns>
[[gnu::always_inline]] constexpr void each_element(int lane, auto&& f) {
  using Step = MatrixStep;
  unrolled<Columns / Step::columns>([&](int j) {
    unrolled<Step::c_elements>(
        [&](int i) { f(Step::c_row(lane, i), Step::columns * j + Step::c_column(lane, i), j, i); });
  });
}

/// x += a bᵀ: 16 rows of `a` from `row` on, all rows of `b`, `width` columns of both.
template <int Columns, int Rows, int Width, class Thread>
[[gnu::always_inline]] constexpr void multiply_transposed(Thread& thread, Fragments<Columns>& x,
                                                          const HeadTile<Rows, Width>& a, int row,
                                                          const HeadTile<Columns, Width>& b, int width) {
  using Step = MatrixStep;
  unrolled<Width / Step::inner>([&](int k) {
    if (k * Step::inner >= width) return;
    Bf16 left[Step::a_elements], right[Step::b_elements];
    a.left(thread.lane(), row, k * Step::inner, left);
    unrolled<Columns / Step::columns>([&](int j) {
      b.transposed(thread.lane(), j * Step::columns, k * Step::inner, right);
      thread.multiply_add(x.at[j], left, right);
    });
  });
}

/// sums += x b: x (16, Inner), rounded; all rows of `b`, `width` columns.
template <int Inner, int Width, class Thread>
[[gnu::always_inline]] constexpr void multiply(Thread& thread, Fragments<Width>& sums, const Fragments<Inner>& x,
                                               const HeadTile<Inner, Width>& b, int width) {
  using Step = MatrixStep;
  unrolled<Inner / Step::inner>([&](int k) {
    Bf16 left[Step::a_elements], right[Step::b_elements];
    for (int i = 0; i < Step::c_elements; ++i) {  // two products side by side lie as the left matrix wants them
      left[i] = Bf16(x.at[2 * k][i]);
      left[Step::c_elements + i] = Bf16(x.at[2 * k + 1][i]);
    }
    unrolled<Width / Step::columns>([&](int j) {
      if (j * Step::columns >= width) return;
      b.right(thread.lane(), k * Step::inner, j * Step::columns, right);
      thread.multiply_add(sums.at[j], left, right);
    });
  });
}

/// The sum over the four lanes that have a row.
template <class Thread>
constexpr float row_sum(Thread& thread, float x) {
  for (int mask = 1; mask < 4; mask *= 2) x += thread.shuffle_xor(x, mask);
  return x;
}

/// Rows of one sequence that a block has: `count` from `first` on; none where there are not so many tiles.
struct RowTile {
  int sequence = 0, first = 0, count = 0;
};
template <class Thread>
constexpr RowTile tile_of(Thread& thread, const PlacesOf& places, int rows, int index) {
  for (int s = 0; s < places.sequences; ++s) {
    const int length = thread.load(places.offsets + s + 1) - thread.load(places.offsets + s);
    const int tiles = (length + rows - 1) / rows;
    if (index < tiles) return {s, index * rows, std::min(rows, length - index * rows)};
    index -= tiles;
  }
  return {};
}
/// Blocks for the tiles of so many rows, whatever their sequences are, and so many heads.
template <class K>
int tile_blocks(int rows, int sequences, int heads) {
  return (rows / K::rows + sequences) * heads;
}

/// A tile of the keys of a sequence, from `first` on, of which `all` are seen, and their values.
template <class P, class Tile, class Thread>
constexpr void fill_keys(Thread& thread, int threads, const AttentionOf<P>& of, Tile& k, Tile& v,
                         const typename AttentionOf<P>::SequenceRows& s, int group, int first, int all) {
  const bool cached = of.cached_keys != nullptr;
  const auto whole = [cached](const RowsOf<const Bf16>& rows, const Bf16* slabs) {
    return cached ? reinterpret_cast<std::uintptr_t>(slabs) % sizeof(Sixteen) == 0 : rows.aligned;
  };
  thread.barrier();  // the last tile has been read
  k.fill(thread, threads, all - first, of.width, whole(of.k, of.cached_keys),
         [&](int r) { return of.key_row(s, group, first + r); });
  v.fill(thread, threads, all - first, of.width, whole(of.v, of.cached_values),
         [&](int r) { return of.value_row(s, group, first + r); });
  thread.barrier();
}

/// Stores the warp's 16 rows, of which there are `count`, from row `first` on in the columns of `head`: value(sum, i).
template <class P, int Width, class Thread>
[[gnu::always_inline]] constexpr void store_rows(Thread& thread, const AttentionOf<P>& of, const Fragments<Width>& sums,
                                                 const RowsOf<Bf16>& to, int first, int count, int head, auto&& value) {
  each_element<Width>(thread.lane(), [&](int r, int c, int j, int i) {
    if (r < count && c < of.width) thread.store(to.row(first + r) + head * of.width + c, Bf16(value(sums.at[j][i], i)));
  });
}

/// How a block is cut for heads of up to `Width` elements.
template <int Width>
struct FlashShape {
  static constexpr int warps = 4, threads = warps * warp_size, rows = warps * MatrixStep::rows;
  static constexpr int others = Width > 64 ? 32 : 64;  ///< keys of a tile that queries see, or queries that see keys
  using Own = HeadTile<rows, Width>;
  using Other = HeadTile<others, Width>;
};

/// Calls f with the width of tiles for heads of this width: `f.template operator()<Width>()`.
template <class F>
void with_tiles(int head_width, F&& f) {
  static_assert(widest_head == 256);
  if (head_width <= 64)
    f.template operator()<64>();
  else if (head_width <= 128)
    f.template operator()<128>();
  else
    f.template operator()<256>();
}

/// o and lse.
template <class P, int Width>
struct FlashForward : FlashShape<Width> {
  static constexpr const char* name = "flash attention";
  using Shape = FlashShape<Width>;
  using Shape::others, Shape::threads, Shape::rows;
  struct Shared {
    typename Shape::Own q;
    typename Shape::Other k, v;
  };
  AttentionOf<P> of;
  RowsOf<Bf16> o;
  RowsOf<typename P::Statistic> lse;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    constexpr float nothing = -std::numeric_limits<float>::infinity();
    auto& [q, k, v] = thread.shared();
    const int head = thread.block() % of.heads, group = head / (of.heads / of.kv_heads), lane = thread.lane();
    const RowTile tile = tile_of(thread, of.queries, rows, thread.block() / of.heads);
    if (tile.count == 0) return;
    const auto s = of.sequence(thread, tile.sequence);
    const int own = thread.warp() * MatrixStep::rows, first_query = s.first_query + tile.first;
    q.fill(thread, threads, tile.count, of.width, of.q.aligned,
           [&](int r) { return of.q.row(first_query + r) + head * of.width; });

    Fragments<Width> sums;
    float largest[2] = {nothing, nothing}, total[2] = {};
    const int all = of.seen(s, tile.first + tile.count - 1);
    for (int first = 0; first < all; first += others) {
      fill_keys(thread, threads, of, k, v, s, group, first, all);
      if (own >= tile.count) continue;
      Fragments<others> x;
      multiply_transposed(thread, x, q, own, k, of.width);
      float top[2] = {largest[0], largest[1]}, shrink[2];
      const auto raise = [&](float& to, float score) { to = score > to || score != score ? score : to; };
      each_element<others>(lane, [&](int r, int c, int j, int i) {
        const int row = tile.first + own + r, key = first + c;
        const bool sees = own + r < tile.count && key < of.seen(s, row);
        float& score = x.at[j][i];
        score = sees ? of.biased(thread, score, head, row + s.keys - s.queries - key) : nothing;
        raise(top[i / 2], score);
      });
      for (int half = 0; half < 2; ++half) {
        for (int mask = 1; mask < 4; mask *= 2) raise(top[half], thread.shuffle_xor(top[half], mask));
        if (top[half] == nothing) top[half] = 0;  // the row has seen no key yet: its powers are 0
        shrink[half] = std::exp(largest[half] - top[half]);
        largest[half] = top[half];
        total[half] *= shrink[half];
      }
      each_element<others>(lane, [&](int r, int c, int j, int i) {
        const float power = std::exp(x.at[j][i] - top[i / 2]);
        total[i / 2] += power;
        x.at[j][i] = power == 0 ? 0 : power * of.keep(thread, s.index, head, s.past + tile.first + own + r, first + c);
      });
      each_element<Width>(lane, [&](int, int, int j, int i) { sums.at[j][i] *= shrink[i / 2]; });
      multiply(thread, sums, x, v, of.width);
    }
    if (own >= tile.count) return;
    for (float& of_row : total) of_row = row_sum(thread, of_row);
    store_rows(thread, of, sums, o, first_query + own, tile.count - own, head,
               [&](float sum, int i) { return sum / total[i / 2]; });
    for (int half = 0; half < 2; ++half) {
      const int r = MatrixStep::c_row(lane, 2 * half);
      if (lane % 4 == 0 && own + r < tile.count)
        thread.store(lse.row(head) + first_query + own + r,
                     typename P::Statistic(largest[half] + std::log(total[half])));
    }
  }
};

/// dq, the products of o and its gradient, and o once more where it is wanted.
template <class P, int Width>
struct FlashQueryGradients : FlashShape<Width> {
  static constexpr const char* name = "flash attention backward: queries";
  using Shape = FlashShape<Width>;
  using Shape::others, Shape::threads, Shape::rows;
  struct Shared {
    typename Shape::Own q, gradient;
    typename Shape::Other k, v;
  };
  AttentionOf<P> of;
  RowsOf<const Bf16> o, d_o;
  RowsOf<Bf16> restored, dq;
  RowsOf<const typename P::Statistic> lse;
  float* products;  ///< (heads, query_rows)
  int query_rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    auto& [q, gradient, k, v] = thread.shared();
    const int head = thread.block() % of.heads, group = head / (of.heads / of.kv_heads), lane = thread.lane();
    const RowTile tile = tile_of(thread, of.queries, rows, thread.block() / of.heads);
    if (tile.count == 0) return;
    const auto s = of.sequence(thread, tile.sequence);
    const int own = thread.warp() * MatrixStep::rows, first_query = s.first_query + tile.first;
    const auto row_in = [&](const auto& matrix) {
      return [&, first_query, head](int r) { return matrix.row(first_query + r) + head * of.width; };
    };
    q.fill(thread, threads, tile.count, of.width, of.q.aligned, row_in(of.q));
    gradient.fill(thread, threads, tile.count, of.width, d_o.aligned, row_in(d_o));
    float log_sum[2] = {}, product[2] = {};
    for (int half = 0; half < 2; ++half) {
      const int r = own + MatrixStep::c_row(lane, 2 * half);
      if (r < tile.count) log_sum[half] = float(thread.load(lse.row(head) + first_query + r));
    }
    const int all = of.seen(s, tile.first + tile.count - 1);
    /// f(p, keep) for each tile of keys: the probabilities of the warp's queries, and what dropout makes of one.
    const auto each_tile = [&](auto&& f) {
      for (int first = 0; first < all; first += others) {
        fill_keys(thread, threads, of, k, v, s, group, first, all);
        if (own >= tile.count) continue;
        Fragments<others> p;
        multiply_transposed(thread, p, q, own, k, of.width);
        each_element<others>(lane, [&](int r, int c, int j, int i) {
          const int row = tile.first + own + r, key = first + c;
          const bool sees = own + r < tile.count && key < of.seen(s, row);
          float& x = p.at[j][i];
          x = sees ? std::exp(of.biased(thread, x, head, row + s.keys - s.queries - key) - log_sum[i / 2]) : 0;
        });
        f(p, [&](int r, int c) { return of.keep(thread, s.index, head, s.past + tile.first + own + r, first + c); });
      }
    };

    if (restored) {
      Fragments<Width> sums;
      each_tile([&](Fragments<others>& p, auto&& keep) {
        each_element<others>(lane, [&](int r, int c, int j, int i) {
          if (p.at[j][i] != 0) p.at[j][i] *= keep(r, c);
        });
        multiply(thread, sums, p, v, of.width);
      });
      each_element<Width>(lane, [&](int r, int c, int j, int i) {
        sums.at[j][i] = float(Bf16(sums.at[j][i]));
        product[i / 2] += sums.at[j][i] * gradient.at(own + r, c);
      });
      store_rows(thread, of, sums, restored, first_query + own, tile.count - own, head,
                 [](float sum, int) { return sum; });
    } else {
      thread.barrier();  // the gradients are there
      for (int half = 0; half < 2; ++half) {
        const int r = own + MatrixStep::c_row(lane, 2 * half);
        for (int c = lane % 4; r < tile.count && c < of.width; c += 4)
          product[half] += float(thread.load(row_in(o)(r) + c)) * gradient.at(r, c);
      }
    }
    for (int half = 0; half < 2; ++half) {
      product[half] = row_sum(thread, product[half]);
      const int r = own + MatrixStep::c_row(lane, 2 * half);
      if (lane % 4 == 0 && r < tile.count)
        thread.store(products + std::int64_t(head) * query_rows + first_query + r, product[half]);
    }

    Fragments<Width> sums;
    each_tile([&](Fragments<others>& p, auto&& keep) {
      Fragments<others> dp;
      multiply_transposed(thread, dp, gradient, own, v, of.width);
      each_element<others>(lane, [&](int r, int c, int j, int i) {
        if (p.at[j][i] != 0) p.at[j][i] *= keep(r, c) * dp.at[j][i] - product[i / 2];
      });
      multiply(thread, sums, p, k, of.width);
    });
    store_rows(thread, of, sums, dq, first_query + own, tile.count - own, head,
               [&](float sum, int) { return of.scale * sum; });
  }
};

/// dk, dv, or both: of the widest heads the sums of both have no room in registers.
template <class P, int Width, bool Keys, bool Values>
struct FlashKeyGradients : FlashShape<Width> {
  static constexpr const char* name = "flash attention backward: keys";
  using Shape = FlashShape<Width>;
  using Shape::others, Shape::threads, Shape::rows;
  struct Shared {
    typename Shape::Own k, v;
    typename Shape::Other q, gradient;
    float log_sum[Shape::others], product[Shape::others];
  };
  AttentionOf<P> of;
  RowsOf<const Bf16> d_o;
  RowsOf<Bf16> dk, dv;
  RowsOf<const typename P::Statistic> lse;
  const float* products;  ///< (heads, query_rows)
  int query_rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    auto& [k, v, q, gradient, log_sum, product] = thread.shared();
    const int group = thread.block() % of.kv_heads, each = of.heads / of.kv_heads, lane = thread.lane();
    const RowTile tile = tile_of(thread, of.keys, rows, thread.block() / of.kv_heads);
    if (tile.count == 0) return;
    const auto s = of.sequence(thread, tile.sequence);
    const int own = thread.warp() * MatrixStep::rows, first_key = s.first_key + tile.first;
    k.fill(thread, threads, tile.count, of.width, of.k.aligned,
           [&](int r) { return of.k.row(first_key + r) + group * of.width; });
    v.fill(thread, threads, tile.count, of.width, of.v.aligned,
           [&](int r) { return of.v.row(first_key + r) + group * of.width; });

    Fragments<Width> key_sums, value_sums;
    for (int head = group * each; head < (group + 1) * each; ++head)
      for (int first = of.first_seeing(s, tile.first); first < s.queries; first += others) {
        const int count = std::min(int(others), s.queries - first), n = s.first_query + first;
        thread.barrier();  // the last tile has been read
        q.fill(thread, threads, count, of.width, of.q.aligned,
               [&](int r) { return of.q.row(n + r) + head * of.width; });
        gradient.fill(thread, threads, count, of.width, d_o.aligned,
                      [&](int r) { return d_o.row(n + r) + head * of.width; });
        for (int i = thread.index(); i < count; i += threads) {
          log_sum[i] = float(thread.load(lse.row(head) + n + i));
          product[i] = thread.load(products + std::int64_t(head) * query_rows + n + i);
        }
        thread.barrier();
        if (own >= tile.count) continue;
        Fragments<others> weights, gradients;
        multiply_transposed(thread, weights, k, own, q, of.width);
        if constexpr (Keys) multiply_transposed(thread, gradients, v, own, gradient, of.width);
        each_element<others>(lane, [&](int r, int c, int j, int i) {
          const int row = first + c, key = tile.first + own + r;
          float &weight = weights.at[j][i], &of_score = gradients.at[j][i], p = 0;
          if (own + r < tile.count && c < count && key < of.seen(s, row))
            p = std::exp(of.biased(thread, weight, head, row + s.keys - s.queries - key) - log_sum[c]);
          const float keep = p == 0 ? 0 : of.keep(thread, s.index, head, s.past + row, key);
          weight = keep * p;
          of_score = p == 0 ? 0 : p * (keep * of_score - product[c]);
        });
        if constexpr (Values) multiply(thread, value_sums, weights, gradient, of.width);
        if constexpr (Keys) multiply(thread, key_sums, gradients, q, of.width);
      }
    if (own >= tile.count) return;
    if constexpr (Keys)
      store_rows(thread, of, key_sums, dk, first_key + own, tile.count - own, group,
                 [&](float sum, int) { return of.scale * sum; });
    if constexpr (Values)
      store_rows(thread, of, value_sums, dv, first_key + own, tile.count - own, group,
                 [](float sum, int) { return sum; });
  }
};

}  // namespace fathom::inline FATHOM_ABI::cuda
