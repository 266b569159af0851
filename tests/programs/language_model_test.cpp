// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <limits>
#include <programs/language_model_run.hpp>
#include <sstream>

namespace language_model_test {

using namespace fathom_test;

/// The lowest number in a column of a log.
double lowest(const std::filesystem::path& log, std::size_t column) {
  double result = std::numeric_limits<double>::infinity();
  for (const std::string& line : lines_of(fathom::read_file(log))) {
    std::istringstream cells(line);
    std::string cell;
    for (std::size_t i = 0; i <= column; ++i) std::getline(cells, cell, ',');
    if (!cell.empty() && cell.find_first_not_of("0123456789.e-") == std::string::npos)
      result = std::min(result, std::atof(cell.c_str()));
  }
  return result;
}

TEST_CASE("a model learns, is evaluated and writes", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  const Ended trained = run(workshop.train("run"));
  REQUIRE(trained.code == 0);
  // The progress: plain lines, because this is no terminal.
  const auto lines = lines_of(trained.err);
  CHECK(lines.size() >= 2);
  CHECK(trained.err.find_first_of("\r\033") == std::string::npos);
  for (const std::string& line : lines) CHECK(line.starts_with("train "));
  CHECK(lines.back().starts_with("train 120/120 100%  loss "));

  CHECK(lines_of(fathom::read_file(output / "log.csv")).size() == 121);
  CHECK(fathom::read_file(output / "curves.svg").ends_with("</svg>\n"));

  // The end of the text was for validation, so evaluating it gives the log's best validation loss.
  const auto end = workshop.folder.write("end.txt", fathom::read_file(workshop.text).substr(4500));
  const Ended evaluated = run({tiny_model(), "evaluate", end, "--output", output});
  CHECK(evaluated.code == 0);
  CHECK(evaluated.err.empty());
  std::istringstream words(evaluated.out);
  double bytes = 0, loss = 0;
  std::string word;
  words >> bytes >> word >> loss;
  CHECK(bytes == 500);
  CHECK(std::abs(loss - lowest(output / "log.csv", 2)) < 1e-4);
  CHECK(loss < 3);  // nats, of 5.5 for a model that knows nothing

  const auto sample = [&](const Arguments& more) {
    const Ended ended =
        run(Arguments{tiny_model(), "sample", "--output", output, "--prompt", "a deep", "--tokens", "50"} + more);
    CHECK(ended.code == 0);
    CHECK(ended.err.empty());
    CHECK(ended.out.starts_with("a deep"));
    CHECK(ended.out.size() == 6 + 50 + 1);
    return ended.out;
  };
  // Of a long prompt the model reads as much as its context holds, which is the end.
  const std::string tail = some_text(32);
  std::string continued;
  for (const std::string& prompt : {tail, "x" + tail, std::string(100, 'x') + tail}) {
    const Ended ended = run({tiny_model(), "sample", "--output", output, "--prompt", prompt, "--tokens", "50"});
    CHECK(ended.code == 0);
    CHECK(ended.out.starts_with(prompt));
    CHECK(ended.out.size() == prompt.size() + 50 + 1);
    if (continued.empty()) continued = ended.out.substr(prompt.size());
    CHECK(ended.out.ends_with(tail + continued));
  }
  CHECK(sample({"--seed", "7"}) == sample({"--seed", "7", "--threads", "1"}));
  CHECK(sample({"--seed", "7"}) != sample({"--seed", "8"}));
  CHECK(sample({"--seed", "7", "--temperature", "0"}) == sample({"--seed", "8", "--top-k", "1"}));
}

TEST_CASE("the model and its costs are described without training it", "[programs]") {
  const Ended info = run({tiny_model(), "info"});
  CHECK(info.code == 0);
  CHECK(info.err.empty());
  for (const char* part :
       {"4 layers, width 32, context 32, vocabulary 256", "parameters ", " MFLOP", "weights ", "gradients ",
        "optimizer ", "average ", "activations ", "workspace ", "batches ", "checkpoint's copy ", "total "}) {
    INFO(part);
    CHECK(info.out.find(part) != std::string::npos);
  }
}

TEST_CASE("what a folder's text is made of is said, and what was left out", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path texts = workshop.folder / "texts", output = workshop.folder / "run";
  workshop.folder.write("texts/a.txt", some_text(2000));
  workshop.folder.write("texts/b\n.txt", "\xFF\xFE" + some_text(2000));
  workshop.folder.write("elsewhere/c.txt", some_text(1000));
  std::filesystem::create_symlink(workshop.folder / "elsewhere", texts / "c");
  const std::vector<std::string> said{
      texts.string() + ": 2 files, 3000 bytes of text",
      "left out: " + (texts / "b?.txt").string() + " is UTF-16 (convert it: iconv -f UTF-16 -t UTF-8)"};
  const Arguments few{"--steps", "3", "--warmup", "1"};
  Arguments command = workshop.train("run", few);
  command[2] = texts;
  for (const Arguments& more : {Arguments{}, Arguments{"--resume"}}) {
    const Ended ended = run(command + more);
    CHECK(ended.code == 0);
    auto lines = lines_of(ended.err);
    std::erase_if(lines, [](const std::string& line) { return line.starts_with("train "); });
    CHECK(lines == said);
  }
  const Ended evaluated = run({tiny_model(), "evaluate", texts, "--output", output});
  CHECK(evaluated.out.starts_with("3000 bytes, "));
  CHECK(lines_of(evaluated.err) == said);
}

TEST_CASE("there are no more threads than the process may run at the same time", "[programs]") {
  if (run({"taskset", "-c", "0", "true"}).code != 0) SKIP("taskset is not there, or may not choose processor 0");
  const Ended pinned = run({"taskset", "-c", "0", tiny_model(), "info"});
  CHECK(pinned.code == 0);
  CHECK(pinned.out.find("batch 8, 1 threads") != std::string::npos);
}

TEST_CASE("names of files need not be UTF-8 nor simple", "[programs]") {
  const Workshop workshop;
  const auto text = workshop.folder.write("caf\xE9 <&> \"$x\"\n.txt", some_text(2000));
  const std::filesystem::path output = workshop.folder / "r\xFCn \n";
  const Arguments command{tiny_model(), "train", text, "--output", output, "--steps", "3", "--warmup", "1"};
  const Ended trained = run(command);
  CAPTURE(trained.err);
  CHECK(trained.code == 0);
  CHECK(run(command + Arguments{"--resume"}).code == 0);
  const Ended missing = run({tiny_model(), "evaluate", "no such\ntext", "--output", output});
  CHECK(missing.code == 1);
  CHECK(error_line(missing).find("no such?text: ") != std::string::npos);
}

}  // namespace language_model_test
