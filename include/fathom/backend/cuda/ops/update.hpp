// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/ops/residual.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/update.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/random.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// A flat buffer as kernels have it.
template <class T>
struct FlatOf {
  T* data = nullptr;
  std::int64_t size = 0;
  bool aligned = false;

  FlatOf() = default;
  FlatOf(Elements<T> x)
      : data(x.empty() ? nullptr : x.data()),
        size(std::int64_t(x.size())),
        aligned(reinterpret_cast<std::uintptr_t>(x.data()) % 16 == 0) {}

  constexpr explicit operator bool() const { return data != nullptr; }
  template <class Thread>
  constexpr Octet load(Thread& thread, std::int64_t at) const {
    return load_octet(thread, data + at, count(at), whole(at));
  }
  template <class Thread>
  constexpr void store(Thread& thread, std::int64_t at, const Octet& x) const {
    store_octet(thread, data + at, x, count(at), whole(at));
  }

 private:
  constexpr int count(std::int64_t at) const { return size - at < octet ? int(size - at) : octet; }
  constexpr bool whole(std::int64_t at) const { return aligned && size - at >= octet; }
};

/// Calls f(first element) for every octet of a flat buffer that is this thread's.
template <class Thread>
constexpr void each_octet(Thread& thread, int threads, std::int64_t size, auto&& f) {
  const std::int64_t step = std::int64_t(thread.blocks()) * threads * octet;
  for (std::int64_t at = (std::int64_t(thread.block()) * threads + thread.index()) * octet; at < size; at += step)
    f(at);
}

template <class K>
int flat_blocks(std::size_t size) {
  return blocks_for<K>((std::int64_t(size) + octet - 1) / octet);
}

template <class P>
struct InitializeElements {
  static constexpr const char* name = "initialize";
  static constexpr int threads = 256;
  FlatOf<typename P::Master> x;
  double center, deviation;
  Key key;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const Philox random(key);
    each_octet(thread, threads, x.size, [&](std::int64_t at) {
      Octet values;
      for (int i = 0; i < octet; i += 2) {
        std::array<double, 2> pair{};
        if (deviation != 0) pair = normals(random(std::uint64_t(at + i) / 2));
        values.at[i] = float(center + deviation * pair[0]);
        values.at[i + 1] = float(center + deviation * pair[1]);
      }
      x.store(thread, at, values);
    });
  }
};

template <class P>
void run_op(Session& session, const op::Initialize<P>& op, Numbers) {
  if (op.x.empty()) return;
  using K = InitializeElements<P>;
  session.launch(flat_blocks<K>(op.x.size()), K{op.x, op.center, op.deviation, op.key});
}

/// What is done to every element of a flat buffer: `change(thread, first)` for each octet.
template <class Change>
struct ChangeElements {
  static constexpr const char* name = Change::name;
  static constexpr int threads = 256;
  Change change;
  std::int64_t size;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    each_octet(thread, threads, size, [&](std::int64_t at) { change(thread, at); });
  }
};
template <class Change>
void change_elements(Session& session, const Change& change, std::size_t size) {
  if (size == 0) return;
  using K = ChangeElements<Change>;
  session.launch(flat_blocks<K>(size), K{change, std::int64_t(size)});
}

template <class P>
struct RoundElements {
  static constexpr const char* name = "round";
  FlatOf<const typename P::Master> x;
  FlatOf<typename P::Weight> y;
  template <class Thread>
  constexpr void operator()(Thread& thread, std::int64_t at) const {
    y.store(thread, at, x.load(thread, at));
  }
};
template <class P>
void run_op(Session& session, const op::Round<P>& op, Numbers) {
  change_elements(session, RoundElements<P>{op.x, op.y}, op.x.size());
}

template <class P>
struct AverageElements {
  static constexpr const char* name = "average";
  FlatOf<const typename P::Master> x;
  FlatOf<typename P::Master> average;
  float decay;
  template <class Thread>
  constexpr void operator()(Thread& thread, std::int64_t at) const {
    Octet values = average.load(thread, at);
    const Octet fresh = x.load(thread, at);
    for (int i = 0; i < octet; ++i) values.at[i] = decay * values.at[i] + (1 - decay) * fresh.at[i];
    average.store(thread, at, values);
  }
};
template <class P>
void run_op(Session& session, const op::Average<P>& op, Numbers) {
  change_elements(session, AverageElements<P>{op.x, op.average, float(op.decay)}, op.x.size());
}

/// What the elementwise optimizers share.
template <class P>
struct TargetOf {
  FlatOf<typename P::Master> weights;
  FlatOf<typename P::Weight> rounded;
  FlatOf<typename P::Gradient> gradient;
  const double *gradient_scale, *learning_rate;
  float decay;

  TargetOf(const UpdateTarget<P>& target, Numbers& numbers)
      : weights(target.weights),
        rounded(target.rounded),
        gradient(target.gradient),
        gradient_scale(numbers.next<double>()),
        learning_rate(numbers.next<double>()),
        decay(float(target.weight_decay)) {}

  template <class Thread>
  constexpr void store_weights(Thread& thread, std::int64_t at, const Octet& w) const {
    weights.store(thread, at, w);
    if (rounded) rounded.store(thread, at, w);
  }
  /// The gradient, scaled; it is cleared.
  template <class Thread>
  constexpr Octet take_gradient(Thread& thread, std::int64_t at) const {
    Octet g = gradient.load(thread, at);
    gradient.store(thread, at, Octet{});
    const float scale = float(thread.load(gradient_scale));
    for (float& value : g.at) value *= scale;
    return g;
  }
};

template <class P>
struct SgdElements {
  static constexpr const char* name = "sgd";
  TargetOf<P> target;
  FlatOf<typename P::Master> momentum;
  float factor;
  bool nesterov;

  template <class Thread>
  constexpr void operator()(Thread& thread, std::int64_t at) const {
    Octet w = target.weights.load(thread, at), g = target.take_gradient(thread, at), m;
    if (momentum) m = momentum.load(thread, at);
    const float rate = float(thread.load(target.learning_rate));
    for (int i = 0; i < octet; ++i) {
      g.at[i] += target.decay * w.at[i];
      m.at[i] = factor * m.at[i] + g.at[i];
      w.at[i] -= rate * (nesterov ? g.at[i] + factor * m.at[i] : m.at[i]);
    }
    if (momentum) momentum.store(thread, at, m);
    target.store_weights(thread, at, w);
  }
};
template <class P>
void run_op(Session& session, const op::SgdUpdate<P>& op, Numbers numbers) {
  change_elements(session, SgdElements<P>{{op.target, numbers}, op.momentum, float(op.momentum_factor), op.nesterov},
                  op.target.weights.size());
}

template <class P>
struct AdamElements {
  static constexpr const char* name = "adam";
  TargetOf<P> target;
  FlatOf<typename P::Master> first, second;
  double beta1, beta2;
  float epsilon;
  bool decoupled;
  const std::int64_t* step;

  template <class Thread>
  constexpr void operator()(Thread& thread, std::int64_t at) const {
    Octet w = target.weights.load(thread, at), m = first.load(thread, at), v = second.load(thread, at);
    Octet g = target.take_gradient(thread, at);
    const float rate = float(thread.load(target.learning_rate)), b1 = float(beta1), b2 = float(beta2);
    const double updates = double(thread.load(step));
    const float correction1 = float(1 - std::pow(beta1, updates)), correction2 = float(1 - std::pow(beta2, updates));
    for (int i = 0; i < octet; ++i) {
      if (decoupled)
        w.at[i] *= 1 - rate * target.decay;
      else
        g.at[i] += target.decay * w.at[i];
      m.at[i] = b1 * m.at[i] + (1 - b1) * g.at[i];
      v.at[i] = b2 * v.at[i] + (1 - b2) * g.at[i] * g.at[i];
      w.at[i] -= rate * (m.at[i] / correction1) / (std::sqrt(v.at[i] / correction2) + epsilon);
    }
    target.store_weights(thread, at, w);
    first.store(thread, at, m);
    second.store(thread, at, v);
  }
};
template <class P>
void run_op(Session& session, const op::AdamUpdate<P>& op, Numbers numbers) {
  const TargetOf<P> target(op.target, numbers);
  change_elements(session,
                  AdamElements<P>{target, op.first, op.second, op.beta1, op.beta2, float(op.epsilon), op.decoupled,
                                  numbers.next<std::int64_t>()},
                  op.target.weights.size());
}

template <class P>
struct LionElements {
  static constexpr const char* name = "lion";
  TargetOf<P> target;
  FlatOf<typename P::Master> momentum;
  float beta1, beta2;

  template <class Thread>
  constexpr void operator()(Thread& thread, std::int64_t at) const {
    Octet w = target.weights.load(thread, at), m = momentum.load(thread, at);
    const Octet g = target.take_gradient(thread, at);
    const float rate = float(thread.load(target.learning_rate));
    for (int i = 0; i < octet; ++i) {
      const float x = beta1 * m.at[i] + (1 - beta1) * g.at[i];
      const float sign = x > 0 ? 1.f : x < 0 ? -1.f : x;  // a NaN stays one
      w.at[i] -= rate * (sign + target.decay * w.at[i]);
      m.at[i] = beta2 * m.at[i] + (1 - beta2) * g.at[i];
    }
    target.store_weights(thread, at, w);
    momentum.store(thread, at, m);
  }
};
template <class P>
void run_op(Session& session, const op::LionUpdate<P>& op, Numbers numbers) {
  change_elements(session, LionElements<P>{{op.target, numbers}, op.momentum, float(op.beta1), float(op.beta2)},
                  op.target.weights.size());
}

/// results[k] = Σ x² over tensor k: a block for each.
template <class P>
struct SquaresOfTensors {
  static constexpr const char* name = "squares of tensors";
  static constexpr int threads = 512;
  struct Shared {
    double part[threads / warp_size];
  };
  const typename P::Gradient* x;
  const TensorPlace* table;
  double* results;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const TensorPlace tensor = thread.load(table + thread.block());
    double sum = 0;
    for (std::int64_t i = thread.index(); i < tensor.size(); i += threads) {
      const double value = double(float(thread.load(x + tensor.offset + i)));
      sum += value * value;
    }
    sum = block_sum(thread, sum, thread.shared().part);
    if (thread.index() == 0) thread.store(results + thread.block(), sum);
  }
};
template <class P>
void run_op(Session& session, const op::TensorSquares<P>& op, Numbers) {
  if (op.table.empty()) return;
  session.launch(int(op.table.size()), SquaresOfTensors<P>{op.x.data(), op.table.data(), op.results.data()});
}

/// partial[block] = Σ x² over the block's octets.
template <class T>
struct SquareElements {
  static constexpr const char* name = "sum of squares";
  static constexpr int threads = 256;
  struct Shared {
    double part[threads / warp_size];
  };
  FlatOf<const T> x;
  double* partial;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    double sum = 0;
    each_octet(thread, threads, x.size, [&](std::int64_t at) {
      const Octet values = x.load(thread, at);
      for (const float value : values.at) sum += double(value) * double(value);
    });
    sum = block_sum(thread, sum, thread.shared().part);
    if (thread.index() == 0) thread.store(partial + thread.block(), sum);
  }
};
template <class P>
void run_op(Session& session, const op::SumOfSquares<P>& op, Numbers) {
  using K = SquareElements<typename P::Gradient>;
  Arena scratch = session.scratch();
  const int blocks = std::min(flat_blocks<K>(op.x.size()), flat_parts);
  double* const partial = scratch.take<double>(blocks);
  session.launch(blocks, K{op.x, partial});
  session.launch(1, SumParts{partial, blocks, 1, op.result});
}

/// The first element that is infinite or NaN, of those that the block looks at; of blocks, of all; or -1.
template <class T>
struct FindNotFinite {
  static constexpr const char* name = "first non-finite";
  static constexpr int threads = 256;
  struct Shared {
    std::int64_t first[threads / warp_size];
  };
  RowsOf<const T> x;
  int rows;
  const std::int64_t* candidates;  ///< of blocks; null: elements are looked at
  int count;
  std::int64_t* result;

  static constexpr std::int64_t nearer(std::int64_t a, std::int64_t b) { return a < 0 ? b : b < 0 ? a : a < b ? a : b; }

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    std::int64_t first = -1;
    if (candidates != nullptr) {
      for (int i = thread.index(); i < count; i += threads) first = nearer(first, thread.load(candidates + i));
    } else {
      const std::int64_t all = std::int64_t(rows) * x.columns, step = std::int64_t(thread.blocks()) * threads;
      for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < all && first < 0; i += step)
        if (!std::isfinite(float(thread.load(x.row(int(i / x.columns)) + i % x.columns)))) first = i;
    }
    for (int mask = warp_size / 2; mask > 0; mask /= 2) first = nearer(first, thread.shuffle_xor(first, mask));
    if (thread.lane() == 0) thread.shared().first[thread.warp()] = first;
    thread.barrier();
    if (thread.index() != 0) return;
    for (const std::int64_t of_warp : thread.shared().first) first = nearer(first, of_warp);
    thread.store(result + thread.block(), first);
  }
};
template <class T>
void run_op(Session& session, const op::FirstNonFinite<T>& op, Numbers) {
  using K = FindNotFinite<T>;
  Arena scratch = session.scratch();
  const int blocks = std::min(blocks_for<K>(std::int64_t(op.x.rows) * op.x.columns), flat_parts);
  std::int64_t* const candidates = scratch.take<std::int64_t>(blocks);
  session.launch(blocks, K{op.x, op.x.rows, nullptr, 0, candidates});
  session.launch(1, K{op.x, op.x.rows, candidates, blocks, op.result});
}

/// Where the moments of each tensor of a table begin.
struct FindMoments {
  static constexpr const char* name = "places of moments";
  static constexpr int threads = 1;
  const TensorPlace* table;
  int tensors;
  std::int64_t* offsets;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    std::int64_t offset = 0;
    for (int k = 0; k < tensors; ++k) {
      const TensorPlace tensor = thread.load(table + k);
      thread.store(offsets + k, offset);
      offset += (tensor.vector ? 0 : tensor.rows) + tensor.columns;
    }
  }
};

/// Adafactor of one tensor: a block for each.
template <class P>
struct AdafactorTensor {
  static constexpr const char* name = "adafactor";
  static constexpr int threads = 512;
  struct Shared {
    float part[threads / warp_size];
  };
  using Master = typename P::Master;
  TargetOf<P> target;
  Master* moments;
  const TensorPlace* table;
  const std::int64_t* offsets;
  double decay_exponent;
  float epsilon1, epsilon2, clip_threshold;
  double weight_decay;
  const std::int64_t* step;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const TensorPlace tensor = thread.load(table + thread.block());
    const int rows = tensor.rows, columns = tensor.columns;
    const bool is_matrix = !tensor.vector;
    Master* const w = target.weights.data + tensor.offset;
    typename P::Weight* const rounded = target.rounded ? target.rounded.data + tensor.offset : nullptr;
    auto* const g = target.gradient.data + tensor.offset;
    Master* const r = moments + thread.load(offsets + thread.block());
    Master* const c = r + (is_matrix ? rows : 0);
    const double updates = double(thread.load(step)), learning_rate = thread.load(target.learning_rate);
    const float scale = float(thread.load(target.gradient_scale));
    const float beta = float(1 - std::pow(updates, -decay_exponent));
    const float rate = float(std::min(learning_rate, 1 / std::sqrt(updates)));
    const float shrinkage = tensor.decayed ? float(learning_rate * weight_decay) : 0.f;
    const auto gradient = [&](int i, int j) { return scale * float(thread.load(g + std::int64_t(i) * columns + j)); };
    const auto sum = [&](float x) { return block_sum(thread, x, thread.shared().part); };

    if (is_matrix)
      for (int i = thread.index(); i < rows; i += threads) {
        float squares = 0;
        for (int j = 0; j < columns; ++j) squares += gradient(i, j) * gradient(i, j);
        thread.store(r + i,
                     Master(beta * float(thread.load(r + i)) + (1 - beta) * (squares / float(columns) + epsilon1)));
      }
    for (int j = thread.index(); j < columns; j += threads) {
      float squares = 0;
      for (int i = 0; i < rows; ++i) squares += gradient(i, j) * gradient(i, j);
      thread.store(c + j, Master(beta * float(thread.load(c + j)) + (1 - beta) * (squares / float(rows) + epsilon1)));
    }
    float row_sum = 0;  // when it is there, so are all moments
    for (int i = thread.index(); is_matrix && i < rows; i += threads) row_sum += float(thread.load(r + i));
    const float mean_r = sum(row_sum) / float(rows), size = float(tensor.size());
    const auto update = [&](std::int64_t n) {
      const int i = int(n / columns), j = int(n % columns);
      const float v =
          is_matrix ? float(thread.load(r + i)) / mean_r * float(thread.load(c + j)) : float(thread.load(c + j));
      return gradient(i, j) / std::sqrt(v);
    };
    float squares_u = 0, squares_w = 0;
    for (std::int64_t n = thread.index(); n < tensor.size(); n += threads) {
      const float u = update(n), old = float(thread.load(w + n));
      squares_u += u * u, squares_w += old * old;
    }
    const float mean_u2 = sum(squares_u) / size, mean_w2 = sum(squares_w) / size;
    const float length =
        std::max(epsilon2, std::sqrt(mean_w2)) * rate / std::max(1.f, std::sqrt(mean_u2) / clip_threshold);
    for (std::int64_t n = thread.index(); n < tensor.size(); n += threads) {
      const float old = float(thread.load(w + n)), u = update(n);
      const auto fresh = Master(old - (shrinkage * old + length * u));
      thread.store(w + n, fresh);
      if (rounded != nullptr) thread.store(rounded + n, typename P::Weight(fresh));
      thread.store(g + n, typename P::Gradient(0.f));
    }
  }
};
template <class P>
void run_op(Session& session, const op::AdafactorUpdate<P>& op, Numbers numbers) {
  if (op.table.empty()) return;
  Arena scratch = session.scratch();
  const int tensors = int(op.table.size());
  std::int64_t* const offsets = scratch.take<std::int64_t>(tensors);
  session.launch(1, FindMoments{op.table.data(), tensors, offsets});
  const TargetOf<P> target(op.target, numbers);
  session.launch(tensors, AdafactorTensor<P>{target, op.moments.data(), op.table.data(), offsets, op.decay_exponent,
                                             float(op.epsilon1), float(op.epsilon2), float(op.clip_threshold),
                                             op.target.weight_decay, numbers.next<std::int64_t>()});
}

}  // namespace fathom::inline FATHOM_ABI::cuda
