// SPDX-License-Identifier: Apache-2.0
// The emulated cuBLASLt: vectors computed by hand, and calls as public code makes them. All matrices lie in column
// order, unless a case says otherwise: a list of numbers is column by column.
#include "blas.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <cmath>
#include <fathom/core/half.hpp>
#include <limits>
#include <type_traits>

#include "support.hpp"

namespace blas_test {

using namespace emulated_test;
using fathom::Bf16;

template <class T>
constexpr cudaDataType type_of = std::is_same_v<T, double>  ? CUDA_R_64F
                                 : std::is_same_v<T, float> ? CUDA_R_32F
                                                            : CUDA_R_16BF;

struct Layout {
  std::uint64_t rows, columns;
  std::int64_t ld;
  std::int32_t batch = 1;
  std::int64_t stride = 0;
  std::int32_t order = CUBLASLT_ORDER_COL;
};

/// A product, from descriptors to the call.
template <class In, class Out = In>
struct Product {
  Layout a, b, c, d;
  cublasOperation_t ta = CUBLAS_OP_N, tb = CUBLAS_OP_N;
  double alpha = 1, beta = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  std::int64_t bias_stride = 0;
  void* aux = nullptr;
  std::int64_t aux_ld = 0;
  std::int64_t aux_stride = 0;
  std::uint64_t workspace = 0;
  std::uint32_t alignment = 4;
  cudaStream_t stream = nullptr;
  cublasStatus_t heuristic = CUBLAS_STATUS_SUCCESS;  ///< what it has answered

  cublasStatus_t operator()(const In* at_a, const In* at_b, const Out* at_c, Out* at_d) {
    const bool wide = std::is_same_v<Out, double>;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatmulPreference_t preference;
    REQUIRE(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatmulDescCreate(&operation, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                     wide ? CUDA_R_64F : CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
    const auto set = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
      REQUIRE(cublasLtMatmulDescSetAttribute(operation, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, ta);
    set(CUBLASLT_MATMUL_DESC_TRANSB, tb);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, bias_stride);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_ld);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, aux_stride);
    cublasLtMatrixLayout_t layouts[4];
    const Layout* const wanted[] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; ++i) {
      const Layout& w = *wanted[i];
      REQUIRE(cublasLtMatrixLayoutCreate(&layouts[i], i < 2 ? type_of<In> : type_of<Out>, w.rows, w.columns, w.ld) ==
              CUBLAS_STATUS_SUCCESS);
      const auto layout = [&](cublasLtMatrixLayoutAttribute_t which, const auto& value) {
        REQUIRE(cublasLtMatrixLayoutSetAttribute(layouts[i], which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
      };
      layout(CUBLASLT_MATRIX_LAYOUT_ORDER, w.order);
      layout(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, w.batch);
      layout(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, w.stride);
    }
    REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
      REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      prefer(which, alignment);
    cublasLtMatmulHeuristicResult_t results[2];
    int found = 0;
    heuristic = cublasLtMatmulAlgoGetHeuristic(handle, operation, layouts[0], layouts[1], layouts[2], layouts[3],
                                               preference, 2, results, &found);
    void* memory = nullptr;
    if (workspace > 0) REQUIRE(ok(cudaMalloc(&memory, workspace)));
    const float alpha32 = float(alpha), beta32 = float(beta);
    const cublasStatus_t status =
        cublasLtMatmul(handle, operation, wide ? static_cast<const void*>(&alpha) : &alpha32, at_a, layouts[0], at_b,
                       layouts[1], wide ? static_cast<const void*>(&beta) : &beta32, at_c, layouts[2], at_d, layouts[3],
                       found > 0 ? &results[0].algo : nullptr, memory, workspace, stream);
    for (const cublasLtMatrixLayout_t layout : layouts)
      CHECK(cublasLtMatrixLayoutDestroy(layout) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatmulPreferenceDestroy(preference) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatmulDescDestroy(operation) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtDestroy(handle) == CUBLAS_STATUS_SUCCESS);
    return status;
  }
};

template <class T>
std::vector<T> numbers(const std::vector<double>& values) {
  std::vector<T> list;
  for (const double value : values) list.emplace_back(T(value));
  return list;
}

template <class T>
std::vector<double> doubles_at(const T* memory, std::size_t count) {
  std::vector<double> list;
  for (const T value : values_at(memory, count)) list.push_back(double(value));
  return list;
}

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
using List = std::vector<double>;

// (1 2 3; 4 5 6) (7 8; 9 10; 11 12) = (58 64; 139 154)
const List a_columns{1, 4, 2, 5, 3, 6}, a_rows{1, 2, 3, 4, 5, 6};
const List b_columns{7, 9, 11, 8, 10, 12}, b_rows{7, 8, 9, 10, 11, 12};
const List ab_columns{58, 139, 64, 154};

TEMPLATE_TEST_CASE("cuBLASLt: transposes, from one product", "[device]", float, double, Bf16) {
  using T = TestType;
  fresh_device();
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      Product<T> product{.a = ta ? Layout{3, 2, 3} : Layout{2, 3, 2},
                         .b = tb ? Layout{2, 3, 2} : Layout{3, 2, 3},
                         .c = {2, 2, 2},
                         .d = {2, 2, 2},
                         .ta = ta ? CUBLAS_OP_T : CUBLAS_OP_N,
                         .tb = tb ? CUBLAS_OP_T : CUBLAS_OP_N};
      product.alignment = 2;
      T *const a = on_device(numbers<T>(ta ? a_rows : a_columns)), *const b =
                                                                       on_device(numbers<T>(tb ? b_rows : b_columns));
      T* const d = on_device(numbers<T>(List(4, nan)));
      CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);  // beta is 0, so C is not read
      const T rounded = T(139.0);
      CHECK(doubles_at(d, 4) == List{58, double(rounded), 64, 154});
    }
}

TEST_CASE("cuBLASLt: row order, leading dimensions, C beside D", "[device]") {
  fresh_device();
  const auto row = CUBLASLT_ORDER_ROW;
  Product<float> product{
      .a = {2, 3, 4, 1, 0, row}, .b = {3, 2, 5}, .c = {2, 2, 3}, .d = {2, 2, 2}, .alpha = 2, .beta = -1};
  float* const a = on_device(numbers<float>({1, 2, 3, nan, 4, 5, 6}));
  float* const b = on_device(numbers<float>({7, 9, 11, nan, nan, 8, 10, 12}));
  float* const c = on_device(numbers<float>({1, 2, nan, 3, 4}));
  float* const d = on_device(numbers<float>({nan, nan, nan, nan, 77}));
  CHECK(product(a, b, c, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(d, 5) == List{115, 276, 125, 304, 77});

  Product<float> rows{
      .a = {2, 3, 3, 1, 0, row}, .b = {3, 2, 2, 1, 0, row}, .c = {2, 2, 2, 1, 0, row}, .d = {2, 2, 2, 1, 0, row}};
  CHECK(rows(on_device(numbers<float>(a_rows)), on_device(numbers<float>(b_rows)), d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(d, 4) == List{58, 64, 139, 154});
}

TEST_CASE("cuBLASLt: a linear layer's forward, as llm.c calls it", "[device]") {
  // Rows of x (2, 3) times the rows of w (2, 3), plus a bias: w comes first, transposed, and D is (out, rows).
  fresh_device();
  Product<Bf16> product{.a = {3, 2, 3}, .b = {3, 2, 3}, .c = {2, 2, 2}, .d = {2, 2, 2}, .ta = CUBLAS_OP_T};
  product.epilogue = CUBLASLT_EPILOGUE_BIAS;
  product.alignment = 16;
  product.workspace = 1 << 20;
  product.bias = on_device(numbers<Bf16>({10, 20}));
  Bf16 *const w = on_device(numbers<Bf16>({1, 0, -1, 2, 1, 0})), *const x =
                                                                     on_device(numbers<Bf16>({1, 2, 3, 4, 5, 6}));
  Bf16* const y = on_device(numbers<Bf16>(List(4, nan)));
  CHECK(product(w, x, y, y) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(y, 4) == List{8, 24, 8, 33});  // rows of y
}

TEST_CASE("cuBLASLt: gradients of a linear layer", "[device]") {
  // dx = dy w: D (in, rows) = w as (in, out) · dy as (out, rows), on top of twice what is there.
  fresh_device();
  Product<float> dx{.a = {3, 2, 3}, .b = {2, 2, 2}, .c = {3, 2, 3}, .d = {3, 2, 3}, .alpha = 1, .beta = 2};
  float *const w = on_device(numbers<float>({1, 0, -1, 2, 1, 0})), *const dy = on_device(numbers<float>({1, 2, 3, 4}));
  float* const to = on_device(numbers<float>({1, 1, 1, 2, 2, 2}));
  CHECK(dx(w, dy, to, to) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(to, 6) == List{7, 4, 1, 15, 8, 1});
  // dw += dyᵀ x: D (in, out) = x as (in, rows) · (dy as (out, rows))ᵀ, from bf16 into floats.
  Product<Bf16, float> dw{.a = {3, 2, 3}, .b = {2, 2, 2}, .c = {3, 2, 3}, .d = {3, 2, 3}, .tb = CUBLAS_OP_T, .beta = 1};
  Bf16 *const x = on_device(numbers<Bf16>({1, 2, 3, 4, 5, 6})), *const dy16 = on_device(numbers<Bf16>({1, 2, 3, 4}));
  float* const sum = on_device(numbers<float>({100, 0, 0, 0, 0, 0}));
  dw.alignment = 2;
  CHECK(dw(x, dy16, sum, sum) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(sum, 6) == List{113, 17, 21, 18, 24, 30});
}

TEST_CASE("cuBLASLt: a result is rounded once, at the end", "[device]") {
  fresh_device();
  // 256 + 1 + 1 is 258 in bf16, and 256 if each sum is rounded; 257 is a tie to the even 256.
  Product<Bf16> product{.a = {1, 3, 1}, .b = {3, 2, 3}, .c = {1, 2, 1}, .d = {1, 2, 1}};
  product.alignment = 2;
  Bf16 *const a = on_device(numbers<Bf16>({256, 1, 1})), *const b = on_device(numbers<Bf16>({1, 1, 1, 1, 1, 0}));
  Bf16* const d = on_device(numbers<Bf16>({0, 0}));
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(d, 2) == List{258, 256});
}

TEST_CASE("cuBLASLt: batches with strides; one matrix for all has stride 0", "[device]") {
  fresh_device();
  Product<float> product{.a = {1, 2, 1, 2, 0}, .b = {2, 1, 2, 2, 3}, .c = {1, 1, 1, 2, 1}, .d = {1, 1, 1, 2, 2}};
  product.epilogue = CUBLASLT_EPILOGUE_BIAS;
  product.bias = on_device(numbers<float>({100, nan, 200}));
  product.bias_stride = 2;
  float *const a = on_device(numbers<float>({2, 3})), *const b = on_device(numbers<float>({1, 10, nan, 2, 20}));
  float* const d = on_device(numbers<float>({nan, 77, nan}));
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(d, 3) == List{132, 77, 264});
}

// ---- epilogues: D is (rows, 2) of values that a (rows, 1) times (1, 2) gives

TEST_CASE("cuBLASLt: ReLU and its mask, forward and backward", "[device]") {
  fresh_device();
  // Columns of A B + C + bias: (-2 + 1, 0 + 0, 3 + 0) and (-4 + 5, 0 - 1, 6 - 7).
  Product<float> product{.a = {3, 1, 3}, .b = {1, 2, 1}, .c = {3, 2, 3}, .d = {3, 2, 3}, .beta = 1};
  product.epilogue = CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
  product.bias = on_device(numbers<float>({1, 0, 0}));
  std::vector<unsigned char> mask(32, 0xA0);
  product.aux = on_device(mask);
  product.aux_ld = 128;
  float *const a = on_device(numbers<float>({-2, 0, 3})), *const b = on_device(numbers<float>({1, 2}));
  float* const d = on_device(numbers<float>({0, 0, 0, 4, -1, -7}));
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(d, 6) == List{0, 0, 3, 1, 0, 0});
  mask = values_at(static_cast<unsigned char*>(product.aux), 32);
  CHECK(int(mask[0]) == (0xA0 | 0b110));   // zero counts, bits behind the rows stay
  CHECK(int(mask[16]) == (0xA0 | 0b001));  // the next column is 128 bits on
  CHECK(int(mask[1]) == 0xA0);

  // The mask is of the whole sum, so what beta brings is masked too.
  product.epilogue = CUBLASLT_EPILOGUE_DRELU_BGRAD;
  float* const sums = on_device(numbers<float>({nan, nan, nan}));
  product.bias = sums;
  float* const dx = on_device(numbers<float>({10, 20, 30, 40, 50, 60}));
  CHECK(product(a, b, dx, dx) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(dx, 6) == List{0, 20, 33, 36, 0, 0});
  CHECK(doubles_at(sums, 3) == List{36, 20, 33});
}

TEST_CASE("cuBLASLt: GELU and its input, forward and backward", "[device]") {
  fresh_device();
  const auto near = [](const List& values, const List& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(values[i] - expected[i]) < 1e-6);
  };
  Product<float> product{.a = {2, 1, 2}, .b = {1, 2, 1}, .c = {2, 2, 2}, .d = {2, 2, 2}, .alpha = 0.5};
  product.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
  product.bias = on_device(numbers<float>({0, 1}));
  float* const aux = on_device(numbers<float>(List(16, nan)));
  product.aux = aux;
  product.aux_ld = 8;
  float *const a = on_device(numbers<float>({2, -4})), *const b = on_device(numbers<float>({1, -1}));
  float* const d = on_device(numbers<float>(List(4, nan)));
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  const List inputs = doubles_at(aux, 16);
  CHECK((inputs[0] == 1 && inputs[1] == -1 && std::isnan(inputs[2]) && inputs[8] == -1 && inputs[9] == 3));
  near(doubles_at(d, 4), {0.841191991, -0.158808009, -0.158808009, 2.996362607});

  product.epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD;
  float* const sums = on_device(numbers<float>({nan, nan}));
  product.bias = sums;
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);  // A B / 2 is (1, -2) and (-1, 2)
  near(doubles_at(d, 4), {1.082964084, 2 * 0.082964084, 0.082964084, 2 * 1.011584167});
  near(doubles_at(sums, 2), {1.165928168, 2.189096502});
}

TEST_CASE("cuBLASLt: sums over the inner extent, which alpha does not scale", "[device]") {
  fresh_device();
  Product<float> product{.a = {2, 3, 2}, .b = {2, 3, 2}, .c = {2, 2, 2}, .d = {2, 2, 2}, .tb = CUBLAS_OP_T, .alpha = 2};
  float *const a = on_device(numbers<float>(a_columns)), *const b = on_device(numbers<float>(b_rows));
  float *const d = on_device(numbers<float>(List(4, nan))), *const sums = on_device(numbers<float>({nan, nan, 77}));
  product.bias = sums;
  product.epilogue = CUBLASLT_EPILOGUE_BGRADA;
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(sums, 3) == List{6, 15, 77});
  product.epilogue = CUBLASLT_EPILOGUE_BGRADB;
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  CHECK(doubles_at(sums, 3) == List{27, 30, 77});
  CHECK(doubles_at(d, 4) == List{116, 278, 128, 308});
}

// ---- what is refused

struct Case {
  const char* text;
  void (*change)(Product<float>&);
  cublasStatus_t heuristic, call;
};

TEST_CASE("cuBLASLt: what the documentation or a device refuses, is refused with its words", "[device]") {
  constexpr auto good = CUBLAS_STATUS_SUCCESS, invalid = CUBLAS_STATUS_INVALID_VALUE,
                 none = CUBLAS_STATUS_NOT_SUPPORTED;
  const Case cases[] = {
      {"must be large enough so that matrix memory", [](auto& p) { p.a.ld = 1; }, invalid, invalid},
      {"extents do not fit", [](auto& p) { p.ta = CUBLAS_OP_T; }, invalid, invalid},
      {"extents do not fit", [](auto& p) { p.c.rows = 1; }, invalid, invalid},
      {"batch counts", [](auto& p) { p.b.batch = 2; }, invalid, invalid},
      {"the matrices D of the batch lie in each other",
       [](auto& p) { p.a.batch = p.b.batch = p.c.batch = p.d.batch = 2, p.d.stride = 3; }, invalid, invalid},
      {"C and D have one order", [](auto& p) { p.c.order = CUBLASLT_ORDER_ROW; }, none, none},
      {"must be divisible by 128", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_RELU_AUX, p.aux_ld = 64; }, invalid,
       invalid},
      {"must be divisible by 8", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_GELU_AUX, p.aux_ld = 12; }, invalid,
       invalid},
      {"must be divisible by 8", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_DGELU, p.aux_ld = 0; }, invalid, invalid},
      {"AUX_POINTER is not set", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_RELU_AUX, p.aux_ld = 128; }, good,
       invalid},
      {"BIAS_POINTER is not set", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_BIAS; }, good, invalid},
      {"BGRADA with op(A)", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_BGRADA, p.a = {3, 2, 3}, p.ta = CUBLAS_OP_T; },
       none, none},
      {"BGRADB with op(B)", [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_BGRADB; }, none, none},
      {"for D in column order alone",
       [](auto& p) { p.epilogue = CUBLASLT_EPILOGUE_RELU, p.c.order = p.d.order = CUBLASLT_ORDER_ROW; }, none, none},
      {"no epilogue 3", [](auto& p) { p.epilogue = cublasLtEpilogue_t(3); }, invalid, invalid},
      {"not aligned to the 1024 bytes that the preference promised", [](auto& p) { p.alignment = 1024; }, good,
       invalid},
      {"matrix A: 32 bytes at byte 0 of a block of 24 bytes are not in one block",
       [](auto& p) { p.a.ld = 3, p.a.rows = 2; }, good, invalid},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    fresh_device();
    float *const a = on_device(numbers<float>(a_columns)), *const b = on_device(numbers<float>(b_columns));
    float* const d = on_device(numbers<float>(List(8, 0)));
    Product<float> product{.a = {2, 3, 2}, .b = {3, 2, 3}, .c = {2, 2, 2}, .d = {2, 2, 2}};
    c.change(product);
    const cublasStatus_t status = product(a, b, d, d);
    CHECK(product.heuristic == c.heuristic);
    CHECK(status == c.call);
    CHECK(std::string(cublasLtGetStatusString(status)).find(c.text) != std::string::npos);
    CHECK(mistaken({c.text}));
  }
}

TEST_CASE("cuBLASLt: addresses are the device's, and D does not lie in what is read", "[device]") {
  fresh_device();
  float *const a = on_device(numbers<float>(a_columns)), *const b = on_device(numbers<float>(b_columns));
  float* const d = on_device(numbers<float>(List(8, 0)));
  Product<float> product{.a = {2, 3, 2}, .b = {3, 2, 3}, .c = {2, 2, 2}, .d = {2, 2, 2}};
  const auto refused = [&](const float* at_a, const float* c, float* to, const char* text) {
    CHECK(product(at_a, b, c, to) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK(mistaken({text}));
  };
  const std::vector<float> host(6);
  refused(host.data(), d, d, "matrix A: 24 bytes at no memory of the device");
  refused(a, d, a, "matrix D lies in A or B");
  product.beta = 1;
  refused(a, d + 1, d, "matrix C lies in D and is not the same");
  refused(a, nullptr, d, "matrix C: 16 bytes");
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  product.d.ld = 3;
  refused(a, d, d, "matrix C lies in D and is not the same");
}

TEST_CASE("cuBLASLt: types go together as its table says", "[device]") {
  fresh_device();
  Product<float, Bf16> product{.a = {1, 1, 1}, .b = {1, 1, 1}, .c = {1, 1, 1}, .d = {1, 1, 1}};
  float* const one = on_device(numbers<float>({1}));
  Bf16* const d = on_device(numbers<Bf16>({0}));
  CHECK(product(one, one, d, d) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(mistaken({"CUBLAS_COMPUTE_32F of fp32 into bf16 is not in the table"}));
}

TEST_CASE("cuBLASLt: matrices are read when the stream comes to them, scalars at the call", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  Product<float> product{.a = {1, 1, 1}, .b = {1, 1, 1}, .c = {1, 1, 1}, .d = {1, 1, 1}, .alpha = 2};
  product.stream = stream;
  float *const a = on_device(numbers<float>({1})), *const b = on_device(numbers<float>({1}));
  float* const d = on_device(numbers<float>({0}));
  CHECK(product(a, b, d, d) == CUBLAS_STATUS_SUCCESS);
  product.alpha = 9;
  const float five = 5;
  REQUIRE(ok(cudaMemcpy(a, &five, 4, cudaMemcpyHostToDevice)));
  CHECK(doubles_at(d, 1) == List{10});
}

TEST_CASE("cuBLASLt: no heuristics in a capture, and no call without an algorithm", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  Product<float> product{.a = {1, 1, 1}, .b = {1, 1, 1}, .c = {1, 1, 1}, .d = {1, 1, 1}};
  product.stream = stream;
  float* const one = on_device(numbers<float>({1}));
  float* const d = on_device(numbers<float>({0}));
  REQUIRE(ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)));
  CHECK(product(one, one, d, d) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(mistaken({"cublasLtMatmulAlgoGetHeuristic while a stream captures", "no algorithm in a capture"}));
  cudaGraph_t graph = nullptr;
  REQUIRE(ok(cudaStreamEndCapture(stream, &graph)));
  REQUIRE(ok(cudaGraphDestroy(graph)));
}

TEST_CASE("cuBLASLt: every call can fail, and nothing leaks", "[device]") {
  Device& device = fresh_device();
  cublasLtHandle_t handle = nullptr;
  device.inject({.at = 0});
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_ALLOC_FAILED);
  CHECK(device.leaks().empty());
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  CHECK(device.leaks() == std::vector<std::string>{"1 handles of cuBLASLt"});
  cublasLtMatmulDesc_t operation = nullptr;
  CHECK(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  const std::int64_t wrong_size = 0;
  CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &wrong_size, 8) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(mistaken({"sizeInBytes doesn't match"}));
  device.inject({.at = 0});
  CHECK(cublasLtMatmulDescDestroy(operation) == CUBLAS_STATUS_INTERNAL_ERROR);
  CHECK(cublasLtMatmulDescDestroy(operation) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(mistaken({"it was destroyed"}));
  CHECK(cublasLtDestroy(handle) == CUBLAS_STATUS_SUCCESS);
  CHECK(device.leaks().empty());
  fresh_device({.devices = 0});
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_NOT_INITIALIZED);
}

}  // namespace blas_test
