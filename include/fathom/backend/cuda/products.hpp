// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/runtime.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/view.hpp>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <type_traits>

namespace fathom::inline FATHOM_ABI::cuda {

/// Errors: CudaError, with the call and its status.
inline void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw CudaError(std::string(call) + ": " + cublasLtGetStatusName(status) + ": " + cublasLtGetStatusString(status));
}

template <class T>
inline constexpr cudaDataType_t cublas_type = std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_16BF;

/// Products of matrices by cuBLASLt, in fp32 or of bf16 numbers with sums in fp32. How a product is done is asked for
/// once for each shape, and kept; so nothing is asked while a graph is captured. That is what cuBLASLt takes for the
/// fastest; `timed`: what is found to be so.
class Products {
 public:
  explicit Products(std::int64_t workspace, bool timed = false) : workspace_(workspace), timed_(timed) {
    cublasLtHandle_t made = nullptr;
    check(cublasLtCreate(&made), "cublasLtCreate");
    handle_ = Owned<cublasLtHandle_t, cublasLtDestroy>(made);
  }

  /// What is done to a product before it is rounded.
  template <class R>
  struct Epilogue {
    Elements<const R> bias = {};  ///< added to every row, if it is not empty
    bool relu = false;
  };

  /// d = op(a) op(b) + beta · c and the epilogue, op(x) = xᵀ where that is asked for, rounded once. All row-major; c
  /// may be d itself, and is not read for a beta of 0. Extents are positive.
  template <class T, class R>
  void operator()(cudaStream_t stream, Matrix<const T> a, bool transpose_a, Matrix<const T> b, bool transpose_b,
                  double beta, Matrix<const R> c, Matrix<R> d, const Epilogue<std::type_identity_t<R>>& epilogue = {}) {
    // Rows are columns to cuBLASLt, which therefore sees the transposed matrices: dᵀ = op(b)ᵀ op(a)ᵀ + beta · cᵀ.
    if (beta == 0) c = d;
    const Shape shape{.inputs = cublas_type<T>,
                      .outputs = cublas_type<R>,
                      .transpose_a = transpose_b,
                      .transpose_b = transpose_a,
                      .bias = !epilogue.bias.empty(),
                      .relu = epilogue.relu,
                      .a = extents_of(b),
                      .b = extents_of(a),
                      .c = extents_of(c),
                      .d = extents_of(d)};
    const Product& product = product_of(shape, stream);
    if (shape.bias) set(product.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, epilogue.bias.data());
    multiply(stream, product, b.data, a.data, float(beta), c.data, d.data);
  }

  std::int64_t allocated_bytes() const { return workspace_.size(); }

  /// How many shapes are known; forgets them.
  std::size_t known() const { return products_.size(); }
  void forget() { products_.clear(); }

 private:
  /// Of a row-major matrix. The largest power of two that its address is a multiple of, up to 16.
  struct Extents {
    int rows, columns, stride, alignment;
    auto operator<=>(const Extents&) const = default;
  };
  template <class T>
  static Extents extents_of(const Matrix<T>& m) {
    const auto address = reinterpret_cast<std::uintptr_t>(m.data);
    return {m.rows, m.columns, std::max(m.stride, m.columns), int(std::min<std::uintptr_t>(16, address & -address))};
  }
  struct Shape {
    cudaDataType_t inputs, outputs;
    bool transpose_a, transpose_b, bias, relu;
    Extents a, b, c, d;
    auto operator<=>(const Shape&) const = default;
  };

  using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
  using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
  using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
  struct Product {
    Operation operation;
    Layout a, b, c, d;
    cublasLtMatmulAlgo_t algorithm;
    std::int64_t workspace;
  };

  static Layout layout_of(cudaDataType_t type, const Extents& m) {
    cublasLtMatrixLayout_t made = nullptr;
    check(cublasLtMatrixLayoutCreate(&made, type, std::uint64_t(m.columns), std::uint64_t(m.rows), m.stride),
          "cublasLtMatrixLayoutCreate");
    return Layout(made);
  }
  template <class T>
  static void set(const Operation& operation, cublasLtMatmulDescAttributes_t name, T value) {
    check(cublasLtMatmulDescSetAttribute(operation.get(), name, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }
  template <class T>
  static void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, T value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  }

  void multiply(cudaStream_t stream, const Product& product, const void* a, const void* b, float beta, const void* c,
                void* d) {
    const float one = 1;
    check(cublasLtMatmul(handle_.get(), product.operation.get(), &one, a, product.a.get(), b, product.b.get(), &beta, c,
                         product.c.get(), d, product.d.get(), &product.algorithm, workspace_.data(),
                         std::size_t(product.workspace), stream),
          "cublasLtMatmul");
  }

  const Product& product_of(const Shape& shape, cudaStream_t stream) {
    const auto found = products_.find(shape);
    return found != products_.end() ? found->second : products_.emplace(shape, make(shape, stream)).first->second;
  }

  Product make(const Shape& shape, cudaStream_t stream) {
    cublasLtMatmulDesc_t operation = nullptr;
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    Product product{Operation(operation),
                    layout_of(shape.inputs, shape.a),
                    layout_of(shape.inputs, shape.b),
                    layout_of(shape.outputs, shape.c),
                    layout_of(shape.outputs, shape.d),
                    {},
                    0};
    set(product.operation, CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(product.operation, CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (shape.bias || shape.relu)
      set(product.operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
          shape.relu ? shape.bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_BIAS);
    cublasLtMatmulPreference_t wishes = nullptr;
    check(cublasLtMatmulPreferenceCreate(&wishes), "cublasLtMatmulPreferenceCreate");
    const Preference preference(wishes);
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t(workspace_.size()));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t(shape.a.alignment));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t(shape.b.alignment));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t(shape.c.alignment));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t(shape.d.alignment));
    // Atomic adds into the result would give other bits every time.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        std::uint32_t(CUBLASLT_REDUCTION_SCHEME_MASK & ~CUBLASLT_REDUCTION_SCHEME_INPLACE));
    std::array<cublasLtMatmulHeuristicResult_t, 8> offered{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_.get(), product.operation.get(), product.a.get(), product.b.get(),
                                         product.c.get(), product.d.get(), preference.get(),
                                         timed_ ? int(offered.size()) : 1, offered.data(), &count),
          "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0) throw CudaError("cublasLtMatmulAlgoGetHeuristic: no algorithm for a product that fathom asks for");
    const auto take = [&](const cublasLtMatmulHeuristicResult_t& one) {
      product.algorithm = one.algo;
      product.workspace = std::int64_t(one.workspaceSize);
    };
    const auto* fastest = offered.data();
    if (count > 1) {
      const Operands on(shape);
      if (shape.bias) set(product.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, on.bias.data());
      float least = std::numeric_limits<float>::infinity();
      for (const auto& one : std::span(offered).first(std::size_t(count))) {
        take(one);
        const float time = milliseconds(stream, [&] {
          multiply(stream, product, on.a.data(), on.b.data(), 0, on.d.data(), const_cast<std::byte*>(on.d.data()));
        });
        if (time < least) least = time, fastest = &one;
      }
    }
    take(*fastest);
    return product;
  }

  /// Memory to time a product on, all zero.
  struct Operands {
    DeviceBuffer<std::byte> a, b, d, bias;
    explicit Operands(const Shape& shape)
        : a(bytes(shape.inputs, shape.a)),
          b(bytes(shape.inputs, shape.b)),
          d(bytes(shape.outputs, shape.d)),
          bias(std::int64_t(shape.d.columns) * std::int64_t(sizeof(float))) {}
    static std::int64_t bytes(cudaDataType_t type, const Extents& m) {
      return std::int64_t(m.rows) * m.stride * (type == CUDA_R_32F ? 4 : 2);
    }
  };

  /// Of one call of f, behind one that nobody times.
  template <class F>
  static float milliseconds(cudaStream_t stream, F&& f) {
    constexpr int times = 3;
    const auto event = [] {
      cudaEvent_t made = nullptr;
      check(cudaEventCreate(&made), "cudaEventCreate");
      return Owned<cudaEvent_t, cudaEventDestroy>(made);
    };
    const auto begin = event(), end = event();
    f();
    check(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
    for (int i = 0; i < times; ++i) f();
    check(cudaEventRecord(end.get(), stream), "cudaEventRecord");
    check(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
    float time = 0;
    check(cudaEventElapsedTime(&time, begin.get(), end.get()), "cudaEventElapsedTime");
    return time / times;
  }

  Owned<cublasLtHandle_t, cublasLtDestroy> handle_;
  DeviceBuffer<std::byte> workspace_;
  bool timed_;
  std::map<Shape, Product> products_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
