// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/runtime.hpp>
#include <fathom/core/config.hpp>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

/// Attention by cuDNN: a plan for each shape and direction, made the first time it is asked for, which takes seconds.
class AttentionPlans {
 public:
  /// What a plan is run with: addresses of the device, but for the numbers that AttentionTensor names as the host's.
  using Bound = std::vector<std::pair<AttentionTensor, const void*>>;

  explicit AttentionPlans(cudaStream_t stream) {
    if (cudnnGetVersion() / 10000 != CUDNN_VERSION / 10000)
      throw CudaError("cuDNN " + std::to_string(cudnnGetVersion()) + " is loaded, and this program was compiled for " +
                      std::to_string(CUDNN_VERSION) + ": the first number of both must be the same");
    cudnnHandle_t made = nullptr;
    check(cudnnCreate(&made), "cudnnCreate");
    handle_ = Owned<cudnnHandle_t, cudnnDestroy>(made);
    check(cudnnSetStream(made, stream), "cudnnSetStream");
  }

  /// Whether there is a plan. Makes it if it is asked for for the first time.
  bool has(const AttentionShape& shape, bool backward) { return plan_of(shape, backward).has_value(); }

  /// Runs the plan, which is there. `kept_scale` and its like are bound here.
  void run(const AttentionShape& shape, bool backward, float scale, Bound bound) {
    const std::optional<AttentionPlan>& plan = plan_of(shape, backward);
    using Id = AttentionTensor;
    const float minus = -std::numeric_limits<float>::infinity(), keep = float(shape.keep), one_by_keep = 1 / keep;
    bound.emplace_back(Id::scale, &scale);
    bound.emplace_back(Id::minus_infinity, &minus);
    if (shape.keep != 1) bound.emplace_back(Id::kept_scale, &one_by_keep);
    if (backward) bound.emplace_back(Id::kept, &keep);
    std::vector<std::int64_t> ids;
    std::vector<void*> addresses;
    for (const auto& [id, address] : bound) {
      ids.push_back(std::int64_t(id));
      addresses.push_back(const_cast<void*>(address));
    }
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>(ids))
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(addresses))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, static_cast<void*>(workspace_.data()))
        .finalize();
    check(cudnnBackendExecute(handle_.get(), plan->plan.get(), pack.get()), "cudnnBackendExecute");
  }

  std::int64_t allocated_bytes() const { return workspace_.size(); }

 private:
  const std::optional<AttentionPlan>& plan_of(const AttentionShape& shape, bool backward) {
    const auto key = std::pair(shape, backward);
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    if (!device_) {
      int device = 0;
      check(cudaGetDevice(&device), "cudaGetDevice");
      device_.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
      device_->set(CUDNN_ATTR_DEVICEPROP_DEVICE_ID, std::int32_t(device)).finalize();
    }
    std::optional<AttentionPlan> plan =
        make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape), *device_);
    if (plan && plan->workspace_bytes > workspace_.size()) workspace_ = DeviceBuffer<std::byte>(plan->workspace_bytes);
    return plans_.emplace(key, std::move(plan)).first->second;
  }

  Owned<cudnnHandle_t, cudnnDestroy> handle_;
  std::optional<Descriptor> device_;
  std::map<std::pair<AttentionShape, bool>, std::optional<AttentionPlan>> plans_;
  DeviceBuffer<std::byte> workspace_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
