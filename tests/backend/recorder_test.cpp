// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <utility>
#include <vector>

#include "backend/recorder.hpp"
#include "train/models.hpp"

namespace recorder_test {

using namespace fathom_test;

template <int Depth, class... Options>
using Model = LanguageModel<
    Vocabulary<vocabulary>, ContextLength<context>,
    Repeat<Depth, Sequence<Residual<PostNorm, Attention<width, 2>>, Residual<PostNorm, FeedForward<width, 32>>>,
           Options...>>;

/// What every lane is asked for in one training step of 4 sequences of 12 tokens.
template <class M>
std::vector<Call> calls_of_step(int threads = 1) {
  Trainer<M, Recorded<Cpu<Single>>, AdamW> trainer({4 * context, 4, context}, {}, {}, {.threads = threads});
  for (Recorder& lane : trainer.context().machine().observers()) lane.clear();  // of initialization
  trainer.step(SomeBatch(1));
  const auto lanes = trainer.context().machine().observers();
  REQUIRE(int(lanes.size()) == threads);
  const std::vector<Call> calls(lanes[0].calls().begin(), lanes[0].calls().end());
  for (const Recorder& lane : lanes) REQUIRE(std::ranges::equal(lane.calls(), calls));
  return calls;
}

std::vector<std::string> texts_of(const std::vector<Call>& calls) {
  std::vector<std::string> texts;
  for (const Call& call : calls) texts.push_back(call.text());
  return texts;
}

TEST_CASE("the calls of a training step, one by one", "[recorder]") {
  const std::vector<std::string> expected{
      "batch.0.forward.embedding: embedding (48, 16)",
      "batch.0.forward.blocks.0.attention: linear (48, 32)",
      "batch.0.forward.blocks.0.attention: linear (48, 16)",
      "batch.0.forward.blocks.0.attention: attention (48, 16) (2, 48)",
      "batch.0.forward.blocks.0.attention: linear (48, 16)",
      "batch.0.forward.blocks.0.attention: residual add + norm (48, 16) (48, 16)",
      "batch.0.forward.blocks.0.feed_forward: linear (48, 32)",
      "batch.0.forward.blocks.0.feed_forward: activation (48, 32)",
      "batch.0.forward.blocks.0.feed_forward: linear (48, 16)",
      "batch.0.forward.blocks.0.feed_forward: residual add + norm (48, 16) (48, 16)",
      "batch.0.backward.output: linear + cross-entropy (48, 16) (37, 16)",
      "batch.0.backward.blocks.0.attention: norm (48, 16)",
      "batch.0.backward.blocks.0.feed_forward: residual add + norm backward (48, 16) (1, 16) (1, 16)",
      "batch.0.backward.blocks.0.feed_forward: linear dx (48, 32)",
      "batch.0.backward.blocks.0.feed_forward: activation dx (48, 32) (48, 32)",
      "batch.0.backward.blocks.0.feed_forward: linear dw (16, 32) (1, 16)",
      "batch.0.backward.blocks.0.feed_forward: linear dx (48, 16)",
      "batch.0.backward.blocks.0.feed_forward: linear dw (32, 16) (1, 32)",
      "batch.0.backward.blocks.0.attention: residual add + norm backward (48, 16) (1, 16) (1, 16)",
      "batch.0.backward.blocks.0.attention: linear (48, 16)",
      "batch.0.backward.blocks.0.attention: linear dx (48, 16)",
      "batch.0.backward.blocks.0.attention: attention backward (48, 16) (48, 16) (48, 16) (48, 16)",
      "batch.0.backward.blocks.0.attention: linear dw (16, 16) (1, 16)",
      "batch.0.backward.blocks.0.attention: linear dx (48, 16)",
      "batch.0.backward.blocks.0.attention: linear dw (48, 16) (1, 48)",
      "batch.0.backward.embedding: embedding backward (37, 16) (12, 16)",
      "sum of squares",
      "adam",
      "adam",
  };
  CHECK(texts_of(calls_of_step<Model<1>>()) == expected);
}

TEST_CASE("every lane is asked for the same", "[recorder][threads]") {
  CHECK(calls_of_step<Model<2>>(3) == calls_of_step<Model<2>>(1));
}

TEST_CASE("operations and bytes of a call", "[recorder]") {
  const auto calls = calls_of_step<Model<1>>();
  const auto qk = std::ranges::find(calls, "linear", &Call::op);
  CHECK(qk->outputs == std::vector<Call::Shape>{{48, 32}});
  CHECK(qk->flops == 2.0 * 48 * 32 * 16);
  CHECK(qk->bytes == 4.0 * (48 * 16 + 32 * 16 + 48 * 32));
  double flops = 0;
  for (const Call& call : calls)
    if (call.scope.starts_with("batch")) flops += call.flops;
  CHECK(flops == training_cost<Model<1>, Cpu<Single>>({4 * context, 4, context}).flops);
}

/// `calls` whose scope begins with `scope`.
std::vector<std::string> inside(const std::vector<std::string>& calls, const std::string& scope) {
  std::vector<std::string> found;
  std::ranges::copy_if(calls, std::back_inserter(found), [&](const auto& call) { return call.starts_with(scope); });
  return found;
}

TEST_CASE("recompute adds the forward calls of each segment before its backward ones", "[recorder]") {
  const auto stored = texts_of(calls_of_step<Model<5>>());
  std::vector<std::string> expected;
  const auto add = [&](const std::vector<std::string>& calls) {
    expected.insert(expected.end(), calls.begin(), calls.end());
  };
  const auto block = [](const char* phase, int index) {
    return std::string("batch.0.") + phase + ".blocks." + std::to_string(index) + ".";
  };
  add(inside(stored, "batch.0.forward."));
  add(inside(stored, "batch.0.backward.output"));
  for (const auto& [begin, end] : {std::pair(4, 5), {2, 4}, {0, 2}}) {
    for (int index = begin; index < end; ++index)
      for (std::string call : inside(stored, block("forward", index)))
        expected.push_back(call.replace(0, block("forward", index).size(), block("backward", index)));
    for (int index = end - 1; index >= begin; --index) {
      // Where all is stored, the output of every block but the last is restored, first of all that the block is asked
      // for.
      const auto calls = inside(stored, block("backward", index));
      if (index > begin) expected.push_back(inside(stored, block("backward", index - 1)).front());
      expected.insert(expected.end(), calls.begin() + (index < 4), calls.end());
    }
  }
  add(inside(stored, "batch.0.backward.embedding"));
  add({"sum of squares", "adam", "adam"});

  CHECK(texts_of(calls_of_step<Model<5, Recompute<2>>>()) == expected);
  CHECK(expected.size() == stored.size() + 5 * 9 - 2);  // two segments begin with an input that was kept
}

}  // namespace recorder_test
