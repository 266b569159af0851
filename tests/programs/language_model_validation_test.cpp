// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <programs/language_model_run.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace language_model_validation_test {

using namespace fathom_test;
using namespace std::chrono_literals;

/// A text of which a tenth takes the tiny model many seconds.
struct LargeWorkshop : Workshop {
  LargeWorkshop() { text = folder.write("text.txt", some_text(21'000'000)); }
};

/// The rows of a log that have a validation loss.
std::vector<std::string> validations(const std::filesystem::path& output) {
  std::vector<std::string> found;
  for (const std::string& row : lines_of(fathom::read_file(output / "log.csv"))) {
    std::istringstream cells(row);
    std::string step, loss, validation;
    std::getline(std::getline(std::getline(cells, step, ','), loss, ','), validation, ',');
    if (!validation.empty() && step != "step") found.push_back(validation);
  }
  return found;
}

/// Seconds from a signal to the end of the process.
struct Stopped {
  Ended ended;
  double seconds;
};
Stopped stop(Process& process) {
  const auto begin = std::chrono::steady_clock::now();
  process.signal(SIGINT);
  Ended ended = process.wait();
  return {std::move(ended), std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
}

TEST_CASE("validation is a sample of so many batches, by default few, also of a large text", "[programs]") {
  const LargeWorkshop workshop;
  const Arguments large{"--validation-every", "5", "--steps", "5", "--warmup", "1"};
  REQUIRE(run(workshop.train("run", large)).code == 0);
  const auto losses = validations(workshop.folder / "run");
  REQUIRE(losses.size() == 1);
  // Of the text's end `evaluate` takes the same 30 batches of 2 windows of 32 bytes.
  const std::string text = fathom::read_file(workshop.text);
  const auto end = workshop.folder.write("end.txt", text.substr(18'900'000));
  const Ended evaluated =
      run({tiny_model(), "evaluate", end, "--output", workshop.folder / "run", "--batch", "2", "--batches", "30"});
  CHECK(evaluated.code == 0);
  CHECK(evaluated.out.starts_with("1920 of 2100000 bytes, "));
  CHECK(std::abs(std::stod(evaluated.out.substr(evaluated.out.find(", ") + 2)) - std::stod(losses[0])) < 1e-4);
}

TEST_CASE("a stop within a validation ends the run at once", "[programs]") {
  const LargeWorkshop workshop;
  const Arguments large{"--validation-batches", "all", "--validation-every", "3", "--steps", "9", "--warmup", "1"};
  Process process(workshop.train("run", large));
  wait_for_steps(process, workshop.folder / "run", 2);
  std::this_thread::sleep_for(300ms);
  CHECK(logged_steps(workshop.folder / "run") == 2);  // update 3 is being validated
  const auto [ended, seconds] = stop(process);
  CHECK(ended.code == 130);
  CHECK(seconds < 5);
  CHECK(error_line(ended) == "stopped after update 3; go on with --resume");
  CHECK(logged_steps(workshop.folder / "run") == 2);
  CHECK(std::filesystem::exists(checkpoint_of(workshop.folder / "run", 3)));
  CHECK(!std::filesystem::exists(workshop.folder / "run/best"));
}

TEST_CASE("a run that is stopped in its validations ends in the same bits as one that is not", "[programs]") {
  Workshop workshop;
  workshop.text = workshop.folder.write("longer.txt", some_text(60'000));
  // A validation takes much longer than an update; one is behind the last update.
  const Arguments slow = Arguments{"--validation-fraction", "0.5", "--validation-batches", "all"} +
                         Arguments{"--validation-every", "3", "--steps", "8", "--warmup", "2", "--save-every", "2"};
  REQUIRE(run(workshop.train("whole", slow)).code == 0);
  const std::filesystem::path output = workshop.folder / "run";
  for (const long update : {3, 6, 8}) {
    CAPTURE(update);
    Process process(workshop.train("run", slow + Arguments{"--resume"}));
    wait_for_steps(process, output, update - 1);
    const Ended ended = stop(process).ended;
    CHECK(ended.code == 130);
    CHECK(error_line(ended).find("update " + std::to_string(update)) != std::string::npos);
    CHECK(logged_steps(output) == update - 1);
    const auto config = fathom::read_file(checkpoint_of(output, int(update)) / "config.json");
    CHECK(nlohmann::json::parse(config).contains("unvalidated"));
  }
  CHECK(run(workshop.train("run", slow + Arguments{"--resume"})).code == 0);
  check_same(content_of(output), content_of(workshop.folder / "whole"));
}

TEST_CASE("without a validation all text is trained on, and there is no best checkpoint", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  const Arguments none{"--validation-batches", "none", "--steps", "12"};
  REQUIRE(run(workshop.train("run", none)).code == 0);
  CHECK(validations(output).empty());
  CHECK(content_of(output).count("best") == 0);
  CHECK(fathom::read_file(output / "curves.svg").ends_with("</svg>\n"));
  CHECK(run({tiny_model(), "evaluate", workshop.text, "--output", output}).code == 0);
  // A window and its last target are enough.
  Workshop least;
  least.text = least.folder.write("least.txt", some_text(34));
  CHECK(run(least.train("least", none)).code == 0);
  check_refused(least.train("validated"), {"least.txt", "has 34 bytes where"});
  check_refused(workshop.train("patient", none + Arguments{"--patience", "3"}), {"--patience", "none"});
  for (const char* nothing : {"0", "-1", "1.5", "some", "0x10", "99999999999999999999"})
    check_refused(workshop.train("nothing", {"--validation-batches", nothing}),
                  {"--validation-batches", "all or none"});
  check_refused({tiny_model(), "evaluate", workshop.text, "--output", output, "--batches", "none"},
                {"--batches", "all"});
}

TEST_CASE("an evaluation can be stopped, and has no result then", "[programs]") {
  const LargeWorkshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "1", "--warmup", "0"})).code == 0);
  Process process({tiny_model(), "evaluate", workshop.text, "--output", workshop.folder / "run"});
  while (!process.catches(SIGINT) && process.running()) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(1500ms);
  const auto [ended, seconds] = stop(process);
  CHECK(ended.code == 130);
  CHECK(seconds < 5);
  CHECK(ended.out.empty());
  const std::string line = error_line(ended);
  CHECK(line.ends_with("without a result"));
  if (!line.starts_with("stopped after 0 ")) CHECK(ended.err.starts_with("evaluate "));  // it showed how far it was
}

TEST_CASE("a damaged log is refused at the start of a resumed run, and nothing is changed", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run", log = output / "log.csv";
  REQUIRE(run(workshop.train("run", {"--steps", "30", "--validation-every", "1000"})).code == 0);
  std::filesystem::remove_all(output / "checkpoints/00000030");  // what a run that was killed leaves
  const std::string good = fathom::read_file(log);
  const std::size_t row = good.find("\n12,") + 1;
  for (const std::string& damage : {std::string(4, '\0'), std::string("abcd"), std::string("9,,,")}) {
    CAPTURE(damage);
    std::string text = good;
    text.replace(row, 4, damage);
    std::ofstream(log, std::ios::binary) << text;
    const auto before = content_of(output);
    check_refused(workshop.train("run", {"--steps", "30", "--validation-every", "1000", "--resume"}),
                  {log.string() + ": line 13 ", "move the file away"});
    check_same(content_of(output), before);
  }
  // What a crash of the machine leaves is no damage. The rows that it lost are named.
  std::ofstream(log, std::ios::binary) << good.substr(0, row + 4) + std::string(500, '\0');
  const Ended ended = run(workshop.train("run", {"--steps", "30", "--validation-every", "1000", "--resume"}));
  CHECK(ended.code == 0);
  CHECK(error_line(ended) == log.string() + ": the rows up to update 28 from 12 on are missing");
  CHECK(fathom::read_file(log) == good.substr(0, row) + good.substr(good.find("\n29,") + 1));

  // So are rows that are missing between others.
  std::filesystem::remove_all(output / "checkpoints/00000030");
  std::ofstream(log, std::ios::binary) << good.substr(0, row) + good.substr(good.find("\n17,") + 1);
  const Ended gap = run(workshop.train("run", {"--steps", "30", "--validation-every", "1000", "--resume"}));
  CHECK(gap.code == 0);
  CHECK(error_line(gap) == log.string() + ": 5 rows before update 28 are missing");
}

}  // namespace language_model_validation_test
