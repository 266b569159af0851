// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace fathom::inline FATHOM_ABI {

/// Layers one after another, each a type of its own; for copies of one block use `Repeat`, whose depth costs nothing.
///
/// Shapes     x (N, input width of the first); y (N, output width of the last).
/// Saves      what each layer saves, and those streams between them that their layers do not restore.
template <class... Layers>
struct Sequence : Composition<Layers...> {
  static constexpr int count = sizeof...(Layers);
  static_assert(count > 0, "Sequence: name at least one layer");
  static_assert(count <= 16, "Sequence: more than 16 layers; use Repeat<N, Block> for repeated blocks");

  template <int Index>
  using Child = std::tuple_element_t<std::size_t(Index), std::tuple<Layers...>>;

 private:
  template <int... Index>
  static constexpr bool check_chain(std::integer_sequence<int, Index...>) {
    return (CheckChain<Index, Child<Index>::output_width, Child<Index + 1>::input_width>::value && ...);
  }
  static_assert(check_chain(std::make_integer_sequence<int, count - 1>{}));

 public:
  static constexpr const char* name = "sequence";
  static constexpr int input_width = Child<0>::input_width, output_width = Child<count - 1>::output_width;
  static constexpr bool restores_output = fathom::restores_output<Child<count - 1>>;

  template <class T>
  struct Params {
    std::tuple<typename Layers::template Params<T>...> layers;

    constexpr void each(auto& visitor) { each(visitor, std::make_integer_sequence<int, count>{}); }

   private:
    template <int... Index>
    constexpr void each(auto& visitor, std::integer_sequence<int, Index...>) {
      (visitor.nested(Child<Index>::name, std::get<Index>(layers), sibling<Index>()), ...);
    }
  };

  template <class P>
  struct Saved {
    std::tuple<typename Layers::template Saved<P>...> layers;
    std::tuple<StreamOut<P, Layers::output_width>...> outputs;  // but those that are restored, and the last

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      take<0>(saved, arena, capacity);
      return saved;
    }

   private:
    template <int Index>
    static constexpr void take(Saved& saved, Arena& arena, const Capacity& capacity) {
      std::get<Index>(saved.layers) = Child<Index>::template Saved<P>::take(arena, capacity);
      if constexpr (Index + 1 < count) {
        if constexpr (!fathom::restores_output<Child<Index>>)
          std::get<Index>(saved.outputs) = take_stream<P, Child<Index>::output_width>(arena, capacity.rows);
        take<Index + 1>(saved, arena, capacity);
      }
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                StreamIn<P, input_width> x, StreamOut<P, output_width> y, Saved<P>& saved) {
    forward_from<0>(worker, p, flow, x, y, saved);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void restore(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                const Saved<P>& saved, StreamOut<P, output_width> y) requires restores_output {
    restore_child<count - 1>(worker, p, flow, saved, y);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 StreamIn<P, input_width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, output_width> dy,
                                 Rows<typename P::Stream, input_width> dx, Skip<P> skip) {
    backward_from<count - 1>(worker, p, dp, flow, x, saved, dy, dx, skip);
  }

 private:
  /// Index among siblings of the same name, or -1 where the name is unique.
  template <int Index>
  static constexpr int sibling() {
    constexpr std::string_view own = Child<Index>::name;
    int before = 0, all = 0, place = 0;
    const auto compare = [&](std::string_view name) {
      all += name == own;
      before += name == own && place < Index;
      ++place;
    };
    (compare(Layers::name), ...);
    return all == 1 ? -1 : before;
  }

  template <int Index, class W, class P = PrecisionOf<W>>
  static constexpr void forward_from(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow, auto x,
                                     StreamOut<P, output_width> y, Saved<P>& saved) {
    const auto out = [&] {
      if constexpr (Index + 1 == count)
        return y;
      else if constexpr (fathom::restores_output<Child<Index>>)
        return take_stream<P, Child<Index>::output_width>(worker.workspace(), x.count);
      else
        return resized(std::get<Index>(saved.outputs), x.count);
    }();
    {
      const auto scope = worker.scope(Child<Index>::name, sibling<Index>());
      Child<Index>::forward(worker, std::get<Index>(p.layers), flow, x, out, std::get<Index>(saved.layers));
    }
    if constexpr (Index + 1 < count) forward_from<Index + 1>(worker, p, flow, out, y, saved);
  }

  /// A frame for what one child takes in the backward pass. It lets the children of a wide sequence share their
  /// workspace; threads of a narrow one would feel that they wait for each other once more.
  static constexpr auto wide_frame(auto& worker) {
    constexpr int wide = 256;
    if constexpr (input_width >= wide)
      return worker.frame();
    else
      return std::monostate{};
  }

  /// What child `Index` put out.
  template <int Index, class W, class P = PrecisionOf<W>>
  static constexpr auto output(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                               const Saved<P>& saved, int rows) {
    if constexpr (fathom::restores_output<Child<Index>>) {
      const auto y = take_stream<P, Child<Index>::output_width>(worker.workspace(), rows);
      restore_child<Index>(worker, p, flow, saved, y);
      return y;
    } else {
      return resized(std::get<Index>(saved.outputs), rows);
    }
  }

  template <int Index, class W, class P = PrecisionOf<W>>
  static constexpr void restore_child(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                      const Saved<P>& saved, auto y) {
    const auto scope = worker.scope(Child<Index>::name, sibling<Index>());
    Child<Index>::restore(worker, std::get<Index>(p.layers), flow, std::get<Index>(saved.layers), y);
  }

  template <int Index, class W, class P = PrecisionOf<W>>
  static constexpr void backward_from(W& worker, const Params<const typename P::Weight>& p,
                                      const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                      StreamIn<P, input_width> x, const Saved<P>& saved, auto dy,
                                      Rows<typename P::Stream, input_width> dx, Skip<P> skip) {
    if constexpr (Index == 0) {
      const auto scope = worker.scope(Child<0>::name, sibling<0>());
      Child<0>::backward(worker, std::get<0>(p.layers), std::get<0>(dp.layers), flow, x, std::get<0>(saved.layers), dy,
                         dx, skip);
    } else {
      const auto input = output<Index - 1>(worker, p, flow, saved, x.count);
      const auto d = worker.template rows<typename P::Stream, Child<Index>::input_width>(x.count);
      {
        const auto scope = worker.scope(Child<Index>::name, sibling<Index>());
        [[maybe_unused]] const auto frame = wide_frame(worker);
        Child<Index>::backward(worker, std::get<Index>(p.layers), std::get<Index>(dp.layers), flow, input,
                               std::get<Index>(saved.layers), dy, d, {});
      }
      backward_from<Index - 1>(worker, p, dp, flow, x, saved, d, dx, skip);
    }
  }
};

/// Calls `f(std::type_identity<Residual<…>>)` for every residual sublayer inside `L`.
template <class L>
constexpr void each_residual(auto&& f) {
  if constexpr (requires { typename L::ResidualPolicy; })
    f(std::type_identity<L>{});
  else if constexpr (requires { L::each_child([](auto) {}); })
    L::each_child([&](auto child) { each_residual<typename decltype(child)::type>(f); });
}

}  // namespace fathom::inline FATHOM_ABI
