// SPDX-License-Identifier: Apache-2.0
// What only the emulated device can show: graphs, orders, failures.
#include <cudnn.h>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <deque>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/plan_files.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/file.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"
#include "support/following_tokens.hpp"
#include "support/temporary_directory.hpp"
#include "train/translator_models.hpp"

namespace emulated_test {

using namespace fathom_test;
using emulated::Device;
using emulated::Order;

constexpr int vocabulary = 31, length = 8;
constexpr Capacity capacity{4 * length, 4, length};
constexpr cuda::Options device{.workspace = 1_MiB};

template <int Depth, class Stack = deepnet::DecoderOnly<Depth, 32, 2, 64>>
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, Stack>;
template <class B, int Depth = 2>
using SmallTrainer = Trainer<Model<Depth>, B, AdamW>;

FollowingTokens<vocabulary> batch(std::int64_t step) { return {std::uint64_t(step), 4, length}; }

TrainerOptions with_dropout() {
  TrainerOptions options;
  options.dropout = {0.1, 0.1, 0.1, 0.1};
  return options;
}

std::int64_t calls(const char* name) { return Device::get().calls(name); }
bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST_CASE("emulated: what comes again is launched as a graph", "[cuda]") {
  Device::get().reset();
  {
    SmallTrainer<Cuda<Single>> trainer(capacity, with_dropout(), {}, device);
    trainer.step(batch(0), 1e-3);
    CHECK(calls("cudaGraphInstantiate") == 0);
    trainer.step(batch(1), 1e-3);
    const std::int64_t graphs = calls("cudaGraphInstantiate"), products = calls("cublasLtMatmul");
    CHECK(graphs == 2);  // forward, backward and the norm of the gradients; the update
    for (int step = 2; step < 5; ++step) trainer.step(batch(step), 1e-3 * step);
    CHECK(calls("cudaGraphInstantiate") == graphs);
    CHECK(calls("cudaGraphLaunch") == 4 * graphs);
    CHECK(calls("cublasLtMatmul") == products);  // nothing is handed in but graphs
  }
  CHECK(Device::get().leaks().empty());
}

TEST_CASE("emulated: another shape is another graph", "[cuda]") {
  Device::get().reset();
  SmallTrainer<Cuda<Single>> trainer(capacity, {}, {}, device);
  SmallTrainer<Cpu<Single>> expected(capacity, {}, {}, {.threads = 1});
  for (int step = 0; step < 6; ++step) {
    FollowingTokens<vocabulary> some = batch(step);
    if (step % 2 == 1) {
      some.rows.assign(std::vector{length, 3, 5});
      some.tokens.resize(length + 8), some.targets.resize(length + 8);
    }
    CHECK(testing::relative_error(trainer.step(some, 1e-3).loss, expected.step(some, 1e-3).loss, 1) < 1e-5);
  }
  CHECK(calls("cudaGraphInstantiate") == 3);  // forward and backward of either shape; the update, which has none
}

TEST_CASE("emulated: a translator's steps are few graphs, whatever the lengths of its sentences", "[cuda]") {
  Device::get().reset();
  using Pairs = ReversedPairs;
  using Translating = PairModel<deepnet::EncoderStack<1, 1, 32, 2, 64>, deepnet::DecoderStack<1, 1, 32, 2, 64>>;
  const PairCapacity pairs{{64, 16, Pairs::longest}, {80, 16, Pairs::longest + 1}};
  const Pairs source(pairs);
  Trainer<Translating, Cuda<Single>, AdamW> trainer(pairs, with_dropout(), {}, device);
  Trainer<Translating, Cpu<Single>, AdamW> expected(pairs, with_dropout(), {}, {.threads = 1});
  text::PackedPairs packed(pairs);
  std::uint64_t cursor = 0;
  std::set<std::pair<int, std::size_t>> lengths;
  const auto run = [&](int steps) {
    for (int step = 0; step < steps; ++step) {
      cursor = source.fill(cursor, packed);
      const PairBatch batch = packed;
      lengths.emplace(batch.source.packing.rows(), batch.source.packing.offsets.size());
      const double loss = trainer.step(batch, 1e-3).loss;
      CHECK(testing::relative_error(loss, expected.step(batch, 1e-3).loss, 1) < 1e-4);  // rounding, over 28 steps
    }
  };
  run(14);
  const std::int64_t products = calls("cublasLtMatmulAlgoGetHeuristic"), made = calls("cudaGraphInstantiate");
  const std::int64_t launched = calls("cudaGraphLaunch");
  run(14);
  CHECK(lengths.size() > 8);
  CHECK(calls("cublasLtMatmulAlgoGetHeuristic") == products);
  CHECK(calls("cudaGraphInstantiate") == made);
  CHECK(calls("cudaGraphLaunch") == launched + 28);
}

TEST_CASE("emulated: several batches of a step are few graphs too, of all their shapes", "[cuda]") {
  Device::get().reset();
  const Capacity rows{64, 16, length};
  Trainer<Model<1>, Cuda<Single>, AdamW> trainer(rows, {}, {}, device);
  std::deque<FollowingTokens<vocabulary>> texts;
  for (const int sequences : {8, 5, 3}) texts.emplace_back(std::uint64_t(sequences), sequences, length);
  std::vector<TokenBatch> batches(texts.begin(), texts.end());
  for (TokenBatch& batch : batches) batch.packing.capacity = rows;
  const auto run = [&] {  // each shape behind each
    for (const TokenBatch& first : batches)
      for (const TokenBatch& second : batches) trainer.step(std::vector{first, second}, 1e-3);
  };
  run();
  run();
  const std::int64_t made = calls("cudaGraphInstantiate"), launched = calls("cudaGraphLaunch");
  CHECK(made == 3 + 3 + 1);  // the first batch, with its read of the loss; the second; the update
  run();
  CHECK(calls("cudaGraphInstantiate") == made);
  CHECK(calls("cudaGraphLaunch") == launched + 27);
}

TEST_CASE("emulated: no graph outlives the memory that it names", "[cuda]") {
  Device::get().reset();
  SmallTrainer<Cuda<Single>> trainer(capacity, {}, {}, device), fresh(capacity, {}, {}, device);
  // An evaluation has few numbers that change, and is a graph when a step comes, which has more.
  const double loss = trainer.evaluate(batch(9)).cross_entropy;
  for (int again = 0; again < 2; ++again) CHECK(trainer.evaluate(batch(9)).cross_entropy == loss);
  for (int step = 0; step < 3; ++step)
    CHECK(trainer.step(batch(step), 1e-3).loss == fresh.step(batch(step), 1e-3).loss);
  CHECK(trainer.evaluate(batch(9)).cross_entropy == fresh.evaluate(batch(9)).cross_entropy);
  // An op may ask for more memory of its own.
  trainer.context().reserve({.workspace = 0, .scratch = 8_MiB});
  for (int step = 3; step < 6; ++step)
    CHECK(trainer.step(batch(step), 1e-3).loss == fresh.step(batch(step), 1e-3).loss);
}

TEST_CASE("emulated: a plan of cuDNN may ask for more memory than was planned", "[cuda]") {
  const auto losses = [](std::int64_t more) {
    Device::get().reset({.plan_bytes = more});
    SmallTrainer<Cuda<Mixed>> trainer(capacity, {}, {}, device);
    std::vector<double> all;
    for (int step = 0; step < 3; ++step) {
      all.push_back(trainer.evaluate(batch(9)).cross_entropy);
      all.push_back(trainer.step(batch(step), 1e-3).loss);
    }
    return std::pair(all, trainer.allocated_bytes());
  };
  const auto [usual, bytes] = losses(0);
  const auto [large, more] = losses(1_MiB);
  CHECK(large == usual);
  CHECK(more > bytes + 1_MiB);
}

TEST_CASE("emulated: the search for what is not finite has the trainer's machine", "[cuda]") {
  constexpr cuda::Options own{.cudnn = false, .workspace = 1_MiB};
  const auto skipped = [&](std::size_t memory) {
    Device::get().reset({.capacity = memory});
    SmallTrainer<Cuda<Mixed>> trainer(capacity, {}, {}, {.cudnn = false, .workspace = 1_MiB, .reserve = 0});
    write_tensor(trainer.masters(), trainer.table()[5],
                 std::vector(std::size_t(trainer.table()[5].size()), std::numeric_limits<float>::quiet_NaN()));
    trainer.round_masters();
    return trainer.step(batch(0), 1e-3).skipped;
  };
  CHECK(contains(skipped(std::size_t{1} << 30), "not finite, first in batch.0.forward.blocks.0."));
  CHECK(calls("cudnnBackendExecute") == 0);
  const std::int64_t plan = training_memory<Model<2>, Cuda<Mixed>, AdamW>(capacity).total();
  CHECK(contains(skipped(std::size_t(plan + own.workspace + 128_KiB)),
                 "not finite; where it began was not found: the device has no memory for"));
  Device::get().reset();
}

TEMPLATE_TEST_CASE("emulated: the order of threads, blocks and streams changes no bit", "[cuda]", Cuda<Single>,
                   Cuda<Mixed>) {
  std::optional<std::vector<float>> first;
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    Device::get().reset({.order = order});
    SmallTrainer<TestType> trainer(capacity, with_dropout(), {}, device);
    for (int step = 0; step < 3; ++step) trainer.step(batch(step), 1e-3);
    const std::vector<float> masters = values_of(trainer.masters());
    if (!first) first = masters;
    CHECK(*first == masters);
  }
}

TEST_CASE("emulated: twelve layers for 200 steps lose what they lose on the CPU", "[cuda]") {
  Device::get().reset();
  SmallTrainer<Cuda<Single>, 12> actual(capacity, {}, {}, device);
  SmallTrainer<Cpu<Single>, 12> expected(capacity, {}, {}, {.threads = 1});
  double worst = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    const double a = actual.step(batch(step), 1e-3).loss, e = expected.step(batch(step), 1e-3).loss;
    worst = std::max(worst, testing::relative_error(a, e, 1));
    last = e;
  }
  INFO("worst " << worst << ", last loss " << last);
  CHECK(worst < 1e-4);
  CHECK(last < 3);
}

TEST_CASE("emulated: two sums of a frame that are added to one gradient are two launches", "[cuda]") {
  constexpr int rows = 3, inputs = 4, outputs = 8;
  const auto launches = [](bool same) {
    Device::get().reset();
    const cuda::DeviceBuffer<float> x(rows * inputs), dy(rows * outputs);
    cuda::DeviceBuffer<float> dw(2 * inputs * outputs), dbias(2 * outputs);
    Context<Cuda<Single>> context(device);
    const PackedRows packed = PackedRows::uniform(1, rows);
    context.run(packed, Pass{}, [&](auto& worker) {
      const auto frame = worker.frame();
      for (int i = 0; i < 2; ++i)
        worker(
            op::LinearBackwardWeight<Single>{.x = {x.data(), rows, inputs},
                                             .dy = {dy.data(), rows, outputs},
                                             .dweight = {dw.data() + i * inputs * outputs, outputs, inputs},
                                             .dbias = {dbias.data() + (same ? 0 : i) * outputs, std::size_t(outputs)}});
    });
    return Device::get().launches();
  };
  CHECK(launches(true) == launches(false) + 1);
}

TEST_CASE("emulated: attention by cuDNN is that of our own kernels, up to rounding", "[cuda]") {
  Device::get().reset();
  constexpr cuda::Options own{.cudnn = false, .workspace = 1_MiB};
  SmallTrainer<Cuda<Mixed>> by_cudnn(capacity, {}, {}, device), by_kernels(capacity, {}, {}, own);
  const std::int64_t planned = by_cudnn.allocated_bytes();
  double worst = 0;
  for (int step = 0; step < 6; ++step) {
    FollowingTokens<vocabulary> some = batch(step);
    if (step % 2 == 1) {  // fewer sequences than there may be, of several lengths
      some.rows.assign(std::vector{length, 3, 5});
      some.tokens.resize(length + 8), some.targets.resize(length + 8);
    }
    const StepReport a = by_cudnn.step(some, 1e-3), b = by_kernels.step(some, 1e-3);
    worst = std::max(worst, testing::relative_error(a.loss, b.loss, 1));
    CHECK(testing::relative_error(a.gradient_norm, b.gradient_norm, 1) < 0.02);
  }
  INFO("worst loss " << worst);
  CHECK(worst < 2e-3);
  CHECK(worst > 0);  // they are not the same
  CHECK(calls("cudnnBackendExecute") > 0);
  CHECK(by_cudnn.allocated_bytes() - planned <= 4096);  // numbers of the program: cuDNN's workspace was planned
}

TEST_CASE("emulated: a plan that cannot be read, written down or kept is made", "[cuda]") {
  const TemporaryDirectory folder;
  const std::string plans = (folder.path() / "plans").string();
  const auto loss = [&] {
    SmallTrainer<Cuda<Mixed>, 1> trainer(capacity, {}, {}, {.workspace = 1_MiB, .plans = plans});
    return trainer.step(batch(0), 1e-3).loss;
  };
  Device::get().reset();
  const double expected = loss();
  const auto file = std::filesystem::directory_iterator(folder.path() / "plans")->path();
  const std::string good = read_file(file);
  // A whole file, of which cuDNN wants to know nothing: that of another process.
  cuda::PlanFiles files(folder.path() / "plans");
  const std::string key =
      good.substr(good.find('\n') + 1, good.rfind('\n', good.rfind('\n') - 1) - good.find('\n') - 1);
  files.keep(key, "a plan of nobody");
  CHECK(files.find(key) == "a plan of nobody");
  Device::get().reset();
  CHECK(loss() == expected);
  CHECK(files.find(key) != "a plan of nobody");
  CHECK(Device::get().mistakes().empty());
}

TEST_CASE("emulated: a plan of cuDNN that a run has kept is read by the next one", "[cuda]") {
  const TemporaryDirectory folder;
  struct Trained {
    double loss;
    std::int64_t descriptors;
  };
  const auto train = [&](const std::string& plans, std::size_t cudnn_version = 0) {
    Device::get().reset({.cudnn_version = cudnn_version});
    SmallTrainer<Cuda<Mixed>> trainer(capacity, {}, {}, {.workspace = 1_MiB, .plans = plans});
    const double loss = trainer.step(batch(0), 1e-3).loss;
    CHECK(calls("cudnnBackendExecute") > 0);
    return Trained{loss, calls("cudnnBackendCreateDescriptor")};
  };
  const auto files = [&] {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "plans"))
      paths.push_back(entry.path());
    return paths;
  };
  const std::string plans = (folder.path() / "plans").string();
  const Trained without = train({}), made = train(plans), read = train(plans);
  CHECK(files().size() == 2);  // forward and backward
  CHECK(made.descriptors == without.descriptors);
  CHECK(read.descriptors < made.descriptors - 100);  // those of two graphs
  CHECK(made.loss == without.loss);
  CHECK(read.loss == without.loss);

  for (const std::filesystem::path& file : files()) {  // damaged, one way and the other, they are made again
    std::string text = read_file(file);
    if (file == files().front())
      text[text.size() - 3] ^= 1;
    else
      text.resize(text.size() / 2);
    write_file(file, text);
  }
  CHECK(train(plans).descriptors == made.descriptors);
  CHECK(train(plans).descriptors == read.descriptors);

  train(plans, CUDNN_VERSION + 1);  // another cuDNN has its own
  CHECK(files().size() == 4);
  CHECK(train((folder.path() / "plans" / files().front().filename() / "below a file").string()).loss == without.loss);
}

constexpr int deep = 500;
using DeepTranslator =
    Translator<Encoder<Vocabulary<vocabulary>, ContextLength<length>, deepnet::EncoderStack<deep, deep, 32, 2, 64>>,
               Decoder<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderStack<deep, deep, 32, 2, 64>>>;

TEST_CASE("emulated: a step of 500 encoder and 500 decoder layers is two graphs, with the bits of single launches",
          "[cuda][slow]") {
  struct Step {
    double loss, norm;
    std::int64_t launches, graphs;
  };
  const auto train = [](bool graphs) {
    Device::get().reset();
    Device::get().memory().open();  // to the host too, which takes less time
    constexpr PairCapacity pairs{{length, 1, length}, {length, 1, length}};
    Trainer<DeepTranslator, Cuda<Mixed>, AdamW> trainer(pairs, {}, {}, {.graphs = graphs, .workspace = 1_MiB});
    std::vector<Step> steps;
    for (std::int64_t step = 0; step < 2; ++step) {
      const FollowingTokens<vocabulary> source(std::uint64_t(2 * step), 1, length),
          target(std::uint64_t(2 * step + 1), 1, length);
      const std::int64_t before = Device::get().launches(), graphs_before = calls("cudaGraphLaunch");
      const StepReport report = trainer.step(PairBatch({source.rows, source.tokens}, target), 1e-4);
      steps.push_back({report.loss, report.gradient_norm, Device::get().launches() - before,
                       calls("cudaGraphLaunch") - graphs_before});
    }
    return std::pair(steps, values_of(trainer.masters()));
  };
  const auto [steps, masters] = train(true);
  const auto [eager, eager_masters] = train(false);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    CHECK(steps[i].loss == eager[i].loss);
    CHECK(steps[i].norm == eager[i].norm);
    CHECK(steps[i].launches == eager[i].launches);
  }
  CHECK((masters == eager_masters));
  CHECK(steps.back().graphs == 2);
  INFO(steps.back().launches << " launches of a step");
  CHECK(steps.back().launches == 29'020);  // docs/gpu.md says of what
}

// The largest model of the paper: 500 + 500 layers, 3.7 billion parameters.
constexpr int paper_context = 256;
using PaperModel = Translator<
    Encoder<Vocabulary<32768>, ContextLength<paper_context>, deepnet::EncoderStack<deep, deep, 512, 8, 2048>>,
    Decoder<Vocabulary<32768>, ContextLength<paper_context>, deepnet::DecoderStack<deep, deep, 512, 8, 2048>>,
    TiedOutput, TiedSourceEmbedding>;

TEST_CASE("emulated: what the paper's model is planned to take of a GPU is what it asks for", "[cuda]") {
  const std::int64_t all = 139 * 1_GiB, for_training = all - 2_GiB;  // the rest for libraries and graphs
  int before = 0;
  for (const int tokens : {2048, 4096, 8192, 16384}) {
    const PairCapacity pairs{{tokens, tokens / 16, 128}, {tokens, tokens / 16, 128}};
    const int recomputed = least_recomputed<PaperModel, Cuda<Mixed>, AdamW>(pairs, for_training);
    const MemoryPlan plan = training_memory<PaperModel, Cuda<Mixed>, AdamW>(recomputing(pairs, recomputed));
    const auto gib = [](std::int64_t bytes) { return double(bytes) / double(1_GiB); };
    INFO(tokens << " tokens on each side: the first " << recomputed << " layers of each stack are computed again; "
                << gib(plan.weights) << " GiB of weights, " << gib(plan.masters) << " of masters, "
                << gib(plan.gradients) << " of gradients, " << gib(plan.optimizer) << " of optimizer, "
                << gib(plan.activations) << " of activations, " << gib(plan.workspace) << " of workspace; together "
                << gib(plan.total()) << " GiB");
    CHECK(plan.total() <= for_training);
    CHECK(recomputed >= before);
    before = recomputed;
    Device::get().reset({.capacity = std::size_t(all), .poison = false, .works = false});
    TrainerOptions options;
    options.recomputed = recomputed;
    Trainer<PaperModel, Cuda<Mixed>, AdamW> trainer(pairs, options, {}, device);
    CHECK(trainer.allocated_bytes() - device.workspace == plan.total());
    const auto asked = std::int64_t(Device::get().memory().used());
    CHECK(asked >= plan.total());
    CHECK(asked < plan.total() + 16_MiB);
  }
  CHECK(before > 0);
  CHECK_THROWS_AS((least_recomputed<PaperModel, Cuda<Mixed>, AdamW>({{4096, 64, 64}, {4096, 64, 64}}, 40 * 1_GiB)),
                  Error);
  Device::get().reset();
}

/// What the error says that making a trainer and two steps end in.
std::string error_of(const emulated::Settings& settings, const cuda::Options& options = device, int recomputed = 0) {
  Device::get().reset(settings);
  try {
    SmallTrainer<Cuda<Single>> trainer(capacity, {.recomputed = recomputed}, {}, options);
    for (int step = 0; step < 3; ++step) trainer.step(batch(step), 1e-3);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("emulated: what a machine lacks is said in one line", "[cuda]") {
  CHECK(error_of({}).empty());
  CHECK(contains(error_of({.devices = 0}), "there is no NVIDIA GPU"));
  CHECK(contains(error_of({.driver = 11080}), "the driver knows CUDA 11.8, and this program was compiled for CUDA"));
  // What nobody had planned for.
  const std::string memory = error_of({.capacity = std::size_t{1} << 20}, {.workspace = 1_MiB, .reserve = -1_MiB});
  CHECK(contains(memory, "the device has no memory for"));
  CHECK(contains(memory, "recompute"));

  // What cannot be is known before anything is allocated, and what could be is said.
  const std::int64_t all = training_memory<Model<2>, Cuda<Single>, AdamW>(capacity).total();
  const std::int64_t least = training_memory<Model<2>, Cuda<Single>, AdamW>(recomputing(capacity, every_block)).total();
  REQUIRE(least < all);
  constexpr cuda::Options options{.workspace = 1_MiB, .reserve = 64_KiB};
  const auto with = [&](std::int64_t bytes) {
    return emulated::Settings{.capacity = std::size_t(bytes + options.workspace + options.reserve)};
  };
  const std::string fits = error_of(with(all - 1), options), none = error_of(with(least - 1), options);
  INFO(fits << '\n' << none);
  CHECK(contains(fits, "Trainer: training takes "));
  CHECK(contains(none, " GiB free for it; with every layer computed again in backward it takes "));
  CHECK(contains(none, "; take a smaller batch or model"));
  CHECK(calls("cudaMalloc") == 0);
  const std::string advice = " GiB free for it; recomputed = ";
  REQUIRE(contains(fits, advice.c_str()));
  const int recomputed = std::stoi(fits.substr(fits.find(advice) + advice.size()));
  CHECK(recomputed > 0);
  CHECK(error_of(with(all - 1), options, recomputed).empty());
  CHECK(error_of(with(all), options).empty());
  Device::get().reset();
}

TEST_CASE("emulated: another cuDNN than a program was compiled for is said in one line", "[cuda]") {
  const std::string other = error_of({.cudnn_version = CUDNN_VERSION / 10000 * 10000 + 10000});
  CHECK(contains(other, " is loaded, and this program was compiled for "));
  CHECK(contains(other, ": the first number of both must be the same"));
  CHECK(contains(error_of({.cudnn_version = CUDNN_VERSION - 100}), " is loaded, and this program was compiled for "));
  CHECK(error_of({.cudnn_version = CUDNN_VERSION + 1}).empty());
  Device::get().reset();
}

TEMPLATE_TEST_CASE("emulated: whichever call fails, the error says so and nothing leaks", "[cuda]", Cuda<Single>,
                   Cuda<Mixed>) {
  const auto run = [] {
    SmallTrainer<TestType, 1> trainer(capacity, {}, {}, device);
    for (int step = 0; step < 3; ++step) trainer.step(batch(step), 1e-3);
  };
  Device::get().reset();
  run();
  // Of what is called a thousand times, the first and the last; and some in between.
  std::vector<std::int64_t> places = Device::get().first_and_last_calls();
  for (std::int64_t at = 0; at < Device::get().calls(); at += at < 60 ? 1 : 97) places.push_back(at);
  std::ranges::sort(places);
  places.erase(std::ranges::unique(places).begin(), places.end());
  int failed = 0;
  for (const bool sticky : {false, true})
    for (const std::int64_t at : places) {
      Device::get().reset();
      Device::get().inject({.at = at, .sticky = sticky});
      std::string message;
      try {
        run();
      } catch (const CudaError& error) {
        ++failed;
        message = error.what();
      }
      const std::string call = Device::get().injected();
      Device::get().inject({});
      INFO("call " << at << ", " << call << ": " << message);
      CHECK(message.find('\n') == std::string::npos);
      CHECK(Device::get().leaks().empty());
      // What gives something back cannot say so; a launch has the kernel's name, and what is asked for a device its
      // own.
      const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
      if (!sticky && !has(call, "Free") && !has(call, "Destroy"))
        CHECK((has(message, call.c_str()) || has(message, "kernel ") || has(message, "device")));
      Device::get().forgive();
    }
  CHECK(failed > 50);
  Device::get().reset();
}

}  // namespace emulated_test
