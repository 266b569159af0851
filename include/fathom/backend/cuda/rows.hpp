// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/backend/cuda/kernel.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>
#include <type_traits>
#include <utility>

/// How kernels read and write rows: eight elements at a time, which is one block of dropout's random numbers, and 16
/// bytes of bf16. All arithmetic is in floats.
namespace fathom::inline FATHOM_ABI::cuda {

inline constexpr int octet = Dropout::block;

struct Octet {
  float at[octet] = {};
};

/// 16 bytes as one load or store moves them.
struct alignas(16) Sixteen {
  std::uint32_t words[4];
};

/// Elements from `from` on, at most eight of them, the rest 0. `whole`: there are eight, at a multiple of 16 bytes.
template <class Thread, class T>
constexpr Octet load_octet(Thread& thread, const T* from, int count, bool whole) {
  Octet x;
  if (whole) {
    for (int part = 0; part < int(sizeof(T)) / 2; ++part) {
      const Sixteen bits = thread.load(reinterpret_cast<const Sixteen*>(from) + part);
      for (int i = 0; i < 4; ++i) {
        if constexpr (std::is_same_v<T, float>) {
          x.at[4 * part + i] = std::bit_cast<float>(bits.words[i]);
        } else {
          x.at[2 * i] = float(T::from_bits(std::uint16_t(bits.words[i])));
          x.at[2 * i + 1] = float(T::from_bits(std::uint16_t(bits.words[i] >> 16)));
        }
      }
    }
  } else {
    for (int i = 0; i < octet && i < count; ++i) x.at[i] = float(thread.load(from + i));
  }
  return x;
}

template <class Thread, class T>
constexpr void store_octet(Thread& thread, T* to, const Octet& x, int count, bool whole) {
  if (whole) {
    for (int part = 0; part < int(sizeof(T)) / 2; ++part) {
      Sixteen bits{};
      for (int i = 0; i < 4; ++i) {
        if constexpr (std::is_same_v<T, float>)
          bits.words[i] = std::bit_cast<std::uint32_t>(x.at[4 * part + i]);
        else
          bits.words[i] = std::uint32_t(T(x.at[2 * i]).bits) | std::uint32_t(T(x.at[2 * i + 1]).bits) << 16;
      }
      thread.store(reinterpret_cast<Sixteen*>(to) + part, bits);
    }
  } else {
    for (int i = 0; i < octet && i < count; ++i) thread.store(to + i, T(x.at[i]));
  }
}

/// A matrix as kernels have it; absent where it has no data.
template <class T>
struct RowsOf {
  T* data = nullptr;
  int stride = 0, columns = 0;
  bool aligned = false;  ///< every octet is whole, at a multiple of 16 bytes

  RowsOf() = default;
  RowsOf(const Matrix<T>& m)
      : data(m ? m.data : nullptr),
        stride(m.stride),
        columns(m.columns),
        aligned(m.columns % octet == 0 && std::int64_t(m.stride) * std::int64_t(sizeof(T)) % 16 == 0 &&
                reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0) {}
  /// A vector, which all rows have.
  RowsOf(Elements<T> v) : RowsOf(Matrix<T>(v.data(), v.empty() ? 0 : 1, int(v.size()), 0)) {}

  constexpr explicit operator bool() const { return data != nullptr; }
  constexpr T* row(int index) const { return data + std::int64_t(index) * stride; }
  /// The eight elements from `column` on, a multiple of eight.
  template <class Thread>
  constexpr Octet load(Thread& thread, int index, int column) const {
    return load_octet(thread, row(index) + column, columns - column, aligned);
  }
  template <class Thread>
  constexpr void store(Thread& thread, int index, int column, const Octet& x) const {
    store_octet(thread, row(index) + column, x, columns - column, aligned);
  }
};

/// A stream's matrix in one type or two, of which kernels read the one that is there and write those that are.
template <class S, class B>
struct StreamRowsOf {
  RowsOf<S> stream;
  RowsOf<B> branch;

  StreamRowsOf() = default;
  StreamRowsOf(const StreamMatrix<S, B>& m) : stream(m.stream), branch(m.branch) {}

  constexpr explicit operator bool() const { return bool(stream) || bool(branch); }
  template <class Thread>
  constexpr Octet load(Thread& thread, int index, int column) const {
    return stream ? stream.load(thread, index, column) : branch.load(thread, index, column);
  }
  template <class Thread>
  constexpr void store(Thread& thread, int index, int column, const Octet& x) const {
    if (stream) stream.store(thread, index, column, x);
    if (branch) branch.store(thread, index, column, x);
  }
};

template <class P>
using StreamResultOf = std::conditional_t<branches_read_stream<P>, RowsOf<typename P::Stream>,
                                          StreamRowsOf<typename P::Stream, typename P::Activation>>;
template <class P>
using StreamOperandOf = std::conditional_t<branches_read_stream<P>, RowsOf<const typename P::Stream>,
                                           StreamRowsOf<const typename P::Stream, const typename P::Activation>>;

/// The packing of rows, on the device.
struct PlacesOf {
  const int *offsets = nullptr, *past = nullptr;
  int sequences = 0;

  struct Place {
    int sequence, position;  ///< in the sequence, past rows included
  };

  PlacesOf() = default;
  explicit PlacesOf(const Packing& packing)
      : offsets(packing.offsets.data()),
        past(packing.past.empty() ? nullptr : packing.past.data()),
        sequences(packing.sequences()) {}

  template <class Thread>
  constexpr int past_of(Thread& thread, int sequence) const {
    return past == nullptr ? 0 : thread.load(past + sequence);
  }
  /// The sequence that has a row: the last one that begins at or before it and is not empty.
  template <class Thread>
  constexpr int sequence_of(Thread& thread, int row) const {
    int low = 0, high = sequences;  // offsets[low] <= row < offsets[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (thread.load(offsets + middle) <= row ? low : high) = middle;
    }
    return low;
  }
  template <class Thread>
  constexpr Place place(Thread& thread, int row) const {
    const int sequence = sequence_of(thread, row);
    return {sequence, row - thread.load(offsets + sequence) + past_of(thread, sequence)};
  }
  /// The same for a row that a warp has: one lane looks it up for all.
  template <class Thread>
  constexpr Place place_of_warp(Thread& thread, int row) const {
    Place found{};
    if (thread.lane() == 0) found = place(thread, row);
    return {thread.shuffle(found.sequence, 0), thread.shuffle(found.position, 0)};
  }
};

/// Dropout of the row at a place.
struct RowMask {
  Dropout dropout = {};
  PlacesOf::Place place = {};

  /// Multiplies elements of the row by what it keeps of them.
  constexpr void apply(int column, Octet& x) const {
    if (!dropout.active()) return;
    const auto factors = dropout.template factors<float>(place.sequence, 0, place.position, column / octet);
    for (int i = 0; i < octet; ++i) x.at[i] *= factors[std::size_t(i)];
  }
};

/// Dropout whose key lies on the device.
struct MaskOf {
  double rate = 0;
  const Key* key = nullptr;

  constexpr bool active() const { return rate > 0; }
  template <class Thread>
  constexpr Dropout dropout(Thread& thread) const {
    return {rate, thread.load(key)};
  }
  /// That of no row yet.
  template <class Thread>
  constexpr RowMask load(Thread& thread) const {
    return active() ? RowMask{dropout(thread), {}} : RowMask{};
  }
  /// Multiplies elements of a row by what it keeps of them.
  template <class Thread>
  constexpr void apply(Thread& thread, const PlacesOf::Place& place, int column, Octet& x) const {
    RowMask row = load(thread);
    row.place = place;
    row.apply(column, x);
  }
};

/// Calls f(0), …, f(Count - 1), each written out, so that arrays that f indexes stay in registers.
template <int Count, class F>
[[gnu::always_inline]] constexpr void unrolled(F&& f) {
  [&]<int... k>(std::integer_sequence<int, k...>) { (f(k), ...); }(std::make_integer_sequence<int, Count>{});
}

/// Rows that are shared out to warps: `Warps` warps have a row, each lane `Chunks` octets of it, one every Warps · 32.
template <int Warps, int Chunks>
struct RowTeam {
  static constexpr int block_warps = Warps > 4 ? Warps : 4, teams = block_warps / Warps;
  static constexpr int threads = block_warps * warp_size;
  static constexpr int widest = Warps * warp_size * octet * Chunks;
  struct Shared {
    float part[2][std::size_t(block_warps)];
  };
};

/// The sum over the lanes of a warp, the same bits in each.
template <class Thread, class T>
constexpr T warp_sum(Thread& thread, T x) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) x += thread.shuffle_xor(x, mask);
  return x;
}

/// The sum over the threads of a block, in each of them. `part` has a place for each warp.
template <class Thread, class T, std::size_t Warps>
constexpr T block_sum(Thread& thread, T x, T (&part)[Warps]) {
  x = warp_sum(thread, x);
  thread.barrier();  // all have read the last sums
  if (thread.lane() == 0) part[thread.warp()] = x;
  thread.barrier();
  x = 0;
  for (const T& of_warp : part) x += of_warp;
  return x;
}

/// The sum over the warps that have a row. `turn` alternates between 0 and 1 from call to call.
template <class Team, int Warps, class Thread>
constexpr float team_sum(Thread& thread, float x, int& turn) {
  x = warp_sum(thread, x);
  if constexpr (Warps > 1) {
    auto& part = thread.shared().part[turn];
    turn ^= 1;
    if (thread.lane() == 0) part[thread.warp()] = x;
    thread.barrier();
    x = 0;
    for (int w = 0; w < Warps; ++w) x += part[thread.warp() / Warps * Warps + w];
  }
  return x;
}

/// Calls f with the team for rows of this width: `f.template operator()<Warps, Chunks>()`.
/// Errors: ShapeError, for rows that are wider than all.
template <class F>
void with_team(int width, const char* what, F&& f) {
  if (width <= RowTeam<1, 1>::widest)
    f.template operator()<1, 1>();
  else if (width <= RowTeam<1, 2>::widest)
    f.template operator()<1, 2>();
  else if (width <= RowTeam<2, 2>::widest)
    f.template operator()<2, 2>();
  else if (width <= RowTeam<8, 2>::widest)
    f.template operator()<8, 2>();
  else if (width <= RowTeam<16, 2>::widest)
    f.template operator()<16, 2>();
  else
    throw ShapeError(std::string("Cuda: ") + what + ": rows of " + std::to_string(width) +
                     " elements; there are kernels for up to " + std::to_string(RowTeam<16, 2>::widest));
}

/// Blocks for `count` threads' work.
template <class K>
int blocks_for(std::int64_t count) {
  constexpr std::int64_t most = 4096;  // then a thread does several
  return int(std::clamp<std::int64_t>((count + K::threads - 1) / K::threads, 1, most));
}

/// Calls f(row, column) for every octet of a matrix that is this thread's, row after row.
template <class Thread>
constexpr void each_octet(Thread& thread, int threads, int rows, int columns, auto&& f) {
  const int octets = (columns + octet - 1) / octet;
  const std::int64_t all = std::int64_t(rows) * octets, step = std::int64_t(thread.blocks()) * threads;
  for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < all; i += step)
    f(int(i / octets), int(i % octets) * octet);
}
/// Blocks for a kernel that does so.
template <class K>
int octet_blocks(int rows, int columns) {
  return blocks_for<K>(std::int64_t(rows) * ((columns + octet - 1) / octet));
}

}  // namespace fathom::inline FATHOM_ABI::cuda
