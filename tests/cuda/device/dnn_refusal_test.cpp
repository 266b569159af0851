// SPDX-License-Identifier: Apache-2.0
// What the emulated cuDNN refuses, what it does in a capture, and that its calls can fail.
#include "attention_problem.hpp"
#include "dnn.hpp"

namespace dnn_refusal_test {

using namespace emulated_test;

TEST_CASE("cuDNN: ragged offsets count elements", "[device]") {
  Device& device = fresh_device();
  Problem<Bf16> p(packed(false), {3, 2}, {3, 2});
  p.fill();
  Attention run(*fathom::cuda::make_plan(AttentionGraph::forward(p.shape), the_device()));
  p.bind(run, false);
  run.bound[query_offsets] = on_device<std::int64_t>({0, 3, 5});
  run();
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(
      mistaken({"ragged offsets 0 and 3 of tensor 1 are not 4 rows of 48 elements or fewer: offsets count elements"}));
  device.set_sticky(0);
  run.bound[query_offsets] = p.offsets({3, 2}, 48);
  run();
  CHECK(ok(cudaDeviceSynchronize()));
}

TEST_CASE("cuDNN: a variant pack binds what the graph reads and writes, where it says", "[device]") {
  fresh_device();
  Problem<Bf16> p(packed(false), {3, 2}, {3, 2});
  p.fill();
  Attention run(*fathom::cuda::make_plan(AttentionGraph::forward(p.shape), the_device()));
  p.bind(run, false);
  const auto bound = run.bound;
  const auto refused = [&](const std::string& text) {
    std::string what;
    try {
      run();
    } catch (const CudaError& error) {
      what = error.what();
    }
    INFO(what);
    CHECK(what.find(text) != std::string::npos);
    CHECK(mistaken({text}));
    run.bound = bound;
  };
  run.bound.erase(key);
  refused("the variant pack lacks tensor 2");
  run.bound[query_gradient] = p.dq_at;
  refused("which the graph does not read or write");
  run.bound[AttentionTensor::scale] = p.sums_at;
  refused("is by value: its address is the host's");
  run.bound[query] = p.q.data();
  refused("tensor 1: 2 bytes at no memory of the device");
  run.bound[value] = p.v_at + 1;
  refused("tensor 3 is not aligned to its 16 bytes");
}

TEST_CASE("cuDNN: what no engine takes has no plan, and that is no mistake", "[device]") {
  fresh_device();
  AttentionShape shape = packed(false);
  shape.sequences = 2;
  const auto plan = [&](bool backward) {
    return fathom::cuda::make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape),
                                   the_device())
        .has_value();
  };
  CHECK((plan(false) && plan(true)));
  shape.type = CUDNN_DATA_FLOAT;
  CHECK((plan(false) && !plan(true)));
  shape.type = CUDNN_DATA_BFLOAT16;
  shape.width = 12;
  CHECK((!plan(false) && !plan(true)));
  char text[200];
  cudnnGetLastErrorString(text, sizeof text);
  CHECK(std::string(text).find("multiple of 8") != std::string::npos);
}

TEST_CASE("cuDNN: descriptors are set before they are finalized, by attributes that they have", "[device]") {
  fresh_device();
  const auto refused = [](auto&& call, const std::string& text) {
    std::string what;
    try {
      call();
    } catch (const CudaError& error) {
      what = error.what();
    }
    INFO(what);
    CHECK(what.find(text) != std::string::npos);
    CHECK(mistaken({text}));
  };
  Descriptor matmul(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  refused([&] { matmul.finalize(); }, "lacks attribute 1500");
  refused([&] { matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, std::int64_t{0}); }, "is of type 1, not 3");
  refused([&] { matmul.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT); }, "is not one of a descriptor of type");
  matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  refused([&] { operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, matmul); }, "not finalized");
  matmul.finalize();
  refused([&] { matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT); }, "finalized already");
  refused([] { (void)Descriptor{CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR}; }, "are not emulated");
}

TEST_CASE("cuDNN: plans are made before a capture, and run in it", "[device]") {
  Device& device = fresh_device();
  {
    cudaStream_t stream = new_stream();
    Problem<Bf16> p(packed(true), {4, 2}, {4, 2});
    p.fill();
    const Expected e = expected(p);
    const Descriptor graph = AttentionGraph::forward(p.shape), properties = the_device();
    Attention run(*fathom::cuda::make_plan(graph, properties));
    p.bind(run, false);
    REQUIRE(ok(cudaDeviceSynchronize()));
    REQUIRE(ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)));
    CHECK_THROWS_AS(fathom::cuda::make_plan(graph, properties), CudaError);
    CHECK(mistaken({"heuristics are asked while a stream captures"}));
    run(stream);
    p.scale = 99;  // was read at the call
    cudaGraph_t captured = nullptr;
    cudaGraphExec_t exec = nullptr;
    REQUIRE(ok(cudaStreamEndCapture(stream, &captured)));
    std::size_t nodes = 0;
    CHECK(ok(cudaGraphGetNodes(captured, nullptr, &nodes)));
    CHECK(nodes == 1);
    REQUIRE(ok(cudaGraphInstantiate(&exec, captured, 0)));
    REQUIRE(ok(cudaGraphLaunch(exec, stream)));
    require_near("y", p.y_at, e.y, 0.02);
    CHECK(ok(cudaGraphExecDestroy(exec)));
    CHECK(ok(cudaGraphDestroy(captured)));
    CHECK(ok(cudaStreamDestroy(stream)));
  }
  for (const std::string& leak : device.leaks()) CHECK(leak.find("cuDNN") == std::string::npos);
}

TEST_CASE("cuDNN: every call can fail, and nothing leaks", "[device]") {
  Device& device = fresh_device();
  AttentionShape shape = packed(true);
  shape.sequences = 2;
  const auto program = [&] { return fathom::cuda::make_plan(AttentionGraph::backward(shape), the_device()); };
  REQUIRE(program());
  const std::int64_t calls = device.calls();
  int failed = 0;
  for (std::int64_t at = 0; at < calls; ++at) {
    device.reset();
    device.inject({.at = at});
    try {
      (void)program();
    } catch (const CudaError& error) {
      ++failed;
      REQUIRE(std::string(error.what()).find("made to fail") != std::string::npos);
    }
    REQUIRE(device.leaks().empty());
    REQUIRE((failed > 0 || device.injected() == "cudnnBackendDestroyDescriptor"));
  }
  CHECK(failed > 300);
  CHECK(cudnnGetVersion() == CUDNN_VERSION);
  device.reset({.cudnn_version = 90100});
  CHECK(cudnnGetVersion() == 90100);
}

}  // namespace dnn_refusal_test
