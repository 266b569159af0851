// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/generate/translate.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/safetensors.hpp>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "../../examples/programs/opennmt_model.hpp"
#include "generate/pair_models.hpp"
#include "support/data.hpp"
#include "support/near.hpp"
#include "support/reference.hpp"
#include "support/temporary_directory.hpp"

namespace opennmt_test {

using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using program::OpenNmtFile;
using program::OpenNmtVocabulary;

using Small = program::OpenNmt<2, 2, 8, 2, 12, 7, 6>;

struct NamedTensor {
  safetensors::Shape shape;
  std::vector<double> values;
};
using Tensors = std::map<std::string, NamedTensor>;

/// The parameters of tests/reference/opennmt.safetensors.
Tensors small_model() {
  const std::string prefix = "parameter.";
  const safetensors::File file("tests/reference/opennmt.safetensors");
  const Reference reference("opennmt");
  Tensors tensors;
  for (const auto& tensor : file.tensors())
    if (tensor.name.starts_with(prefix))
      tensors[tensor.name.substr(prefix.size())] = {tensor.shape, reference.values(tensor.name)};
  return tensors;
}

std::filesystem::path write(const TemporaryDirectory& folder, const Tensors& tensors) {
  safetensors::Writer writer;
  for (const auto& [name, tensor] : tensors) writer.add(name, tensor.shape, std::span<const double>(tensor.values));
  const auto path = folder / "model.safetensors";
  writer.write(path);
  return path;
}

TEST_CASE("a transformer of OpenNMT-tf is read, and agrees with PyTorch", "[generate]") {
  const TemporaryDirectory folder;
  const Reference reference("opennmt");
  const OpenNmtFile file(write(folder, small_model()));
  CHECK(file.is<Small>());
  CHECK(!file.is<program::ArabicToLatin>());
  const auto weights = file.weights<Small, Cpu<Double>>();
  const auto pass = uncached_pass(weights, reference.integers("input.source"), reference.integers("input.target"));
  require_near(pass.memory, reference.values("output.memory"), "memory");
  require_near(pass.logits, reference.values("output.logits"), "logits");
}

TEST_CASE("files that are no transformer of OpenNMT-tf are refused", "[generate]") {
  const auto refused = [](const std::function<void(Tensors&)>& change) {
    const TemporaryDirectory folder;
    Tensors tensors = small_model();
    change(tensors);
    const auto path = write(folder, tensors);
    return message_of<FileError>([&] { OpenNmtFile(path).weights<Small, Cpu<Double>>(); });
  };
  CHECK_THAT(refused([](Tensors& tensors) { tensors.erase("encoder/embeddings/weight"); }),
             ContainsSubstring("has no matrix 'encoder/embeddings/weight'"));
  CHECK_THAT(refused([](Tensors& tensors) { tensors.erase("decoder/layer_1/ffn/linear_0/weight"); }),
             ContainsSubstring("not built in (encoder layers, decoder layers, width, feed-forward, source and target "
                               "vocabulary: 2, 1, 8, 12, 7, 6)"));
  CHECK_THAT(refused([](Tensors& tensors) { tensors.erase("decoder/projection/bias"); }),
             ContainsSubstring("tensor 'decoder/projection/bias' is missing"));
  CHECK_THAT(refused([](Tensors& tensors) {
               tensors["decoder/layer_0/attention/linear_1/weight"] = tensors["encoder/layer_0/ffn/linear_0/weight"];
             }),
             ContainsSubstring("'decoder/layer_0/attention/linear_1/weight' has shape [12, 8] where [16, 8]"));
  CHECK_THAT(refused([](Tensors& tensors) { tensors["encoder/layer_2/more"] = {{1}, {1}}; }),
             ContainsSubstring("'encoder/layer_2/more', which"));
  CHECK_THAT(refused([](Tensors& tensors) {
               tensors["encoder/layer_norm/beta"].values[3] = std::numeric_limits<double>::infinity();
             }),
             ContainsSubstring("not finite in the tensor 'encoder/layer_norm/beta'"));
}

TEST_CASE("a vocabulary of OpenNMT-tf has a number for every token", "[generate]") {
  const TemporaryDirectory folder;
  const OpenNmtVocabulary vocabulary(folder.write("tokens", "<blank>\n<s>\n</s>\nb\na\n"));
  CHECK(vocabulary.size() == 6);
  CHECK(vocabulary.number("</s>") == OpenNmtVocabulary::end);
  CHECK(vocabulary.number("a") == 4);
  CHECK(vocabulary.token(3) == "b");
  CHECK(vocabulary.number("c") == vocabulary.unknown());
  CHECK(vocabulary.token(vocabulary.unknown()) == "<unk>");
  CHECK_THAT(message_of<FileError>([&] { OpenNmtVocabulary(folder.write("twice", "a\nb\na")); }),
             ContainsSubstring("line 3 has the token 'a' once more"));
}

void require_close(std::span<const float> found, const std::vector<double>& expected) {
  REQUIRE(found.size() >= expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(double(found[i]) - expected[i]) <= 1e-4);
}

// What an independent program computed from the same weights in double.
TEST_CASE("a trained transformer of OpenNMT-tf writes Arabic words in Latin letters", "[generate]") {
  const auto folder = data("pretrained/aren_transliteration");
  using Model = program::ArabicToLatin::Model;
  const auto weights = OpenNmtFile(folder / "model.safetensors").weights<program::ArabicToLatin, Cpu<>>();
  const OpenNmtVocabulary sources(folder / "source_vocabulary.txt"), targets(folder / "target_vocabulary.txt");
  CHECK(sources.size() == Model::Source::vocabulary);
  CHECK(targets.size() == Model::Target::vocabulary);
  std::istringstream lines(read_file(folder / "oracle.jsonl"));
  int words = 0;
  for (std::string line; std::getline(lines, line); ++words) {
    const auto expected = nlohmann::json::parse(line);
    const auto source = expected["source_ids"].get<std::vector<int>>();
    const auto target = expected["target_ids"].get<std::vector<int>>();
    const auto found =
        translate(weights, source, {.begin = OpenNmtVocabulary::begin, .end = OpenNmtVocabulary::end}, {.threads = 1});
    REQUIRE(found.size() == 1);
    CHECK(found[0].tokens == std::vector<int>(target.begin() + 1, target.end()));
    const auto steps = expected["step_logprobs"].get<std::vector<double>>();
    REQUIRE(found[0].log_probabilities.size() == steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) CHECK(std::abs(found[0].log_probabilities[i] - steps[i]) <= 1e-4);
    CHECK(std::abs(found[0].log_probability - expected["total_logprob"].get<double>()) <= 1e-4);

    const auto pass = uncached_pass(weights, source, target);
    require_close(pass.memory, expected["encoder_output_first_row"]);
    require_close(pass.logits, expected["logits_first_step"]);
    double squares = 0;
    for (const float x : pass.memory) squares += double(x) * double(x);
    CHECK(std::abs(std::sqrt(squares) - expected["encoder_output_l2"].get<double>()) <= 1e-4);
  }
  CHECK(words == 6);
}

}  // namespace opennmt_test
