// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <fathom/backend/cpu/activation.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/dropout.hpp>
#include <fathom/backend/cpu/norm.hpp>
#include <fathom/backend/cpu/ops/linear.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Calls f(first, count) for pieces of a range of rows: all at once if they are `contiguous` in every matrix that f
/// reads or writes, else row by row.
template <class F>
void each_piece(Range rows, bool contiguous, F&& f) {
  // Kernels are not inlined into the loop: that would only multiply their code.
  const auto piece = [&](int first, std::size_t count) __attribute__((noinline)) { f(first, count); };
  const int step = contiguous ? rows.size() : 1;
  for (int first = rows.begin; first < rows.end; first += step) piece(first, std::size_t(step));
}

/// y = x, for the rows of a share.
template <class T>
void copy_rows(Range rows, const Matrix<const T>& x, const Matrix<T>& y) {
  each_piece(rows, x.contiguous() && y.contiguous(), [&](int first, std::size_t count) {
    std::memcpy(y.row(first), x.row(first), count * std::size_t(x.columns) * sizeof(T));
  });
}

/// Calls f(row, column, factors) for the rows of a packing and blocks of columns that cover [columns.begin,
/// columns.end), as each_dropout_block does for those of a sequence.
template <class T, class F>
void each_dropped(const Packing& packing, Range rows, Range columns, const Dropout& dropout, F&& f) {
  each_run(packing, rows, [&](int sequence, int position, int first, int count) {
    each_dropout_block<T>(dropout, sequence, position, count, columns.begin, columns.end,
                          [&](int row, int column, const T* factors) { f(first + row, column, factors); });
  });
}

/// x *= the factors of `dropout`, for the rows of a share.
template <class T>
void drop_rows(const Packing& packing, Range rows, const Dropout& dropout, Matrix<T> matrix) {
  const int width = matrix.columns;
  each_dropped<T>(packing, rows, {0, width}, dropout, [&](int row, int column, const T* factors) {
    T* x = matrix.row(row) + column;
    if (width - column >= Dropout::block) {
      using Eight [[gnu::vector_size(Dropout::block * sizeof(T))]] = T;
      Eight values, eight_factors;
      std::memcpy(&values, x, sizeof values);
      std::memcpy(&eight_factors, factors, sizeof eight_factors);
      values *= eight_factors;
      std::memcpy(x, &values, sizeof values);
    } else {
      for (int i = 0; i < width - column; ++i) x[i] *= factors[i];
    }
  });
}

/// Calls f with the kernel's tag of an activation.
template <class F>
void with_activation(ActivationKind kind, F&& f) {
  switch (kind) {
    case ActivationKind::relu:
      return f(Relu{});
    case ActivationKind::gelu:
      return f(Gelu{});
    case ActivationKind::gelu_tanh:
      return f(GeluTanh{});
    case ActivationKind::silu:
      return f(Silu{});
  }
}

/// Ops in which a row needs no other row: activations, norms, residual adds. Every lane takes its own rows; gradients of norm
/// gains and learned scales are summed shard by shard, and the shards once a frame closes.
template <class P, class Matmul>
struct RowOps {
  using T = typename P::Activation;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr std::int64_t partials_bytes(const Capacity& capacity, std::size_t width) {
    return align_up(std::int64_t(maximal_shards(capacity)) * std::int64_t(width) * std::int64_t(sizeof(Gradient)));
  }
  static constexpr std::int64_t held_bytes(const op::NormBackward<P>& op, const Capacity& capacity) {
    return partials_bytes(capacity, op.dgain.size()) + partials_bytes(capacity, op.dbias.size());
  }
  static constexpr std::int64_t held_bytes(const op::ResidualAddBackward<P>& op, const Capacity& capacity) {
    return partials_bytes(capacity, op.da.size()) + partials_bytes(capacity, op.db.size());
  }

  static constexpr std::int64_t held_bytes(const op::ShiftBackward<P>& op, const Capacity& capacity) {
    return partials_bytes(capacity, op.dshift.size());
  }

  static void run(Lane& lane, const op::Activation<P>& op) {
    const Range rows = lane.share().rows;
    const auto width = std::size_t(op.y.columns);
    with_activation(op.kind, [&]<class Kind>(Kind) {
      each_piece(rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
        if (op.gated)
          gated_forward<Kind, T>(count, width, op.x.row(first), op.y.row(first));
        else
          activation_forward<Kind, T>(count * width, op.x.row(first), op.y.row(first));
      });
    });
    if (op.dropout.active()) drop_rows(lane.packing(), rows, op.dropout, op.y);
  }

  static void run(Lane& lane, const op::ActivationBackward<P>& op) {
    const Range rows = lane.share().rows;
    const auto width = std::size_t(op.dy.columns);
    Matrix<const T> dy = op.dy;
    if (op.dropout.active()) {  // the factors act on dy before the slope and on y behind the activation
      copy_rows<T>(rows, dy, op.y);
      drop_rows(lane.packing(), rows, op.dropout, op.y);
      dy = op.y;
    }
    const bool contiguous = op.x.contiguous() && dy.contiguous() && op.dx.contiguous() && op.y.contiguous();
    with_activation(op.kind, [&]<class Kind>(Kind) {
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        const T *x = op.x.row(first), *d = dy.row(first);
        T *dx = op.dx.row(first), *y = op.y.row(first);
        if (op.gated)
          gated_backward<Kind, T>(count, width, x, d, dx, y);
        else
          activation_backward<Kind, T>(count * width, x, d, dx, y);
      });
    });
    if (op.dropout.active()) drop_rows(lane.packing(), rows, op.dropout, op.y);
  }

  static void run(Lane& lane, const op::Norm<P>& op) {
    const auto forward = [&]<Normalization Kind>() {
      each_piece(lane.share().rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
        norm_forward<Kind, T>(count, std::size_t(op.x.columns), T(op.epsilon), op.gain.data(),
                              op.bias.empty() ? nullptr : op.bias.data(), op.x.row(first), op.y.row(first),
                              offset(op.mean.data(), first), op.rstd.data() + first);
      });
    };
    op.kind == NormKind::layer ? forward.template operator()<Normalization::layer>()
                               : forward.template operator()<Normalization::rms>();
  }

  static void run(Lane& lane, const op::NormBackward<P>& op) {
    const int width = op.x.columns, shards = lane.packing().shard_count();
    Gradient* dgain = lane.workspace().template take<Gradient>(std::int64_t(shards) * width);
    Gradient* dbias =
        op.dbias.empty() ? nullptr : lane.workspace().template take<Gradient>(std::int64_t(shards) * width);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
      Gradient* gain = dgain + std::int64_t(shard) * width;
      Gradient* bias = dbias == nullptr ? nullptr : dbias + std::int64_t(shard) * width;
      std::fill_n(gain, width, Gradient(0));
      if (bias != nullptr) std::fill_n(bias, width, Gradient(0));
      op.kind == NormKind::layer ? backward_rows<Normalization::layer>(op, rows, gain, bias)
                                 : backward_rows<Normalization::rms>(op, rows, gain, bias);
    }
    lane.defer({Reduction<Gradient>{dgain, shards, width, op.dgain.data()}});
    if (dbias != nullptr) lane.defer({Reduction<Gradient>{dbias, shards, width, op.dbias.data()}});
  }

  static void run(Lane& lane, const op::ResidualAddNorm<P>& op) {
    const Range rows = lane.share().rows;
    const bool plain_branch = op.b.constant == 1 && op.b.learned.empty() && !op.dropout.active();
    if (!plain_branch) {
      run(lane, op::ResidualAdd<P>{.x = op.x, .f = op.f, .a = op.a, .b = op.b, .dropout = op.dropout, .y = op.z});
      return run(lane, op::Norm<P>{.kind = op.kind,
                                   .epsilon = op.epsilon,
                                   .x = op.z,
                                   .gain = op.gain,
                                   .bias = op.bias,
                                   .y = op.y,
                                   .mean = op.mean,
                                   .rstd = op.rstd});
    }
    const bool contiguous = op.x.contiguous() && op.f.contiguous() && op.z.contiguous() && op.y.contiguous();
    const auto forward = [&]<Normalization Kind>(auto a) {
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        residual_add_norm_forward<Kind, T>(count, std::size_t(op.x.columns), T(op.epsilon), op.gain.data(),
                                   op.bias.empty() ? nullptr : op.bias.data(), a, op.x.row(first), op.f.row(first),
                                   op.z.row(first), op.y.row(first), offset(op.mean.data(), first),
                                   op.rstd.data() + first);
      });
    };
    with_scale(op.a, [&](auto a) {
      op.kind == NormKind::layer ? forward.template operator()<Normalization::layer>(a)
                                 : forward.template operator()<Normalization::rms>(a);
    });
  }

  static void run(Lane& lane, const op::ResidualAdd<P>& op) {
    const Range rows = lane.share().rows;
    // With y = f the dropped branch can be formed in place; otherwise in y, before x is added.
    Matrix<const T> f = op.f;
    if (op.dropout.active()) {
      if (op.y.data == op.x.data && op.y.data != op.f.data) {
        add_dropped(lane.packing(), rows, op);
        return;
      }
      if (op.y.data != op.f.data) copy_rows<T>(rows, op.f, op.y);
      drop_rows(lane.packing(), rows, op.dropout, op.y);
      f = op.y;
    }
    if (!op.x) return scale_rows(rows, op.b, f, op.y);
    with_scale(op.a, [&](auto a) {
      with_scale(op.b, [&](auto b) {
        for (int r = rows.begin; r < rows.end; ++r) {
          const T *x = op.x.row(r), *branch = f.row(r);
          T* y = op.y.row(r);
          sweep<T>(std::size_t(op.x.columns), [&](auto place) {
            place.store(y, fma(a.at(place), place.load(x), b.at(place) * place.load(branch)));
          });
        }
      });
    });
  }

  static void run(Lane& lane, const op::ResidualAddBackward<P>& op) {
    const Range rows = lane.share().rows;
    Matrix<const T> dropped = op.dy;
    if (op.df && op.dropout.active()) {
      copy_rows<T>(rows, op.dy, op.df);
      drop_rows(lane.packing(), rows, op.dropout, op.df);
      dropped = op.df;
    }
    // The branch's factor sees the dropped gradient, so its sums come before df is scaled by b.
    sum_products(lane, op.da, op.a.constant, op.dy, op.x);
    sum_products(lane, op.db, op.b.constant, dropped, op.f);
    scale_rows(rows, op.a, op.dy, op.dx);
    scale_rows(rows, op.b, dropped, op.df);
  }

  static void run(Lane& lane, const op::Shift<P>& op) {
    each_piece(lane.share().rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
      const Simd<T> shift = broadcast(T(op.shift[0]));
      const T* x = op.x.row(first);
      T* y = op.y.row(first);
      sweep<T>(count * std::size_t(op.x.columns), [&](auto place) { place.store(y, place.load(x) + shift); });
    });
  }

  static void run(Lane& lane, const op::ShiftBackward<P>& op) {
    const int shards = lane.packing().shard_count();
    Gradient* partials = lane.workspace().template take<Gradient>(shards);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
      Simd<T> sum{};
      each_piece(rows, op.dy.contiguous(), [&](int first, std::size_t count) {
        const T* dy = op.dy.row(first);
        Simd<T> total = sum;  // in a register
        sweep<T>(count * std::size_t(op.dy.columns), [&](auto place) { total += place.load(dy); });
        sum = total;
      });
      partials[shard] = horizontal_sum(sum);
    }
    lane.defer({Reduction<Gradient>{partials, shards, 1, op.dshift.data()}});
  }

 private:
  /// f(scale) with the kernel's form of a residual scale: one number, or one for each column.
  template <class F>
  static void with_scale(const ResidualScale<P>& scale, F&& f) {
    if (scale.learned.size() > 1 && scale.constant == 1)
      f(PerColumn<T>{scale.learned.data()});
    else if (scale.learned.size() > 1)
      f(ScaledColumns{PerColumn<T>{scale.learned.data()}, T(scale.constant)});
    else
      f(cpu::Uniform<T>{T(scale.constant) * (scale.learned.empty() ? T(1) : scale.learned[0])});
  }
  struct ScaledColumns {
    PerColumn<T> values;
    T constant;
    template <class Place>
    Simd<T> at(Place place) const {
      return values.at(place) * constant;
    }
  };

  static void add_dropped(const Packing& packing, Range rows, const op::ResidualAdd<P>& op) {
    const int width = op.x.columns;
    const auto at = [](const ResidualScale<P>& s, int c) {
      return T(s.constant) * (s.learned.empty() ? T(1) : s.learned[s.learned.size() > 1 ? c : 0]);
    };
    each_dropped<T>(packing, rows, {0, width}, op.dropout, [&](int row, int column, const T* factors) {
      T* y = op.y.row(row);
      const T* f = op.f.row(row);
      for (int c = column; c < std::min(width, column + Dropout::block); ++c)
        y[c] = at(op.a, c) * y[c] + at(op.b, c) * (factors[c - column] * f[c]);
    });
  }

  template <Normalization Kind>
  static void backward_rows(const op::NormBackward<P>& op, Range rows, Gradient* dgain, Gradient* dbias) {
    const auto& skip = op.skip.value;
    const bool contiguous = op.x.contiguous() && op.dy.contiguous() && skip.contiguous() && op.dx.contiguous();
    each_piece(rows, contiguous, [&](int first, std::size_t count) {
      const auto width = std::size_t(op.x.columns);
      const NormSaved<T> saved{op.x.row(first), offset(op.mean.data(), first), op.rstd.data() + first};
      const T* dy = op.dy.row(first);
      T* dx = op.dx.row(first);
      if (!skip)
        norm_backward<Kind, T>(count, width, saved, op.gain.data(), dy, dx, dgain, dbias);
      else
        norm_backward_with_skip<Kind, T>(count, width, saved, op.gain.data(), dy, skip.row(first), T(op.skip.scale), dx,
                                         dgain, dbias);
    });
  }

  /// sum += constant · Σ a ⊙ b over all rows: per column, or in one number.
  static void sum_products(Lane& lane, Elements<Gradient> sum, double constant, const Matrix<const T>& a,
                           const Matrix<const T>& b) {
    if (sum.empty()) return;
    const int size = int(sum.size()), shards = lane.packing().shard_count();
    Gradient* partials = lane.workspace().template take<Gradient>(std::int64_t(shards) * size);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      Gradient* partial = partials + std::int64_t(shard) * size;
      std::fill_n(partial, size, Gradient(0));
      for (int r = lane.packing().shards[shard]; r < lane.packing().shards[shard + 1]; ++r) {
        const T *x = a.row(r), *y = b.row(r);
        for (int c = 0; c < a.columns; ++c) partial[size > 1 ? c : 0] += Gradient(constant) * x[c] * y[c];
      }
    }
    lane.defer({Reduction<Gradient>{partials, shards, size, sum.data()}});
  }

  static void scale_rows(Range rows, const ResidualScale<P>& scale, const Matrix<const T>& x, const Matrix<T>& y) {
    if (!y) return;
    with_scale(scale, [&](auto s) {
      for (int r = rows.begin; r < rows.end; ++r) {
        const T* from = x.row(r);
        T* to = y.row(r);
        sweep<T>(std::size_t(x.columns), [&](auto place) { place.store(to, s.at(place) * place.load(from)); });
      }
    });
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
