// SPDX-License-Identifier: Apache-2.0
// What cuDNN says of attention's graphs: it plans those that the emulated device runs, with the engines that are meant,
// and none of those that it refuses; and it reads plans that it has written. The device is a description of an H200.
// Where there is no driver, driver.sh makes a stand-in for one.
#include <cstdio>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/backend/cuda/attention_plan.hpp>
#include <span>
#include <string>
#include <string_view>

namespace plan_test {

using namespace fathom;
using namespace fathom::cuda;

constexpr std::string_view h200 =
    R"({"descriptorType":38,"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
    R"("multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,)"
    R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,)"
    R"("maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"smClockRateKHz":1980000,)"
    R"("memClockRateKHz":3201000,"l2CacheSize":62914560,"deviceVer":900,"driverVer":13000,"cudaDeviceId":0,)"
    R"("totalGlobalMem":150754820096,"deviceName":"NVIDIA H200"})";

/// What the kernel of a plan is called, as its text has it; empty: cuDNN has no engine for the graph. A plan that is
/// read from its text is the same. Errors: `CudaError` where it is not.
std::string kernel_of(const AttentionShape& shape, bool backward, const Descriptor& device) {
  const auto plan = make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape), device);
  if (!plan) return {};
  const std::string text = text_of(*plan);
  const AttentionPlan read = plan_of_text(text, device);
  if (text_of(read) != text || read.workspace_bytes != plan->workspace_bytes)
    throw CudaError("a plan that was read is another one");
  constexpr std::string_view key = R"("kernelName":")";
  const auto begin = text.find(key);
  if (begin == std::string::npos) return "a kernel without a name";
  return text.substr(begin + key.size(), text.find('"', begin + key.size()) - begin - key.size());
}

int run() {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(h200)).finalize();
  const AttentionShape self{.sequences = 8,
                            .heads = 8,
                            .width = 64,
                            .queries = 128,
                            .keys = 128,
                            .query_stride = 1536,
                            .key_stride = 1536,
                            .value_stride = 1536,
                            .output_stride = 512,
                            .statistics_stride = 1024,
                            .causal = true};
  AttentionShape cross = self, narrow = self, odd = self, wide = self, ordered = self;
  ordered.ordered = true;
  cross.keys = 77, cross.query_stride = 512, cross.key_stride = cross.value_stride = 1024, cross.causal = false,
  cross.keep = 0.9;
  narrow.heads = 2, narrow.width = 16, narrow.queries = narrow.keys = 8, narrow.output_stride = 32;
  narrow.query_stride = narrow.key_stride = narrow.value_stride = 96;
  odd.width = 12, odd.query_stride = odd.key_stride = odd.value_stride = 288, odd.output_stride = 96;
  wide.type = CUDNN_DATA_FLOAT;
  // Of the kernels, what their names have; null: there is no engine.
  constexpr const char *flash_forward = "sm90_flash_fprop_wgmma_f16", *flash_backward = "sm90_flash_bprop_wgmma_f16";
  const struct {
    const char* name;
    AttentionShape shape;
    const char *forward, *backward;
  } cases[] = {{"self-attention", self, flash_forward, flash_backward},
               {"in one order", ordered, flash_forward, flash_backward},
               {"cross-attention with dropout", cross, flash_forward, flash_backward},
               {"two heads of 16", narrow, flash_forward, flash_backward},
               {"heads of 12", odd, nullptr, nullptr},
               {"fp32", wide, "sm80_flash_fprop", nullptr}};
  int wrong = 0;
  for (const auto& c : cases)
    for (const bool backward : {false, true}) {
      const char* const wanted = backward ? c.backward : c.forward;
      const std::string kernel = kernel_of(c.shape, backward, device);
      const bool right =
          wanted == nullptr ? kernel.empty() : !kernel.empty() && kernel.find(wanted) != std::string::npos;
      std::printf("%s: %s, %s%s\n", c.name, backward ? "backward" : "forward",
                  kernel.empty() ? "no engine" : kernel.c_str(), right ? "" : " (unexpected)");
      wrong += !right;
    }
  return wrong;
}

}  // namespace plan_test

int main() {
  std::printf("cuDNN %zu\n", cudnnGetVersion());
  try {
    return plan_test::run() == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("cuda.plan: %s\n", error.what());
    return 1;
  }
}
