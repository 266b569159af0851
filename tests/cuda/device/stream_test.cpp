// SPDX-License-Identifier: Apache-2.0
#include "stream.hpp"

#include "support.hpp"

namespace stream_test {

using namespace emulated_test;

constexpr auto orders = {Order::forward, Order::reverse, Order::random};

/// Hands in work that adds its name to a list of the host's.
struct Diary {
  std::string text;

  auto writes(char letter) {
    return [this, letter] { text += letter; };
  }
  void in(cudaStream_t stream, char letter) {
    Device::get().submit(*reinterpret_cast<emulated::Stream*>(stream), std::string(1, letter), writes(letter));
  }
};

TEST_CASE("streams: nothing is done before it is waited for, and a stream keeps its order", "[device]") {
  for (const Order order : orders) {
    fresh_device({.order = order});
    Diary diary;
    cudaStream_t stream = new_stream();
    for (const char letter : {'a', 'b', 'c'}) diary.in(stream, letter);
    CHECK(diary.text.empty());
    CHECK(ok(cudaStreamSynchronize(stream)));
    CHECK(diary.text == "abc");
  }
}

TEST_CASE("streams: only what is waited for is done, or everything, the youngest first", "[device]") {
  fresh_device();
  Diary diary;
  cudaStream_t first = new_stream(), second = new_stream();
  const auto fill = [&] {
    diary.text.clear();
    diary.in(first, 'a'), diary.in(second, 'x'), diary.in(first, 'b'), diary.in(second, 'y');
  };
  fill();
  CHECK(ok(cudaStreamSynchronize(first)));
  CHECK(diary.text == "ab");
  CHECK(ok(cudaDeviceSynchronize()));
  CHECK(diary.text == "abxy");
  Device::get().set_order(Order::reverse);
  fill();
  CHECK(ok(cudaStreamSynchronize(first)));
  CHECK(diary.text == "xyab");
}

TEST_CASE("streams: an event carries its place to another stream", "[device]") {
  for (const Order order : orders) {
    fresh_device({.order = order});
    Diary diary;
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t event = new_event();
    diary.in(first, 'a');
    REQUIRE(ok(cudaEventRecord(event, first)));
    diary.in(second, 'x');
    REQUIRE(ok(cudaStreamWaitEvent(second, event, 0)));
    diary.in(second, 'y');
    CHECK(ok(cudaStreamSynchronize(second)));
    CHECK(diary.text.find('a') < diary.text.find('y'));
    CHECK(diary.text.size() == 3);
  }
}

TEST_CASE("streams: an event that is not waited for shows, in one order or another", "[device]") {
  // The first stream writes 1, the second copies it on. Without the wait, some order copies what was there before.
  const auto copied = [](Order order, bool waits) {
    fresh_device({.order = order});
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t event = new_event();
    char *const from = on_device<char>({7}), *const to = on_device<char>({7});
    REQUIRE(ok(cudaMemsetAsync(from, 1, 1, first)));
    REQUIRE(ok(cudaEventRecord(event, first)));
    if (waits) REQUIRE(ok(cudaStreamWaitEvent(second, event, 0)));
    REQUIRE(ok(cudaMemcpyAsync(to, from, 1, cudaMemcpyDeviceToDevice, second)));
    REQUIRE(ok(cudaStreamSynchronize(second)));
    return int(values_at(to, 1)[0]);
  };
  for (const Order order : orders) CHECK(copied(order, true) == 1);
  CHECK(copied(Order::forward, false) == 7);
}

TEST_CASE("streams: an event stands where it was recorded last; one never recorded is no wait", "[device]") {
  fresh_device();
  Diary diary;
  cudaStream_t first = new_stream(), second = new_stream();
  cudaEvent_t event = new_event();
  CHECK(ok(cudaEventQuery(event)));
  REQUIRE(ok(cudaStreamWaitEvent(second, event, 0)));
  REQUIRE(ok(cudaEventRecord(event, first)));
  diary.in(first, 'a');
  CHECK(ok(cudaEventSynchronize(event)));
  CHECK(diary.text.empty());
  REQUIRE(ok(cudaEventRecord(event, first)));
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(ok(cudaEventQuery(event)));
  CHECK(diary.text == "a");
  CHECK(cudaStreamQuery(second) == cudaSuccess);
}

TEST_CASE("streams: copies read pinned memory late and pageable memory at once", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  int *const memory = on_device<int>({0, 0}), *const late = pinned<int>({1});
  int early = 1;
  REQUIRE(ok(cudaMemcpyAsync(memory, late, 4, cudaMemcpyHostToDevice, stream)));
  REQUIRE(ok(cudaMemcpyAsync(memory + 1, &early, 4, cudaMemcpyHostToDevice, stream)));
  *late = 2;
  early = 2;
  CHECK(values_at(memory, 2) == std::vector{2, 1});
}

TEST_CASE("streams: a copy to pinned memory is there when it was waited for", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  int *const memory = on_device<int>({5}), *const result = pinned<int>({1});
  int pageable = 0;
  REQUIRE(ok(cudaMemcpyAsync(result, memory, 4, cudaMemcpyDeviceToHost, stream)));
  CHECK(*result == 1);
  CHECK(ok(cudaStreamSynchronize(stream)));
  CHECK(*result == 5);
  REQUIRE(ok(cudaMemcpyAsync(&pageable, memory, 4, cudaMemcpyDeviceToHost, stream)));
  CHECK(pageable == 5);
}

TEST_CASE("streams: the legacy stream waits for blocking streams and they for it, not for others", "[device]") {
  fresh_device();
  Diary diary;
  cudaStream_t blocking = new_stream(cudaStreamDefault), other = new_stream();
  diary.in(other, 'o');
  diary.in(blocking, 'a');
  Device& device = Device::get();
  device.submit(device.legacy(), "legacy", diary.writes('l'));
  diary.in(blocking, 'b');
  CHECK(ok(cudaStreamSynchronize(nullptr)));
  CHECK(diary.text == "al");
  CHECK(ok(cudaStreamSynchronize(blocking)));
  CHECK(diary.text == "alb");
  CHECK(ok(cudaStreamSynchronize(other)));
  CHECK(diary.text == "albo");
}

TEST_CASE("streams: cudaMemcpy does not wait for a stream that does not block", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  char* const memory = on_device<char>({7});
  REQUIRE(ok(cudaMemsetAsync(memory, 1, 1, stream)));
  char value = 0;
  REQUIRE(ok(cudaMemcpy(&value, memory, 1, cudaMemcpyDeviceToHost)));
  CHECK(value == 7);
  CHECK(values_at(memory, 1)[0] == 1);
}

TEST_CASE("streams: times of events", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  cudaEvent_t begin = new_event(cudaEventDefault), end = nullptr, untimed = new_event();
  REQUIRE(ok(cudaEventCreate(&end)));
  REQUIRE(ok(cudaEventRecord(begin, stream)));
  REQUIRE(ok(cudaEventRecord(end, stream)));
  REQUIRE(ok(cudaEventRecord(untimed, stream)));
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorNotReady);
  CHECK(ok(cudaStreamSynchronize(stream)));
  CHECK(ok(cudaEventElapsedTime(&milliseconds, begin, end)));
  CHECK(milliseconds >= 0);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, untimed) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("streams: what was destroyed is refused, and what was not is a leak", "[device]") {
  Device& device = fresh_device();
  Diary diary;
  cudaStream_t stream = new_stream(), left = new_stream();
  cudaEvent_t event = new_event(), other = new_event();
  diary.in(stream, 'a');
  CHECK(ok(cudaStreamDestroy(stream)));
  CHECK(diary.text == "a");
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  CHECK(ok(cudaEventDestroy(event)));
  CHECK(cudaEventRecord(event, left) == cudaErrorInvalidResourceHandle);
  CHECK(mistaken({"a stream that was destroyed", "an event that was destroyed"}));
  CHECK(device.leaks() == std::vector<std::string>{"1 streams", "1 events"});
  CHECK(ok(cudaEventDestroy(other)));
}

TEST_CASE("streams: memory is freed behind the work that uses it", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  char *const from = on_device<char>({3}), *const to = on_device<char>({0});
  REQUIRE(ok(cudaMemcpyAsync(to, from, 1, cudaMemcpyDeviceToDevice, stream)));
  CHECK(ok(cudaFree(from)));
  CHECK(values_at(to, 1)[0] == 3);
}

}  // namespace stream_test
