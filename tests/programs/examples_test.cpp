// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <limits>
#include <programs/process.hpp>
#include <programs/refusal.hpp>
#include <sstream>
#include <string>
#include <support/data.hpp>
#include <support/temporary_directory.hpp>
#include <thread>

namespace examples_test {

using namespace fathom_test;

std::string example(const std::string& name) {
  const std::string path = FATHOM_TEST_EXAMPLES "/" + name;
  if (!std::filesystem::exists(path)) SKIP(path + " is not built");
  return path;
}

/// A tokenizer of llama2.c with so many pieces, one letter each.
std::string letters(int count) {
  std::string file(4, '\0');
  for (int id = 0; id < count; ++id) file += std::string("\0\0\0\0\1\0\0\0", 8) + char('a' + id % 26);  // score, length
  return file;
}

/// Every option of a program that takes a number, by the types in its help, refuses what is no decimal one. `command`
/// may run with any of them.
void check_numbers(const Arguments& command, int options) {
  int found = 0;
  std::istringstream lines(run(command + Arguments{"--help"}).out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string option, type;
    words >> option >> type;
    if (!option.starts_with("--") || (!type.starts_with("INT") && !type.starts_with("UINT") && type.find("FLOAT") != 0))
      continue;
    ++found;
    for (const std::string text : {"", "0x1", "+1", " 1", "1_000", "x"})
      check_refused(command + Arguments{option, text}, {option + ": a ", " is needed, not '" + text + "'"});
    if (type.find("FLOAT") == 0) continue;
    for (const std::string text : {"1e0", "1.0", "99999999999999999999"})
      check_refused(command + Arguments{option, text}, {option + ": a whole number from ", " is needed, not '" + text});
    CHECK(run(command + Arguments{option, "08", "--help"}).code == 0);  // no number of base 8
  }
  CHECK(found == options);
}

TEST_CASE("fathom-demo says what it is and what is wrong", "[programs]") {
  const std::string demo = example("fathom-demo");
  const TemporaryDirectory folder;
  const Ended help = run({demo, "--help"});
  CHECK(help.code == 0);
  CHECK(help.out.find("--steps") != std::string::npos);
  check_refused({demo, "--step", "5"}, {"--step", "--help"});
  for (const std::string flag : {"--steps", "--threads", "--seed"}) check_refused({demo, flag, "-1"}, {flag});
  check_numbers({demo}, 3);
  check_refused({demo, "--output", folder.write("file", "") / "runs"}, {folder / "file"});
  const fathom::DirectoryLock taken(folder / "taken");
  check_refused({demo, "--output", taken.path()}, {taken.path(), "in use"});
}

TEST_CASE("fathom-demo trains two models and draws their curves", "[programs][slow]") {
  const TemporaryDirectory folder;
  const Arguments demo{example("fathom-demo"), "--steps", "1", "--output", folder.path()};
  // Once more without a reader: it has the same files.
  CHECK(run(Arguments{"sh", "-c", "{ \"$@\" 2>&1; echo $? > \"$0\"; } | true", folder / "code"} + demo).code == 0);
  CHECK(fathom::read_file(folder / "code") == "0\n");
  CHECK(std::filesystem::exists(folder / "curves.svg"));
  const Ended ended = run(demo);
  CHECK(ended.code == 0);
  CHECK(ended.out.find("The DeepNorm model continues") != std::string::npos);
  for (const char* name : {"DeepNorm.csv", "Post-LN.csv", "curves.svg"}) CHECK(std::filesystem::exists(folder / name));
}

TEST_CASE("fathom-llama2c says what it is and what is wrong, and tells a story", "[programs]") {
  const std::string llama = example("fathom-llama2c");
  const TemporaryDirectory folder;
  const Ended help = run({llama, "--help"});
  CHECK(help.code == 0);
  CHECK(help.out.find("--temperature") != std::string::npos);

  constexpr std::int32_t header[]{64, 172, 5, 8, 4, 512, 512};  // of stories260K.bin, which has about as many floats
  const std::string whole =
      std::string(reinterpret_cast<const char*>(header), sizeof header) + std::string(4 * 261'000, '\0');
  const auto model = folder.write("model.bin", whole), tokenizer = folder.write("tokenizer.bin", letters(512));
  const auto cut = folder.write("cut.bin", whole.substr(0, whole.size() / 2));
  const auto text = folder.write("text.txt", std::string(100, 'x')), missing = folder / "missing.bin";
  const auto small = folder.write("small.bin", letters(100));

  check_refused({llama}, {"model", "--help"});
  check_refused({llama, model, tokenizer, "--token", "5"}, {"--token", "--help"});
  check_refused({llama, missing, tokenizer}, {missing, "No such file"});
  check_refused({llama, model, missing}, {missing, "No such file"});
  check_refused({llama, text, tokenizer}, {text, "is no llama2.c model"});
  check_refused({llama, tokenizer, model}, {tokenizer, "is no llama2.c model"});
  check_refused({llama, model, model}, {model, "not a whole llama2.c tokenizer"});
  for (const int size : {511, 513, 32000})
    check_refused({llama, model, folder.write("other.bin", letters(size))}, {std::to_string(size), "512"});
  const auto pointer =
      folder.write("pointer.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n");
  for (const Arguments& command : {Arguments{llama, pointer, tokenizer}, Arguments{llama, model, pointer}}) {
    check_refused(command, {pointer, "pointer of git-lfs", "git lfs pull"});
    CHECK(std::ranges::count(error_line(run(command)), ';') == 1);  // one thing to do
  }
  check_refused({llama, folder.write("empty.bin", ""), tokenizer}, {"is empty"});
  for (const char version : {'\1', '\2'}) {
    const auto later = folder.write("later.bin", "24ka" + std::string(1, version) + std::string(200, '\0'));
    check_refused({llama, later, tokenizer}, {"of version " + std::to_string(version), "--version 0"});
  }
  constexpr std::int32_t larger[]{288, 768, 6, 6, 6, 32000, 256};  // of stories15M.bin
  const auto large = folder.write("large.bin", std::string(reinterpret_cast<const char*>(larger), sizeof larger));
  check_refused({llama, large, tokenizer}, {"the tokenizer has 512 tokens and the model 32000"});
  for (const int vocabulary : {512, -512}) {  // negative: the output has a matrix of its own
    const std::int32_t shape[]{64, 172, 6, 8, 4, vocabulary, 512};
    const auto other =
        folder.write("shape.bin", std::string(reinterpret_cast<const char*>(shape), sizeof shape) + whole);
    check_refused({llama, other, tokenizer}, {"64, 172, 6, 8, 4, " + std::to_string(vocabulary) + ", 512",
                                              vocabulary > 0 ? "add Llama2c<" : "own"});
  }
  for (const int width : {640, 896, 1152, 1408}) {  // they begin as a Python pickle does
    const std::int32_t shape[]{width, 172, 6, 8, 4, 512, 512};
    const auto wide = folder.write("wide.bin", std::string(reinterpret_cast<const char*>(shape), sizeof shape) + whole);
    check_refused({llama, wide, tokenizer}, {std::to_string(width) + ", 172", "add Llama2c<"});
  }
  check_refused({llama, cut, tokenizer, "--prompt", "a"}, {cut, "cut off"});
  check_refused({llama, model, small}, {small, "not a whole"});
  const std::vector<std::pair<std::string, std::vector<std::string>>> values{
      {"--tokens", {"-1", "x", "2147483647", "4294967296"}},
      {"--temperature", {"-1", "nan", "x"}},
      {"--top-p", {"0", "1.1", "x"}},
      {"--seed", {"-1", "x"}}};
  for (const auto& [flag, refused] : values)
    for (const std::string& value : refused) check_refused({llama, model, tokenizer, flag, value}, {flag});

  check_numbers({llama, model, tokenizer}, 4);
  std::string nan = whole;
  const float value = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(nan.data() + 1000, &value, sizeof value);
  check_refused({llama, folder.write("nan.bin", nan), tokenizer}, {"nan.bin", "not finite", "embedding.token.weight"});
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  check_refused({llama, pipe, tokenizer}, {pipe, "not a regular file"});
  check_refused({llama, model, pipe}, {pipe, "not a regular file"});
  check_refused({llama, model, tokenizer, "--tokens", "510", "--prompt", "abc"}, {"--tokens 510", "of 512", "508"});
  check_refused({llama, model, tokenizer, "--prompt", std::string(600, 'a')}, {"--prompt", "context of 512"});

  const Ended story = run({llama, model, tokenizer, "--prompt", "abc", "--tokens", "5"});
  CHECK(story.code == 0);
  CHECK(lines_without_remark(story).empty());
  CHECK(story.out.starts_with("abc"));
  CHECK(story.out.size() == 3 + 5 + 1);
  // All weights are zero, so that 16 bits tell the same.
  CHECK(run({llama, model, tokenizer, "--prompt", "abc", "--tokens", "5", "--precision", "Mixed"}).out == story.out);
  check_refused({llama, model, tokenizer, "--precision", "Half"}, {"--precision", "Half", "Single,Mixed"});
}

TEST_CASE("fathom-opennmt says what is wrong", "[programs]") {
  const std::string opennmt = example("fathom-opennmt");
  const TemporaryDirectory folder;
  const std::string tokens = folder.write("tokens.txt", "<blank>\n<s>\n</s>\na\n");
  check_refused({opennmt}, {"model is required"});
  check_refused({opennmt, folder / "missing", tokens, tokens}, {folder / "missing", "No such file"});
  check_refused({opennmt, tokens, tokens, tokens}, {tokens, "safetensors"});
  check_numbers({opennmt, "model", tokens, tokens}, 3);
}

TEST_CASE("fathom-opennmt says what was given for a vocabulary", "[programs]") {
  const std::string opennmt = example("fathom-opennmt");
  const auto model = data("pretrained/aren_transliteration") / "model.safetensors";
  const TemporaryDirectory folder;
  const auto refuse = [&](const std::string& vocabulary, const std::string& reason) {
    check_refused({opennmt, model, vocabulary, vocabulary}, {vocabulary, reason});
  };
  refuse(folder.write("pointer.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"), "git-lfs");
  refuse(folder.write("wide.txt", std::string("\xFF\xFE<\0b\0>\0\n\0", 10)), "UTF-16");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  Process writer({"sh", "-c", "exec sleep 20 > " + (folder / "pipe").string()});
  refuse((folder / "pipe").string(), "not a regular file");
  writer.signal(SIGKILL);
}

TEST_CASE("fathom-opennmt writes Arabic words in Latin letters", "[programs]") {
  const std::string opennmt = example("fathom-opennmt");
  const auto model = data("pretrained/aren_transliteration");
  const TemporaryDirectory folder;
  const auto translated = [&](const std::string& text, const std::string& options) {
    const std::string lines = folder.write("lines", text);
    return run({"sh", "-c",
                "\"$0\" \"$1/model.safetensors\" \"$1/source_vocabulary.txt\" \"$1/target_vocabulary.txt\" " + options +
                    " < \"$2\"",
                opennmt, model, lines});
  };
  CHECK(translated("آ ز ا\n\nآ ت ز م و ن\n", "").out == "a z z a\n\na t z m o n\n");
  CHECK(translated("آ ز ا\n\nآ ت ز م و ن\n", "--precision Mixed").out == "a z z a\n\na t z m o n\n");
  CHECK(translated("آزا\nآتشيسون", "--characters --threads 2").out == "azza\nachison\n");
  CHECK(translated("آ ز ا", "--scores").out == "-0.7546\ta z z a\n");
  const std::string rounded = translated("آ ز ا", "--scores --precision Mixed").out;
  CHECK(rounded != "-0.7546\ta z z a\n");
  CHECK(rounded.starts_with("-0.7"));
  std::string line;
  for (int i = 0; i < 257; ++i) line += "ا ";
  const Ended refused = translated("آ ز ا\n" + line, "");
  CHECK(refused.code == 1);
  CHECK(refused.out == "a z z a\n");
  CHECK(refused.err.find("stdin: line 2 has 257 tokens, and the model reads at most 256") != std::string::npos);
}

TEST_CASE("fathom-quickstart says what is wrong", "[programs]") {
  const std::string quickstart = example("fathom-quickstart");
  const TemporaryDirectory folder;
  check_refused({quickstart}, {"give a text file"});
  check_refused({quickstart, "--wrong"}, {"--wrong"});
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_refused({quickstart, folder / "pipe"}, {"pipe: is empty"});
  check_refused({quickstart, folder / "missing.txt"}, {folder / "missing.txt", "No such file"});
  check_refused({quickstart, folder.write("short.txt", "too short")}, {"give more text"});
}

TEST_CASE("fathom-quickstart trains", "[programs][slow]") {
  const TemporaryDirectory folder;
  const auto out = folder.write("out.txt", "");
  const Process process({example("fathom-quickstart"), "README.md"}, {.out = out});
  while (process.running() && lines_of(fathom::read_file(out)).empty())
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(fathom::read_file(out).starts_with("step 50  loss "));
}

}  // namespace examples_test
