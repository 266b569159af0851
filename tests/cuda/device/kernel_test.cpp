// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <numeric>

#include "../kernels.hpp"
#include "launch.hpp"
#include "support.hpp"

namespace kernel_test {

using namespace emulated_test;
using namespace fathom_test;
using fathom::CudaError;
using fathom::cuda::launch;

constexpr auto orders = {Order::forward, Order::reverse, Order::random};

std::vector<float> counted(int count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 1.f);
  return values;
}

TEST_CASE("kernels: a sum by barriers, in any order of threads and blocks", "[device]") {
  for (const Order order : orders) {
    Device& device = fresh_device({.order = order});
    cudaStream_t stream = new_stream();
    float *const x = on_device(counted(256)), *const y = on_device<float>({0, 0});
    launch(stream, 2, BlockSum{x, y});
    CHECK(values_at(y, 2) == std::vector<float>{128 * 129 / 2, 128 * 129 / 2 + 128 * 128});
    CHECK(device.launches() == 1);
  }
}

TEST_CASE("kernels: a dropped barrier shows in some order", "[device]") {
  int right = 0;
  for (const Order order : orders) {
    fresh_device({.order = order});
    float *const x = on_device(counted(128)), *const y = on_device<float>({0});
    launch(new_stream(), 1, BlockSum{x, y, false});
    right += values_at(y, 1)[0] == 128 * 129 / 2;
  }
  CHECK(right < 3);
  right = 0;
  for (const Order order : orders) {
    fresh_device({.order = order});
    float *const x = on_device(counted(1024)), *const y = on_device(counted(1024));
    launch(new_stream(), 1, Transpose{x, y, 32, false});
    right += values_at(y, 1024)[32 * 31] == 32;
  }
  CHECK(right < 3);
}

TEST_CASE("kernels: a transpose through shared memory, and what it moves", "[device]") {
  for (const Order order : orders) {
    fresh_device({.order = order});
    const int width = 96;
    float *const x = on_device(counted(width * width)), *const y = on_device(counted(width * width));
    emulated::traffic() = {};
    launch(new_stream(), 9, Transpose{x, y, width});
    const auto values = values_at(y, std::size_t(width) * width);
    bool right = true;
    for (int i = 0; i < width; ++i)
      for (int j = 0; j < width; ++j) right = right && values[std::size_t(i * width + j)] == float(j * width + i + 1);
    CHECK(right);
    CHECK(emulated::traffic().loaded == 4 * width * width);
    CHECK(emulated::traffic().stored == 4 * width * width);
  }
}

TEST_CASE("kernels: shuffles", "[device]") {
  for (const Order order : orders) {
    fresh_device({.order = order});
    cudaStream_t stream = new_stream();
    float *const x = on_device(counted(128)), *const y = on_device(counted(128));
    launch(stream, 2, WarpSum{x, y});
    const auto sums = values_at(y, 128);
    for (int i = 0; i < 128; ++i) CHECK(int(sums[std::size_t(i)]) == 32 * 33 / 2 + i / 32 * 32 * 32);
    std::vector<int> numbers(32);
    std::iota(numbers.begin(), numbers.end(), 0);
    int *const from = on_device(numbers), *const to = on_device(numbers);
    launch(stream, 1, Rotate{from, to});
    CHECK(values_at(to, 4) == std::vector{29, 30, 31, 0});
  }
}

TEST_CASE("kernels: the matrix step of a warp", "[device]") {
  fresh_device();
  std::vector<fathom::Bf16> a, b;
  for (int i = 0; i < 16 * 16; ++i) a.emplace_back(float(i % 7 - 3));
  for (int i = 0; i < 16 * 8; ++i) b.emplace_back(float(i % 5 - 1) / 2);
  float* const y = on_device(std::vector<float>(128, 1.f));
  launch(new_stream(), 1, MultiplyTile{on_device(a), on_device(b), y});
  const auto values = values_at(y, 128);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float sum = 1;
      for (int k = 0; k < 16; ++k) sum += float((i * 16 + k) % 7 - 3) * float((k * 8 + j) % 5 - 1) / 2;
      CHECK(values[std::size_t(i * 8 + j)] == sum);
    }
}

TEST_CASE("kernels: the fragments of a matrix step are PTX's", "[device]") {
  using Step = fathom::cuda::MatrixStep;
  // Lane 5 (group 1, second in it), as the figures of "Matrix Fragments for mma.m16n8k16 with floating point type" have
  // it.
  CHECK((Step::a_row(5, 0) == 1 && Step::a_column(5, 0) == 2 && Step::a_column(5, 1) == 3));
  CHECK((Step::a_row(5, 2) == 9 && Step::a_column(5, 3) == 3));
  CHECK((Step::a_row(5, 4) == 1 && Step::a_column(5, 4) == 10));
  CHECK((Step::a_row(5, 7) == 9 && Step::a_column(5, 7) == 11));
  CHECK((Step::b_row(5, 0) == 2 && Step::b_row(5, 3) == 11 && Step::b_column(5, 2) == 1));
  CHECK((Step::c_row(5, 1) == 1 && Step::c_row(5, 2) == 9 && Step::c_column(5, 3) == 3));
}

TEST_CASE("kernels: threads that do not cooperate", "[device]") {
  for (const Order order : orders) {
    fresh_device({.order = order});
    float *const x = on_device(counted(1000)), *const y = on_device(counted(1000));
    launch(new_stream(), 3, Axpy{2, x, y, 1000});
    const auto values = values_at(y, 1000);
    CHECK((values[0] == 3 && values[999] == 3000));
  }
}

TEST_CASE("kernels: arguments are those of the launch, and it is captured with them", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  float *const x = on_device<float>({1}), *const y = on_device<float>({0});
  Axpy axpy{2, x, y, 1};
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)));
  launch(stream, 1, axpy);
  axpy.a = 100;
  REQUIRE(ok(cudaStreamEndCapture(stream, &graph)));
  REQUIRE(ok(cudaGraphInstantiate(&exec, graph, 0)));
  for (int i = 0; i < 3; ++i) REQUIRE(ok(cudaGraphLaunch(exec, stream)));
  CHECK(values_at(y, 1)[0] == 6);
}

// ---- kernels that are wrong

/// Half of the threads come to a barrier, or the others to another one, or they have ended.
struct Divergent {
  static constexpr const char* name = "divergent";
  static constexpr int threads = 64;
  struct Shared {};
  int kind;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    if (kind == 0 && thread.index() == 3) return;
    if (kind == 1 && thread.index() == 5)
      thread.barrier();
    else if (kind == 1)
      thread.barrier();
    if (kind == 0) thread.barrier();
    if (kind == 2 && thread.lane() != 7) (void)thread.shuffle_xor(1, 1);
    if (kind == 3 && thread.warp() == 0) (void)thread.shuffle_xor(1, 1);  // a warp alone may
    if (kind == 4 && thread.warp() == 0) thread.barrier();
    if (kind == 5) (void)thread.shuffle(1, 32);
  }
};

TEST_CASE("kernels: a divergent barrier or shuffle is an error, with the kernel and the threads", "[device]") {
  const auto mistake_of = [](int kind) -> std::string {
    Device& device = fresh_device();
    launch(new_stream(), 1, Divergent{kind});
    const cudaError_t error = cudaDeviceSynchronize();
    const std::string text = device.mistakes().empty() ? "" : device.mistakes().front();
    CHECK((error == cudaErrorLaunchFailure) == !text.empty());
    device.forgive();
    return text;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  has(mistake_of(0), "kernel divergent, block 0: divergent: thread 0 is at the barrier at kernel_test.cpp:");
  has(mistake_of(0), "and thread 3 has ended");
  has(mistake_of(1), "and thread 5 is at the barrier at kernel_test.cpp:");
  has(mistake_of(2), "thread 0 is at the shuffle at kernel_test.cpp:");
  has(mistake_of(2), "and thread 7 has ended");
  CHECK(mistake_of(3).empty());
  has(mistake_of(4), "and thread 32 has ended");
  has(mistake_of(5), "kernel divergent, block 0, thread 0: shuffle from lane 32");
}

/// All threads of a block write the sum so far to one place.
struct Race {
  static constexpr const char* name = "race";
  static constexpr int threads = 32;
  float* y;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    thread.store(y, thread.load(y) / 2 + float(thread.index()));
  }
};

TEST_CASE("kernels: a race gives other bits in another order", "[device]") {
  std::vector<float> results;
  for (const Order order : orders) {
    fresh_device({.order = order});
    float* const y = on_device<float>({0});
    launch(new_stream(), 1, Race{y});
    results.push_back(values_at(y, 1)[0]);
  }
  CHECK((results[0] != results[1] && results[1] != results[2]));
}

struct Address {
  static constexpr const char* name = "address";
  static constexpr int threads = 32;
  struct Shared {
    int x[32];
  };
  char* at;
  int shared;  ///< written behind the begin of the shared memory

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    if (thread.index() != 2) return;
    thread.shared().x[0] = 1;
    if (shared > 0) (&thread.shared().x[0])[shared] = 1;
    if (at != nullptr) thread.store(reinterpret_cast<int*>(at), 1);
  }
};

TEST_CASE("kernels: addresses are aligned and the device's", "[device]") {
  char* const memory = (fresh_device(), on_device(std::vector<char>(256, 'a')));
  const auto fails_with = [&](char* at, const std::string& text) {
    launch(new_stream(), 1, Address{at, 0});
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
    CHECK(mistaken({text}));
    Device::get().set_sticky(0);
  };
  fails_with(memory + 2,
             "kernel address, block 0, thread 2: stores 4 bytes at an address that is not aligned for them: byte 2");
  fails_with(pinned<char>({'a', 'b', 'c', 'd'}), "stores what is no memory of the device");
  CHECK(fault_of([&] {
          launch(new_stream(), 1, Address{memory + 256, 0});
          (void)cudaDeviceSynchronize();
        }).find("kernel address, kernel address, block 0, thread 2 touches 0 bytes behind the end") !=
        std::string::npos);
  CHECK(fault_of([&] {
          launch(new_stream(), 1, Address{nullptr, 32});
          (void)cudaDeviceSynchronize();
        }) != "alive");
  CHECK(fault_of([&] {
          launch(new_stream(), 1, Address{memory, 31});
          (void)cudaDeviceSynchronize();
        }) == "alive");
}

struct Peek {
  static constexpr const char* name = "peek";
  static constexpr int threads = 32;
  struct Shared {
    float x[32];
  };
  float* y;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    thread.store(y + thread.block() * 32 + thread.index(), thread.shared().x[thread.index()]);
    thread.shared().x[thread.index()] = 1;
  }
};

TEST_CASE("kernels: shared memory starts as NaN in every block", "[device]") {
  fresh_device();
  float* const y = on_device(std::vector<float>(64, 0.f));
  launch(new_stream(), 2, Peek{y});
  const auto values = values_at(y, 64);
  CHECK(std::ranges::all_of(values, [](float value) { return std::isnan(value); }));
}

TEST_CASE("kernels: a launch that is refused, or made to fail, names the kernel", "[device]") {
  Device& device = fresh_device();
  cudaStream_t stream = new_stream();
  const auto text_of = [&](int blocks) -> std::string {
    try {
      launch(stream, blocks, Axpy{1, nullptr, nullptr, 0});
    } catch (const CudaError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(text_of(0) ==
        "kernel axpy: invalid configuration argument (emulated device: kernel axpy is launched in 0 blocks)");
  CHECK(mistaken({"in 0 blocks"}));
  device.inject({.at = 0});
  CHECK(text_of(1) == "kernel axpy: unknown error");
  CHECK(device.injected() == "launch of axpy");
  CHECK(text_of(1).empty());
  CHECK(ok(cudaDeviceSynchronize()));
}

}  // namespace kernel_test
