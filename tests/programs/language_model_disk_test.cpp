// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <programs/language_model_run.hpp>
#include <random>

namespace language_model_disk_test {

using namespace fathom_test;

/// The program has refused in one line that says `reason`, and the run goes on to the bits of an uninterrupted one.
void check_refused_and_resumed(const Ended& ended, const Workshop& workshop, const std::string& name,
                               const std::string& reason) {
  const std::string line = error_line(ended);
  CAPTURE(line);
  CHECK(ended.code == 1);
  CHECK(line.find(": cannot ") != std::string::npos);
  CHECK(line.find(reason) != std::string::npos);
  CHECK(run(workshop.train(name, {"--resume"})).code == 0);
  check_same(content_of(workshop.folder / name), content_of(workshop.folder / "whole"));
}

TEST_CASE("when files may not grow any more the run ends with the reason, and nothing is lost", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  std::minstd_rand draw(1);
  // From none at all to what the weights take, but not the optimizer's state.
  for (const std::uint64_t limit : {0, 1000, 100'000, 300'000}) {
    CAPTURE(limit);
    const std::string name = "limit-" + std::to_string(limit);
    Process process(workshop.train(name));
    wait_for_steps(process, workshop.folder / name, 20 + long(draw() % 50));
    process.limit_files(limit);
    check_refused_and_resumed(process.wait(), workshop, name, "raise the file size limit (ulimit -f)");
  }
}

TEST_CASE("on a full disk the run ends with the reason, and nothing is lost", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  // A disk of that many KiB, which is there for one command only: what it has at the end is copied to the folder $2.
  const auto with_disk = [&](int size, const std::string& name, const Arguments& command) {
    return run(Arguments{"unshare", "--map-root-user", "--mount", "sh", "-c",
                         "mount -t tmpfs -o size=$1k none \"$2\" || exit 99; disk=$2; shift 2; \"$@\"; code=$?;"
                         "cp -r \"$disk\" \"$disk.kept\"; exit $code",
                         "sh", std::to_string(size), workshop.folder / name} +
               command);
  };
  std::filesystem::create_directory(workshop.folder / "probe");
  if (with_disk(64, "probe", {"true"}).code != 0) SKIP("this machine lets no user mount a file system");
  // A checkpoint takes about 830 KiB.
  for (const int size : {4, 900, 2000}) {
    CAPTURE(size);
    const std::string disk = "disk-" + std::to_string(size), kept = disk + ".kept/run";
    std::filesystem::create_directory(workshop.folder / disk);
    const Ended ended = with_disk(size, disk, workshop.train(disk + "/run"));
    check_refused_and_resumed(ended, workshop, kept, "free some disk space");
  }
}

TEST_CASE("an output that cannot be taken is an error", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const std::filesystem::path output = workshop.folder / "run";
  for (const Arguments& command : {Arguments{tiny_model(), "info"}, Arguments{tiny_model(), "--help"},
                                   Arguments{tiny_model(), "sample", "--output", output, "--tokens", "3"},
                                   Arguments{tiny_model(), "evaluate", workshop.text, "--output", output}}) {
    CAPTURE(command);
    const Ended ended = run(command, {.out = "/dev/full"});
    CHECK(ended.code == 1);
    CHECK(error_line(ended).find("No space left") != std::string::npos);
  }
}

TEST_CASE("what a run prints does not go into its files when its streams are closed", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  for (const std::string closed : {"2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"}) {
    CAPTURE(closed);
    const Arguments shell{"sh", "-c", "exec \"$@\" " + closed, "sh"};
    CHECK(run(shell + workshop.train(closed)).code == 0);
    check_same(content_of(workshop.folder / closed), content_of(workshop.folder / "whole"));
  }
}

TEST_CASE("a run whose log or plot cannot be written says so and keeps its checkpoints", "[programs]") {
  const Workshop workshop;
  std::filesystem::create_directories(workshop.folder / "log/log.csv");
  const Ended log = run(workshop.train("log"));
  CHECK(log.code == 1);
  CHECK(error_line(log).find((workshop.folder / "log/log.csv").string() + ": ") != std::string::npos);

  std::filesystem::create_directories(workshop.folder / "plot/curves.svg");
  const Ended plot = run(workshop.train("plot"));
  CHECK(plot.code == 1);
  CHECK(error_line(plot).find((workshop.folder / "plot/curves.svg").string() + ": ") != std::string::npos);
  std::filesystem::remove(workshop.folder / "plot/curves.svg");
  CHECK(run(workshop.train("plot", {"--resume"})).code == 0);
  REQUIRE(run(workshop.train("whole")).code == 0);
  check_same(content_of(workshop.folder / "plot"), content_of(workshop.folder / "whole"));
}

}  // namespace language_model_disk_test
