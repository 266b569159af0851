// SPDX-License-Identifier: Apache-2.0
#include <fathom/io/json.hpp>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <support/temporary_directory.hpp>

namespace json_test {

using namespace fathom;
using fathom_test::message_of;

TEST_CASE("JSON is read within its bounds", "[json]") {
  const auto nested = [](int depth) {
    return std::string(std::size_t(depth), '[') + std::string(std::size_t(depth), ']');
  };
  CHECK(detail::parse_json(nested(detail::deepest_json)).size() == 1);
  CHECK(detail::parse_json(R"({"a": "[[[\"[[[{", "b": [{}]})").size() == 2);
  CHECK(detail::json_depth(R"({"a": "[[[\"[[[{", "b": [{}]})") == 3);
  const auto refusal = [](const std::string& text) { return message_of<Error>([&] { detail::parse_json(text); }); };
  CHECK(refusal(nested(detail::deepest_json + 1)) == "is nested more than 64 deep");
  CHECK(refusal(std::string(1'000'000, '{')) == "is nested more than 64 deep");
  CHECK(refusal(std::string(detail::longest_json + 1, ' ')) == "has 16777217 bytes, more than 16777216");
  CHECK(refusal("[1, 1e999]") == "holds a number that is out of range");
  CHECK(refusal("{\"a\": \"\xff\"}").starts_with("is not valid JSON at byte"));
  CHECK(refusal("").starts_with("is not valid JSON at byte"));
}

}  // namespace json_test
