// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/options.hpp>
#include <type_traits>

namespace options_test {

using namespace fathom;

struct SizeTag {};
template <int Value>
struct Size {
  using tag = SizeTag;
  static constexpr int value = Value;
};
struct NameTag {};
struct Name {
  using tag = NameTag;
};

template <class Default, class... Options>
constexpr int size_of = Option<Default, Options...>::value;

TEST_CASE("an option is found by its tag, in any order", "[core]") {
  STATIC_REQUIRE(size_of<Size<1>, Size<2>, Name, NoBias> == 2);
  STATIC_REQUIRE(size_of<Size<1>, Name, Size<2>, NoBias> == 2);
  STATIC_REQUIRE(size_of<Size<1>, NoBias, Name, Size<2>> == 2);
  STATIC_REQUIRE(std::is_same_v<FindOption<WithBias, Name, NoBias>::type, NoBias>);
}

TEST_CASE("of several options with one tag the first counts", "[core]") {
  STATIC_REQUIRE(size_of<Size<1>, Size<2>, Size<3>> == 2);
  STATIC_REQUIRE(size_of<Size<1>, Name, Size<3>, Size<2>> == 3);
}

TEST_CASE("an option that is not given is the default", "[core]") {
  STATIC_REQUIRE(size_of<Size<1>> == 1);
  STATIC_REQUIRE(size_of<Size<1>, Name, NoBias> == 1);
  STATIC_REQUIRE(Option<WithBias, Size<2>>::value);
  STATIC_REQUIRE(!Option<WithBias, NoBias>::value);
  STATIC_REQUIRE(Option<NoBias, WithBias>::value);
}

TEST_CASE("an option that a layer does not know is none of its tags", "[core]") {
  STATIC_REQUIRE(option_is_one_of<Name, SizeTag, NameTag>);
  STATIC_REQUIRE(option_is_one_of<NoBias, BiasTag>);
  STATIC_REQUIRE(!option_is_one_of<Name, SizeTag, BiasTag>);
  STATIC_REQUIRE(!option_is_one_of<Name>);
  STATIC_REQUIRE(!option_is_one_of<Name, Name>);  // tags are listed, not options
}

}  // namespace options_test
