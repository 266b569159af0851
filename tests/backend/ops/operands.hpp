// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <fathom/backend/ops.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/random.hpp>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// What ops read and write, for tests and benchmarks of single ops. `sample/` makes the ops.
namespace fathom_test {
using namespace fathom;

/// How operands lie in memory: as layers take them from their workspace, or as ops must bear them.
struct Layout {
  int gap = 0;    ///< elements between two rows of a matrix, at least; neighbouring operands have different gaps
  int shift = 0;  ///< elements by which operands miss the alignment of the workspace
};

/// The rows that an op is about, key rows of as many sequences, and how the operands lie.
struct OpRows {
  std::string name;
  Layout layout;
  PackedRows packed, other_packed, longer_packed;
  Packing packing;
  Packing other;   ///< keys of other lengths, some shorter, without a past
  Packing longer;  ///< keys at least as long as the rows, with a past of their own where the rows have one

  OpRows(std::string rows_name, const Layout& operand_layout, const std::vector<int>& lengths,
         const std::vector<int>& past = {})
      : name(std::move(rows_name)),
        layout(operand_layout),
        packed(packed_rows(lengths, past)),
        other_packed(packed_rows(reversed(lengths), {})),
        longer_packed(packed_rows(increased(lengths, 3), increased(past, 2))),
        packing(packed),
        other(other_packed),
        longer(longer_packed) {}

 private:
  static std::vector<int> reversed(std::vector<int> of) {
    std::ranges::reverse(of);
    for (int& length : of) ++length;
    return of;
  }
  static std::vector<int> increased(std::vector<int> of, int most) {
    for (std::size_t i = 0; i < of.size(); ++i) of[i] += int(i + 1) % most;
    return of;
  }
  /// The capacity is larger than the rows need, as in training.
  static PackedRows packed_rows(const std::vector<int>& lengths, const std::vector<int>& past) {
    PackedRows rows({.rows = std::reduce(lengths.begin(), lengths.end()) + 5,
                     .sequences = int(lengths.size()) + 2,
                     .longest = *std::ranges::max_element(lengths) + 3});
    rows.assign(lengths, past);
    return rows;
  }
};

/// Hands out what an op reads and writes: the n-th thing asked for holds the same numbers for every P, rounded. What is
/// asked for becomes a matrix or a vector of the type that it is given to:
///   const Matrix<typename P::Stream> x = operands.rows_of(width);
/// An extent of 0 makes an absent view, whose pointer is not null.
template <class P>
class Operands {
 public:
  /// Numbers of this interval; of one point: constants.
  struct Interval {
    double low, high;
  };

  /// The memory of one operand: its elements, with sentinels around it and in its gaps.
  struct Block {
    Buffer<std::byte> bytes;
    std::int64_t count = 0;
    double (*number)(const std::byte*, std::int64_t) = nullptr;
    double unit = 0;  ///< the largest relative error of rounding to the type of its elements

    double operator[](std::int64_t index) const { return number(bytes.data(), index); }
  };

  /// A view to be.
  class Request {
   public:
    Request(Operands& operands, Interval interval, int rows, int columns)
        : operands_(operands), interval_(interval), rows_(rows), columns_(columns) {}
    Request(const Request&) = delete;  // a second view would be a second operand
    Request& operator=(const Request&) = delete;

    template <class T>
    operator Matrix<T>() && {
      const int gap = operands_.rows.layout.gap;
      const int stride = columns_ + (gap > 0 ? gap + int(operands_.blocks_.size()) % 4 : 0);
      return {take<std::remove_const_t<T>>(stride), rows_, columns_, stride};
    }
    template <class T>
    operator Elements<T>() && {
      return {take<std::remove_const_t<T>>(columns_), std::size_t(rows_) * std::size_t(columns_)};
    }
    /// What is read, as branches have it; what is written, in both types, the branches' in `twins`.
    template <class S, class B>
    operator StreamMatrix<S, B>() && {
      if constexpr (std::is_const_v<S>) {
        return static_cast<Request&&>(*this).operator Matrix<B>();
      } else {
        const Matrix<S> stream = static_cast<Request&&>(*this).operator Matrix<S>();
        Twin& twin = operands_.twins_.emplace_back();
        twin.index = operands_.blocks_.size() - 1;
        B* const first = operands_.template fill<B>(twin.block, interval_, rows_, columns_, stream.stride);
        return {stream, Matrix<B>(first, rows_, columns_, stream.stride)};
      }
    }

   private:
    template <class T>
    T* take(int stride) const {
      return operands_.template take<T>(interval_, rows_, columns_, stride);
    }

    Operands& operands_;
    Interval interval_;
    int rows_, columns_;
  };

  /// A second memory of block `index`, in the type of branches.
  struct Twin {
    std::size_t index = 0;
    Block block;
  };

  const OpRows& rows;
  Dropout dropout;
  bool brief = false;  ///< numbers of few bits, which every type holds
  LossSums sums = {.cross_entropy = nan, .smoothing = nan, .z = nan, .targets = 77, .correct = 77};  // overwritten

  Operands(const OpRows& op_rows, double dropout_rate) : rows(op_rows), dropout{dropout_rate, Key{5}} {}

  /// Rows of the packing.
  int count() const { return rows.packing.rows(); }

  Request uniform(Interval interval, int row_count, int columns) { return {*this, interval, row_count, columns}; }
  /// Inputs, and outputs that are added to: a matrix, a vector, a matrix with the packing's rows.
  Request values(int row_count, int columns) { return uniform({-1.7, 1.7}, row_count, columns); }
  Request values(int size) { return values(1, size); }
  Request rows_of(int columns) { return values(count(), columns); }
  /// NaNs: outputs that are overwritten.
  Request poison(int row_count, int columns) { return uniform({nan, nan}, row_count, columns); }
  Request poison(int size) { return poison(1, size); }
  Request poisoned_rows_of(int columns) { return poison(count(), columns); }

  /// One integer below `end` for each row, at least `begin`.
  std::span<const int> integers(int begin, int end) {
    std::vector<int>& list = integers_.emplace_back(std::size_t(count()));
    const Philox random(Key{3});
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = begin + int(random(i)[0] % std::uint32_t(end - begin));
    return list;
  }

  const std::deque<Block>& blocks() const { return blocks_; }
  std::deque<Block>& blocks() { return blocks_; }
  const std::deque<Twin>& twins() const { return twins_; }
  std::deque<Twin>& twins() { return twins_; }

 private:
  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  static constexpr double sentinel = 12345.5;
  static constexpr int border = 32;

  template <class T>
  T* take(Interval interval, int row_count, int columns, int stride) {
    return fill<T>(blocks_.emplace_back(), interval, row_count, columns, stride);
  }
  template <class T>
  T* fill(Block& block, Interval interval, int row_count, int columns, int stride) {
    const std::int64_t begin = border + rows.layout.shift;
    block.count = begin + std::int64_t(row_count) * stride + border;
    block.bytes = Buffer<std::byte>(block.count * std::int64_t(sizeof(T)));
    block.number = [](const std::byte* bytes, std::int64_t index) {
      return double(reinterpret_cast<const T*>(bytes)[index]);
    };
    block.unit = double(std::numeric_limits<T>::epsilon()) / 2;
    T* const first = reinterpret_cast<T*>(block.bytes.data());
    std::fill_n(first, block.count, T(sentinel));
    const Philox random(Key{7}.child(blocks_.size()));
    Philox::Block bits{};
    const bool constant = !(interval.low < interval.high);
    std::uint64_t index = 0;
    for (int r = 0; r < row_count; ++r)
      for (int c = 0; c < columns; ++c, ++index) {
        if (!constant && index % 4 == 0) bits = random(index / 4);
        const double share = constant ? 0 : fathom::uniform(bits[index % 4]);
        const auto number = float(interval.low + (interval.high - interval.low) * share);
        first[begin + std::int64_t(r) * stride + c] = T(brief ? float(Bf16(number)) : number);
      }
    return first + begin;
  }

  std::deque<Block> blocks_;
  std::deque<Twin> twins_;
  std::deque<std::vector<int>> integers_;
};

}  // namespace fathom_test
