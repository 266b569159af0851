// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/weights_file.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/models/language_model.hpp>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "support/temporary_directory.hpp"
#include "train/rewrite_checkpoint.hpp"

namespace weights_file_test {

using namespace fathom;
using fathom_test::Bytes;
using fathom_test::message_of;
using fathom_test::rewrite_tensors;
using fathom_test::TemporaryDirectory;

/// The number of heads changes no shape.
template <int Heads>
using ModelOf = LanguageModel<Vocabulary<11>, ContextLength<6>, deepnet::DecoderOnly<2, 8, Heads>>;
using Model = ModelOf<2>;

template <class Weights>
auto values(const Weights& weights) {
  std::vector<typename Weights::T> all;
  for (const ParameterInfo& info : describe<Model>())
    for (const auto value : read_tensor(weights.flat(), info)) all.push_back(value);
  return all;
}
template <class B>
auto loaded(const std::filesystem::path& path) {
  return values(load_weights<Model, B>(path));
}
template <class To, class From>
bool are_rounded(const std::vector<To>& narrow, const std::vector<From>& wide) {
  return std::ranges::equal(narrow, wide, [](To to, From from) { return double(to) == double(To(from)); });
}

void refuses(const std::filesystem::path& path, const std::string& what) {
  const std::string message = message_of<FileError>([&] { load_weights<Model, Cpu<>>(path); });
  INFO(message);
  CHECK(message.starts_with(path.string() + ": "));
  CHECK(message.find(what) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

TEMPLATE_TEST_CASE("weights that are saved are loaded with their bits, and rounded where they are wider", "[models]",
                   Cpu<Single>, Cpu<Double>, Ref<Mixed>) {
  const TemporaryDirectory folder;
  const std::filesystem::path path = folder / "new/folder/model.safetensors";
  const Weights<Model, TestType> weights(5);
  save_weights(path, weights);
  const auto right = values(weights);
  CHECK(loaded<TestType>(path) == right);
  CHECK(are_rounded(loaded<Ref<double>>(path), right));
  CHECK(are_rounded(loaded<Ref<float>>(path), right));
  CHECK(are_rounded(loaded<Ref<Mixed>>(path), right));
}

TEST_CASE("a weights file has the program's texts, and reads of any program find its tensors", "[models]") {
  const TemporaryDirectory folder;
  const Weights<Model, Cpu<>> weights(5);
  save_weights(folder / "weights", weights, {{"tokenizer", "bytes"}});
  const safetensors::File file(folder / "weights");
  CHECK(file.metadata().at("tokenizer") == "bytes");
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.has_checksums());
  CHECK(file.tensors().size() == describe<Model>().size());
  CHECK(file.at("output.weight").shape == safetensors::Shape{11, 8});
  CHECK(message_of<Error>([&] { save_weights(folder / "weights", weights, {{"model", "mine"}}); }) ==
        "save_weights: the metadata 'model' are fathom's own; choose another key");
}

TEST_CASE("weights of another model are refused", "[models]") {
  const TemporaryDirectory folder;
  save_weights(folder / "heads", Weights<ModelOf<4>, Cpu<>>(5));
  refuses(folder / "heads", "field '/model/stack/block/layers/0/heads' is 4 where 2 is needed");
  refuses(folder / "heads", "the file belongs to another model");

  const auto path = folder / "changed";
  const auto change = [&](auto&& with) {
    save_weights(path, Weights<Model, Cpu<>>(5));
    rewrite_tensors(path, with);
  };
  change([](auto& metadata, auto&) { metadata.erase("model"); });
  refuses(path, "does not say which model its weights are of; write it with save_weights");
  change([](auto& metadata, auto&) { metadata["model"] = "{"; });
  refuses(path, "its description of the model is not valid JSON");
  change([](auto&, auto& tensors) { tensors.erase("output.weight"); });
  refuses(path, "tensor 'output.weight' is missing");
}

TEST_CASE("weights that are not finite are neither saved nor loaded", "[models]") {
  const TemporaryDirectory folder;
  const auto path = folder / "weights";
  Weights<Model, Cpu<>> weights(5);
  save_weights(path, weights);
  const std::string before = read_file(path);
  const ParameterInfo info = describe<Model>().back();
  auto wrong = read_tensor(weights.flat(), info);
  wrong.back() = std::numeric_limits<float>::infinity();
  write_tensor(weights.flat(), info, wrong);
  CHECK(message_of<Error>([&] { save_weights(path, weights); }) ==
        "save_weights: tensor '" + info.name + "' is not finite, so it is no use; save earlier weights");
  CHECK(read_file(path) == before);  // and nothing lies beside it
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);

  rewrite_tensors(path, [&](auto&, auto& tensors) {
    Bytes& bytes = tensors.at(info.name);
    std::ranges::fill(bytes, std::byte{0xFF});
  });
  refuses(path, "tensor '" + info.name + "' is not finite");
}

TEST_CASE("damaged weights files, and what is none, are refused", "[models]") {
  const TemporaryDirectory folder;
  const auto path = folder / "weights";
  save_weights(path, Weights<Model, Cpu<>>(5));
  const std::string whole = read_file(path);
  std::string flipped = whole;
  flipped.back() = char(flipped.back() ^ 1);
  folder.write("weights", flipped);
  refuses(path, "does not match its checksum");
  folder.write("weights", whole.substr(0, whole.size() - 9));
  refuses(path, "cut off");
  refuses(folder / "absent", "");
  refuses(folder.path(), "");
}

}  // namespace weights_file_test
