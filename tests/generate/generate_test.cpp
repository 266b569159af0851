// SPDX-License-Identifier: Apache-2.0
#include "../../examples/programs/llama2c_model.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/generate/generate.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/llama2c.hpp>
#include <generate/models.hpp>
#include <limits>
#include <string>
#include <support/data.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace generate_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

using BytesModel = LanguageModel<Vocabulary<256>, ContextLength<32>, deepnet::DecoderOnly<2, 16, 2>>;
constexpr Cpu<>::Options one_thread{.threads = 1};

template <class Model>
std::string refusal(const Weights<Model, Cpu<>>& weights, const std::string& prompt, const GenerateOptions& options) {
  return message_of<Error>([&] { generate(weights, prompt, options); });
}

TEST_CASE("text continues, also piece by piece", "[generate]") {
  const Weights<BytesModel, Cpu<>> weights(3);
  std::string streamed = "The ";
  GenerateOptions options{.tokens = 50, .slide = true, .stream = [&](std::string_view piece) { streamed += piece; }};
  const std::string text = generate(weights, "The ", options, text::Bytes(), one_thread);
  CHECK(text.size() == 54);
  CHECK_THAT(text, StartsWith("The "));
  CHECK(streamed == text);
  CHECK(generate(weights, "The ", options, text::Bytes(), one_thread) == text);
  options.seed = 2;
  CHECK(generate(weights, "The ", options, text::Bytes(), one_thread) != text);
  CHECK(generate(weights, "The ").size() == 4 + 29);  // the last of 33 tokens is never read
  CHECK(generate(weights, "", {.tokens = 5, .begin = 'x'}).size() == 6);
}

TEST_CASE("other tokenizers", "[generate]") {
  using Model = LanguageModel<Vocabulary<5>, ContextLength<32>, deepnet::DecoderOnly<2, 16, 2>>;
  const Weights<Model, Cpu<>> weights(3);
  const auto tokenizer = text::Characters::of("aäöüß");
  const std::string text = generate(weights, "äß", {.tokens = 9}, tokenizer, one_thread);
  CHECK_THAT(text, StartsWith("äß"));
  CHECK(tokenizer.encode(text).size() == 11);
}

TEST_CASE("what cannot be generated is refused in one line", "[generate]") {
  const Weights<BytesModel, Cpu<>> weights(3);
  CHECK_THAT(refusal(weights, "", {}), ContainsSubstring("the prompt is empty"));
  CHECK_THAT(refusal(weights, "The ", {.tokens = 30}),
             ContainsSubstring("a prompt of 4 tokens and 30 more exceed the model's context of 32"));
  CHECK(refusal(weights, "The ", {.tokens = 29}).empty());
  CHECK_THAT(refusal(weights, "The ", {.tokens = std::numeric_limits<int>::max()}),
             ContainsSubstring("a prompt of 4 tokens and 2147483647 more exceed the model's context of 32"));
  CHECK_THAT(refusal(weights, std::string(33, 'x'), {.tokens = 1, .slide = true}), ContainsSubstring("context of 32"));
  CHECK_THAT(refusal(moved_weights<Learned, Cpu<>>(), "The ", {}),
             ContainsSubstring("the tokenizer has 256 tokens and the model 37"));
}

TEST_CASE("stories260K tells the documented story", "[generate]") {
  const auto folder = data("pretrained/stories260k");
  const auto tokenizer = text::Llama2c::from_file(folder / "tok512.bin");
  const auto weights = program::Llama2cFile(folder / "stories260K.bin").weights<program::Stories260K, Cpu<>>();
  std::string expected = read_file(folder / "expected_greedy.txt");
  expected.pop_back();  // the line feed of the file
  int tokens = 0;
  const std::string story = generate(weights, "",
                                     {.begin = text::Llama2c::begin,
                                      .stop = text::Llama2c::begin,
                                      .sampling = {.temperature = 0},
                                      .stream = [&](std::string_view) { ++tokens; }},
                                     tokenizer, one_thread);
  CHECK_THAT(story, StartsWith(expected));
  CHECK(tokens == 346);  // number 345, counted from 0, is the start token again
}

TEST_CASE("files that are no llama2.c model are refused", "[generate]") {
  const TemporaryDirectory folder;
  using File = program::Llama2cFile;
  CHECK_THAT(message_of<FileError>([&] { File(folder / "none"); }), ContainsSubstring("none"));
  CHECK_THAT(message_of<FileError>([&] { File(folder.write("short", "1234")); }),
             ContainsSubstring("short: is no llama2.c model"));
  std::string header(reinterpret_cast<const char*>(program::Stories260K::header.data()), 28);
  const auto load = [&] { File(folder.write("model", header)).weights<program::Stories260K, Cpu<>>(); };
  CHECK_THAT(message_of<FileError>(load), ContainsSubstring("cut off in the tensor embedding.token.weight"));
  header[0] = 63;
  CHECK_THAT(message_of<FileError>(load), ContainsSubstring("is no llama2.c model"));
  header[0] = 72;
  CHECK_THAT(message_of<FileError>(load), ContainsSubstring("not built in (width, hidden, layers, heads, kv heads, "
                                                            "vocabulary, context: 72, 172, 5, 8, 4, 512, 512)"));
}

}  // namespace generate_test
