// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/ops/norm.hpp>
#include <fathom/backend/cuda/passes.hpp>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/residual.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// A constant times a learned factor, one for all channels or one each.
template <class P>
struct ScaleOf {
  float constant = 1;
  RowsOf<const typename P::Weight> learned;

  ScaleOf() = default;
  ScaleOf(const ResidualScale<P>& scale) : constant(float(scale.constant)), learned(scale.learned) {}

  /// Multiplies elements of a row.
  template <class Thread>
  constexpr void apply(Thread& thread, int column, Octet& x) const {
    Octet factors;
    const bool each = learned && learned.columns > 1;
    if (each) factors = learned.load(thread, 0, column);
    const float one = learned && !each ? float(thread.load(learned.data)) : 1.f;
    for (int i = 0; i < octet; ++i) x.at[i] *= constant * (each ? factors.at[i] : one);
  }
};

/// a ⊙ x + b ⊙ dropout(f).
template <class P, class F>
struct JoinRows {
  static constexpr const char* name = "residual add + norm";
  RowsOf<const typename P::Stream> x;
  F f;
  ScaleOf<P> a, b;
  MaskOf mask;
  PlacesOf places;
  RowsOf<typename P::Stream> z;  ///< where the sum is stored, or absent

  template <class Thread>
  constexpr RowMask mask_of(Thread& thread) const {
    return mask.load(thread);
  }
  /// To a row that a warp has.
  template <class Thread>
  constexpr void move(Thread& thread, RowMask& row_mask, int row) const {
    if (mask.active()) row_mask.place = places.place_of_warp(thread, row);
  }
  template <class Thread>
  constexpr Octet join(Thread& thread, const RowMask& row_mask, int row, int column) const {
    Octet sum, branch = f.load(thread, row, column);
    if (x) {
      sum = x.load(thread, row, column);
      a.apply(thread, column, sum);
    }
    row_mask.apply(column, branch);
    b.apply(thread, column, branch);
    for (int i = 0; i < octet; ++i) sum.at[i] += branch.at[i];
    return sum;
  }
  template <class Thread>
  constexpr Octet operator()(Thread& thread, const RowMask& row_mask, int row, int column) const {
    Octet sum = join(thread, row_mask, row, column);
    if constexpr (!std::is_same_v<typename P::Stream, float>)
      for (float& value : sum.at) value = float(typename P::Stream(value));
    z.store(thread, row, column, sum);
    return sum;
  }
};

template <class P>
struct ResidualAddRows {
  static constexpr const char* name = "residual add";
  static constexpr int threads = 256;
  JoinRows<P, StreamOperandOf<P>> join;
  StreamResultOf<P> y;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    RowMask mask = join.mask_of(thread);
    each_octet(thread, threads, rows, columns, [&](int row, int column) {
      if (join.mask.active()) mask.place = join.places.place(thread, row);
      y.store(thread, row, column, join.join(thread, mask, row, column));
    });
  }
};

template <class P>
void run_op(Session& session, const OnRows<op::ResidualAdd<P>>& packed, Numbers numbers) {
  const op::ResidualAdd<P>& op = packed.op;
  if (op.y.rows == 0) return;
  using K = ResidualAddRows<P>;
  session.launch(octet_blocks<K>(op.y.rows, op.y.columns),
                 K{{op.x, op.f, op.a, op.b, {op.dropout.rate, numbers.next<Key>()}, PlacesOf(packed.rows), {}},
                   op.y,
                   op.y.rows,
                   op.y.columns});
}

template <class P>
void run_op(Session& session, const OnRows<op::ResidualAddNorm<P>>& packed, Numbers numbers) {
  const op::ResidualAddNorm<P>& op = packed.op;
  using Join = JoinRows<P, RowsOf<const typename P::Activation>>;
  norm_rows(session, Join{op.x, op.f, op.a, op.b, {op.dropout.rate, numbers.next<Key>()}, PlacesOf(packed.rows), op.z},
            NormOf<P>(op), op.z.rows, op.z.columns);
}

/// dx = a ⊙ dy, df = b ⊙ dropout'(dy), and for every part of the rows the sums that da and db are made of.
template <class P>
struct ResidualAddBackwardRows {
  static constexpr const char* name = "residual add backward";
  static constexpr int threads = 32;  ///< a block for a part and 256 columns
  RowsOf<const typename P::Stream> x, dy;
  RowsOf<const typename P::Activation> f;
  ScaleOf<P> a, b;
  MaskOf mask;
  PlacesOf places;
  RowsOf<typename P::Stream> dx;
  StreamResultOf<P> df;
  float *da, *db;  ///< (parts, columns), or null
  int rows, columns, parts;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int part = thread.block() % parts, column = (thread.block() / parts * threads + thread.index()) * octet;
    if (column >= columns) return;
    Octet a_sums, b_sums;
    for (int row = part; row < rows; row += parts) {
      const Octet gradient = dy.load(thread, row, column);
      Octet kept = gradient;
      if (mask.active()) mask.apply(thread, places.place(thread, row), column, kept);
      const auto add = [&](Octet& sums, float constant, const Octet& d, const auto& values) {
        const Octet read = values.load(thread, row, column);
        for (int i = 0; i < octet; ++i) sums.at[i] += constant * d.at[i] * read.at[i];
      };
      if (da != nullptr) add(a_sums, a.constant, gradient, x);
      if (db != nullptr) add(b_sums, b.constant, kept, f);
      if (dx) {
        Octet result = gradient;
        a.apply(thread, column, result);
        dx.store(thread, row, column, result);
      }
      if (df) {
        b.apply(thread, column, kept);
        df.store(thread, row, column, kept);
      }
    }
    const std::int64_t at = std::int64_t(part) * columns + column;
    if (da != nullptr) store_octet(thread, da + at, a_sums, columns - column, false);
    if (db != nullptr) store_octet(thread, db + at, b_sums, columns - column, false);
  }
};

template <class P>
void run_op(Session& session, const WithParts<OnRows<op::ResidualAddBackward<P>>>& with, Numbers numbers) {
  const op::ResidualAddBackward<P>& op = with.op.op;
  const int rows = op.dy.rows, columns = op.dy.columns, parts = parts_of(rows);
  if (rows == 0) return;
  float* const da = op.da.empty() ? nullptr : with.parts;
  float* const db = op.db.empty() ? nullptr : with.parts + (op.da.empty() ? 0 : std::int64_t(parts) * columns);
  using K = ResidualAddBackwardRows<P>;
  constexpr int block_columns = K::threads * octet;
  session.launch(parts * ((columns + block_columns - 1) / block_columns), K{op.x,
                                                                            op.dy,
                                                                            op.f,
                                                                            op.a,
                                                                            op.b,
                                                                            {op.dropout.rate, numbers.next<Key>()},
                                                                            PlacesOf(with.op.rows),
                                                                            op.dx,
                                                                            op.df,
                                                                            da,
                                                                            db,
                                                                            rows,
                                                                            columns,
                                                                            parts});
  add_parts(session, da, parts, columns, op.da);
  add_parts(session, db, parts, columns, op.db);
}

/// y = x + shift.
template <class P>
struct ShiftRows {
  static constexpr const char* name = "shift";
  static constexpr int threads = 256;
  RowsOf<const typename P::Activation> x;
  const typename P::Weight* shift;
  RowsOf<typename P::Activation> y;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const float by = float(thread.load(shift));
    each_octet(thread, threads, rows, y.columns, [&](int row, int column) {
      Octet values = x.load(thread, row, column);
      for (float& value : values.at) value += by;
      y.store(thread, row, column, values);
    });
  }
};

template <class P>
void run_op(Session& session, const op::Shift<P>& op, Numbers) {
  if (op.y.rows == 0) return;
  using K = ShiftRows<P>;
  session.launch(octet_blocks<K>(op.y.rows, op.y.columns), K{op.x, op.shift.data(), op.y, op.y.rows});
}

/// partial[part][column] = Σ of x[row][column] over a part of the rows.
template <class P>
struct SumColumns {
  static constexpr const char* name = "sum columns";
  static constexpr int threads = 32;  ///< a block for a part and 256 columns
  StreamOperandOf<P> x;
  int rows, columns, parts;
  float* partial;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int part = thread.block() % parts, column = (thread.block() / parts * threads + thread.index()) * octet;
    if (column >= columns) return;
    Octet sum;
    for (int row = part; row < rows; row += parts) {
      const Octet values = x.load(thread, row, column);
      for (int i = 0; i < octet; ++i) sum.at[i] += values.at[i];
    }
    store_octet(thread, partial + std::int64_t(part) * columns + column, sum, columns - column, false);
  }
};

template <class P>
void run_op(Session& session, const WithParts<op::ShiftBackward<P>>& with, Numbers) {
  const op::ShiftBackward<P>& op = with.op;
  const int rows = op.dy.rows, columns = op.dy.columns, parts = parts_of(rows);
  if (rows == 0) return;
  using K = SumColumns<P>;
  constexpr int block_columns = K::threads * octet;
  session.launch(parts * ((columns + block_columns - 1) / block_columns), K{op.dy, rows, columns, parts, with.parts});
  add_parts(session, with.parts, parts, columns, op.dshift);
}

/// y = Σ_k w[k] · x_k.
template <class P>
struct WeightedSumRows {
  static constexpr const char* name = "weighted sum";
  static constexpr int threads = 256;
  RowsOf<const typename P::Stream> first;
  std::int64_t pitch;
  int count;
  const typename P::Weight* weights;
  StreamResultOf<P> y;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    each_octet(thread, threads, rows, columns, [&](int row, int column) {
      Octet sum;
      RowsOf<const typename P::Stream> x = first;
      for (int k = 0; k < count; ++k, x.data += pitch) {
        const Octet values = x.load(thread, row, column);
        const float weight = float(thread.load(weights + k));
        for (int e = 0; e < octet; ++e) sum.at[e] += weight * values.at[e];
      }
      y.store(thread, row, column, sum);
    });
  }
};

/// Whether octets of every stream are whole where those of the first are.
inline bool pitch_aligned(std::int64_t pitch, std::size_t element) { return pitch * std::int64_t(element) % 16 == 0; }

template <class P>
void run_op(Session& session, const op::WeightedSum<P>& op, Numbers) {
  if (op.y.rows == 0) return;
  using K = WeightedSumRows<P>;
  K kernel{op.first, op.pitch, op.count, op.weights.data(), op.y, op.y.rows, op.y.columns};
  kernel.first.aligned &= pitch_aligned(op.pitch, sizeof(typename P::Stream));
  session.launch(octet_blocks<K>(op.y.rows, op.y.columns), kernel);
}

/// dx_k += w[k] · dy, and for every part of the rows <dy, x_k>: a warp for each.
template <class P>
struct WeightedSumBackwardRows {
  static constexpr const char* name = "weighted sum backward";
  static constexpr int threads = warp_size;
  struct Shared {};
  RowsOf<const typename P::Stream> first, dy;
  std::int64_t pitch;
  int count;
  const typename P::Weight* weights;
  RowsOf<typename P::Stream> dfirst;
  float* partial;  ///< (parts, count)
  int rows, columns, parts;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int part = thread.block() % parts, k = thread.block() / parts;
    RowsOf<const typename P::Stream> x = first;
    RowsOf<typename P::Stream> dx = dfirst;
    x.data += k * pitch, dx.data += k * pitch;
    const float weight = float(thread.load(weights + k));
    float sum = 0;
    for (int row = part; row < rows; row += parts)
      for (int column = thread.lane() * octet; column < columns; column += warp_size * octet) {
        const Octet gradient = dy.load(thread, row, column), values = x.load(thread, row, column);
        Octet result;
        if (dx) result = dx.load(thread, row, column);
        for (int i = 0; i < octet; ++i) {
          result.at[i] += weight * gradient.at[i];
          sum += gradient.at[i] * values.at[i];
        }
        if (dx) dx.store(thread, row, column, result);
      }
    sum = warp_sum(thread, sum);
    if (thread.lane() == 0) thread.store(partial + std::int64_t(part) * count + k, sum);
  }
};

template <class P>
void run_op(Session& session, const WithParts<op::WeightedSumBackward<P>>& with, Numbers) {
  const op::WeightedSumBackward<P>& op = with.op;
  if (op.dy.rows == 0 || op.count == 0) return;
  const int parts = parts_of(op.dy.rows);
  float* const partial = with.parts;
  WeightedSumBackwardRows<P> kernel{op.first,  op.dy,   op.pitch,   op.count,      op.weights.data(),
                                    op.dfirst, partial, op.dy.rows, op.dy.columns, parts};
  kernel.first.aligned &= pitch_aligned(op.pitch, sizeof(typename P::Stream));
  kernel.dfirst.aligned &= pitch_aligned(op.pitch, sizeof(typename P::Stream));
  session.launch(parts * op.count, kernel);
  add_parts(session, partial, parts, op.count, op.dweights);
}

/// partial[part] = Σ (x − *center)², or Σ x without a center, over a part of all elements.
template <class T>
struct SumElements {
  static constexpr const char* name = "sum elements";
  static constexpr int threads = 256;
  struct Shared {
    double part[threads / warp_size];
  };
  RowsOf<const T> x;
  int rows;
  const double* center;
  double* partial;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const std::int64_t all = std::int64_t(rows) * x.columns;
    const double middle = center == nullptr ? 0 : thread.load(center);
    double sum = 0;
    for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < all;
         i += std::int64_t(thread.blocks()) * threads) {
      const double value = double(float(thread.load(x.row(int(i / x.columns)) + i % x.columns))) - middle;
      sum += center == nullptr ? value : value * value;
    }
    sum = block_sum(thread, sum, thread.shared().part);
    if (thread.index() == 0) thread.store(partial + thread.block(), sum);
  }
};

/// *result = scale · Σ of the partial sums, in their order.
struct SumParts {
  static constexpr const char* name = "sum parts";
  static constexpr int threads = 1;
  const double* partial;
  int parts;
  double scale;
  double* result;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    double sum = 0;
    for (int part = 0; part < parts; ++part) sum += thread.load(partial + part);
    thread.store(result, sum * scale);
  }
};

template <class P>
void run_op(Session& session, const op::Variance<P>& op, Numbers) {
  using T = typename P::Activation;
  Arena scratch = session.scratch();
  double* const mean = scratch.take<double>(1);
  double* const partial = scratch.take<double>(flat_parts);
  const double scale = 1 / (double(op.x.rows) * op.x.columns);
  for (const double* center : {static_cast<const double*>(nullptr), static_cast<const double*>(mean)}) {
    session.launch(flat_parts, SumElements<T>{op.x, op.x.rows, center, partial});
    session.launch(1, SumParts{partial, flat_parts, scale, center == nullptr ? mean : op.result});
  }
}

template <class P>
void run_op(Session& session, const op::Copy<P>& op, Numbers) {
  copy_rows(session, op.x, op.y, op.add);
}
template <class P>
void run_op(Session& session, const op::Zero<P>& op, Numbers) {
  copy_rows(session, Matrix<const typename P::Stream>{}, op.y);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
