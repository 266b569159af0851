// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <cmath>
#include <cstdint>

#include "support.hpp"

namespace memory_test {

using namespace emulated_test;

TEST_CASE("memory of the device: values come and go by copies", "[device]") {
  Device& device = fresh_device();
  int* const memory = on_device<int>({1, 2, 3});
  CHECK(values_at(memory, 3) == std::vector{1, 2, 3});
  CHECK(std::uintptr_t(memory) % 256 == 0);
  CHECK(device.memory().used() == 12);
  int* const second = on_device<int>({4});
  REQUIRE(ok(cudaMemcpy(memory + 1, second, 4, cudaMemcpyDeviceToDevice)));
  CHECK(values_at(memory, 3) == std::vector{1, 4, 3});
  REQUIRE(ok(cudaMemset(memory, 0, 8)));
  CHECK(values_at(memory, 3) == std::vector{0, 0, 3});
  CHECK(ok(cudaFree(memory)));
  CHECK(ok(cudaFree(second)));
  CHECK(ok(cudaFree(nullptr)));
  CHECK(device.memory().used() == 0);
  CHECK(device.memory().peak() == 16);
  CHECK(device.leaks().empty());
}

TEST_CASE("memory of the device: fresh memory is NaN in every type", "[device]") {
  fresh_device();
  void* memory = nullptr;
  REQUIRE(ok(cudaMalloc(&memory, 16)));
  CHECK(std::isnan(values_at(static_cast<double*>(memory), 2)[1]));
  CHECK(std::isnan(values_at(static_cast<float*>(memory), 4)[3]));
  CHECK(values_at(static_cast<std::uint16_t*>(memory), 8)[7] == 0xFFFF);  // bf16 and half: a NaN
}

TEST_CASE("memory of the device: the host may not touch it", "[device]") {
  fresh_device();
  volatile int* const memory = on_device<int>({1, 2, 3});
  CHECK(fault_of([&] { (void)memory[1]; }).find("the host touches byte 4 of a block of 12 bytes") != std::string::npos);
  CHECK(fault_of([&] { memory[2] = 5; }).find("the host touches byte 8") != std::string::npos);
  REQUIRE(ok(cudaDeviceSynchronize()));
  CHECK(fault_of([&] { (void)memory[0]; }) != "alive");
  CHECK(fault_of([] {}) == "alive");
}

TEST_CASE("memory of the device: work may not touch what is beside a block", "[device]") {
  Device& device = fresh_device();
  auto* const bytes = reinterpret_cast<volatile char*>(on_device(std::vector<char>(8192, 'a')));
  const auto touching = [&](std::ptrdiff_t at) {
    return fault_of([&, at] {
      device.submit(device.legacy(), "kernel Touch", [=] { bytes[at] = 'b'; });
      (void)cudaDeviceSynchronize();
    });
  };
  CHECK(touching(0) == "alive");
  CHECK(touching(8191) == "alive");
  CHECK(touching(8192).find("kernel Touch touches 0 bytes behind the end of a block of 8192 bytes") !=
        std::string::npos);
  CHECK(touching(-1).find("kernel Touch touches 1 bytes before the begin of a block") != std::string::npos);
}

TEST_CASE("memory of the device: what no page guards is looked at", "[device]") {
  Device& device = fresh_device();
  for (const std::ptrdiff_t at : {-1, 10, 255}) {
    device.reset();
    char* const bytes = on_device(std::vector<char>(10, 'a'));
    device.submit(device.legacy(), "work", [=] { bytes[at] = 'b'; });
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
    CHECK(mistaken({"written beside a block"}));
  }
  device.reset();
}

TEST_CASE("memory of the device: a freed block stays out of reach", "[device]") {
  fresh_device();
  int* const memory = on_device<int>({1, 2, 3});
  REQUIRE(ok(cudaFree(memory)));
  int* const other = on_device<int>({4, 5, 6});
  CHECK(other != memory);
  CHECK(fault_of([&] { (void)*static_cast<volatile int*>(memory); }).find("freed block") != std::string::npos);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  CHECK(cudaFree(other + 1) == cudaErrorInvalidValue);
  int host = 0;
  CHECK(cudaMemcpy(&host, memory, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(mistaken({"cudaFree: byte 0 of a freed block", "cudaFree: byte 4 of a block",
                  "cudaMemcpy: 4 bytes from byte 0 of a freed"}));
}

TEST_CASE("memory of the device: copies stay in their blocks and say their kind", "[device]") {
  fresh_device();
  int* const memory = on_device<int>({1, 2, 3});
  int* const pinned_memory = pinned<int>({1});
  int host[4] = {};
  CHECK(cudaMemcpy(host, memory, 16, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, memory, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(memory, pinned_memory, 8, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host, 0, 4) == cudaErrorInvalidValue);
  CHECK(mistaken({"16 bytes from", "its kind is not", "8 bytes from", "cudaMemset: 4 bytes"}));
  CHECK(ok(cudaMemcpy(host, memory, 12, cudaMemcpyDefault)));
  CHECK(host[2] == 3);
}

TEST_CASE("memory of the device: there is as much as was asked for, counted or touched", "[device]") {
  Device& device = fresh_device({.capacity = 1000});
  void *first = nullptr, *second = nullptr;
  std::size_t available = 0, total = 0;
  CHECK(ok(cudaMalloc(&first, 600)));
  CHECK(ok(cudaMemGetInfo(&available, &total)));
  CHECK((available == 400 && total == 1000));
  CHECK(cudaMalloc(&second, 401) == cudaErrorMemoryAllocation);
  CHECK(second == nullptr);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorMemoryAllocation");
  CHECK(ok(cudaGetLastError()));

  device.reset({.capacity = std::size_t{139} << 30, .poison = false});
  CHECK(ok(cudaMalloc(&first, std::size_t{138} << 30)));
  CHECK(device.memory().used() == std::size_t{138} << 30);
  CHECK(device.leaks() == std::vector<std::string>{"1 blocks of device memory"});
}

}  // namespace memory_test
