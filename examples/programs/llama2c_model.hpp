// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::program {

/// A Llama as llama2.c (https://github.com/karpathy/llama2.c) trains and stores it, by the numbers in its file's
/// header.
template <int Width, int Hidden, int Layers, int Heads, int KvHeads, int VocabularySize, int Length>
struct Llama2c {
  static constexpr std::array<std::int32_t, 7> header{Width, Hidden, Layers, Heads, KvHeads, VocabularySize, Length};
  using Block = Sequence<
      Residual<PreNorm, Attention<Width, Heads, Causal, KeyValueHeads<KvHeads>, Rotary<>, NoBias>, RmsNorm<Width>>,
      Residual<PreNorm, FeedForward<Width, Hidden, SwiGlu, NoBias>, RmsNorm<Width>>>;
  using Model = LanguageModel<Vocabulary<VocabularySize>, ContextLength<Length>, Repeat<Layers, Block>, NoPositions,
                              TiedOutput, PlainEmbedding>;
};

/// The published models of https://huggingface.co/karpathy/tinyllamas.
using Stories260K = Llama2c<64, 172, 5, 8, 4, 512, 512>;
using Stories15M = Llama2c<288, 768, 6, 6, 6, 32000, 256>;
using Stories42M = Llama2c<512, 1376, 8, 8, 8, 32000, 1024>;
using Stories110M = Llama2c<768, 2048, 12, 12, 12, 32000, 1024>;

/// A llama2.c model file: seven int32, then float32 tensors, each kind for all layers before the next.
class Llama2cFile {
 public:
  /// Errors: `FileError`, also for a file that is something else or of a later version.
  explicit Llama2cFile(std::filesystem::path path) : file_(std::move(path)) {
    const std::string_view bytes(reinterpret_cast<const char*>(file_.bytes().data()), file_.bytes().size());
    if (bytes.size() >= sizeof header_) std::memcpy(header_.data(), bytes.data(), sizeof header_);
    const auto [width, hidden, layers, heads, kv_heads, vocabulary, length] = header_;
    if (std::ranges::min({width, hidden, layers, heads, kv_heads, length}) >= 1 && vocabulary != 0 &&
        std::ranges::max({width, hidden, layers, heads, kv_heads, vocabulary, length}) <= 1 << 24 &&
        width % heads == 0 && heads % kv_heads == 0)
      return;
    if (bytes.starts_with("24ka") && bytes.size() >= sizeof header_)
      refuse("is of version " + std::to_string(header_[1]) + " of llama2.c's format" +
             (header_[1] == 2 ? ", quantized to 8 bits" : "") + "; export the model with --version 0");
    const std::string known = foreign_file(bytes);
    refuse(!known.empty() ? known
                          : "is no llama2.c model, because it does not begin with the sizes of one; give one of "
                            "karpathy/tinyllamas");
  }

  const std::array<std::int32_t, 7>& header() const { return header_; }
  int vocabulary() const { return header_[5]; }
  int context() const { return header_[6]; }
  template <class Shape>
  bool is() const {
    return header_ == Shape::header;
  }

  /// Errors: `FileError` for a file of another shape or length.
  template <class Shape, class B>
  Weights<typename Shape::Model, B> weights() const {
    if (!is<Shape>()) refuse_shape();
    using Model = typename Shape::Model;
    using T = typename B::Precision::Weight;
    std::map<std::string, ParameterInfo> table;
    for (const ParameterInfo& info : describe<Model>()) table.emplace(info.name, info);
    Weights<Model, B> weights;
    std::size_t place = sizeof header_;
    const auto read = [&](const std::string& name) {
      const ParameterInfo& info = table.at(name);
      std::vector<T> values(std::size_t(info.size()));
      for (T& element : values) {
        float value;
        if (file_.bytes().size() - place < sizeof value) refuse("is cut off in the tensor " + name + again);
        std::memcpy(&value, file_.bytes().data() + place, sizeof value);
        place += sizeof value;
        element = T(value);
      }
      if (!all_finite(std::span(std::as_const(values)))) refuse("is not finite in the tensor " + name + again);
      write_tensor(weights.flat(), info, values);
    };
    read("embedding.token.weight");
    for (const char* name : {"attention.norm.gain", "attention.query.weight", "attention.key.weight",
                             "attention.value.weight", "attention.output.weight", "feed_forward.norm.gain",
                             "feed_forward.gate.weight", "feed_forward.output.weight", "feed_forward.input.weight"})
      for (int layer = 0; layer < Model::Stack::depth; ++layer) read("blocks." + std::to_string(layer) + "." + name);
    read("final_norm.gain");  // what follows are tables of sines and cosines, which `Rotary` computes
    return weights;
  }

  /// Errors: `FileError` with the shape, and how to build it in.
  [[noreturn]] void refuse_shape() const {
    std::string sizes;
    for (const std::int32_t size : header_) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
    refuse(
        "is a llama2.c model of a shape that is not built in (width, hidden, layers, heads, kv heads, vocabulary, "
        "context: " +
        sizes + ")" +
        (vocabulary() < 0 ? " and has an output matrix of its own, which fathom-llama2c does not read; give one of "
                            "karpathy/tinyllamas"
                          : "; add Llama2c<" + sizes + "> to the list in examples/llama2c.cpp, and build it"));
  }

 private:
  static constexpr const char* again = "; copy or download the file again";

  /// `reason`: what is wrong, and what to do.
  [[noreturn]] void refuse(const std::string& reason) const { throw FileError(file_.path().string() + ": " + reason); }

  MappedFile file_;
  std::array<std::int32_t, 7> header_{};
};

}  // namespace fathom::program
