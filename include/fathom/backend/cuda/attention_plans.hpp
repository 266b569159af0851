// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/backend/cuda/attention_plan.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/plan_files.hpp>
#include <fathom/backend/cuda/runtime.hpp>
#include <fathom/backend/cuda/scratch.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

/// Attention by cuDNN: a plan for each shape and direction, made the first time it is asked for, which takes seconds;
/// or read, where a run before this one has kept it in the folder.
class AttentionPlans {
 public:
  /// What a plan is run with: addresses of the device, but for the numbers that AttentionTensor names as the host's.
  using Bound = std::vector<std::pair<AttentionTensor, const void*>>;

  /// Without a folder nothing is kept.
  AttentionPlans(cudaStream_t stream, std::string_view folder) {
    if (!folder.empty()) files_.emplace(folder);
    const std::size_t loaded = cudnnGetVersion();
    if (loaded / 10000 != CUDNN_VERSION / 10000 || loaded / 100 < CUDNN_VERSION / 100)
      throw CudaError("cuDNN " + std::to_string(loaded) + " is loaded, and this program was compiled for " +
                      std::to_string(CUDNN_VERSION) +
                      ": the first number of both must be the same, and the second no smaller");
    cudnnHandle_t made = nullptr;
    check(cudnnCreate(&made), "cudnnCreate");
    handle_ = Owned<cudnnHandle_t, cudnnDestroy>(made);
    check(cudnnSetStream(made, stream), "cudnnSetStream");
  }

  /// Whether there is a plan. Makes it if it is asked for for the first time.
  bool has(const AttentionShape& shape, bool backward) { return plan_of(shape, backward).has_value(); }

  /// Runs the plan, which is there. `kept_scale` and its like are bound here. `scratch` has room for a usual plan.
  void run(const AttentionShape& shape, bool backward, float scale, Bound bound, Arena scratch) {
    const std::optional<AttentionPlan>& plan = plan_of(shape, backward);
    std::byte* const workspace = plan->workspace_bytes <= planned_bytes(shape, backward)
                                     ? scratch.take<std::byte>(plan->workspace_bytes)
                                     : workspace_.data();
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
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, static_cast<void*>(workspace))
        .finalize();
    check(cudnnBackendExecute(handle_.get(), plan->plan.get(), pack.get()), "cudnnBackendExecute");
  }

  /// Beside what was planned.
  std::int64_t allocated_bytes() const { return workspace_.size(); }

 private:
  static std::int64_t planned_bytes(const AttentionShape& shape, bool backward) {
    return attention_workspace(shape.sequences * shape.heads * shape.queries * shape.keys, backward);
  }
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
    std::optional<AttentionPlan> plan = files_ ? kept_plan(shape, backward) : made_plan(shape, backward);
    if (plan && plan->workspace_bytes > std::max(planned_bytes(shape, backward), workspace_.size()))
      workspace_ = DeviceBuffer<std::byte>(plan->workspace_bytes);  // the old one goes when the new one is there
    return plans_.emplace(key, std::move(plan)).first->second;
  }

  std::optional<AttentionPlan> made_plan(const AttentionShape& shape, bool backward) {
    return make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape), *device_);
  }
  /// The plan of a file; if there is none that cuDNN takes, a new one, which goes into the file if cuDNN writes it
  /// down.
  std::optional<AttentionPlan> kept_plan(const AttentionShape& shape, bool backward) {
    const auto if_it_can = [](auto&& f) {
      try {
        f();
      } catch (const CudaError&) {
      }
    };
    std::string key;
    if_it_can([&] {
      key = "cuDNN " + std::to_string(cudnnGetVersion()) + "\n" +
            device_->text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION) + "\n" + text_of(shape, backward);
    });
    if (key.empty()) return made_plan(shape, backward);
    std::optional<AttentionPlan> plan;
    if (const std::string text = files_->find(key); !text.empty())
      if_it_can([&] { plan = plan_of_text(text, *device_); });
    if (plan) return plan;
    plan = made_plan(shape, backward);
    if (plan) if_it_can([&] { files_->keep(key, text_of(*plan)); });
    return plan;
  }

  Owned<cudnnHandle_t, cudnnDestroy> handle_;
  std::optional<Descriptor> device_;
  std::optional<PlanFiles> files_;
  std::map<std::pair<AttentionShape, bool>, std::optional<AttentionPlan>> plans_;
  DeviceBuffer<std::byte> workspace_;  // for plans that ask for more than usual
};

}  // namespace fathom::inline FATHOM_ABI::cuda
