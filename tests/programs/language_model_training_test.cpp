// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <programs/language_model_run.hpp>
#include <support/sanitized.hpp>

namespace language_model_training_test {

using namespace fathom_test;

Arguments with(const std::string& model, Arguments command) {
  command.front() = model;
  return command;
}

/// Each tensor of a checkpoint's weights whose name ends so.
std::vector<std::vector<float>> tensors(const std::filesystem::path& checkpoint, const std::string& end) {
  const fathom::safetensors::File file(checkpoint / "model.safetensors");
  std::vector<std::vector<float>> values;
  for (const auto& tensor : file.tensors()) {
    if (!tensor.name.ends_with(end)) continue;
    values.emplace_back(tensor.bytes.size() / sizeof(float));
    file.read(tensor.name, tensor.shape, std::span(values.back()));
  }
  return values;
}

TEST_CASE("a run that gives up keeps its last good weights", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run", newest = checkpoint_of(output, 51);
  const Arguments hot{"--learning-rate", "1e6", "--clip", "0", "--warmup", "0", "--save-every", "1000"};
  const Ended ended = run(workshop.train("run", hot));
  auto lines = lines_of(ended.err);
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("train "); });
  CAPTURE(ended.err);
  REQUIRE(lines.size() == 50);
  for (std::size_t i = 0; i < 49; ++i) {
    CHECK(lines[i].starts_with("update " + std::to_string(i + 2) + " skipped: not finite, first in batch.0."));
    CHECK(lines[i].find(".blocks.") != std::string::npos);
  }
  CHECK(
      lines.back().starts_with("tiny-lm: Trainer: 50 updates in a row were skipped, the last at step 51: not finite"));
  CHECK(ended.code == 1);

  CHECK(lines_of(fathom::read_file(output / "log.csv")).size() == 51);
  CHECK(fathom::read_file(output / "curves.svg").ends_with("</svg>\n"));
  REQUIRE(fathom::newest_checkpoint(output) == newest);
  // As after the first update, the only one that was made.
  REQUIRE(run(workshop.train("first", hot + Arguments{"--save-every", "1", "--keep", "1000"})).code == 1);
  CHECK(tensors(newest, "") == tensors(checkpoint_of(workshop.folder / "first", 1), ""));
  // There is nothing new to save now.
  const auto before = content_of(output);
  const Ended again = run(workshop.train("run", Arguments{"--resume"} + hot));
  CHECK(again.code == 1);
  CHECK(error_line(again).find("51 updates in a row were skipped, the last at step 52") != std::string::npos);
  check_same(content_of(output), before);
}

TEST_CASE("Admin's scales come from a profile of the first batch, once", "[programs]") {
  const Workshop workshop;
  const Arguments cold{"--learning-rate", "1e-6", "--minimum-learning-rate", "0", "--steps", "20", "--keep", "100",
                       "--save-every",    "1"};
  REQUIRE(run(with(admin_model(), workshop.train("whole", cold))).code == 0);
  const auto scales = tensors(checkpoint_of(workshop.folder / "whole", 1), ".scale");
  REQUIRE(scales.size() == 8);
  // The first sublayer's stays; each of the others has seen the variance of those before.
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto [least, most] = std::ranges::minmax(scales[i]);
    CHECK(most - least < 1e-3f);
    CHECK((i == 0 ? std::abs(most - 1) < 1e-3f : least > 1.01f));
  }
  // A run that goes on does not profile again.
  Process process(with(admin_model(), workshop.train("stopped", cold)));
  wait_for_steps(process, workshop.folder / "stopped", 5);
  process.signal(SIGTERM);
  CHECK(process.wait().code == 128 + SIGTERM);
  REQUIRE(run(with(admin_model(), workshop.train("stopped", Arguments{"--resume"} + cold))).code == 0);
  check_same(content_of(workshop.folder / "stopped"), content_of(workshop.folder / "whole"));
}

/// MiB in a line of `info`.
double mebibytes(const std::string& model, const std::string& line, const Arguments& options = {}) {
  const Ended ended = run(Arguments{model, "info"} + options);
  REQUIRE(ended.code == 0);
  const std::size_t place = ended.out.find("\n  " + line + " ");
  REQUIRE(place != std::string::npos);
  return std::stod(ended.out.substr(place + 3 + line.size()));
}

TEST_CASE("a model that computes activations again needs less memory", "[programs]") {
  const Arguments large{"--batch", "1000"};
  CHECK(mebibytes(admin_model(), "activations", large) < 0.7 * mebibytes(tiny_model(), "activations", large));
}

TEST_CASE("the memory that info prints is what a run takes, within 5 %", "[programs]") {
  if (sanitized) SKIP("sanitizers take memory of their own");
  const std::string model = FATHOM_TEST_EXAMPLES "/fathom-lm";  // large enough for a program's own memory not to matter
  if (!std::filesystem::exists(model)) SKIP("fathom-lm is not built");
  const Workshop workshop;
  const Arguments plain{"--batch", "2", "--threads", "2"};
  for (const Arguments& options :
       {plain, plain + Arguments{"--average", "0.9", "--dropout", "0.1", "--accumulate", "2", "--batch", "3"}}) {
    CAPTURE(options);
    const std::string name = "run-" + std::to_string(options.size());
    const Process process(with(model, workshop.train(name, options + Arguments{"--save-every", "1"})));
    wait_for_steps(process, workshop.folder / name, 3);
    REQUIRE(process.running());
    const double real = double(process.memory()) / 1024 / 1024, planned = mebibytes(model, "total", options);
    CAPTURE(real, planned);
    CHECK(std::abs(real / planned - 1) < 0.05);
  }
}

}  // namespace language_model_training_test
