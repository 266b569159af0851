// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/view.hpp>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// The compile-time parameter layout.
///
/// A layer lists its parameters once, in `Params<T>::each(visitor)`. Everything that deals with parameters is a visitor
/// of that list or a reader of the table that `describe` makes from it: binding views to a flat buffer, counting,
/// initialization, checkpoints, gradient checks, reports.
///
/// A flat buffer holds two groups, tensors that weight decay shrinks and tensors that it spares, each tensor aligned.
/// Block `i` of a `Repeat` lies at `first + i * stride` in both groups. Alignment gaps are zero and stay zero.
namespace fathom::inline FATHOM_ABI {

/// What a tensor is for: decides its weight decay and the gain that a residual policy gives it.
enum class Role {
  query,
  key,
  value,
  attention_output,
  feed_forward_input,
  feed_forward_gate,
  feed_forward_output,
  linear,
  logits,
  decayed_embedding,
  decayed_position,
  embedding,
  position,
  bias,
  norm_gain,
  skip_scale,
  branch_scale,
  head_scale,
  shift,
  logit_scale,
  history,
};

constexpr const char* name_of(Role role) {
  return std::array{"query",
                    "key",
                    "value",
                    "attention output",
                    "feed-forward input",
                    "feed-forward gate",
                    "feed-forward output",
                    "linear",
                    "output",
                    "embedding",
                    "position",
                    "embedding",
                    "position",
                    "bias",
                    "norm gain",
                    "skip scale",
                    "branch scale",
                    "head scale",
                    "shift",
                    "logit scale",
                    "history"}[std::size_t(role)];
}

/// Matrices of layers and a separate output decay, and embeddings of a model that says so; biases, norms and learned
/// scales do not.
constexpr bool decays(Role role) { return role <= Role::decayed_position; }

/// How a tensor starts, before the gain of its residual policy, which multiplies constants too.
struct Init {
  enum class Kind { zeros, constant, xavier, normal, triangle } kind = Kind::zeros;
  double value = 0;  ///< the constant, or the standard deviation of `normal`
};
namespace init {
inline constexpr Init zeros{Init::Kind::zeros};
inline constexpr Init ones{Init::Kind::constant, 1};
inline constexpr Init xavier{Init::Kind::xavier};      ///< std sqrt(2 / (fan_in + fan_out)) of this matrix alone
inline constexpr Init triangle{Init::Kind::triangle};  ///< row l of a packed lower triangle: 1 / (l + 1)
constexpr Init constant(double value) { return {Init::Kind::constant, value}; }
constexpr Init normal(double deviation) { return {Init::Kind::normal, deviation}; }
}  // namespace init

/// One named matrix inside a fused tensor: some of its rows. Initialization and checkpoints see parts, ops the whole.
struct Part {
  std::string_view name;
  int rows;
  Role role;
  Init init;
};

/// Index of a block in its stack (from 0) and the number of blocks; depth 0: not in a stack.
struct BlockIndex {
  int index = 0, depth = 0;
};

/// Numbers of elements (or offsets, in elements) in the two groups.
struct Extent {
  std::int64_t decayed = 0, plain = 0;

  constexpr std::int64_t total() const { return decayed + plain; }
  friend constexpr Extent operator+(Extent a, Extent b) { return {a.decayed + b.decayed, a.plain + b.plain}; }
  friend constexpr Extent operator*(std::int64_t n, Extent a) { return {n * a.decayed, n * a.plain}; }
  /// Reserves an aligned tensor and returns its offset.
  constexpr std::int64_t take(bool decays, std::int64_t count) {
    constexpr std::int64_t elements = 16;  // 64 bytes of float
    std::int64_t& cursor = decays ? decayed : plain;
    const std::int64_t begin = cursor;
    cursor += (count + elements - 1) / elements * elements;
    return begin;
  }
};

/// What visitors of a parameter list have in common: they go into what is nested, and take a fused tensor for one, in
/// the group of its first part. `Self` has `tensor(name, view, role, init)` and `blocks(name, blocks)`, and its own of
/// these where it needs more.
template <class Self>
struct ParameterVisitor {
  template <class View>
  constexpr void fused(View& view, std::initializer_list<Part> parts) {
    self().tensor({}, view, parts.begin()->role, {});
  }
  template <class Params>
  constexpr void nested(std::string_view, Params& params, int = -1) {
    params.each(self());
  }
  template <class Params>
  constexpr void scaled(double (*)(Role, BlockIndex), Params& params) {
    params.each(self());
  }

 protected:
  constexpr Self& self() { return static_cast<Self&>(*this); }
};

/// A visitor that counts something: blocks of a stack count alike.
template <class Self>
struct CountingVisitor : ParameterVisitor<Self> {
  std::int64_t count = 0;

  template <class Blocks>
  constexpr void blocks(std::string_view, Blocks&) {
    Self block;
    typename Blocks::Params params;
    params.each(block);
    count += Blocks::count * block.count;
  }
};

/// Points the views of a `Params<T>` into a flat buffer; with a null base it only counts.
template <class T>
struct Binder : ParameterVisitor<Binder<T>> {
  T* base = nullptr;
  Extent at;

  constexpr explicit Binder(T* first = nullptr, Extent begin = {}) : base(first), at(begin) {}

  template <class View>
  constexpr void tensor(std::string_view, View& view, Role role, Init) {
    view.data = offset(base, at.take(decays(role), std::int64_t(View::rows) * View::columns));
  }
  template <class Blocks>
  constexpr void blocks(std::string_view, Blocks& blocks) {
    blocks.base = base;
    blocks.first = at;
    at = at + Blocks::count * Blocks::stride;
  }
};

/// Size of a layer's parameters in a flat buffer, alignment gaps included.
template <class Layer>
constexpr Extent parameter_extent() {
  typename Layer::template Params<const float> params;
  Binder<const float> binder;
  params.each(binder);
  return binder.at;
}

/// Views of a layer's parameters (or of their gradients) in the flat buffer at `base`.
template <class Layer, class T>
constexpr typename Layer::template Params<T> bind_parameters(T* base) {
  typename Layer::template Params<T> params;
  Binder<T> binder(base, {0, parameter_extent<Layer>().decayed});
  params.each(binder);
  return params;
}

/// The parameters of every block of a stack, bound on demand. Code that takes this type serves every depth.
template <class T, class Block>
struct BlockArray {
  using Params = typename Block::template Params<T>;
  static constexpr Extent stride = parameter_extent<Block>();
  T* base = nullptr;
  Extent first;

  constexpr Params operator[](int index) const {
    Params params;
    Binder<T> binder(base, first + index * stride);
    params.each(binder);
    return params;
  }
};

/// The same with the number of blocks, which only layout and names need.
template <class T, int Count, class Block>
struct BlockParams : BlockArray<T, Block> {
  static constexpr int count = Count;
  constexpr const BlockArray<T, Block>& any_count() const { return *this; }
};

/// One named tensor of a model.
struct ParameterInfo {
  std::string name;  ///< such as blocks.12.attention.query.weight
  Role role;
  Init init;
  double gain;          ///< factor of the residual policy on the initial values
  BlockIndex block;     ///< that it belongs to
  std::int64_t offset;  ///< in the flat buffer, in elements
  int rows, columns;

  std::int64_t size() const { return std::int64_t(rows) * columns; }
  bool is_vector() const { return rows == 1 && !decays(role); }
};

/// What ops need of a `ParameterInfo`.
struct TensorPlace {
  std::int64_t offset;
  int rows, columns;
  bool vector, decayed;

  constexpr std::int64_t size() const { return std::int64_t(rows) * columns; }
};

inline std::vector<TensorPlace> places_of(std::span<const ParameterInfo> table) {
  std::vector<TensorPlace> places;
  for (const ParameterInfo& info : table)
    places.push_back({info.offset, info.rows, info.columns, info.is_vector(), decays(info.role)});
  return places;
}

/// The values of one tensor, row by row; `flat` is a buffer of any machine, `info` says offset and size: a
/// `ParameterInfo`, or the `StateTensor` of an optimizer.
template <class Memory, class Info>
auto read_tensor(const Memory& flat, const Info& info) {
  std::vector<std::remove_cvref_t<decltype(*flat.data())>> values(std::size_t(info.size()));
  flat.download(info.offset, values);
  return values;
}
/// Errors: `ShapeError` for another number of values.
template <class Memory, class Info, class T = std::remove_cvref_t<decltype(*std::declval<Memory&>().data())>>
void write_tensor(Memory& flat, const Info& info, std::span<const std::type_identity_t<T>> values) {
  if (std::int64_t(values.size()) != info.size())
    throw ShapeError("write_tensor: " + std::to_string(values.size()) + " values for '" + info.name + "', which has " +
                     std::to_string(info.size()));
  flat.upload(info.offset, values);
}

/// Collects `ParameterInfo`s in the order of the layout.
class Describer : public ParameterVisitor<Describer> {
 public:
  explicit Describer(Extent begin) : at_(begin) {}

  template <class View>
  void tensor(std::string_view name, View&, Role role, Init init) {
    const std::int64_t offset = at_.take(decays(role), std::int64_t(View::rows) * View::columns);
    add(name, role, init, offset, View::rows, View::columns);
  }
  template <class View>
  void fused(View&, std::initializer_list<Part> parts) {
    std::int64_t offset = at_.take(decays(parts.begin()->role), std::int64_t(View::rows) * View::columns);
    for (const Part& part : parts) {
      const bool vector = View::rows == 1;
      add(part.name, part.role, part.init, offset, vector ? 1 : part.rows, vector ? part.rows : View::columns);
      offset += vector ? part.rows : std::int64_t(part.rows) * View::columns;
    }
  }
  /// Children are named `name.`, or `name.index.` where siblings share a name.
  template <class Params>
  void nested(std::string_view name, Params& params, int index = -1) {
    const std::string outer = path_;
    path_ += std::string(name) + (index < 0 ? "." : "." + std::to_string(index) + ".");
    params.each(*this);
    path_ = outer;
  }
  template <class Params>
  void scaled(double (*gain)(Role, BlockIndex), Params& params) {
    const auto outer = gain_;
    gain_ = gain;
    params.each(*this);
    gain_ = outer;
  }
  template <class Blocks>
  void blocks(std::string_view name, Blocks&) {
    const std::string outer = path_;
    const BlockIndex outer_block = block_;
    for (int index = 0; index < Blocks::count; ++index) {
      path_ = outer + std::string(name) + "." + std::to_string(index) + ".";
      block_ = {index, Blocks::count};
      typename Blocks::Params params;
      params.each(*this);
    }
    path_ = outer;
    block_ = outer_block;
  }

  std::vector<ParameterInfo> take() && { return std::move(table_); }

 private:
  void add(std::string_view name, Role role, Init init, std::int64_t offset, int rows, int columns) {
    const double gain = gain_ == nullptr ? 1.0 : gain_(role, block_);
    table_.push_back({path_ + std::string(name), role, init, gain, block_, offset, rows, columns});
  }

  Extent at_;
  std::string path_;
  BlockIndex block_;
  double (*gain_)(Role, BlockIndex) = nullptr;
  std::vector<ParameterInfo> table_;
};

/// The table of a layer's or model's parameters.
template <class Layer>
std::vector<ParameterInfo> describe() {
  typename Layer::template Params<const float> params;
  Describer describer({0, parameter_extent<Layer>().decayed});
  params.each(describer);
  return std::move(describer).take();
}

/// Counts parameters without alignment gaps.
struct ParameterCounter : CountingVisitor<ParameterCounter> {
  template <class View>
  constexpr void tensor(std::string_view, View&, Role, Init) {
    count += std::int64_t(View::rows) * View::columns;
  }
};

/// Number of parameters of a layer or model.
template <class Layer>
constexpr std::int64_t parameter_count() {
  typename Layer::template Params<const float> params;
  ParameterCounter counter;
  params.each(counter);
  return counter.count;
}

}  // namespace fathom::inline FATHOM_ABI
