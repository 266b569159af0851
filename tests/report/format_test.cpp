// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/format.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

namespace format_test {

namespace format = fathom::format;

std::string duration(double seconds) {
  std::string text;
  format::append_duration(text, seconds);
  return text;
}

std::string count(double value) {
  std::string text;
  format::append_count(text, value);
  return text;
}

TEST_CASE("durations show their two largest units", "[format]") {
  CHECK(duration(-3) == "0s");
  CHECK(duration(0.4) == "0s");
  CHECK(duration(12) == "12s");
  CHECK(duration(59.4) == "59s");
  CHECK(duration(59.6) == "1m00s");
  CHECK(duration(185) == "3m05s");
  CHECK(duration(3599.7) == "1h00m");
  CHECK(duration(3725) == "1h02m");
  CHECK(duration(24 * 3600 - 1) == "23h59m");
  CHECK(duration(4 * 86400 + 3 * 3600) == "4d03h");
  CHECK(duration(std::numeric_limits<double>::infinity()) == "?");
  CHECK(duration(std::numeric_limits<double>::quiet_NaN()) == "?");
}

TEST_CASE("counts show three digits", "[format]") {
  CHECK(count(0) == "0");
  CHECK(count(7) == "7");
  CHECK(count(0.25) == "0.2");
  CHECK(count(7.3) == "7.3");
  CHECK(count(9.96) == "10");
  CHECK(count(12.3) == "12");
  CHECK(count(999.4) == "999");
  CHECK(count(999.6) == "1.00k");
  CHECK(count(1234) == "1.23k");
  CHECK(count(9996) == "10.0k");
  CHECK(count(12'345) == "12.3k");
  CHECK(count(99'960) == "100k");
  CHECK(count(123'456) == "123k");
  CHECK(count(999'600) == "1.00M");
  CHECK(count(4.56e9) == "4.56G");
  CHECK(count(7e18) == "7.00E");
  CHECK(count(7e21) == "7000E");
}

TEST_CASE("numbers are appended", "[format]") {
  std::string text = "loss ";
  format::append_fixed(text, 2.34567, 4);
  text += ' ';
  format::append_scientific(text, 3e-4, 2);
  text += ' ';
  format::append_exact(text, 0.1);
  text += ' ';
  format::append(text, -12);
  CHECK(text == "loss 2.3457 3.00e-04 0.1 -12");
  text.clear();
  format::append_fixed(text, -std::numeric_limits<double>::max(), 50);  // the longest
  CHECK(text.size() == 1 + 309 + 1 + 50);
}

TEST_CASE("a number is read when the text is that and nothing else", "[format]") {
  for (const auto& read : {format::parse<double>, format::detail::parse_floating<double>}) {
    CHECK(read("0.1") == 0.1);
    CHECK(read("-2.5e-3") == -2.5e-3);
    CHECK(read(".5") == 0.5);
    CHECK(read("4.9406564584124654e-324") == std::numeric_limits<double>::denorm_min());
    CHECK(read("inf") == std::numeric_limits<double>::infinity());
    CHECK(read("-inf") == -std::numeric_limits<double>::infinity());
    CHECK(std::isnan(read("nan").value_or(0)));
    for (const char* text : {"", "-", "+1", " 1", "1 ", "--1", "1,5", "0x10", "1e999", "1e-999", "x", "1.5.2"})
      CHECK_FALSE(read(text).has_value());
    CHECK_FALSE(read({"1\0", 2}).has_value());
  }
  CHECK(format::detail::parse_floating<float>("0.1") == 0.1f);
  CHECK_FALSE(format::detail::parse_floating<float>("1e39").has_value());
  CHECK(format::parse<int>("-12") == -12);
  CHECK_FALSE(format::parse<int>("1.0").has_value());
}

}  // namespace format_test
