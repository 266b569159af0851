// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/models/weights.hpp>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::program {

/// The transformer that OpenNMT-tf trains (https://github.com/OpenNMT/OpenNMT-tf), by its sizes.
template <int EncoderLayers, int DecoderLayers, int Width, int Heads, int Hidden, int SourceVocabulary,
          int TargetVocabulary>
struct OpenNmt {
  static constexpr std::array<std::int64_t, 6> sizes{EncoderLayers, DecoderLayers,    Width,
                                                     Hidden,        SourceVocabulary, TargetVocabulary};
  static constexpr int longest = 256;  ///< tokens of a side; its positions have no end
  using Ffn = Residual<PreNorm, FeedForward<Width, Hidden, Relu>>;
  using EncoderBlock = Sequence<Residual<PreNorm, Attention<Width, Heads, Full>>, Ffn>;
  using DecoderBlock = Sequence<Residual<PreNorm, Attention<Width, Heads, Causal>>,
                                Residual<PreNorm, CrossAttention<Width, Heads>>, Ffn>;
  using Model =
      Translator<Encoder<Vocabulary<SourceVocabulary>, ContextLength<longest>, Repeat<EncoderLayers, EncoderBlock>>,
                 Decoder<Vocabulary<TargetVocabulary>, ContextLength<longest>, Repeat<DecoderLayers, DecoderBlock>>,
                 SinusoidalHalves<1>, SeparateOutput, BiasedOutput>;
};

/// The test model of CTranslate2 (https://github.com/OpenNMT/CTranslate2) that writes Arabic words in Latin letters.
using ArabicToLatin = OpenNmt<6, 6, 32, 8, 128, 51, 43>;

/// Weights of OpenNMT-tf under the names that CTranslate2 gives them, in a safetensors file.
class OpenNmtFile {
 public:
  /// Errors: `FileError`, also for a file that holds something else.
  explicit OpenNmtFile(const std::filesystem::path& path) : file_(path) {
    const auto layers = [&](const std::string& stack) {
      std::int64_t count = 0;
      while (file_.find(stack + "/layer_" + std::to_string(count) + "/ffn/linear_0/weight") != nullptr) ++count;
      return count;
    };
    const auto rows = [&](const std::string& name) {
      const auto* const tensor = file_.find(name + "/weight");
      if (tensor == nullptr || tensor->shape.size() != 2)
        refuse("has no matrix '" + name +
               "/weight', so it is no transformer of OpenNMT-tf; give one with CTranslate2's names of tensors");
      return tensor->shape[0];
    };
    sizes_ = {layers("encoder"),
              layers("decoder"),
              rows("encoder/layer_0/ffn/linear_1"),
              rows("encoder/layer_0/ffn/linear_0"),
              rows("encoder/embeddings"),
              rows("decoder/embeddings")};
  }

  template <class Shape>
  bool is() const {
    return sizes_ == Shape::sizes;
  }

  /// Errors: `FileError` for a file of another shape, for tensors that are missing or not the model's, and for values
  /// that are not finite.
  template <class Shape, class B>
  Weights<typename Shape::Model, B> weights() const {
    using Model = typename Shape::Model;
    using T = typename B::Precision::Weight;
    if (!is<Shape>()) refuse_shape();
    std::map<std::string, ParameterInfo> table;
    for (const ParameterInfo& info : describe<Model>()) table.emplace(info.name, info);
    Weights<Model, B> weights;
    std::set<std::string> known;

    // The tensor `theirs` holds the rows of all of `ours`, one after another.
    const auto read = [&](const std::string& theirs, const std::vector<std::string>& ours) {
      std::int64_t rows = 0;
      for (const std::string& name : ours)
        rows += table.at(name).is_vector() ? table.at(name).columns : table.at(name).rows;
      const ParameterInfo& first = table.at(ours.front());
      const safetensors::Shape shape =
          first.is_vector() ? safetensors::Shape{rows} : safetensors::Shape{rows, first.columns};
      std::vector<typename B::Precision::Master> stored(std::size_t(first.is_vector() ? rows : rows * first.columns));
      file_.read(theirs, shape, std::span(stored));
      if (!all_finite(std::span(std::as_const(stored))))
        refuse("is not finite in the tensor '" + theirs + "'; copy or download the file again");
      const std::vector<T> values(stored.begin(), stored.end());
      auto rest = std::span<const T>(values);
      for (const std::string& name : ours) {
        const auto size = std::size_t(table.at(name).size());
        write_tensor(weights.flat(), table.at(name), rest.first(size));
        rest = rest.subspan(size);
      }
      known.insert(theirs);
    };
    const auto linear = [&](const std::string& theirs, const std::string& ours,
                            std::initializer_list<const char*> parts) {
      for (const std::string kind : {"weight", "bias"}) {
        std::vector<std::string> names;
        for (const std::string part : parts) names.push_back(ours + part + "." + kind);
        read(theirs + "/" + kind, names);
      }
    };
    const auto norm = [&](const std::string& theirs, const std::string& ours) {
      read(theirs + "/layer_norm/gamma", {ours + "norm.gain"});
      read(theirs + "/layer_norm/beta", {ours + "norm.bias"});
    };
    for (const auto& [stack, depth] : {std::pair("encoder", sizes_[0]), std::pair("decoder", sizes_[1])}) {
      const std::string side = stack;
      read(side + "/embeddings/weight", {side + ".embedding.token.weight"});
      for (std::int64_t layer = 0; layer < depth; ++layer) {
        const std::string theirs = side + "/layer_" + std::to_string(layer) + "/";
        const std::string ours = side + ".blocks." + std::to_string(layer) + ".";
        norm(theirs + "self_attention", ours + "attention.");
        linear(theirs + "self_attention/linear_0", ours + "attention.", {"query", "key", "value"});
        linear(theirs + "self_attention/linear_1", ours + "attention.", {"output"});
        if (side == "decoder") {
          norm(theirs + "attention", ours + "cross_attention.");
          linear(theirs + "attention/linear_0", ours + "cross_attention.", {"query"});
          linear(theirs + "attention/linear_1", ours + "cross_attention.", {"key", "value"});
          linear(theirs + "attention/linear_2", ours + "cross_attention.", {"output"});
        }
        norm(theirs + "ffn", ours + "feed_forward.");
        linear(theirs + "ffn/linear_0", ours + "feed_forward.", {"input"});
        linear(theirs + "ffn/linear_1", ours + "feed_forward.", {"output"});
      }
      norm(side, side + ".final_");
    }
    linear("decoder/projection", "", {"output"});
    for (const auto& tensor : file_.tensors())
      if (!known.contains(tensor.name))
        refuse("has a tensor '" + tensor.name +
               "', which the transformer of OpenNMT-tf does not have; give another file");
    return weights;
  }

  /// Errors: `FileError` with the shape, and how to build it in.
  [[noreturn]] void refuse_shape() const {
    std::string sizes;
    for (const std::int64_t size : sizes_) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
    refuse(
        "is a transformer of a shape that is not built in (encoder layers, decoder layers, width, feed-forward, "
        "source and target vocabulary: " +
        sizes +
        "); add an OpenNmt<…> with these sizes and its number of heads to the list in examples/opennmt.cpp, and build "
        "it");
  }

 private:
  /// `reason`: what is wrong, and what to do.
  [[noreturn]] void refuse(const std::string& reason) const { throw FileError(file_.path().string() + ": " + reason); }

  safetensors::File file_;
  std::array<std::int64_t, 6> sizes_{};
};

/// The tokens of one side: a line each, numbered from 0. The number behind the last stands for all others.
class OpenNmtVocabulary {
 public:
  static constexpr int begin = 1, end = 2;  ///< `<s>` and `</s>`

  /// Errors: `FileError` for a path that is missing or no regular file, what is no text, and a token that stands there
  /// twice.
  explicit OpenNmtVocabulary(const std::filesystem::path& path) {
    const MappedFile file(path);
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    if (const std::string known = foreign_file(text.substr(0, 64)); !known.empty())
      throw FileError(path.string() + ": " + known);
    if (text.find('\0') != text.npos)
      throw FileError(path.string() + ": has a zero byte, so it is no text; convert it to UTF-8 if it is UTF-16");
    for (std::string_view rest = text; !rest.empty();) {
      tokens_.emplace_back(rest.substr(0, rest.find('\n')));
      rest.remove_prefix(std::min(tokens_.back().size() + 1, rest.size()));
      if (!numbers_.emplace(tokens_.back(), unknown() - 1).second)
        throw FileError(path.string() + ": line " + std::to_string(unknown()) + " has the token '" + tokens_.back() +
                        "' once more; give the vocabulary that belongs to the model");
    }
  }

  int size() const { return int(tokens_.size()) + 1; }
  int unknown() const { return int(tokens_.size()); }
  int number(std::string_view token) const {
    const auto found = numbers_.find(token);
    return found == numbers_.end() ? unknown() : found->second;
  }
  std::string token(int number) const { return number == unknown() ? "<unk>" : tokens_.at(std::size_t(number)); }

 private:
  std::vector<std::string> tokens_;
  std::map<std::string, int, std::less<>> numbers_;
};

}  // namespace fathom::program
