// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// Named template options: `Attention<64, 4, Causal, KeyValueHeads<2>, NoBias>` finds each by its tag, in any order.

/// Whether `OptionType` is an option whose tag is `Tag`. What has no tag is no option.
template <class OptionType, class Tag>
inline constexpr bool has_tag = false;
template <class OptionType, class Tag>
requires requires { typename OptionType::tag; }
inline constexpr bool has_tag<OptionType, Tag> = std::is_same_v<typename OptionType::tag, Tag>;

/// The first of `Options` whose `tag` is that of `Default`, or `Default`.
template <class Default, class... Options>
struct FindOption {
  using type = Default;
};
template <class Default, class First, class... Rest>
struct FindOption<Default, First, Rest...> {
  using type = typename std::conditional_t<has_tag<First, typename Default::tag>, std::type_identity<First>,
                                           FindOption<Default, Rest...>>::type;
};
template <class Default, class... Options>
using Option = typename FindOption<Default, Options...>::type;

/// Whether the option's tag is among `Tags`; a layer asserts it of each, to refuse an option that it would ignore.
template <class OptionType, class... Tags>
inline constexpr bool option_is_one_of = (has_tag<OptionType, Tags> || ...);

struct BiasTag {};
/// Linear layers without a bias.
struct NoBias {
  using tag = BiasTag;
  static constexpr bool value = false;
};
struct WithBias {
  using tag = BiasTag;
  static constexpr bool value = true;
};

}  // namespace fathom::inline FATHOM_ABI
