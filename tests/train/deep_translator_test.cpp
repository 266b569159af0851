// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/io/file.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/text/text.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace deep_translator_test {

/// 500 encoder and 500 decoder layers, 2,500 sublayers: what they need, that they train, and that gradients reach all
/// of the decoder alike, before and behind.
using namespace fathom;

constexpr int depth = 500, width = 64, heads = 2, longest = 48, threads = 2;
using Source = deepnet::EncoderStack<depth, depth, width, heads, 4 * width, Gelu, RecomputeSqrt>;
using Target = deepnet::DecoderStack<depth, depth, width, heads, 4 * width, Gelu, RecomputeSqrt>;
using Model = Translator<Encoder<Vocabulary<256>, ContextLength<longest>, Source>,
                         Decoder<Vocabulary<256>, ContextLength<longest>, Target>>;
constexpr PairCapacity capacity{{96, 8, longest}, {96, 8, longest}};
static_assert(training_memory<Model, Cpu<>, AdamW>(capacity, threads).total() < 24LL << 30);

/// Lines of an English text, to be said again.
text::PairCorpus<text::Bytes::Token> lines() {
  text::ParallelText text;
  const std::string license = read_file("LICENSE");
  for (std::string_view rest = license; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (!line.empty()) text.append(line, line);
  }
  return text::encode_pairs(
      text::Bytes{}, text,
      {.begin = '\n', .end = '\n', .longest_source = longest, .longest_target = longest, .threads = 1});
}

/// The norm of the gradient of one layer of the decoder.
double decoder_norm(const auto& trainer, int layer) {
  double squares = 0;
  for (const ParameterInfo& info : trainer.table())
    if (info.name.starts_with("decoder.") && info.block.depth == depth && info.block.index == layer)
      for (const float value : read_tensor(trainer.gradients(), info)) squares += double(value) * value;
  return std::sqrt(squares);
}

TEST_CASE("500 encoder and 500 decoder layers train, with gradients of one size in all of the decoder",
          "[depth][slow]") {
  const auto corpus = lines();
  const text::PairBatches<text::Bytes::Token> sampler(corpus, {.source_rows = 96,
                                                               .target_rows = 96,
                                                               .pairs = 8,
                                                               .longest_source = longest,
                                                               .longest_target = longest,
                                                               .seed = 1});
  text::Prefetch batches(sampler);
  Trainer<Model, Cpu<>, AdamW> trainer(capacity, {.seed = 1}, {}, {.threads = threads});
  const auto check_norms = [&] {
    const auto held = batches.cursor();
    text::PackedPairs batch(sampler.capacity());
    sampler.fill(held, batch);
    trainer.differentiate(batch);
    const double first = decoder_norm(trainer, 0), last = decoder_norm(trainer, depth - 1);
    WARN("gradient norms: first layer of the decoder " << first << ", last " << last);
    CHECK((first > 0 && last > 0));
    CHECK(std::max(first, last) <= 2 * std::min(first, last));
  };
  check_norms();
  double before = 0, after = 0;
  for (int step = 1; step <= 10; ++step) {
    const StepReport report = trainer.step(batches.next(), 5e-5 * step / 10);
    INFO("step " << step);
    REQUIRE(report.skipped.empty());
    REQUIRE(std::isfinite(report.loss));
    (step == 1 ? before : after) = report.loss;
  }
  WARN("loss of update 1: " << before << ", of update 10: " << after);
  CHECK(after < before);
  check_norms();
}

}  // namespace deep_translator_test
