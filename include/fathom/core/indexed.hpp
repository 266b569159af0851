// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <ranges>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// A std::vector, std::array or std::span that any integer indexes: rows, sequences, tokens and lanes are counted by
/// int.
template <class Container>
struct Indexed : Container {
  using Container::Container;
  constexpr Indexed() = default;
  constexpr Indexed(Container other) : Container(std::move(other)) {}
  /// Of `count` elements, where the container can be.
  constexpr explicit Indexed(std::integral auto count) requires std::constructible_from<Container, std::size_t>
      : Container(std::size_t(count)) {}

  constexpr decltype(auto) operator[](std::integral auto index) { return Container::operator[](std::size_t(index)); }
  constexpr decltype(auto) operator[](std::integral auto index) const {
    return Container::operator[](std::size_t(index));
  }
  /// Of views, which have no comparison of their own: whether they are of the same elements, whatever these are.
  friend constexpr bool operator==(const Indexed& a, const Indexed& b)
    requires std::ranges::borrowed_range<Container>
  {
    return a.data() == b.data() && a.size() == b.size();
  }
};

}  // namespace fathom::inline FATHOM_ABI

template <class Container>
inline constexpr bool std::ranges::enable_borrowed_range<fathom::Indexed<Container>> =
    std::ranges::enable_borrowed_range<Container>;
