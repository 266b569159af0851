// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/io/file.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <functional>
#include <map>
#include <optional>
#include <system_error>
#include <thread>

#include "support/temporary_directory.hpp"
#include "train/batch_stream.hpp"

namespace run_checkpoints_test {

using namespace fathom_test;

using SmallTrainer = Trainer<SmallModel, Cpu<Single>, AdamW>;

SmallTrainer make() {
  return SmallTrainer(SomeBatches::capacity, {.seed = 3, .dropout = {.residual = 0.1}, .average = 0.9}, {},
                      {.threads = 1});
}

std::vector<std::string> names(const std::filesystem::path& folder) {
  std::vector<std::string> result;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) result.push_back(entry.path().filename());
  std::ranges::sort(result);
  return result;
}
std::map<std::string, std::string> content(const std::filesystem::path& folder) {
  std::map<std::string, std::string> result;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) result[entry.path().lexically_relative(folder)] = read_file(entry.path());
  return result;
}

/// The update of the best checkpoint that is there; 0: none.
std::int64_t best_step(const std::filesystem::path& folder) try {
  return read_checkpoint_info(folder / "best").best.step;
} catch (const FileError&) {
  return 0;
}

/// Trains up to 20 updates in `folder`, from its newest checkpoint or from the start; like a program that is killed
/// behind update `killed`, if that is not 0, or that is stopped in the validation of update `stopped`. The metric falls
/// until update 12, then rises. `before_save` is told each update.
BestValidation train(
    const std::filesystem::path& folder, std::int64_t killed = 0, int keep = 2, int patience = 0,
    std::int64_t stopped = 0, const std::function<void(std::int64_t)>& before_save = [](std::int64_t) {}) {
  const DirectoryLock lock(folder);
  SmallTrainer trainer = make();
  CheckpointInfo start;
  if (const auto newest = newest_checkpoint(folder)) start = load_checkpoint(*newest, trainer);
  SomeBatches batches(start.cursor);
  const auto metric = [&]() -> std::optional<double> {
    const std::int64_t step = trainer.counters().step;
    return step == stopped ? std::nullopt : std::optional(std::abs(double(step) - 12));
  };
  TrainingRun run(trainer, batches,
                  {.steps = 20,
                   .learning_rate = Cosine({.peak = 1e-2, .total_steps = 20}),
                   .accumulate = 2,
                   .validation = {.every = 3, .metric = metric, .patience = patience}},
                  start.best, start.unvalidated);
  RunCheckpoints checkpoints(run, lock, {.every = 4, .keep = keep, .metadata = {{"text", "a.txt"}}});
  for (const RunReport& report : run) {
    if (report.step == killed) break;
    before_save(report.step);
    checkpoints.save_if_due();
  }
  if (run.unvalidated()) checkpoints.save_rest();
  return run.best();
}

TEST_CASE("the last checkpoints and the best one are kept", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  CHECK(!newest_checkpoint(folder.path()));
  CHECK(!best_checkpoint(folder.path()));
  CHECK(train(folder.path(), 7) == BestValidation{.step = 6, .metric = 6, .since = 0});
  CHECK(names(folder / "checkpoints") == std::vector<std::string>{"00000004"});
  CHECK(best_checkpoint(folder.path()) == folder / "best");
  CHECK(read_checkpoint_info(folder / "best").best.step == 6);

  train(folder.path());
  CHECK(names(folder.path()) == std::vector<std::string>{"best", "checkpoints"});
  CHECK(names(folder / "checkpoints") == std::vector<std::string>{"00000016", "00000020"});
  CHECK(newest_checkpoint(folder.path()) == folder / "checkpoints/00000020");
  const CheckpointInfo best = read_checkpoint_info(folder / "best"),
                       last = read_checkpoint_info(folder / "checkpoints/00000020");
  CHECK(best.best == BestValidation{.step = 12, .metric = 0, .since = 0});
  CHECK(best.cursor == 24);
  CHECK(last.best == BestValidation{.step = 12, .metric = 0, .since = 3});
  CHECK(last.cursor == 40);
  CHECK(last.metadata.at("text") == "a.txt");
}

TEST_CASE("a run that was killed and resumed leaves the same bits", "[run_checkpoints]") {
  const TemporaryDirectory whole, resumed;
  train(whole.path());
  for (const std::int64_t killed : {2, 5, 9, 13, 14, 20}) train(resumed.path(), killed);
  train(resumed.path());
  const auto expected = content(whole.path());
  CHECK(expected.size() == 12);  // three checkpoints of four files
  CHECK(content(resumed.path()) == expected);
}

TEST_CASE("a run that was stopped in its validations and resumed leaves the same bits", "[run_checkpoints]") {
  const TemporaryDirectory whole, resumed;
  train(whole.path());
  for (const std::int64_t stopped : {3, 12, 12, 15, 20}) {
    train(resumed.path(), 0, 2, 0, stopped);
    const auto newest = newest_checkpoint(resumed.path());
    REQUIRE(newest);
    const CheckpointInfo info = read_checkpoint_info(*newest);
    REQUIRE(info.unvalidated);
    CHECK(info.unvalidated->step == stopped);
    CHECK(info.unvalidated->tokens == 2 * SomeBatches::capacity.rows);
  }
  train(resumed.path());
  CHECK(content(resumed.path()) == content(whole.path()));
}

TEST_CASE("a resumed run stops as early as the whole one", "[run_checkpoints]") {
  const TemporaryDirectory whole, resumed;
  train(whole.path(), 0, 2, 2);
  CHECK(names(whole / "checkpoints") == std::vector<std::string>{"00000016", "00000018"});
  train(resumed.path(), 17, 2, 2);
  train(resumed.path(), 0, 2, 2);
  train(resumed.path(), 0, 2, 2);  // a run that is over goes on with nothing
  CHECK(content(resumed.path()) == content(whole.path()));
}

TEST_CASE("a checkpoint that is written beside the training holds the moment it was started at", "[threads]") {
  const TemporaryDirectory folder;
  SmallTrainer trainer = make();
  SomeBatches batches;
  CheckpointWriter<SmallTrainer> writer;
  TrainingRun run(trainer, batches, {.steps = 12});
  for (const char* parent : {"beside", "again"}) std::filesystem::create_directory(folder / parent);
  for (const RunReport& report : run) {
    if (report.step % 4 != 0) continue;
    const std::string name = std::to_string(report.step);
    const CheckpointInfo info{.cursor = run.cursor()};
    save_checkpoint(folder / "alone" / name, trainer, info);
    writer.start({folder / "beside" / name, folder / "again" / name}, trainer, info);
  }
  writer.wait();
  CHECK(names(folder / "alone").size() == 3);
  CHECK(content(folder / "beside") == content(folder / "alone"));
  CHECK(content(folder / "again") == content(folder / "alone"));
}

TEST_CASE("the writer reports the failure of a checkpoint once, when asked next", "[threads]") {
  const TemporaryDirectory folder;
  folder.write("taken", "a file");
  SmallTrainer trainer = make();
  CheckpointWriter<SmallTrainer> writer;
  bool went_on = false;
  writer.start({folder / "taken/7"}, trainer, {}, [&] { went_on = true; });
  CHECK(!message_of<FileError>([&] { writer.wait(); }).empty());
  CHECK(!went_on);
  CHECK_NOTHROW(writer.wait());
  writer.start({folder / "7"}, trainer, {});
  CHECK_NOTHROW(writer.wait());
  CHECK_NOTHROW(read_checkpoint_info(folder / "7"));
}

TEST_CASE("the writer leaves out a directory that it is kept from, and what comes behind all", "[threads]") {
  const TemporaryDirectory folder;
  SmallTrainer trainer = make();
  CheckpointWriter<SmallTrainer> writer;
  int asked = 0;
  bool went_on = false;
  const auto refuse_second = [&] {
    if (++asked == 2) throw FileError("gone");
  };
  writer.start(
      {folder / "1", folder / "2", folder / "3"}, trainer, {}, [&] { went_on = true; }, refuse_second);
  CHECK(message_of<FileError>([&] { writer.wait(); }) == "gone");
  CHECK(names(folder.path()) == std::vector<std::string>{"1", "3"});
  CHECK((asked == 3 && !went_on));
}

TEST_CASE("what killed runs left half done goes, and nothing else", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  const std::string others = "00000002.tmp-" + std::to_string(::getppid());
  folder.write("checkpoints/" + others + "/model.safetensors", "half, of a process that is there");
  folder.write("checkpoints/00000003.tmp-999999999/model.safetensors", "half");
  folder.write("best.tmp-999999999/model.safetensors", "half");
  folder.write("checkpoints/00000001/config.json", "half removed");
  folder.write("checkpoints/notes.txt", "mine");
  folder.write("checkpoints/7-mine/model", "mine");
  folder.write("log.csv", "step\n");
  SmallTrainer trainer = make();
  SomeBatches batches;
  TrainingRun run(trainer, batches, {.steps = 3});
  const DirectoryLock lock(folder.path());
  RunCheckpoints checkpoints(run, lock, {.every = 1, .keep = 1});
  CHECK(names(folder.path()) == std::vector<std::string>{"checkpoints", "log.csv"});
  for ([[maybe_unused]] const RunReport& report : run) checkpoints.save_if_due();
  CHECK(names(folder / "checkpoints") == std::vector<std::string>{others, "00000003", "7-mine", "notes.txt"});
}

TEST_CASE("a run that has only its best checkpoint resumes from it", "[run_checkpoints]") {
  const TemporaryDirectory whole, killed;
  train(whole.path());
  train(killed.path(), 4);  // validated at 3, to be saved at 4
  CHECK(names(killed.path()) == std::vector<std::string>{"best", "checkpoints"});
  CHECK(newest_checkpoint(killed.path()) == killed / "best");
  train(killed.path());
  CHECK(content(killed.path()) == content(whole.path()));
}

TEST_CASE("a run resumes from a checkpoint that a crash left under its successor's name", "[run_checkpoints]") {
  const TemporaryDirectory whole;
  train(whole.path());
  for (const std::string successor : {"directory", "link", "link to nothing"}) {
    CAPTURE(successor);
    const TemporaryDirectory killed;
    train(killed.path(), 9);
    const std::filesystem::path target = killed / "checkpoints/00000008", committed = target.string() + ".committed",
                                fresh = target.string() + ".tmp-999999999";
    std::filesystem::rename(target, successor == "directory" ? committed : fresh);
    if (successor != "directory") std::filesystem::create_directory_symlink(fresh.filename(), committed);
    if (successor == "link to nothing") std::filesystem::remove_all(fresh);
    CHECK(newest_checkpoint(killed.path()) ==
          (successor == "link to nothing" ? killed / "checkpoints/00000004" : target));
    train(killed.path());
    CHECK(content(killed.path()) == content(whole.path()));
  }
  const TemporaryDirectory both;
  for (const char* name : {"00000004", "00000004.committed", "00000007.committed"})
    std::filesystem::create_directories(both / "checkpoints" / name);
  CHECK(detail::checkpoint_entries(both.path()).size() == 2);
}

TEST_CASE("checkpoints are in the order of their numbers, beyond eight digits too", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  for (const char* name : {"00000009", "99999999", "100000000"})
    folder.write("checkpoints/" + std::string(name) + "/config.json", "{}");
  CHECK(newest_checkpoint(folder.path()) == folder / "checkpoints/100000000");
}

TEST_CASE("an old checkpoint stays when a new one cannot be written", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  train(folder.path(), 6);
  folder.write("checkpoints/00000008", "a file where the next checkpoint would be");
  CHECK(!message_of<FileError>([&] { train(folder.path(), 0, 1); }).empty());
  CHECK(names(folder / "checkpoints") == std::vector<std::string>{"00000004", "00000008"});
  CHECK_NOTHROW(read_checkpoint_info(folder / "checkpoints/00000004"));
}

TEST_CASE("a checkpoint that cannot be written does not take the other one's", "[run_checkpoints]") {
  const TemporaryDirectory whole;
  train(whole.path(), 0, 10);
  // The metric is the best at update 12, when a checkpoint is due as well.
  for (const std::string taken : {"best", "checkpoints/00000012"}) {
    CAPTURE(taken);
    const TemporaryDirectory folder;
    const auto take = [&](std::int64_t step) {
      if (step != 12) return;
      while (best_step(folder.path()) != 9) std::this_thread::yield();
      std::filesystem::remove_all(folder / taken);
      folder.write(taken, "a file where the checkpoint would be");
    };
    const std::string message = message_of<FileError>([&] { train(folder.path(), 0, 10, 0, 0, take); });
    CHECK(message.find(taken) != std::string::npos);
    const auto other = folder / (taken == "best" ? "checkpoints/00000012" : "best");
    CHECK(read_checkpoint_info(other).best.step == 12);
    std::filesystem::remove(folder / taken);
    train(folder.path(), 0, 10);  // also the best one, which the run would not find again
    CHECK(content(folder.path()) == content(whole.path()));
  }
}

TEST_CASE("a run whose folder is gone keeps out of the new one, and saves beside it", "[run_checkpoints]") {
  const TemporaryDirectory whole, parent;
  const std::filesystem::path folder = parent / "run", rescued = parent / ("run.rescued-" + std::to_string(::getpid()));
  train(whole.path());
  std::optional<DirectoryLock> second;
  const auto lose = [&](bool replaced) {
    const DirectoryLock lock(folder);
    SmallTrainer trainer = make();
    SomeBatches batches;
    TrainingRun run(trainer, batches,
                    {.steps = 20, .learning_rate = Cosine({.peak = 1e-2, .total_steps = 20}), .accumulate = 2});
    RunCheckpoints checkpoints(run, lock, {.every = 4, .keep = 2, .metadata = {{"text", "a.txt"}}});
    for (const RunReport& report : run) {
      std::error_code race;  // with the thread that writes a checkpoint there
      while (report.step == 6 && std::filesystem::exists(folder)) std::filesystem::remove_all(folder, race);
      if (report.step == 6 && replaced) second.emplace(folder);
      checkpoints.save_if_due();
      CHECK(report.step < 6);
    }
  };
  for (const bool replaced : {false, true}) {
    const std::string message = message_of<FileError>([&] { lose(replaced); });
    CHECK(message == folder.string() +
                         ": was removed or replaced while a run was in it; what the run had learned is in " +
                         rescued.string() + ", resume it there");
    CHECK(std::filesystem::exists(folder) == replaced);
    CHECK((!replaced || names(folder).empty()));
    CHECK(newest_checkpoint(rescued) == rescued / "checkpoints/00000006");
    train(rescued);
    CHECK(read_file(rescued / "checkpoints/00000020/model.safetensors").size() > 0);
    std::filesystem::remove_all(rescued);
  }
}

TEST_CASE("a run goes on while its folder cannot be reached, and is saved beside it when it cannot be written",
          "[run_checkpoints]") {
  const TemporaryDirectory whole;
  train(whole.path());
  for (const std::int64_t back : {8, 0}) {  // the update behind which it is reached again; 0: never
    const TemporaryDirectory parent;
    const std::filesystem::path link = parent / "link", folder = parent / "disk/run",
                                rescued = folder.string() + ".rescued-" + std::to_string(::getpid());
    const auto link_to = [&](const char* target) {
      std::filesystem::remove(link);
      std::filesystem::create_symlink(target, link);
    };
    std::filesystem::create_directory(parent / "disk");
    link_to("disk");
    const std::string message = message_of<FileError>([&] {
      train(link / "run", 0, 2, 0, 0, [&](std::int64_t step) {
        if (step == 7) {
          while (best_step(folder) != 6) std::this_thread::yield();
          link_to("link");
        }
        if (step == back) link_to("disk");
      });
    });
    if (back != 0) {
      CHECK(message.empty());
      CHECK(content(folder) == content(whole.path()));
      CHECK(!std::filesystem::exists(rescued));
    } else {
      CHECK(message.find("link/run/checkpoints/00000008: cannot ") != message.npos);
      CHECK(message.ends_with("; what the run had learned is in " + rescued.string() + ", resume it there"));
      train(rescued);
      CHECK(content(rescued) == content(whole.path()));
    }
  }
}

TEST_CASE("a folder of checkpoints that cannot be listed is not an empty one", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  folder.write("checkpoints", "a file");
  const std::string path = (folder / "checkpoints").string();
  CHECK(message_of<FileError>([&] { newest_checkpoint(folder.path()); }).starts_with(path + ": cannot list: "));
  CHECK(message_of<FileError>([&] { best_checkpoint(folder.path()); }).starts_with(path + ": cannot list: "));
  std::filesystem::remove(path);
  CHECK(!newest_checkpoint(folder.path()));
  CHECK(!newest_checkpoint(folder / "none"));
}

TEST_CASE("keeping nothing and saving never are refused", "[run_checkpoints]") {
  SmallTrainer trainer = make();
  SomeBatches batches;
  const TrainingRun run(trainer, batches, {.steps = 3});
  const TemporaryDirectory folder;
  const DirectoryLock lock(folder.path());
  CHECK(!message_of<Error>([&] { RunCheckpoints(run, lock, {.every = 0}); }).empty());
  CHECK(!message_of<Error>([&] { RunCheckpoints(run, lock, {.keep = 0}); }).empty());
}

TEST_CASE("a run whose checkpoints could not be written is refused at its start", "[run_checkpoints]") {
  const TemporaryDirectory folder;
  Trainer<SmallModel, Cpu<>, AdamW> trainer(SomeBatches::capacity, {}, {}, {.threads = 1});
  SomeBatches batches;
  TrainingRun run(trainer, batches, {.steps = 4});
  CHECK(message_of<Error>([&] {
          RunCheckpoints(run, DirectoryLock(folder.path()), {.metadata = {{"text", "\xff"}}});
        }) == "save_checkpoint: the metadata is not valid UTF-8");
}

}  // namespace run_checkpoints_test
