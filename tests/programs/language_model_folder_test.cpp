// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <programs/language_model_run.hpp>
#include <support/sanitized.hpp>

namespace language_model_folder_test {

using namespace fathom_test;

/// Removes a folder that a process may be writing to.
void remove_at_once(const std::filesystem::path& folder) {
  for (std::error_code race; std::filesystem::exists(folder);) std::filesystem::remove_all(folder, race);
}

/// How to run a command on a system that can do less; see unfriendly_system.cpp.
Arguments without(const std::string& what) {
  if (sanitized) SKIP("sanitizers want to be the first library");
  return {"env", "LD_PRELOAD=" FATHOM_TEST_UNFRIENDLY_SYSTEM, "FATHOM_TEST_WITHOUT=" + what};
}

TEST_CASE("a run has its folder before it looks into it", "[programs]") {
  const Workshop workshop;
  const auto text = workshop.folder.write("large.txt", std::string(20'000'000, 'a'));
  Process first({tiny_model(), "train", text, "--output", workshop.folder / "run", "--steps", "3", "--warmup", "1",
                 "--validation-fraction", "0.0001", "--validation-every", "3"});
  while (first.running() && !first.has_open(text)) std::this_thread::yield();
  first.signal(SIGSTOP);  // it is reading
  REQUIRE(first.running());
  const Ended second = run(workshop.train("run"));
  CHECK(second.code == 1);
  CHECK(error_line(second).find(": is in use by another process") != std::string::npos);
  first.signal(SIGCONT);
  CHECK(first.wait().code == 0);
  CHECK(logged_steps(workshop.folder / "run") == 3);
}

TEST_CASE("a refused run leaves no folder behind, and takes none", "[programs]") {
  const Workshop workshop;
  check_refused(workshop.train("a/b/run", {"--warmup", "120"}), {"--warmup"});
  CHECK(!std::filesystem::exists(workshop.folder / "a"));
  std::filesystem::create_directory(workshop.folder / "mine");
  check_refused(workshop.train("mine", {"--warmup", "120"}), {"--warmup"});
  CHECK(std::filesystem::exists(workshop.folder / "mine"));
}

TEST_CASE("checkpoints that may not be looked at are not taken for none", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "40"})).code == 0);
  Arguments somebody;
  if (::geteuid() == 0) {
    somebody = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    if (::chown(workshop.folder.path().c_str(), 65534, 65534) != 0 ||
        run(Arguments{"chown", "-R", "65534:65534", output}).code != 0 ||
        run(somebody + Arguments{tiny_model(), "info"}).code != 0)
      SKIP("root may look everywhere, and cannot run the program as somebody else");
  }
  const auto before = content_of(output);
  for (const char* name : {"checkpoints", "best"}) {
    CAPTURE(name);
    if (name == std::string("best")) std::filesystem::remove_all(output / "checkpoints");
    const std::filesystem::path closed = output / name;
    const auto close = [&](std::filesystem::perms perms) { std::filesystem::permissions(closed, perms); };
    close(std::filesystem::perms::none);
    for (const Arguments& more : {Arguments{}, Arguments{"--resume"}}) {
      const Ended ended = run(somebody + workshop.train("run", Arguments{"--steps", "40"} + more));
      CHECK(ended.code == 1);
      const std::string line = error_line(ended);
      CAPTURE(line);
      CHECK((line.find(closed.string()) != std::string::npos || line.find("holds a run") != std::string::npos));
    }
    close(std::filesystem::perms::owner_all);
    CHECK(fathom::read_file(output / "log.csv") == before.at("log.csv"));
  }
}

TEST_CASE("a run whose folder is removed leaves the next one alone, and is resumed beside it", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  const auto whole = content_of(workshop.folder / "whole");
  const std::filesystem::path output = workshop.folder / "run";
  Process first(workshop.train("run"));
  wait_for_steps(first, output, 20);
  first.signal(SIGSTOP);
  REQUIRE(first.running());
  remove_at_once(output);
  Process second(workshop.train("run"));
  wait_for_steps(second, output, 1);
  first.signal(SIGCONT);

  const Ended lost = first.wait();
  CHECK(lost.code == 1);
  const std::string line = error_line(lost);
  CAPTURE(line);
  CHECK(line.find(output.string() + ": was removed or replaced") != std::string::npos);
  CHECK(second.wait().code == 0);
  check_same(content_of(output), whole);

  const std::size_t begin = line.find(output.string() + ".rescued-");
  REQUIRE(begin != std::string::npos);
  const std::filesystem::path rescued = line.substr(begin, line.find(',', begin) - begin);
  REQUIRE(run({tiny_model(), "train", "--resume", "--output", rescued}).code == 0);
  check_same(content_of(rescued / "checkpoints/00000120"), content_of(workshop.folder / "whole/checkpoints/00000120"));
}

TEST_CASE("what a system lacks ends no run and changes no number", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  for (const std::string what : {"sync,rename,threads", "move"}) {
    CAPTURE(what);
    const std::filesystem::path output = workshop.folder / what;
    {
      Process lower(workshop.train(what));  // its folders are what later an overlay has below
      wait_for_steps(lower, output, 40);
      lower.signal(SIGTERM);
      lower.wait();
    }
    const Ended ended = run(without(what) + workshop.train(what, {"--resume", "--threads", "1"}));
    CAPTURE(ended.err);
    CHECK(ended.code == 0);
    check_same(content_of(output), content_of(workshop.folder / "whole"));
  }
  const Ended alone = run(without("threads") + workshop.train("alone"));
  CAPTURE(alone.err);
  CHECK(alone.code == 0);
  check_same(content_of(workshop.folder / "alone"), content_of(workshop.folder / "whole"));
  const Ended refused = run(without("threads") + workshop.train("none", {"--threads", "3"}));
  CHECK(refused.code == 1);
  CHECK(error_line(refused).find("cannot start 3 threads: Resource temporarily unavailable; ask for fewer") !=
        std::string::npos);
}

TEST_CASE("a run in an overlay goes on from checkpoints of a lower layer", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole")).code == 0);
  Process lower(workshop.train("disk/lower/run"));
  wait_for_steps(lower, workshop.folder / "disk/lower/run", 40);
  lower.signal(SIGTERM);
  lower.wait();
  for (const char* name : {"upper", "work", "run"})
    std::filesystem::create_directories(workshop.folder / "disk" / name);
  const auto in_overlay = [&](const Arguments& command) {
    return run(Arguments{"unshare", "--map-root-user", "--mount", "sh", "-c",
                         "cd \"$1\" && shift && mount -t overlay -o userxattr,lowerdir=lower/run,"
                         "upperdir=upper,workdir=work none run || exit 99; \"$@\"",
                         "sh", workshop.folder / "disk"} +
               command);
  };
  if (in_overlay({"true"}).code != 0) SKIP("this machine lets no user mount an overlay");
  const Ended ended =
      in_overlay(Arguments{"sh", "-c", "\"$@\" && cp -r run kept", "sh"} + workshop.train("disk/run", {"--resume"}));
  CAPTURE(ended.err);
  CHECK(ended.code == 0);
  check_same(content_of(workshop.folder / "disk/kept"), content_of(workshop.folder / "whole"));
}

TEST_CASE("a best checkpoint that cannot be written takes no other with it, and is made up for", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("whole", {"--save-every", "10"})).code == 0);
  const auto best = workshop.folder.write("run/best", "a file where the best checkpoint would be");
  const Ended ended = run(workshop.train("run", {"--save-every", "10"}));
  CHECK(ended.code == 1);
  CHECK(error_line(ended).find(best.string() + ": is a file where a directory is to be written") != std::string::npos);
  CHECK(std::filesystem::exists(checkpoint_of(workshop.folder / "run", 10)));
  std::filesystem::remove(best);
  REQUIRE(run(workshop.train("run", {"--save-every", "10", "--resume"})).code == 0);
  check_same(content_of(workshop.folder / "run"), content_of(workshop.folder / "whole"));
}

TEST_CASE("the files of runs among the text are no text", "[programs]") {
  const Workshop workshop;
  const TemporaryDirectory& folder = workshop.folder;
  const auto train = [&](const std::string& text, const Arguments& more) {
    return run(Arguments{"env", "-C", folder.path(), tiny_model(), "train", text, "--steps", "20", "--warmup", "1",
                         "--validation-every", "10", "--save-every", "2"} +
               more);
  };
  const TemporaryDirectory elsewhere;
  REQUIRE(train("text.txt", {"--output", elsewhere / "run"}).code == 0);
  const std::string log = fathom::read_file(elsewhere / "run/log.csv");

  const Ended first = train(".", {});
  CHECK(first.code == 0);
  CHECK(first.err.find("left out: ./runs/language-model is this run's folder") != std::string::npos);
  CHECK(fathom::read_file(folder / "runs/language-model/log.csv") == log);
  CHECK(train(".", {"--resume"}).code == 0);
  std::filesystem::create_directory_symlink(elsewhere / "run", folder / "a-link");
  const Ended second = train(".", {"--output", "second"});
  CHECK(second.code == 0);
  for (const char* line :
       {"./a-link is of another run", "./runs/language-model is of another run", "./second is this run's folder"}) {
    INFO(line);
    CHECK(second.err.find(std::string("left out: ") + line) != std::string::npos);
  }
  CHECK(fathom::read_file(folder / "second/log.csv") == log);
  CHECK(train(".", {"--output", "second", "--resume"}).code == 0);

  const auto before = content_of(folder.path());
  const Ended same = train(".", {"--output", "./"});
  CHECK(same.code == 1);
  CHECK(error_line(same).find(".: is the run's folder, so what is in it is no text") != std::string::npos);
  check_same(content_of(folder.path()), before);
}

}  // namespace language_model_folder_test
