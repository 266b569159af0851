// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <fathom/backend/cuda/cudnn.hpp>
#include <fathom/core/config.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

/// What attention is run by: a plan, made once, and the bytes of workspace that it asks for.
struct AttentionPlan {
  Descriptor plan;
  std::int64_t workspace_bytes;
};

/// One that is finalized.
inline AttentionPlan attention_plan(const Descriptor& plan) {
  AttentionPlan made{plan, 0};
  std::int64_t one = 0;
  check(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one,
                                 &made.workspace_bytes),
        "cudnnBackendGetAttribute");
  return made;
}

/// A plan as cuDNN writes it down, with its compiled kernel, and what it makes of that, in milliseconds. Errors:
/// CudaError, for a text of another cuDNN or device.
inline std::string text_of(const AttentionPlan& plan) {
  return plan.plan.text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
}
inline AttentionPlan plan_of_text(const std::string& text, const Descriptor& device) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, std::span<const char>(text))
      .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device)
      .finalize();
  return attention_plan(plan);
}

/// The first plan that cuDNN makes of a graph for a device (a descriptor of type DEVICEPROP); none where it has no
/// engine, or supports none of those that it names. Errors: CudaError, if a call fails for another reason, and no
/// candidate becomes a plan.
inline std::optional<AttentionPlan> make_plan(const Descriptor& graph, const Descriptor& device) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A)
      .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device)
      .finalize();
  // How many there may be; then those that there are, written into descriptors that were created before.
  std::int64_t count = 0;
  const auto results = [&](std::int64_t room, void** into) {
    check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, room,
                                   &count, into),
          "cudnnBackendGetAttribute");
  };
  results(0, nullptr);
  std::vector<Descriptor> candidates;
  std::vector<void*> handles;
  for (std::int64_t i = 0; i < count; ++i)
    handles.push_back(candidates.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  if (count > 0) results(count, handles.data());
  std::exception_ptr failure;  // other than for want of an engine
  for (std::int64_t i = 0; i < count; ++i) try {
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, candidates[std::size_t(i)])
          .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device)
          .finalize();
      return attention_plan(plan);
    } catch (const CudnnNotSupported&) {
    } catch (const CudaError&) {
      failure = std::current_exception();
    }
  if (failure) std::rethrow_exception(failure);
  return {};
}

}  // namespace fathom::inline FATHOM_ABI::cuda
