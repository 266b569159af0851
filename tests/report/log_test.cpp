// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/log.hpp>

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <unistd.h>

namespace log_test {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using fathom::CsvLog;
using fathom::Error;
using fathom::FileError;
using fathom::read_csv;

/// A path of this test's own, removed before and after.
struct TemporaryFile {
  fs::path path = fs::temp_directory_path() / ("fathom_log_test_" + std::to_string(::getpid()) + ".csv");
  TemporaryFile() { fs::remove(path); }
  ~TemporaryFile() { fs::remove(path); }

  std::string text() const {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  void text(std::string_view text) const { std::ofstream(path, std::ios::binary) << text; }
};

TEST_CASE("a log has one header and one row per step", "[log]") {
  TemporaryFile file;
  CsvLog log(file.path, {"loss", "validation_loss"});
  CHECK(file.text() == "step,loss,validation_loss\n");
  log.row(1, {5.5, std::nullopt});
  CHECK(file.text() == "step,loss,validation_loss\n1,5.5,\n");  // in the file at once
  log.row(20, {0.1, 1e-7});
  log.row(21, {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()});
  CHECK(file.text() == "step,loss,validation_loss\n1,5.5,\n20,0.1,1e-07\n21,nan,-inf\n");
}

TEST_CASE("a log's numbers read back with the same bits", "[log]") {
  TemporaryFile file;
  std::mt19937_64 random{1};
  std::vector<double> written;
  CsvLog log(file.path, {"value"});
  for (int step = 0; step < 2'000; ++step) {
    double value = std::bit_cast<double>(random());
    if (value != value) value = 1.0 / 3;
    written.push_back(value);
    log.row(step, {value});
  }
  const auto series = read_csv(file.path).series("value");
  REQUIRE(series.y == written);
  CHECK(series.x.front() == 0);
  CHECK(series.x.back() == 1'999);
}

TEST_CASE("a series leaves out the rows that miss it, and keeps what is not finite", "[log]") {
  TemporaryFile file;
  file.text("step,loss,validation_loss\n1,4,\n2,nan,3.5\n3,,3\n4,2,");
  const auto table = read_csv(file.path);
  CHECK(table.rows.size() == 3);  // the last line was cut short
  CHECK(table.series("validation_loss").x == std::vector<double>{2, 3});
  CHECK(table.series("validation_loss").y == std::vector<double>{3.5, 3});
  CHECK(table.series("loss").x == std::vector<double>{1, 2});
  CHECK(table.series("loss").y[1] != table.series("loss").y[1]);
  CHECK_THROWS_MATCHES(table.series("los"), Error, MessageMatches(ContainsSubstring("'los'")));
}

TEST_CASE("a resumed log holds no step twice", "[log]") {
  TemporaryFile file;
  {
    CsvLog log(file.path, {"loss"});
    for (const int step : {10, 20, 30, 40}) log.row(step, {step / 10.0});
  }
  const auto resume = [&](std::int64_t step) { CsvLog(file.path, {"loss"}, step).row(step + 5, {9}); };
  SECTION("after a row") {
    resume(20);
    CHECK(file.text() == "step,loss\n10,1\n20,2\n25,9\n");
  }
  SECTION("between rows") {
    resume(29);
    CHECK(file.text() == "step,loss\n10,1\n20,2\n34,9\n");
  }
  SECTION("before the first") {
    resume(0);
    CHECK(file.text() == "step,loss\n5,9\n");
  }
  SECTION("behind the last, of which half was written") {
    file.text("step,loss\n10,1\n20,2\n3");
    resume(40);
    CHECK(file.text() == "step,loss\n10,1\n20,2\n45,9\n");
  }
  SECTION("the whole run is rewritten as it was") {
    const auto before = file.text();
    CsvLog log(file.path, {"loss"}, 15);
    for (const int step : {20, 30, 40}) log.row(step, {step / 10.0});
    CHECK(file.text() == before);
  }
  SECTION("zeros are what a lost power supply has left") {
    const std::string zeros(5000, '\0');
    for (const std::string row : {"", "3", "30,3"}) {
      file.text("step,loss\n10,1\n20,2\n" + row + zeros);
      CHECK(read_csv(file.path).rows.size() == 2);
      CsvLog log(file.path, {"loss"}, 40);
      CHECK(log.last_step() == 20);
      log.row(45, {9});
      CHECK(file.text() == "step,loss\n10,1\n20,2\n45,9\n");
    }
    file.text(zeros);
    resume(40);
    CHECK(file.text() == "step,loss\n45,9\n");
  }
  SECTION("of a header, half was written") {
    file.text("step,lo");
    resume(40);
    CHECK(file.text() == "step,loss\n45,9\n");
  }
  SECTION("the log is lost") {
    fs::remove(file.path);
    resume(40);
    CHECK(file.text() == "step,loss\n45,9\n");
  }
}

TEST_CASE("a log refuses what would spoil it", "[log]") {
  TemporaryFile file;
  {
    CsvLog log(file.path, {"loss"});
    log.row(3, {1});
    CHECK_THROWS_AS(log.row(3, {1}), Error);
    CHECK_THROWS_AS(log.row(2, {1}), Error);
    CHECK_THROWS_AS(log.row(4, {1, 2}), Error);
    CHECK_THROWS_AS(CsvLog(file.path, {"loss"}, 3).row(3, {1}), Error);
  }
  const auto before = file.text();
  CHECK_THROWS_MATCHES(CsvLog(file.path, {"loss", "rate"}, 3), FileError,
                       MessageMatches(ContainsSubstring("'step,loss'")));
  for (const char* name : {"", "a,b", "a\"b", "a\nb"}) CHECK_THROWS_AS(CsvLog(file.path, {name}), Error);
  CHECK(file.text() == before);
  CHECK_THROWS_AS(CsvLog(file.path / "below", {"loss"}), FileError);
  file.text("no log");
  CHECK_THROWS_AS(CsvLog(file.path, {"loss"}, 3), FileError);
}

TEST_CASE("a damaged log is refused at the start, with its line, and stays as it is", "[log]") {
  using namespace std::string_literals;
  TemporaryFile file;
  // Each in place of row 3 of 5; the run resumes after step 4, and after step 1, where row 3 would go in any case.
  for (const std::string& row : {"ten,3"s, "3,x"s, "3,1,2"s, "3"s, ""s, ",3"s, "3.5,1"s, "nan,1"s, "0\0\0"s, "2,3"s,
                                 "1,3"s, "\0\0\0\0"s, "3,4\r"s, "step,loss"s, "40,3"s}) {
    CAPTURE(row);
    const std::string text = "step,loss\n1,1\n2,2\n" + row + "\n4,4\n5,5\n";
    file.text(text);
    const std::string line = row == "40,3" ? "line 5 has step 4, which does not follow 40" : "line 4 ";
    for (const int after : {4, 1})
      CHECK_THROWS_MATCHES(CsvLog(file.path, {"loss"}, after), FileError,
                           MessageMatches(ContainsSubstring(line) && ContainsSubstring("move the file away")));
    CHECK_THROWS_MATCHES(read_csv(file.path), FileError, MessageMatches(ContainsSubstring(line)));
    CHECK(file.text() == text);
  }
}

TEST_CASE("a full disk is one clear error", "[log]") {
  if (!fs::exists("/dev/full")) SKIP("there is no /dev/full here");
  CHECK_THROWS_MATCHES(CsvLog("/dev/full", {"loss"}), FileError,
                       MessageMatches(ContainsSubstring("/dev/full: cannot write: No space left on device")));
}

TEST_CASE("what is no log is refused with its line", "[log]") {
  TemporaryFile file;
  CHECK_THROWS_MATCHES(read_csv(file.path), FileError, MessageMatches(ContainsSubstring("No such file")));
  CHECK_THROWS_AS(read_csv(fs::temp_directory_path()), FileError);
  file.text("");
  CHECK_THROWS_MATCHES(read_csv(file.path), FileError, MessageMatches(ContainsSubstring("header")));
  for (const char* row : {"1,2,3", "1", "1,two", "1,2x", ""}) {
    file.text("step,loss\n1,2\n" + std::string(row) + "\n");
    CHECK_THROWS_MATCHES(read_csv(file.path), FileError, MessageMatches(ContainsSubstring("line 3")));
  }
}

}  // namespace log_test
