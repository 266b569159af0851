// SPDX-License-Identifier: Apache-2.0
// A user's program: every header, behind one of C whose macro I is an imaginary number, and what is made of templates.
#include <complex.h>

#include "every_header.hpp"

#include <iostream>
#include <sstream>

namespace {
using namespace fathom;

constexpr int width = 8;

template <class Policy, class Mask, class Act>
using Block = Sequence<Residual<Policy, Attention<width, 2, Mask, KeyValueHeads<1>, Rotary<>>, RmsNorm<width>>,
                       Residual<Policy, FeedForward<width, 16, Act, NoBias>>>;
using Causally =
    LanguageModel<Vocabulary<256>, ContextLength<8>, Repeat<4, Block<PreNorm, Causal, SwiGlu>, Recompute<2>>>;
using Learned =
    LanguageModel<Vocabulary<256>, ContextLength<8>, Dlcl<2, Block<ReZero, Causal, Gelu>>, SinusoidalPositions>;
using BothSides =
    MaskedLanguageModel<Vocabulary<257>, ContextLength<8>, Repeat<2, Block<Admin, Full, Relu>>, TiedOutput>;

using Reader = Repeat<2, Block<PostNorm, Full, Relu>>;
using Writer = Repeat<2, Sequence<Block<PostNorm, Causal, Relu>, Residual<PostNorm, CrossAttention<width, 2>>>>;
using Translating =
    Translator<Encoder<Vocabulary<9>, ContextLength<8>, Reader>, Decoder<Vocabulary<9>, ContextLength<8>, Writer>>;

constexpr Capacity capacity{16, 2, 8};
using Windows = text::Windows<text::Bytes::Token>;
using Source = text::Prefetch<Windows>;
}  // namespace

namespace fathom {
template class Trainer<Causally, Cpu<>, AdamW>;
template class Trainer<Causally, Cpu<Double>, Sgd>;
template class Trainer<Causally, Timed<Cpu<>>, Lion>;
template class Trainer<BothSides, Cpu<>, Adafactor>;
template class Trainer<Learned, Timed<Cpu<Single, cpu::EigenMatmul>>, AdamW>;
template class Trainer<Translating, Cpu<>, AdamW>;
template class TrainingRun<Trainer<Causally, Cpu<>, AdamW>, Source>;
template class RunCheckpoints<TrainingRun<Trainer<Causally, Cpu<>, AdamW>, Source>>;
template class Generator<Causally, Cpu<>>;
template class Inference<Learned, Cpu<>>;
namespace text {
template class Masked<PackedDocuments<Bytes::Token>>;
}
namespace testing {
template class LayerRun<CrossAttention<width, 2>, Cpu<Double>>;
template GradientReport check_gradients<Block<PostNorm, Causal, GeGlu>>(const GradientCheckOptions&,
                                                                       const Ref<double>::Options&);
template Difference check_cache<Attention<width, 2>>(const LayerRows&, const Ref<double>::Options&);
}  // namespace testing
}  // namespace fathom

int main() try {
  text::Documents documents;
  documents.texts.push_back({"a text", "one and two and three and four and five and six"});
  const auto corpus = text::encode(text::Bytes{}, documents);
  const Windows windows(corpus, {.batch = 2, .length = 8});
  Source batches(windows);
  Trainer<Causally, Cpu<>, AdamW> trainer(capacity, {.dropout = {.residual = 0.1}, .average = 0.9}, {}, {.threads = 2});
  for (const RunReport& report : TrainingRun(trainer, batches, {.steps = 2, .learning_rate = Constant(1e-3)}))
    std::cout << report.step << " " << report.loss << "\n";
  std::cout << generate(trainer.weights(), "one", {.tokens = 2}).size() << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
