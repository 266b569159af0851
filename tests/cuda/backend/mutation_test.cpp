// SPDX-License-Identifier: Apache-2.0
// Tests of the tests: a mistake of a kind that a backend makes is made for it, and has to be noticed by what the other
// tests look at: what the emulated device says, and what the CPU's ops have written, in every order.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/testing/verify.hpp>
#include <map>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "device.hpp"
#include "mutation.hpp"
#include "support/following_tokens.hpp"

namespace mutation_test {

using namespace fathom_test;
using emulated::Device;
using emulated::Mutation;
using emulated::mutation;
using emulated::Order;

/// Something that the device does, beside a CPU that does it too. Returns how the two differ, in words; empty: they
/// agree.
struct Work {
  const char* name;
  std::string (*difference)();
};

constexpr int vocabulary = 41;
constexpr cuda::Options options{.workspace = 1_MiB};

/// Of an update: the second adds to the gradients of the first, and not all of its sequences are as long.
struct TwoBatches {
  FollowingTokens<vocabulary> first, second;
  std::array<TokenBatch, 2> both;

  TwoBatches(std::int64_t step, int length)
      : first(std::uint64_t(2 * step), 2, length), second(std::uint64_t(2 * step + 1), 2, length) {
    second.rows.assign(std::vector{length, length / 2 + 1});
    second.tokens.resize(std::size_t(length + length / 2 + 1));
    second.targets.resize(second.tokens.size());
    both = {first, second};
  }
  operator std::span<const TokenBatch>() const { return both; }
};

template <class P, class Optimizer, int Length>
std::string trained() {
  using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<Length>, deepnet::DecoderOnly<2, 32, 2, 64>>;
  constexpr Capacity capacity{2 * Length, 2, Length};
  const auto batches = [](std::int64_t step) { return TwoBatches(step, Length); };
  constexpr bool floats = std::is_same_v<P, Single>;
  testing::VerifyOptions how{.tolerance = floats ? 1e-4 : 0.05};
  how.trainer.dropout = {0.1, floats ? 0.1 : 0, 0.1, 0.1};
  const auto found =
      testing::verify<Model, Cpu<P>, Cuda<P>, Optimizer>(capacity, batches, how, {.threads = 1}, options);
  return found.agrees() ? "" : found.where + ": " + found.disagreement;
}

/// The ranks of some logits.
template <class B>
std::vector<double> ranked(const typename B::Options& machine) {
  constexpr int rows = 5, columns = 300, count = 4;
  std::vector<float> logits;
  const Philox random(Key{3});
  for (int i = 0; i < rows * columns; ++i) logits.push_back(float(below(1000, low_bits(random(std::uint64_t(i))))));
  typename B::template Buffer<float> x(std::ssize(logits)), values(rows * count), log_sum(rows);
  typename B::template Buffer<int> indices(rows * count);
  x.upload(0, logits);
  const PackedRows packed = PackedRows::uniform(rows, 1);
  Context<B> context(machine);
  context.reserve({.workspace = 0, .scratch = 1_MiB});
  context.run(packed, Pass{}, [&](auto& worker) {
    worker(op::RankLogits<Single>{.logits = {x.data(), rows, columns},
                                  .values = {values.data(), rows, count},
                                  .indices = {indices.data(), rows, count},
                                  .log_sum = log_sum});
  });
  std::vector<double> numbers;
  for (const float value : values_of(values)) numbers.push_back(value);
  for (const int index : values_of(indices)) numbers.push_back(index);
  for (const float sum : values_of(log_sum)) numbers.push_back(sum);
  return numbers;
}
std::string ranks_differ() {
  const auto actual = ranked<Cuda<Single>>(options), expected = ranked<Cpu<Single>>({.threads = 1});
  return testing::compare(std::span(actual), std::span(expected), 1).error <= 1e-5 ? "" : "the ranks differ";
}

/// Attention of a sequence that takes two tiles of queries and of keys: what forward and backward write.
template <class B>
std::vector<double> attended(const typename B::Options& machine, bool restores) {
  using P = typename B::Precision;
  using T = typename P::Activation;
  constexpr int rows = 72, columns = 8;
  const auto drawn = [](std::uint64_t seed) {
    std::vector<T> values;
    const Philox random(Key{seed});
    for (int i = 0; i < rows * columns; ++i) values.emplace_back(2 * uniform(random(std::uint64_t(i))[0]) - 1);
    return values;
  };
  using Memory = typename B::template Buffer<T>;
  Memory q(rows * columns), k(rows * columns), v(rows * columns), o(rows * columns), restored(rows * columns),
      d_o(rows * columns), dq(rows * columns), dk(rows * columns), dv(rows * columns);
  typename B::template Buffer<float> lse(rows);
  for (auto [memory, seed] : {std::pair(&q, 1), {&k, 2}, {&v, 3}, {&d_o, 4}})
    memory->upload(0, drawn(std::uint64_t(seed)));
  const auto matrix = [](Memory& memory) { return Matrix<T>(memory.data(), rows, columns); };
  const PackedRows packed = PackedRows::uniform(1, rows);
  const Packing packing = packed;
  const op::AttentionForward<P> forward{.heads = 1,
                                        .kv_heads = 1,
                                        .head_width = columns,
                                        .causal = false,
                                        .scale = 1,
                                        .dropout = {},
                                        .packing = &packing,
                                        .key_packing = &packing,
                                        .q = matrix(q),
                                        .k = matrix(k),
                                        .v = matrix(v),
                                        .bias = {},
                                        .cache = {},
                                        .o = matrix(o),
                                        .lse = {lse.data(), 1, rows}};
  op::AttentionBackward<P> backward{.heads = 1,
                                    .kv_heads = 1,
                                    .head_width = columns,
                                    .causal = false,
                                    .scale = 1,
                                    .dropout = {},
                                    .packing = &packing,
                                    .key_packing = &packing,
                                    .q = matrix(q),
                                    .k = matrix(k),
                                    .v = matrix(v),
                                    .bias = {},
                                    .o = {},
                                    .restored = {},
                                    .d_o = matrix(d_o),
                                    .lse = {lse.data(), 1, rows},
                                    .dq = matrix(dq),
                                    .dk = matrix(dk),
                                    .dv = matrix(dv),
                                    .dbias = {}};
  if (restores)
    backward.restored = matrix(restored);
  else
    backward.o = matrix(o);
  Context<B> context(machine);
  context.reserve({.workspace = 0, .scratch = 1_MiB});
  context.run(packing, Pass{}, [&](auto& worker) {
    worker(forward);
    worker(backward);
  });
  std::vector<double> numbers;
  for (const Memory* memory : {&o, &dq, &dk, &dv})
    for (const T value : values_of(*memory)) numbers.push_back(double(value));
  return numbers;
}
template <class P, bool Restores>
std::string attention_differs() {
  cuda::Options own = options;
  own.cudnn = false;
  const auto actual = attended<Cuda<P>>(own, Restores), expected = attended<Ref<P>>({}, Restores);
  return testing::compare(std::span(actual), std::span(expected), 1).error <= 0.02 ? "" : "attention differs";
}

constexpr Work floats{"floats", trained<Single, AdamW, 8>}, mixed{"mixed", trained<Mixed, AdamW, 8>},
    long_rows{"longer sequences", trained<Single, AdamW, 40>}, adafactor{"Adafactor", trained<Single, Adafactor, 8>},
    ranks{"ranks", ranks_differ}, tiles{"tiles of attention", attention_differs<Mixed, false>},
    restoring_tiles{"tiles of attention that restores", attention_differs<Mixed, true>},
    restoring_warps{"warps of attention that restores", attention_differs<Single, true>};

/// By what a run with the mutation is noticed; nothing: it is not.
std::string noticed(const Work& work, const Mutation& made) {
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    Device::get().reset({.order = order});
    Device::get().memory().open();  // to the host too, which takes less time
    mutation() = made;
    std::string by;
    try {
      by = work.difference();
    } catch (const Error& error) {
      by = error.what();
    }
    const bool met = std::exchange(mutation(), {}).met > made.at;
    if (!Device::get().mistakes().empty()) by = Device::get().mistakes().front();
    Device::get().forgive();
    if (made.kind != Mutation::Kind::none) REQUIRE(met);
    if (!by.empty()) return by;
  }
  return "";
}

/// Makes the first, the last and some between wrong, one at a time.
void check_noticed(const Work& work, Mutation::Kind kind) {
  Device::get().reset();
  mutation() = {.kind = kind, .at = -1};
  work.difference();
  const std::int64_t all = std::exchange(mutation(), {}).met;
  INFO(work.name << ", of " << all);
  REQUIRE(all > 0);
  std::set<std::int64_t> some{all - 1};
  for (std::int64_t at = 0; at < all; at += std::max<std::int64_t>(1, all / 8)) some.insert(at);
  for (const std::int64_t at : some) {
    INFO("number " << at);
    CHECK(noticed(work, {.kind = kind, .at = at}) != "");
  }
}

TEST_CASE("mutations: without one nothing is noticed", "[cuda]") {
  for (const Work& work : {floats, mixed, long_rows, adafactor, ranks, tiles, restoring_tiles, restoring_warps}) {
    INFO(work.name);
    CHECK(noticed(work, {}) == "");
  }
}

TEST_CASE("mutations: a wrong leading dimension is noticed", "[cuda]") {
  for (const Work& work : {floats, mixed}) check_noticed(work, Mutation::Kind::leading_dimension);
}
TEST_CASE("mutations: a swapped transpose is noticed", "[cuda]") {
  for (const Work& work : {floats, mixed}) check_noticed(work, Mutation::Kind::transpose);
}
TEST_CASE("mutations: a beta of 0 for 1 is noticed", "[cuda]") {
  for (const Work& work : {floats, mixed}) check_noticed(work, Mutation::Kind::beta);
}
TEST_CASE("mutations: a wait that is left out is noticed", "[cuda]") { check_noticed(floats, Mutation::Kind::wait); }
TEST_CASE("mutations: ragged offsets in rows are noticed", "[cuda]") {
  check_noticed(mixed, Mutation::Kind::ragged_offset);
}

TEST_CASE("mutations: no barrier of a kernel can be left out", "[cuda]") {
  std::map<std::string, bool> found;
  for (const Work& work : {floats, long_rows, mixed, adafactor, ranks, tiles, restoring_tiles, restoring_warps}) {
    Device::get().reset();
    mutation() = {.kind = Mutation::Kind::barrier};
    work.difference();
    for (const std::string& place : std::exchange(mutation(), {}).places)
      if (!found[place]) found[place] = noticed(work, {.kind = Mutation::Kind::barrier, .place = place}) != "";
  }
  CHECK(found.size() > 15);
  // Two may, one of each. `block_sum` waits for readers of the sum before, and this kernel has one sum. `shown` waits
  // for readers of the tile before, and in this kernel shuffles come between; they need not order memory.
  int of_sums = 0, of_attention = 0;
  for (const auto& [place, is_noticed] : found) {
    INFO(place);
    if (is_noticed) continue;
    if (place.starts_with("sum of squares, rows.hpp"))
      ++of_sums;
    else if (place.starts_with("attention, attention_kernels"))
      ++of_attention;
    else
      FAIL_CHECK("nothing notices that it is left out");
  }
  CHECK(of_sums <= 1);
  CHECK(of_attention <= 1);
}

}  // namespace mutation_test
