// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/error.hpp>

#include <catch2/catch_test_macros.hpp>
#include <string_view>
#include <type_traits>

namespace error_test {

// A caller who knows nothing of the subject catches fathom::Error; one who knows nothing of fathom, std::runtime_error.
static_assert(std::is_base_of_v<std::runtime_error, fathom::Error>);
static_assert(std::is_base_of_v<fathom::Error, fathom::ShapeError>);
static_assert(std::is_base_of_v<fathom::Error, fathom::FileError>);
static_assert(!std::is_convertible_v<fathom::FileError*, fathom::ShapeError*>);
static_assert(!std::is_convertible_v<const char*, fathom::Error>, "an error is thrown by name, never by accident");

template <class Thrown, class Caught>
std::string caught(const char* text) {
  try {
    throw Thrown(text);
  } catch (const Caught& error) {
    return error.what();
  }
}

TEST_CASE("errors keep their message through every base", "[error]") {
  const char* text = "corpus.txt: not found; name a text file";
  CHECK(caught<fathom::FileError, fathom::Error>(text) == text);
  CHECK(caught<fathom::ShapeError, fathom::Error>(text) == text);
  CHECK(caught<fathom::FileError, std::exception>(text) == text);
}

TEST_CASE("the version is the macro's", "[error]") {
  CHECK(std::string_view(fathom::version) == FATHOM_VERSION);
  CHECK(&fathom::version == &fathom::FATHOM_ABI::version);
}

}  // namespace error_test
