// SPDX-License-Identifier: Apache-2.0
// What cuda.hpp declares. One file of a program includes it behind the definition of `launch`, and nvcc compiles that
// file: launch.cuh, then this.
#pragma once

#include <algorithm>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/ops/activation.hpp>
#include <fathom/backend/cuda/ops/attention.hpp>
#include <fathom/backend/cuda/ops/embedding.hpp>
#include <fathom/backend/cuda/ops/linear.hpp>
#include <fathom/backend/cuda/ops/loss.hpp>
#include <fathom/backend/cuda/ops/norm.hpp>
#include <fathom/backend/cuda/ops/residual.hpp>
#include <fathom/backend/cuda/ops/update.hpp>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/core/config.hpp>
#include <memory>
#include <string>

namespace fathom::inline FATHOM_ABI {

namespace cuda {

std::byte* allocate(std::int64_t bytes) {
  void* made = nullptr;
  const cudaError_t error = cudaMalloc(&made, std::size_t(bytes));
  if (error == cudaErrorMemoryAllocation) {
    std::size_t free = 0, total = 0;
    cudaGetLastError();
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    throw CudaError("the device has no memory for " + std::to_string(bytes) + " bytes more: " + std::to_string(free) +
                    " of " + std::to_string(total) + " are free; take a smaller batch, or let more layers recompute");
  }
  if (error != cudaSuccess) check_device();
  check(error, "cudaMalloc");
  return static_cast<std::byte*>(made);
}

void release(std::byte* block) noexcept {
  if (block != nullptr) cudaFree(block);
}

// The legacy stream does not wait for a machine's, nor the other way round: a region is done before its machine
// returns.
void upload(std::byte* to, std::span<const std::byte> values) {
  check(cudaMemcpy(to, values.data(), values.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");  // a copy may return when it has read the host's
}
void download(const std::byte* from, std::span<std::byte> values) {
  check(cudaMemcpy(values.data(), from, values.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
}
void clear(std::byte* at, std::int64_t bytes) {
  check(cudaMemset(at, 0, std::size_t(bytes)), "cudaMemset");
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
}

void Lane::settle() { session_->settle(); }
void Lane::read(void* into, const void* from, std::size_t bytes) { session_->read(into, from, bytes); }
std::int64_t free_bytes(const Options& options) {
  check_device();
  std::size_t free = 0, all = 0;
  check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
  return std::max<std::int64_t>(std::int64_t(free) - options.workspace - options.reserve, 0);
}

Machine::Machine(const Options& options) : session_(std::make_unique<Session>(options)) {}
Machine::Machine(Machine&&) noexcept = default;
Machine::~Machine() = default;
std::int64_t Machine::allocated_bytes() const { return session_->allocated_bytes(); }
void Machine::reserve(std::int64_t scratch) { session_->reserve(scratch); }
Session& Machine::begin() {
  session_->begin();
  return *session_;
}
void Machine::finish() { session_->finish(); }
void Machine::abandon() noexcept { session_->abandon(); }

/// A packing without its shards, which no kernel reads: their number depends on how long each sequence is.
inline const Packing& on_device(Inputs<DeviceBuffer>& inputs, const Packing& host) {
  return inputs(Packing{host.capacity, host.offsets, {}, {}, host.past});
}

/// An op with what it names in memory of the host.
template <class P, class Op>
auto on_device(Lane& lane, Op op) {
  auto& inputs = lane.session().inputs();
  const int room = lane.packing().capacity.rows;
  if constexpr (requires { op.tokens; }) {
    const auto host = op.tokens;
    op.tokens = inputs(op.tokens, room);
    if constexpr (std::is_same_v<Op, op::EmbeddingBackward<P>>) {
      const auto [tokens, order] = lane.session().sorted(host, room);
      return OnTokens<Op>{op, on_device(inputs, lane.packing()), tokens, order};
    }
  }
  if constexpr (requires { op.targets; }) op.targets = inputs(op.targets, room);
  if constexpr (requires { op.copies; }) op.copies = inputs(op.copies);
  if constexpr (requires { op.table.front().offset; }) op.table = inputs(op.table);
  if constexpr (requires { op.bias.starts; }) op.bias.starts = inputs(op.bias.starts);
  if constexpr (requires { op.key_packing; }) {
    const Ragged ragged = ragged_of<P>(lane.session(), op);
    const AttentionShape shape = ragged ? *cudnn_shape(op) : AttentionShape{};
    const Packing rows = on_device(inputs, *op.packing), keys = on_device(inputs, *op.key_packing);
    op.packing = op.key_packing = nullptr;
    return OnKeys<Op>{op, rows, keys, shape, ragged};
  } else if constexpr (requires { op.dropout; } || std::is_same_v<Op, op::Rotate<P>>) {
    if constexpr (!std::is_same_v<Op, op::EmbeddingBackward<P>>)
      return OnRows<Op>{op, on_device(inputs, lane.packing())};
  } else {
    return op;
  }
}

/// An op as a program holds it.
template <class P, class Op>
auto prepared(Lane& lane, const Op& op) {
  const auto own = on_device<P>(lane, op);
  if constexpr (SumsColumns<Op>)
    return WithParts<std::remove_cv_t<decltype(own)>>{
        own, reinterpret_cast<float*>(lane.workspace().take<std::byte>(bytes_of_parts(op)))};
  else
    return own;
}

}  // namespace cuda

template <class P>
template <class Op>
  requires(cuda::has_op<P, Op>)
void Cuda<P>::run(Lane& lane, const Op& op) {
  lane.session().add(cuda::prepared<P>(lane, op));
}

#define FATHOM_CUDA_OP(Op, P) template void Cuda<P>::run(cuda::Lane&, const op::Op<P>&);
FATHOM_EACH_OP(FATHOM_CUDA_OP, Single)
FATHOM_EACH_OP(FATHOM_CUDA_OP, Mixed)
template void Cuda<Single>::run(cuda::Lane&, const op::FirstNonFinite<float>&);
template void Cuda<Mixed>::run(cuda::Lane&, const op::FirstNonFinite<float>&);
template void Cuda<Mixed>::run(cuda::Lane&, const op::FirstNonFinite<Bf16>&);
#undef FATHOM_CUDA_OP

}  // namespace fathom::inline FATHOM_ABI
