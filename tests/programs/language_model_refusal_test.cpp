// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstring>
#include <programs/language_model_run.hpp>
#include <random>
#include <train/rewrite_checkpoint.hpp>

namespace language_model_refusal_test {

using namespace fathom_test;

TEST_CASE("a text that is none is refused before anything is written", "[programs]") {
  const Workshop workshop;
  const TemporaryDirectory& folder = workshop.folder;
  std::filesystem::create_directory(folder / "bare");
  folder.write("hidden/.text.txt", some_text(5000));
  folder.write("binaries/object.o", std::string(5000, '\0'));
  const std::vector<std::pair<std::filesystem::path, std::string>> cases{
      {folder.write("empty.txt", ""), "is empty"},
      {folder / "missing.txt", "No such file"},
      {folder / "bare", "folder without text"},
      {folder / "hidden", "folder without text"},
      {folder / "binaries", "folder without text"},
      {folder / "binaries/object.o", "zero byte"},
      {folder.write("wide.txt", "\xFF\xFE" + some_text(5000)), "is UTF-16 (convert it: iconv -f UTF-16 -t UTF-8)"},
      {folder / "text.txt/x", "Not a directory"},
      {folder.write("byte.txt", "a"), "give more text"},
      {folder.write("short.txt", some_text(20)), "give more text"},          // shorter than a window
      {folder.write("no-validation.txt", some_text(35)), "give more text"},  // its training part is
  };
  for (const auto& [text, reason] : cases) {
    const Arguments command{tiny_model(), "train", text, "--output", folder / "run"};
    check_refused(command, {text, reason});
    CHECK(!std::filesystem::exists(folder / "run"));
  }
  REQUIRE(run(workshop.train("trained", {"--steps", "20"})).code == 0);
  for (const auto& [text, reason] : cases) {
    if (text.filename() == "short.txt" || text.filename() == "no-validation.txt") continue;  // evaluated window or not
    check_refused({tiny_model(), "evaluate", text, "--output", folder / "trained"}, {text, reason});
  }
}

TEST_CASE("flags without sense are refused by their name", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  check_refused({tiny_model(), "info", "--batch", "100000000"}, {"--batch"});
  check_refused({tiny_model()}, {"train", "--help"});
  check_refused({tiny_model(), "learn"}, {"learn", "--help"});
  check_refused({tiny_model(), "train"}, {"text", "--help"});
  check_refused(workshop.train("run", {"--learning-rat", "1e-3"}), {"--learning-rat", "--help"});
  check_refused(workshop.train("run", {"another.txt"}), {"another.txt", "--help"});
  const std::vector<std::pair<std::string, std::vector<std::string>>> values{
      {"--steps", {"-5", "0", "many", "1.5", "99999999999999999999", ""}},
      {"--batch", {"0", "-1", "99999999999", "100000000"}},
      {"--learning-rate", {"0", "-1e-3", "nan", "inf", "fast"}},
      {"--warmup", {"-1", "x"}},
      {"--validation-every", {"0", "-7"}},
      {"--validation-fraction", {"0", "1", "-0.1", "1.5", "nan"}},
      {"--dropout", {"-0.1", "1", "nan"}},
      {"--matrix-rates", {"some", "", "gain"}},  // PreNorm has no gain
      {"--threads", {"-1", "x", "100000"}},
      {"--seed", {"-1", "x"}},
  };
  for (const auto& [flag, refused] : values)
    for (const std::string& value : refused) check_refused(workshop.train("run", {flag, value}), {flag});
  check_refused(workshop.train("run", {"--warmup", "120"}), {"--warmup", "--steps"});
  check_refused(workshop.train("run", {"--minimum-learning-rate", "1"}),
                {"--minimum-learning-rate", "--learning-rate"});
  check_refused(workshop.train("a/b\n/run", {"--steps", "0"}), {"--steps"});
  CHECK(!std::filesystem::exists(output));

  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const std::vector<std::pair<std::string, std::vector<std::string>>> rules{
      {"--temperature", {"-0.1", "nan", "inf", "hot"}},
      {"--top-p", {"0", "-1", "1.01", "nan"}},
      {"--top-k", {"-1", "x"}},
      {"--tokens", {"0", "-1", "x"}},
      {"--prompt", {""}},
  };
  for (const auto& [flag, refused] : rules)
    for (const std::string& value : refused)
      check_refused({tiny_model(), "sample", "--output", output, flag, value}, {flag});
}

TEST_CASE("a run cannot be where a file is, and a model is not found where none is", "[programs]") {
  const Workshop workshop;
  check_refused(workshop.train("text.txt"), {workshop.text, "irectory"});
  check_refused(workshop.train("text.txt/run"), {workshop.text, "irectory"});
  CHECK(fathom::read_file(workshop.text) == some_text(5000));
  for (const char* device : {"/dev/full", "/dev/null"})
    check_refused({tiny_model(), "train", workshop.text, "--output", device}, {device, "irectory"});
  const std::filesystem::path nowhere = workshop.folder / "nowhere";
  check_refused({tiny_model(), "sample", "--output", nowhere}, {nowhere, "--output"});
  check_refused({tiny_model(), "evaluate", workshop.text, "--output", nowhere}, {nowhere, "--output"});
  CHECK(!std::filesystem::exists(nowhere));
}

TEST_CASE("a folder that may not be written is refused", "[programs]") {
  if (::geteuid() == 0) SKIP("root may write everywhere");
  const Workshop workshop;
  const std::filesystem::path folder = workshop.folder / "locked";
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  check_refused(workshop.train("locked"), {folder, "check the permissions"});
  check_refused(workshop.train("locked/run"), {folder, "check the permissions"});
}

TEST_CASE("a finished run is not overwritten by one that forgot --resume", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const auto before = content_of(workshop.folder / "run");
  check_refused(workshop.train("run", {"--steps", "20"}), {workshop.folder / "run", "--resume"});
  check_same(content_of(workshop.folder / "run"), before);
}

TEST_CASE("the checkpoint of a model with another policy is refused, and stays", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const auto before = content_of(output);
  for (const Arguments& command : {Arguments{admin_model(), "train", workshop.text, "--output", output, "--resume"},
                                   Arguments{admin_model(), "evaluate", workshop.text, "--output", output},
                                   Arguments{admin_model(), "sample", "--output", output}})
    check_refused(command, {output, "config.json", "/model/stack/block/layers/0/residual/name", "PreNorm", "Admin"});
  check_same(content_of(output), before);
}

TEST_CASE("a damaged checkpoint is refused by the file's name, and nothing is written", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run", checkpoint = checkpoint_of(output, 20);
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const auto before = content_of(output);
  const auto write = [&](const std::string& name, std::string_view content) {
    workshop.folder.write((checkpoint / name).lexically_relative(workshop.folder.path()).string(), content);
  };
  std::minstd_rand draw(1);
  for (const std::string name : {"config.json", "model.safetensors", "state.safetensors"}) {
    const std::string whole = fathom::read_file(checkpoint / name);
    std::vector<std::string> damaged{
        "", "x", "{}", whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 1), whole + "x"};
    for (int i = 0; i < 10; ++i) {
      damaged.push_back(whole);
      char& byte = damaged.back()[i < 5 ? draw() % 1000 : draw() % whole.size()];
      byte = static_cast<char>(byte ^ 1 << draw() % 8);
    }
    for (const std::string& content : damaged) {
      write(name, content);
      check_refused(workshop.train("run", {"--steps", "20", "--resume"}), {checkpoint / name});
      if (name != "state.safetensors")
        check_refused({tiny_model(), "sample", "--checkpoint", checkpoint}, {checkpoint / name});
    }
    std::filesystem::remove(checkpoint / name);
    check_refused(workshop.train("run", {"--steps", "20", "--resume"}), {checkpoint / name, "No such file"});
    write(name, whole);
  }
  check_same(content_of(output), before);
}

/// The commands that read a run.
std::vector<Arguments> readers(const Workshop& workshop) {
  const std::filesystem::path output = workshop.folder / "run";
  return {workshop.train("run", {"--steps", "20", "--resume"}),
          {tiny_model(), "evaluate", workshop.text, "--output", output},
          {tiny_model(), "sample", "--tokens", "1", "--output", output},
          {tiny_model(), "sample", "--tokens", "1", "--last", "1", "--output", output}};
}

TEST_CASE("weights that are too large for a loss are no result", "[programs]") {
  const Workshop workshop;
  const TemporaryDirectory& folder = workshop.folder;
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  rewrite_tensors(folder / "run/best/model.safetensors", [](auto&, std::map<std::string, Bytes>& tensors) {
    Bytes& output = tensors.at("output.weight");
    for (std::size_t i = 0; i < output.size(); i += sizeof(float)) {
      const float large = i % 16 == 0 ? 3e38f : -3e38f;
      std::memcpy(output.data() + i, &large, sizeof large);
    }
  });
  check_refused({tiny_model(), "evaluate", workshop.text, "--output", folder / "run"},
                {workshop.text, "not finite", "--checkpoint"});
  const Ended sample = run({tiny_model(), "sample", "--output", folder / "run"});  // the prompt is out by then
  CHECK(sample.code == 1);
  CHECK(error_line(sample).find("not finite") != std::string::npos);
}

TEST_CASE("a pipe in the place of any file ends every command at once", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "20", "--average", "0.9"})).code == 0);
  const auto replaced = [&](const std::filesystem::path& path, auto&& body) {
    const std::filesystem::path kept = workshop.folder / "kept";
    std::filesystem::rename(path, kept);
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    body();
    std::filesystem::remove(path);
    std::filesystem::rename(kept, path);
  };
  // The best checkpoint is there to be used: its average, not its weights and its optimizer's state.
  std::vector<std::filesystem::path> files{workshop.text, output / "log.csv", output / "best/config.json",
                                           output / "best/average.safetensors"};
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint_of(output, 20)))
    files.push_back(entry.path());
  REQUIRE(files.size() == 8);
  for (const auto& file : files)
    replaced(file, [&] {
      int refused = 0;
      for (const Arguments& command : readers(workshop)) {
        const auto begin = std::chrono::steady_clock::now();
        const Ended ended = run(command);
        CAPTURE(file, command, ended.err);
        CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));  // it was for ever
        CHECK(ended.code >= 0);
        if (ended.code == 0) continue;  // a file that this command does not read
        ++refused;
        CHECK(error_line(ended).find(file) != std::string::npos);
      }
      CAPTURE(file);
      CHECK(refused > 0);
    });
  CHECK(run(workshop.train("run", {"--steps", "20", "--resume"})).code == 0);

  std::filesystem::create_directory(workshop.folder / "fresh");
  REQUIRE(::mkfifo((workshop.folder / "fresh/log.csv").c_str(), 0600) == 0);
  check_refused(workshop.train("fresh", {"--steps", "20"}), {"log.csv: is a pipe"});
}

TEST_CASE("a config.json that is nested without end is refused by every command", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  for (const std::string folder : {"run/best", "run/checkpoints/00000020"})
    workshop.folder.write(folder + "/config.json", std::string(100'000, '['));
  for (const Arguments& command : readers(workshop))
    check_refused(command, {output, "config.json: is nested more than 64 deep"});
}

}  // namespace language_model_refusal_test
