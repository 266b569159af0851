// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/worker.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/view.hpp>
#include <span>
#include <type_traits>
#include <utility>

/// What a layer is: an empty type with static functions and these members.
///
///   name                    what scopes and checkpoints call it
///   input_width, output_width
///   sees                    which rows of its sequence a row of y follows from, a `Sees`
///   Params<T>               views of its parameters, or of their gradients; `each(visitor)` lists them
///   Saved<P>                views of what backward needs; `take(arena, capacity)` lays them out
///   forward(worker, params, flow, x, y, saved)
///       x (N, input_width); y (N, output_width) OVERWRITTEN; saved OVERWRITTEN. What stands in a branch reads and writes
///       rows of P::Activation; what stands in the residual stream has StreamIn<P, …> x and StreamOut<P, …> y, which are
///       the same where the two types are (core/precision.hpp).
///   backward(worker, params, gradients, flow, x, saved, dy, dx, skip)
///       x and saved as in forward; dy (N, output_width), read; dx (N, input_width) OVERWRITTEN with
///       skip.scale · skip.value + Jᵀ dy; gradients ADDED TO, and so are the gradients of side inputs in `flow`.
///       dx is of P::Stream; dy of the type that y has in a branch, of P::Stream in the stream.
///       x, saved and dy stay unchanged until the caller's frame closes: weight gradients may be put off until then.
///
/// and, where the output follows from what is saved in one cheap pass, so that nobody has to keep it:
///
///   restore(worker, params, flow, saved, y)
///       y (N, output_width) OVERWRITTEN with the bits that forward gave it.
///
/// and, where rows see earlier ones, so that a sequence may come in pieces (`Inference`, `Generator`):
///
///   caches = true           forward keeps in the flow's cache what later rows will see, see `Flow::take_cache`
///
/// and, where it reads the side input `flow.memory`:
///
///   memory_width            columns of that
///
/// and, where its numbers depend on more than its name and the shapes of its parameters:
///
///   describe(fact)
///       calls `fact(key, value)` for each such choice: a number, a truth value or a text, or `std::type_identity<L>{}`
///       for what a layer inside it says, with all inside that. A key is said once; `name`, `residual`, `block` and
///       `layers` are the library's. Checkpoints store what is said, and a layer that says something else is refused.
///       So a layer of your own says here what a new version of it would compute in another way.
///
/// A layer that is made of others has `Composition` as its base: `sees` and `caches` follow.
///
/// Workspace that they take is the caller's, who gives it back: a loop over layers opens a frame for each backward, and
/// a turn for each forward, which puts nothing off and takes the same each time. A layer has no state, names no device
/// and does no arithmetic: it hands ops to its worker.
namespace fathom::inline FATHOM_ABI {

template <class W>
using PrecisionOf = typename W::Precision;

/// Which rows of its sequence a row may see. No row sees another sequence; side inputs in `Flow` do not count.
enum class Sees {
  itself,   ///< itself alone
  earlier,  ///< itself and all before it
  all,      ///< those behind it too
};

/// What Admin's profiling pass gathers, on one thread.
struct AdminProfile {
  double* scales = nullptr;  ///< one per sublayer, in the order of execution: written
  int count = 0;             ///< sublayers so far
  double scale = 1;          ///< that of the next sublayer; 1 for the first one of a stack
};

/// What a sublayer may see besides its own input.
///
/// Gradients of side inputs are ADDED TO: every decoder layer reads one memory.
template <class P>
struct Flow {
  BlockIndex block;  ///< in its stack

  Matrix<const typename P::Activation> memory;  ///< the encoder's output
  const Packing* memory_packing = nullptr;
  Matrix<typename P::Stream> memory_gradient;

  Arena* cache = nullptr;   ///< where a sequence comes in pieces: what layers keep of the pieces before
  int cache_length = 0;     ///< most rows of a sequence, all pieces together
  std::span<const CacheCopy> cache_copies;  ///< sequences that go on from where others are, this pass before all else

  /// With a cache, where several sequences read one memory: the rows of the pass by the memory that they read. And most
  /// rows of a memory: those of `memory` are kept behind the past rows of `memory_packing`, so one that all layers have
  /// read has past rows alone, and `memory` has none of it.
  const Packing* memory_readers = nullptr;
  int memory_cache_length = 0;

  Matrix<const typename P::Stream> layer_input;     ///< of the `ResidualBlock`, for a policy that adds it on top
  Matrix<typename P::Stream> layer_input_gradient;  ///< OVERWRITTEN by the sublayer that adds it

  AdminProfile* profile = nullptr;  ///< set during the profiling pass

  /// Room for a row at every place of every sequence: (sequences of the capacity, heads, cache_length, width). Row i of
  /// sequence s in this pass has place past_of(s) + i. The places before past_of(s) hold what earlier passes wrote, or
  /// a copy of another sequence's (`cache_copies`); those behind may hold anything. All lanes get the same memory; null
  /// without a cache, and in a dry run. Layers take theirs one after another, so each takes the same in every pass.
  template <class W>
  constexpr typename P::Activation* take_cache(W& worker, int heads, int width) const {
    if (cache == nullptr) return nullptr;
    auto* const slabs = cache->template take<typename P::Activation>(
        std::int64_t(worker.packing().capacity.sequences) * heads * cache_length * width);
    if (!cache_copies.empty())
      worker(op::CopyCache<P>{
          .heads = heads, .length = cache_length, .width = width, .slabs = slabs, .copies = cache_copies});
    return slabs;
  }
  /// The same for rows of the memory: (memories of the capacity, heads, memory_cache_length, width).
  constexpr typename P::Activation* take_memory_cache(int heads, int width) const {
    if (cache == nullptr) return nullptr;
    return cache->template take<typename P::Activation>(std::int64_t(memory_packing->capacity.sequences) * heads *
                                                        memory_cache_length * width);
  }
};

template <class L>
concept HasShapes = requires {
  { L::input_width } -> std::convertible_to<int>;
  { L::output_width } -> std::convertible_to<int>;
  { L::name } -> std::convertible_to<const char*>;
};
template <class L>
concept HasParams = requires(typename L::template Params<float> p, ParameterCounter& visitor) { p.each(visitor); };
template <class L>
concept HasSaved = requires(Arena& arena, Capacity capacity) {
  { L::template Saved<Single>::take(arena, capacity) } -> std::same_as<typename L::template Saved<Single>>;
};
template <class L>
concept HasSees = requires {
  { L::sees } -> std::convertible_to<Sees>;
};
template <class L>
concept HasForward = requires(Worker<DryRun<OpsOnly<Single>>>& worker,
                              const typename L::template Params<const float>& p, const Flow<Single>& flow,
                              Rows<const float, L::input_width> x, Rows<float, L::output_width> y,
                              typename L::template Saved<Single>& saved) {
  L::forward(worker, p, flow, x, y, saved);
};
template <class L>
concept HasBackward =
    requires(Worker<DryRun<OpsOnly<Single>>>& worker, const typename L::template Params<const float>& p,
             const typename L::template Params<float>& dp, const Flow<Single>& flow,
             Rows<const float, L::input_width> x, const typename L::template Saved<Single>& saved,
             Rows<const float, L::output_width> dy, Rows<float, L::input_width> dx, Skip<Single> skip) {
  L::backward(worker, p, dp, flow, x, saved, dy, dx, skip);
};
template <class L>
concept Layer = HasShapes<L> && HasParams<L> && HasSaved<L> && HasSees<L> && HasForward<L> && HasBackward<L>;

/// Columns of the side input that `L` reads; 0: it reads none.
template <class L>
inline constexpr int memory_width_of = 0;
template <class L>
requires requires { L::memory_width; }
inline constexpr int memory_width_of<L> = L::memory_width;

/// Whether a sequence may come to `L` in pieces: its rows see themselves alone, or it caches the earlier ones.
template <class L>
inline constexpr bool reads_in_pieces = L::sees == Sees::itself ||
                                        (L::sees == Sees::earlier && requires { requires L::caches; });

/// Whether `L` has `restore`: a `Residual` with a post-norm has, and a composition that ends in one.
template <class L>
inline constexpr bool restores_output = requires {
  requires L::restores_output;
};

/// The layer at `Place` of a composition is a layer; the template arguments are the message.
template <int Place, class L>
struct CheckLayer {
  static_assert(HasShapes<L>, "fathom: the layer at this Place lacks name, input_width or output_width; see layer.hpp");
  static_assert(HasParams<L>, "fathom: the layer at this Place lacks Params<T> with each(visitor); see layer.hpp");
  static_assert(HasSaved<L>,
                "fathom: the layer at this Place lacks Saved<P> with take(arena, capacity); see layer.hpp");
  static_assert(HasSees<L>,
                "fathom: the layer at this Place does not say which rows a row of it sees; say `static constexpr Sees "
                "sees = Sees::itself;`, or ::earlier or ::all; see layer.hpp");
  static constexpr bool described = HasShapes<L> && HasParams<L> && HasSaved<L>;
  static_assert(!described || HasForward<L>,
                "fathom: the layer at this Place lacks forward(worker, params, flow, x, y, saved), or it has other "
                "parameters; see layer.hpp");
  static_assert(!described || HasBackward<L>,
                "fathom: the layer at this Place lacks backward(worker, params, gradients, flow, x, saved, dy, dx, "
                "skip), or it has other parameters; see layer.hpp");
  static constexpr bool value = true;
};

/// The layer at `Place` produces what the next one expects; the template arguments are the message.
template <int Place, int Produces, int NextExpects>
struct CheckChain {
  static_assert(Produces == NextExpects,
                "fathom: the layer at this Place produces another width than the next one expects; make the two widths "
                "equal");
  static constexpr bool value = Produces == NextExpects;
};

/// What follows for a layer from those that it is made of: the base of `Sequence`, `Residual`, `Repeat` and `Dlcl`.
template <class... Layers>
struct Composition {
  static constexpr Sees sees = std::max({Layers::sees...});
  static constexpr bool caches = (reads_in_pieces<Layers> && ...);
  using Parts = Composition;

  /// Calls `f` with each of them as a `std::type_identity`.
  static constexpr void each_child(auto&& f) { (f(std::type_identity<Layers>{}), ...); }

 private:
  template <int... Place>
  static constexpr bool check(std::integer_sequence<int, Place...>) {
    return (CheckLayer<Place, Layers>::value && ...);
  }
  static_assert(check(std::make_integer_sequence<int, int(sizeof...(Layers))>{}));
};

/// `Check<…>::value` of every layer inside `L` that is no composition, or of `L` itself.
template <template <class> class Check, class L>
inline constexpr bool check_leaves = Check<L>::value;
template <template <class> class Check, class... Layers>
inline constexpr bool check_leaves<Check, Composition<Layers...>> = (check_leaves<Check, Layers> && ...);
template <template <class> class Check, class L>
requires requires { typename L::Parts; }
inline constexpr bool check_leaves<Check, L> = check_leaves<Check, typename L::Parts>;

/// Parameters of a layer that has none.
template <class T>
struct NoParams {
  constexpr void each(auto&) {}
};

/// Saved values of a layer that needs none.
template <class P>
struct NothingSaved {
  static constexpr NothingSaved take(Arena&, const Capacity&) { return {}; }
};

/// Bytes of the saved values of a layer, or of a model, whose capacity may be another.
template <class L, class P, class CapacityType = Capacity>
constexpr std::int64_t saved_bytes(const CapacityType& capacity) {
  Arena arena;
  L::template Saved<P>::take(arena, capacity);
  return arena.peak();
}

}  // namespace fathom::inline FATHOM_ABI
