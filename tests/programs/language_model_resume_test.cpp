// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <iostream>
#include <programs/language_model_run.hpp>
#include <random>
#include <thread>

namespace language_model_resume_test {

using namespace fathom_test;
using std::chrono::microseconds;

/// Whether a checkpoint or something else is half written.
bool is_being_saved(const std::filesystem::path& output) {
  if (!std::filesystem::exists(output)) return false;
  return std::ranges::any_of(content_of(output),
                             [](const auto& entry) { return entry.first.find(".tmp-") != std::string::npos; });
}

TEST_CASE("a run that is killed at 20 random moments ends in the same bits as one that is not", "[programs]") {
  const Workshop workshop{TemporaryDirectory()};  // on a disk
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(run(workshop.train("whole")).code == 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;

  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 draw(seed);
  std::vector<long> moments(20);
  for (long& moment : moments) moment = std::uniform_int_distribution(0, 90)(draw);
  moments.front() = 0;
  std::ranges::sort(moments);

  const std::filesystem::path output = workshop.folder / "killed";
  int in_time = 0, before_a_checkpoint = 0, while_saving = 0;
  for (const long moment : moments) {
    Process process(workshop.train("killed", Arguments{"--resume", "--threads", std::to_string(1 + draw() % 3)}));
    wait_for_steps(process, output, moment);
    // A save takes longer than a step: within this time lies every part of it.
    std::this_thread::sleep_for(microseconds(std::uniform_int_distribution(0, moment == 0 ? 5'000 : 20'000)(draw)));
    process.signal(SIGKILL);
    in_time += process.wait().code == -SIGKILL;
    const std::filesystem::path saved = output / "checkpoints";
    before_a_checkpoint += !std::filesystem::exists(saved) || std::filesystem::is_empty(saved);
    while_saving += is_being_saved(output);
  }
  std::cout << in_time << " kills, seed " << seed << ": " << before_a_checkpoint << " before a checkpoint, "
            << while_saving << " while saving; the whole run took " << whole.count() << " s\n";
  CHECK(in_time == 20);
  const Ended last = run(workshop.train("killed", {"--resume"}));
  CHECK(last.code == 0);
  check_same(content_of(output), content_of(workshop.folder / "whole"));
}

TEST_CASE("a run that was killed while it replaced its only checkpoint is seen, and resumed", "[programs]") {
  const Workshop workshop;
  const Arguments train = workshop.train("run", {"--steps", "14"});
  REQUIRE(run(train).code == 0);
  const std::filesystem::path output = workshop.folder / "run", newest = checkpoint_of(output, 14);
  const auto whole = content_of(newest);
  std::filesystem::remove_all(output / "best");
  std::filesystem::remove_all(checkpoint_of(output, 7));
  std::filesystem::rename(newest, newest.string() + ".committed");
  const auto before = content_of(output);
  CHECK(run(train).code == 1);
  check_same(content_of(output), before);
  CHECK(run(train + Arguments{"--resume"}).code == 0);
  check_same(content_of(newest), whole);
  CHECK(content_of(output).at("log.csv") == before.at("log.csv"));
}

TEST_CASE("a run that is asked to stop saves, says so, and goes on later to the same bits", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(signal);
    const std::string name = "stopped-" + std::to_string(signal);
    const std::filesystem::path output = workshop.folder / name;
    Process process(workshop.train(name));
    wait_for_steps(process, output, 30);
    process.signal(signal);
    const Ended stopped = process.wait();
    CHECK(stopped.code == 128 + signal);
    const long steps = logged_steps(output);
    CHECK(steps >= 30);
    CHECK(steps < 120);
    CHECK(error_line(stopped).find("--resume") != std::string::npos);
    CHECK(error_line(stopped).find(std::to_string(steps)) != std::string::npos);
    CHECK(run(workshop.train(name, {"--resume"})).code == 0);
    check_same(content_of(output), content_of(workshop.folder / "whole"));
  }
}

TEST_CASE("a second signal ends the program at once, and the last checkpoint stays", "[programs]") {
  const Workshop workshop;
  // A step of so many sequences takes longer than the pause between the signals.
  Process process(workshop.train("run", {"--batch", "1500", "--save-every", "1"}));
  wait_for_steps(process, workshop.folder / "run", 2);
  process.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(process.running());
  process.signal(SIGINT);
  CHECK(process.wait().code == -SIGINT);
  CHECK(std::filesystem::exists(checkpoint_of(workshop.folder / "run", 1)));
}

TEST_CASE("signals that were ignored when the program started stay ignored", "[programs]") {
  const Workshop workshop;
  Process process(workshop.train("run"), {.ignored_signals = {SIGINT, SIGHUP}});
  wait_for_steps(process, workshop.folder / "run", 10);
  process.signal(SIGINT);
  process.signal(SIGHUP);
  CHECK(process.wait().code == 0);
}

TEST_CASE("a run goes on with the text and the flags that it began with, and no others", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("whole")).code == 0);
  Process process(workshop.train("run"));
  wait_for_steps(process, output, 20);
  process.signal(SIGTERM);
  process.wait();
  const auto before = content_of(output);
  const auto refuse = [&](const Arguments& more, const std::string& part) {
    const Ended ended = run(Arguments{tiny_model(), "train", "--resume", "--output", output} + more);
    CHECK(ended.code > 0);
    CHECK(error_line(ended).find(part) != std::string::npos);
    check_same(content_of(output), before);
  };
  refuse({"--steps", "300"}, "--steps");
  refuse({"--learning-rate", "2e-3"}, "--learning-rate");
  const auto other_text = workshop.folder.write("other.txt", some_text(5001));
  refuse({other_text}, other_text.string());
  // Nothing need be said again.
  CHECK(run({tiny_model(), "train", "--resume", "--output", output}).code == 0);
  check_same(content_of(output), content_of(workshop.folder / "whole"));
}

TEST_CASE("two runs at a time cannot have one folder", "[programs]") {
  const Workshop workshop;
  Process first(workshop.train("run"));
  wait_for_steps(first, workshop.folder / "run", 3);
  const Ended second = run(workshop.train("run", {"--resume"}));
  CHECK(second.code == 1);
  CHECK(error_line(second).find((workshop.folder / "run").string() + ": is in use by another process") !=
        std::string::npos);
  CHECK(first.wait().code == 0);
  REQUIRE(run(workshop.train("whole")).code == 0);
  check_same(content_of(workshop.folder / "run"), content_of(workshop.folder / "whole"));
}

}  // namespace language_model_resume_test
