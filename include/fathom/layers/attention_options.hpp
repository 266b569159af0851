// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <fathom/backend/ops/attention.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/core/view.hpp>
#include <fathom/layers/inner.hpp>
#include <fathom/layers/layer.hpp>
#include <span>
#include <type_traits>

/// What self- and cross-attention may be told by template arguments.
namespace fathom::inline FATHOM_ABI {

/// Which keys a query sees.
struct Causal {
  static constexpr bool causal = true;
};
struct Full {
  static constexpr bool causal = false;
};

template <class Mask>
concept SaysCausal = requires {
  { Mask::causal } -> std::convertible_to<bool>;
};
/// `Mask` says which keys a query sees; the template argument is the message.
template <class Mask>
struct CheckMask {
  static_assert(SaysCausal<Mask>,
                "Attention: its third argument is the mask: say Causal or Full there, options behind it");
  static constexpr bool value = true;
};

struct KeyValueHeadsTag {};
/// Grouped-query attention: `Count` key/value heads serve all query heads. Source: Ainslie et al. 2023,
/// arXiv:2305.13245.
template <int Count>
struct KeyValueHeads {
  using tag = KeyValueHeadsTag;
  static constexpr int value = Count;
};

struct RotaryTag {};
/// Rotary positions on queries and keys, neighbouring pairs. Source: Su et al. 2021, arXiv:2104.09864.
template <double Base = 10000.0>
struct Rotary {
  using tag = RotaryTag;
  static constexpr double base = Base;
};
struct NoRotary {
  using tag = RotaryTag;
  static constexpr double base = 0;
};

struct RelativePositionsTag {};
/// A learned number for each head and bucket of distances, added to scores: near distances have a bucket each, farther
/// ones share them, in logarithmic steps, and from about `Furthest` on there is one. Where keys behind a query are
/// seen, half of the buckets are theirs. Each layer has a table of its own, as umT5 has; T5 has one for a whole stack.
/// Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1; Chung et al. 2023, arXiv:2304.09151.
template <int Buckets = 32, int Furthest = 128>
struct RelativePositions {
  using tag = RelativePositionsTag;
  static constexpr bool present = true;
  static constexpr int buckets = Buckets, furthest = Furthest;
};
struct NoRelativePositions {
  using tag = RelativePositionsTag;
  static constexpr bool present = false;
  static constexpr int buckets = 0, furthest = 0;
};

struct SavedTag {};
/// Attention saves q and k: backward multiplies v and sums o again, one product each.
/// Source: as selective recomputation, Korthikanti et al. 2022, arXiv:2205.05198, section 5.
struct SaveQueriesAndKeys {
  using tag = SavedTag;
  static constexpr bool values = false;
};
/// Attention saves q, k, v and o, twice as much: nothing is computed twice.
struct SaveAll {
  using tag = SavedTag;
  static constexpr bool values = true;
};

/// The head counts and widths that self- and cross-attention share, checked once.
template <int Width, int Heads, class... Options>
struct AttentionWidths {
  static_assert(Width > 0 && Heads > 0, "Attention: width and heads must be positive");
  static_assert(Width % Heads == 0,
                "Attention: the width is not divisible by the number of heads; choose heads that divide it");
  static_assert(
      (option_is_one_of<Options, KeyValueHeadsTag, RotaryTag, RelativePositionsTag, BiasTag, SavedTag, InnerTag> &&
       ...),
      "Attention: an option that attention does not know; it takes KeyValueHeads<n>, Rotary<base>, "
      "RelativePositions<buckets, furthest>, NoBias, SaveAll, SaveQueriesAndKeys, InnerNorm, HeadScales");
  static constexpr int kv_heads = Option<KeyValueHeads<Heads>, Options...>::value;
  static_assert(kv_heads > 0 && Heads % kv_heads == 0,
                "Attention: the number of heads is not divisible by KeyValueHeads; choose a divisor");
  static constexpr int head_width = Width / Heads;
  static constexpr int kv_width = kv_heads * head_width;
  static constexpr double scale = 1 / square_root(head_width);
  static constexpr double rotary_base = Option<NoRotary, Options...>::base;
  static constexpr bool rotates = rotary_base > 0;
  static_assert(!rotates || head_width % 2 == 0, "Rotary: the head width must be even; choose fewer heads");
  using Relative = Option<NoRelativePositions, Options...>;
  static_assert(!rotates || !Relative::present,
                "Attention: Rotary and RelativePositions both say where tokens stand; leave one of them out");
  static constexpr bool biased = Option<WithBias, Options...>::value;
  using InnerOption = Option<NoInner, Options...>;
  static_assert(!std::is_same_v<InnerOption, ScalarShifts>,
                "Attention: ScalarShifts are those of FeedForward; leave them out");
  using Inner = typename InnerOption::template Of<Width, Heads>;
  template <class OptionType>
  static constexpr bool has = (std::is_same_v<OptionType, Options> || ...);

  static constexpr void describe(auto&& fact) {
    fact("heads", Heads);
    fact("kv_heads", kv_heads);
    if constexpr (Inner::present) fact("inner", InnerOption::name);
  }

  /// What the output matrix reads in place of o.
  template <class W, class P = PrecisionOf<W>>
  static constexpr Rows<const typename P::Activation, Width> inner_output(
      W& worker, const typename Inner::template Params<const typename P::Weight>& p, const Flow<P>& flow,
      Rows<const typename P::Activation, Width> o, typename Inner::template Saved<P>& saved) {
    if constexpr (Inner::present) {
      const auto read = worker.template rows<typename P::Activation, Width>(o.count);
      Inner::forward(worker, p, flow, o, read, saved);
      return read;
    } else {
      return o;
    }
  }
  /// Backward of that and of the output matrix: writes d_o, and adds to their gradients.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void output_backward(W& worker, const auto& p, const auto& dp, const Flow<P>& flow,
                                        Rows<const typename P::Activation, Width> o,
                                        const typename Inner::template Saved<P>& saved,
                                        Rows<const typename P::Activation, Width> dy,
                                        Rows<typename P::Activation, Width> d_o) {
    auto statistics = saved;  // written again, as they are
    const auto read = inner_output(worker, p.inner, flow, o, statistics);
    if constexpr (Inner::present) {
      const auto d_read = worker.template rows<typename P::Activation, Width>(o.count);
      worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = d_read});
      Inner::backward(worker, p.inner, dp.inner, flow, o, saved, d_read, d_o);
    } else {
      worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = d_o});
    }
    worker(op::LinearBackwardWeight<P>{.x = read, .dy = dy, .dweight = dp.output.weight, .dbias = dp.output.bias});
  }
};

/// The buckets of `RelativePositions`, with a mask, and views of their table; or none.
template <class Relative, bool Causal>
struct RelativeBuckets {
  static constexpr bool present = Relative::present;
  static constexpr int buckets = Relative::buckets, furthest = Relative::furthest;
  static constexpr int on_one_side = Causal ? buckets : buckets / 2;
  static_assert(
      !present || (on_one_side >= 2 && (Causal || buckets % 2 == 0)),
      "RelativePositions: with Full half of the buckets are for keys behind a query, so there must be an even "
      "number of them, and at least 4; with Causal at least 2");
  static_assert(!present || furthest > on_one_side / 2,
                "RelativePositions: half of the buckets before a query have one distance each, and the others reach to "
                "the furthest one; choose a larger one, or fewer buckets");

  /// The nearest distance of each bucket on one side: b, up to half of them, which are E; then the least that is at
  /// least E · (furthest / E)^((b − E) / (on_one_side − E)).
  static constexpr auto starts = [] {
    std::array<int, std::size_t(on_one_side)> first{};
    const auto power = [](double base, int exponent) {
      double product = 1;
      for (int i = 0; i < exponent; ++i) product *= base;
      return product;
    };
    const int exact = on_one_side / 2;
    for (int b = 0; b < on_one_side; ++b) {
      int distance = b <= exact ? b : first[std::size_t(b) - 1];
      if (b > exact)  // powers of both sides are compared: a tiny margin makes equal ones equal
        while (power(double(distance) / exact, on_one_side - exact) <
               power(double(furthest) / exact, b - exact) * (1 - 1e-12))
          ++distance;
      first[std::size_t(b)] = distance;
    }
    return first;
  }();

  template <class T, int Heads>
  using Table = std::conditional_t<present, WeightMatrix<T, Heads, present ? buckets : 1>, NoVector<T>>;

  template <class T, int Heads, int Columns>
  static constexpr Elements<T> elements(WeightMatrix<T, Heads, Columns> table) {
    return {table.data, std::size_t(Heads) * Columns};
  }
  template <class T>
  static constexpr Elements<T> elements(NoVector<T>) {
    return {};
  }
  template <class P>
  static constexpr RelativeBias<P> bias(auto table) {
    return {.table = elements(table), .starts = std::span<const int>(starts)};
  }
};

}  // namespace fathom::inline FATHOM_ABI
