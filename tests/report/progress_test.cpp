// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/progress.hpp>

#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <pty.h>
#include <signal.h>
#include <unistd.h>
#include <vector>

namespace progress_test {

using fathom::Progress;
using namespace std::chrono_literals;

/// A clock that stands still until a test moves it.
Progress::Clock::time_point fake_time;
Progress::Clock::time_point fake_now() { return fake_time; }

/// What is written to `stream` ends up in text().
class MemoryStream {
 public:
  ~MemoryStream() {
    std::fclose(stream);
    std::free(data_);
  }
  std::string text() const {
    std::fflush(stream);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;

 public:
  std::FILE* stream = ::open_memstream(&data_, &size_);
};

Progress::Options plain(std::int64_t total) { return {.total = total, .label = "train", .now = fake_now}; }

Progress::Options terminal(std::int64_t total, int width, bool utf8 = false) {
  return {.total = total,
          .label = "train",
          .terminal = true,
          .width = width,
          .color = false,
          .utf8 = utf8,
          .now = fake_now};
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result{""};
  for (const char c : text) {
    if (c == '\n')
      result.emplace_back();
    else
      result.back() += c;
  }
  return result;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t result = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++result;
  return result;
}

/// The columns of what the last carriage return began.
std::size_t columns_of_last_line(std::string text) {
  text.erase(text.rfind("\033[K"));
  text.erase(0, text.rfind('\r') + 1);
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

TEST_CASE("plain lines: every field, aligned, and the mean speed at the end", "[progress]") {
  MemoryStream out;
  {
    Progress progress(out.stream, plain(2000));
    fake_time += 1s;
    progress.update({.step = 1, .tokens = 1000, .loss = 5.54517, .learning_rate = 1e-5});
    fake_time += 9s;
    progress.update({.step = 10, .tokens = 9000, .loss = 5.1});  // neither 10 seconds nor 5 % since the first line
    fake_time += 1s;
    progress.update({.step = 11, .tokens = 1000, .loss = 5, .validation_loss = 4.75});
    fake_time += 4s;
    progress.update({.step = 100, .tokens = 89'000, .loss = 4});  // 5 %
    fake_time += 925s;
    progress.update({.step = 2000, .tokens = 1'900'000, .loss = 2.5});
  }
  CHECK(lines(out.text()) ==
        std::vector<std::string>{
            "train    1/2000   0%  loss 5.5452  lr 1.00e-05  1.00k tok/s  1s  ETA 33m19s",
            "train   11/2000   0%  loss 5.0000  val 4.7500  lr 1.00e-05  1.00k tok/s  11s  ETA 33m09s",
            "train  100/2000   5%  loss 4.0000  val 4.7500  lr 1.00e-05  7.48k tok/s  15s  ETA 4m14s",
            "train 2000/2000 100%  loss 2.5000  val 4.7500  lr 1.00e-05  2.05k tok/s  15m40s  ETA 0s",
            "train 2000/2000 100%  loss 2.5000  val 4.7500  lr 1.00e-05  2.13k tok/s  15m40s", ""});
}

TEST_CASE("plain lines are sparse, in short runs and in long ones, and free of control codes", "[progress]") {
  struct Run {
    std::int64_t steps;
    Progress::Clock::duration step_time;
    std::size_t least, most;
  };
  for (const auto& [steps, step_time, least, most] : {Run{100, 1ms, 2, 2},           // a tenth of a second
                                                      Run{1'000, 60ms, 21, 26},      // a minute: per 5 %
                                                      Run{3'000, 200ms, 45, 60},     // ten minutes: per 10 s
                                                      Run{20'000, 4s, 100, 180}}) {  // a day
    MemoryStream out;
    {
      Progress progress(out.stream, plain(steps));
      for (std::int64_t step = 1; step <= steps; ++step) {
        fake_time += step_time;
        progress.update({.step = step, .tokens = 10, .loss = 1});
      }
    }
    const auto drawn = count(out.text(), "\n");
    INFO(steps << " steps: " << drawn << " lines");
    CHECK(drawn >= least);
    CHECK(drawn <= most);
    CHECK(out.text().find_first_of("\r\033") == std::string::npos);
  }
}

TEST_CASE("a terminal's line is redrawn in place, at most ten times a second", "[progress]") {
  MemoryStream out;
  Progress progress(out.stream, terminal(1000, 80));
  for (int step = 1; step <= 1000; ++step) {
    fake_time += 1ms;
    progress.update({.step = step, .tokens = 100, .loss = 3.25});
  }
  CHECK(count(out.text(), "\r") == 10);
  CHECK(count(out.text(), "\n") == 0);
  progress.finish();
  progress.finish();
  progress.update({.step = 1001});
  CHECK(count(out.text(), "\r") == 11);
  CHECK(count(out.text(), "\n") == 1);
  CHECK(out.text().ends_with("  loss 3.2500  100k tok/s  1s\033[K\n"));
}

TEST_CASE("a narrow terminal loses fields by importance, never a wrapped line", "[progress]") {
  const auto drawn = [](int width) {
    MemoryStream out;
    Progress progress(out.stream, terminal(20'000, width));
    fake_time += 10s;
    progress.update({.step = 5'000, .tokens = 51'200, .loss = 2.5, .validation_loss = 2.625, .learning_rate = 3e-4});
    return out.text();
  };
  CHECK(drawn(120) ==
        "\rtrain  5000/20000  25% [=======>                     ]  loss 2.5000  val 2.6250  lr 3.00e-04  5.12k tok/s"
        "  10s  ETA 30s\033[K");
  CHECK(drawn(80) == "\rtrain  5000/20000  25% [=>     ]  loss 2.5000  val 2.6250  5.12k tok/s  ETA 30s\033[K");
  CHECK(drawn(40) == "\r 5000/20000  25%  loss 2.5000  ETA 30s\033[K");
  CHECK(drawn(30) == "\r 5000/20000  loss 2.5000\033[K");
  CHECK(drawn(12) == "\r 5000/20000\033[K");
  CHECK(drawn(8) == "\r 5000/2\033[K");
  for (int width = 2; width < 300; ++width)
    REQUIRE(columns_of_last_line(drawn(width)) < static_cast<std::size_t>(width));
}

TEST_CASE("the bar moves by eighths of a column", "[progress]") {
  const auto bar = [](std::int64_t step) {
    MemoryStream out;
    auto options = terminal(64, 26, true);
    options.label = {};
    Progress progress(out.stream, options);
    progress.update({.step = step});
    progress.finish();
    const auto text = out.text();
    const auto start = text.rfind("▕") + std::string_view("▕").size();
    return text.substr(start, text.rfind("▏  0s") - start);
  };
  CHECK(bar(0) == "        ");
  CHECK(bar(1) == "▏       ");
  CHECK(bar(7) == "▉       ");
  CHECK(bar(8) == "█       ");
  CHECK(bar(36) == "████▌   ");
  CHECK(bar(63) == "███████▉");
  CHECK(bar(64) == "████████");
  CHECK(bar(65) == "████████");
  CHECK(bar(-1) == "        ");
}

TEST_CASE("speed and ETA follow the last half minute", "[progress]") {
  MemoryStream out;
  Progress progress(out.stream, plain(100'000));
  const auto run = [&](int from, int to, int tokens) {
    for (int step = from; step <= to; ++step) {
      fake_time += 1s;
      progress.update({.step = step, .tokens = tokens});
    }
  };
  run(1, 300, 100);
  CHECK(lines(out.text()).end()[-2].find("100 tok/s") != std::string::npos);
  run(301, 600, 5000);
  CHECK(lines(out.text()).end()[-2].find("5.00k tok/s") != std::string::npos);
  CHECK(lines(out.text()).end()[-2].find("ETA 1d03h") != std::string::npos);
}

TEST_CASE("a resumed run's ETA counts its own steps alone", "[progress]") {
  MemoryStream out;
  auto options = plain(1000);
  options.done = 900;
  options.unit = "B";
  Progress progress(out.stream, options);
  fake_time += 10s;
  progress.update({.step = 910, .tokens = 20});
  CHECK(out.text() == "train  910/1000  91%  2 B/s  10s  ETA 1m30s\n");
}

TEST_CASE("losses that are not numbers are shown as what they are", "[progress]") {
  MemoryStream out;
  Progress progress(out.stream, plain(10));
  progress.update({.step = 0, .loss = std::numeric_limits<double>::quiet_NaN(), .validation_loss = 1.5e7});
  CHECK(out.text() == "train  0/10   0%  loss nan  val 1.500e+07  0s  ETA ?\n");
}

TEST_CASE("a message stands above the bar", "[progress]") {
  MemoryStream out;
  Progress progress(out.stream, terminal(10, 30));
  progress.message("starting");
  progress.update({.step = 5});
  progress.message("saved");
  CHECK(out.text() ==
        "\r\033[Kstarting\n\rtrain  5/10  50%  ETA 0s\033[K\r\033[Ksaved\n\rtrain  5/10  50%  ETA 0s\033[K");
  MemoryStream file;
  Progress lines(file.stream, plain(10));
  lines.message("saved");
  CHECK(file.text() == "saved\n");
}

TEST_CASE("without an update nothing is drawn, and nonsense is refused", "[progress]") {
  MemoryStream out;
  { Progress progress(out.stream, plain(10)); }
  CHECK(out.text().empty());
  CHECK_THROWS_AS(Progress(out.stream, plain(0)), fathom::Error);
}

TEST_CASE("a pipe without a reader is no error, and its signal does not come", "[progress]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  std::FILE* const pipe = ::fdopen(ends[1], "w");
  sigset_t before, after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    Progress progress(pipe, plain(10));
    progress.update({.step = 1});  // SIGPIPE would end the test
    progress.message("saved");
  }
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(::sigismember(&before, SIGPIPE) == ::sigismember(&after, SIGPIPE));
  ::sigpending(&after);
  CHECK(::sigismember(&after, SIGPIPE) == 0);
  std::fclose(pipe);
}

/// Sets an environment variable for a scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    if (value)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~Environment() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

/// What a Progress that chooses everything itself draws on a pseudo-terminal of that many columns.
std::string on_terminal(unsigned short width) {
  int master = -1, slave = -1;
  winsize size{.ws_row = 24, .ws_col = width, .ws_xpixel = 0, .ws_ypixel = 0};
  REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
  std::FILE* stream = ::fdopen(slave, "w");
  {
    Progress progress(stream, {.total = 100, .label = "train", .now = fake_now});
    progress.update({.step = 50, .loss = 1});
  }
  std::fclose(stream);
  std::string text;
  char piece[256];
  for (ssize_t length; (length = ::read(master, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(length));
  ::close(master);
  return text;
}

TEST_CASE("a terminal is recognized, with its width, its character set and its wish for colour", "[progress]") {
  Environment term("TERM", "xterm"), no_color("NO_COLOR", nullptr), columns("COLUMNS", "50");
  Environment all("LC_ALL", nullptr), type("LC_CTYPE", nullptr), language("LANG", "C.UTF-8");
  CHECK(columns_of_last_line(on_terminal(60)) > 60);  // with the colour codes
  CHECK(on_terminal(60).find("█") != std::string::npos);
  CHECK(on_terminal(60).find("\033[2mloss \033[0m1.0000") != std::string::npos);
  Environment without("NO_COLOR", "1");
  CHECK(columns_of_last_line(on_terminal(60)) == 59);
  CHECK(columns_of_last_line(on_terminal(0)) == 49);  // then COLUMNS
  CHECK(count(on_terminal(60), "\033") == count(on_terminal(60), "\033[K"));
  Environment ascii("LC_ALL", "C");
  CHECK(on_terminal(60).find("█") == std::string::npos);
  Environment dumb("TERM", "dumb");
  CHECK(on_terminal(60).find("\033") == std::string::npos);
}

TEST_CASE("a validation is shown while it runs; the speed is without it, the ETA with those to come", "[progress]") {
  MemoryStream out;
  Progress::Options options = terminal(100, 200);
  options.validate_every = 30;  // behind 30, 60, 90 and 100
  options.validation_cost = 5;
  Progress progress(out.stream, options);
  const auto last_line = [&] {
    std::string text = out.text();
    return text.substr(text.rfind('\r') + 1);
  };
  for (int step = 1; step <= 29; ++step) {
    fake_time += 1s;
    progress.update({.step = step, .tokens = 1000, .validation_loss = 3});
  }
  CHECK(count(last_line(), "val 3.0000") == 1);
  CHECK(count(last_line(), "ETA 1m31s") == 1);  // 71 steps, and 4 validations as long as 5 of them
  fake_time += 1s;
  progress.validate({.step = 30, .done = 0, .total = 40});
  CHECK(count(last_line(), " 30/100 ") == 1);
  CHECK(count(last_line(), "val 0/40") == 1);
  fake_time += 100s;
  progress.validate({.step = 30, .done = 10, .total = 40});
  CHECK(count(last_line(), "val 10/40") == 1);
  CHECK(count(last_line(), "ETA 26m10s") == 1);  // 70 s, and 3.75 validations of 400 s
  fake_time += 300s;
  progress.validate({.step = 30, .done = 40, .total = 40});
  progress.update({.step = 30, .tokens = 1000, .validation_loss = 2.5});
  fake_time += 1s;
  progress.update({.step = 31, .tokens = 1000});
  CHECK(count(last_line(), "val 2.5000") == 1);
  CHECK(count(last_line(), "1.00k tok/s") == 1);
  CHECK(count(last_line(), "ETA 21m09s") == 1);  // 69 s, and 3 validations of 400 s
  progress.validate({.step = 31, .done = 5, .total = 40});
  progress.finish();
  CHECK(count(last_line(), "val 2.5000") == 1);
  CHECK(count(last_line(), "1.00k tok/s") == 1);
}

TEST_CASE("elsewhere a long validation has plain lines, and a short one none of its own", "[progress]") {
  MemoryStream out;
  Progress progress(out.stream, {.total = 100, .label = "train", .validate_every = 10, .now = fake_now});
  for (int step = 1; step <= 10; ++step) {
    fake_time += 100ms;
    if (step == 10) progress.validate({.step = step, .done = 0, .total = 60});
    if (step == 10) fake_time += 900ms;
    progress.update({.step = step});
  }
  CHECK(count(out.text(), "val") == 0);
  const auto before = lines(out.text()).size();
  progress.validate({.step = 11, .done = 0, .total = 60});
  for (int piece = 1; piece <= 60; ++piece) {
    fake_time += 1s;
    progress.validate({.step = 11, .done = piece, .total = 60});
  }
  CHECK(lines(out.text()).size() == before + 6);
  CHECK(count(out.text(), "val 50/60") == 1);
}

TEST_CASE("what is quiet at first shows nothing of short work", "[progress]") {
  for (const bool on_terminal : {false, true})
    for (const auto duration : {400ms, 700ms}) {
      MemoryStream out;
      {
        Progress progress(out.stream, {.total = 2, .quiet = 1, .terminal = on_terminal, .now = fake_now});
        for (int step = 1; step <= 2; ++step) {
          fake_time += duration;
          progress.update({.step = step});
        }
      }
      CHECK(out.text().empty() == (duration == 400ms));
    }
}

}  // namespace progress_test
