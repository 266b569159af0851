// SPDX-License-Identifier: Apache-2.0
// What cuDNN says of attention's graphs: it plans those that the emulated device runs, and none of those that it
// refuses. The device is a description of an H200. Without a driver a plan comes as far as to load the kernel that it
// has compiled.
#include <cstdio>
#include <fathom/backend/cuda/attention_graph.hpp>
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

/// Whether cuDNN has an engine for the graph, and has compiled its kernel.
bool planned(const AttentionShape& shape, bool backward, const Descriptor& device) {
  try {
    return make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape), device).has_value();
  } catch (const CudaError& error) {
    // The stub of a driver answers every call with 34; the first of them loads the kernel.
    if (std::string(error.what()).find("cuLibraryLoadData returned error  (34)") != std::string::npos) return true;
    throw;
  }
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
  const struct {
    const char* name;
    AttentionShape shape;
    bool forward, backward;
  } cases[] = {{"self-attention", self, true, true},
               {"in one order", ordered, true, true},
               {"cross-attention with dropout", cross, true, true},
               {"two heads of 16", narrow, true, true},
               {"heads of 12", odd, false, false},
               {"fp32", wide, true, false}};
  int wrong = 0;
  for (const auto& c : cases)
    for (const bool backward : {false, true}) {
      const bool is = planned(c.shape, backward, device), wanted = backward ? c.backward : c.forward;
      std::printf("%s: %s, %s%s\n", c.name, backward ? "backward" : "forward", is ? "planned" : "no engine",
                  is == wanted ? "" : " (unexpected)");
      wrong += is != wanted;
    }
  return wrong;
}

int main() {
  std::printf("cuDNN %zu\n", cudnnGetVersion());
  try {
    return run() == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("cuda.plan: %s\n", error.what());
    return 1;
  }
}

}  // namespace plan_test
