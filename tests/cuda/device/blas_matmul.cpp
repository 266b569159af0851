// SPDX-License-Identifier: Apache-2.0
// What cuBLASLt accepts: heuristics, and the call that multiplies.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "blas.hpp"
#include "mutation.hpp"
#include "runtime_call.hpp"

namespace emulated::blas {

std::optional<Number> number_of(std::int64_t cuda_type) {
  switch (cuda_type) {
    case CUDA_R_16BF:
      return Number::bf16;
    case CUDA_R_16F:
      return Number::f16;
    case CUDA_R_32F:
      return Number::f32;
    case CUDA_R_64F:
      return Number::f64;
    default:
      return {};
  }
}

std::optional<Epilogue> epilogue_of(std::uint32_t value) {
  Epilogue e{};
  switch (value) {
    case CUBLASLT_EPILOGUE_DEFAULT:
      break;
    case CUBLASLT_EPILOGUE_BIAS:
      e.bias = true;
      break;
    case CUBLASLT_EPILOGUE_RELU:
      e.relu = true;
      break;
    case CUBLASLT_EPILOGUE_RELU_BIAS:
      e.relu = e.bias = true;
      break;
    case CUBLASLT_EPILOGUE_RELU_AUX:
      e.relu = e.aux = true;
      break;
    case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
      e.relu = e.aux = e.bias = true;
      break;
    case CUBLASLT_EPILOGUE_DRELU:
      e.relu = e.gradient = e.aux = true;
      break;
    case CUBLASLT_EPILOGUE_DRELU_BGRAD:
      e.relu = e.gradient = e.aux = e.bias_gradient = true;
      break;
    case CUBLASLT_EPILOGUE_GELU:
      e.gelu = true;
      break;
    case CUBLASLT_EPILOGUE_GELU_BIAS:
      e.gelu = e.bias = true;
      break;
    case CUBLASLT_EPILOGUE_GELU_AUX:
      e.gelu = e.aux = true;
      break;
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
      e.gelu = e.aux = e.bias = true;
      break;
    case CUBLASLT_EPILOGUE_DGELU:
      e.gelu = e.gradient = e.aux = true;
      break;
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
      e.gelu = e.gradient = e.aux = e.bias_gradient = true;
      break;
    case CUBLASLT_EPILOGUE_BGRADA:
      e.sum_a = true;
      break;
    case CUBLASLT_EPILOGUE_BGRADB:
      e.sum_b = true;
      break;
    default:
      return {};
  }
  return e;
}

namespace {

std::string shape(const Layout& layout) {
  return std::to_string(layout.rows) + " x " + std::to_string(layout.columns) + ", ld " + std::to_string(layout.ld);
}

Verdict check_layout(const char* name, const Layout& layout) {
  const std::string which = std::string("matrix ") + name + " (" + shape(layout) + "): ";
  if (!number_of(layout.type)) return unsupported(which + "its type is not emulated");
  if (layout.order != CUBLASLT_ORDER_COL && layout.order != CUBLASLT_ORDER_ROW)
    return unsupported(which + "its order is not emulated");
  if (layout.rows == 0 || layout.columns == 0) return invalid(which + "it is empty");
  const auto most = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
  if (layout.ld < std::int64_t(most))
    return invalid(
        which +
        "the leading dimension \"must be large enough so that matrix memory locations are not overlapping (e.g. "
        "greater or equal to CUBLASLT_MATRIX_LAYOUT_ROWS in case of CUBLASLT_ORDER_COL)\"");
  if (layout.batch < 1) return invalid(which + "a batch has at least one matrix");
  return {};
}

/// The combinations of the table "cublasLtMatmul: when A, B, C, and D are regular column- or row-major matrices" that
/// are emulated.
Verdict check_types(const Problem& p) {
  const Number a = *number_of(p.a.type), b = *number_of(p.b.type), c = *number_of(p.c.type), d = *number_of(p.d.type);
  const Operation& operation = p.operation;
  if (c != d)
    return unsupported(std::string("C is of ") + name_of(c) + " and D of " + name_of(d) + ": they have one type");
  if (a != b)
    return unsupported(std::string("A is of ") + name_of(a) + " and B of " + name_of(b) + ": they have one type");
  if (operation.compute == CUBLAS_COMPUTE_64F) {
    if (operation.scale != CUDA_R_64F || a != Number::f64 || d != Number::f64)
      return unsupported("CUBLAS_COMPUTE_64F goes with fp64 for the scale, A, B, C and D");
    return {};
  }
  if (operation.compute != CUBLAS_COMPUTE_32F) return unsupported("the compute type is not emulated");
  if (operation.scale != CUDA_R_32F) return unsupported("CUBLAS_COMPUTE_32F goes with a scale type of CUDA_R_32F");
  const bool known = (a == Number::f32 && d == Number::f32) ||
                     ((a == Number::bf16 || a == Number::f16) && (d == a || d == Number::f32));
  if (!known)
    return unsupported(std::string("CUBLAS_COMPUTE_32F of ") + name_of(a) + " into " + name_of(d) +
                       " is not in the table of supported types");
  return {};
}

Verdict check_extents(const Problem& p) {
  const Operation& operation = p.operation;
  for (const std::int32_t transpose : {operation.transpose_a, operation.transpose_b})
    if (transpose != CUBLAS_OP_N && transpose != CUBLAS_OP_T) return unsupported("the transpose is not emulated");
  if (operation.transpose_c != CUBLAS_OP_N)
    return unsupported("transform of C: \"Currently only CUBLAS_OP_N is supported\"");
  const bool ta = operation.transpose_a == CUBLAS_OP_T, tb = operation.transpose_b == CUBLAS_OP_T;
  const auto m = ta ? p.a.columns : p.a.rows, ka = ta ? p.a.rows : p.a.columns;
  const auto kb = tb ? p.b.columns : p.b.rows, n = tb ? p.b.rows : p.b.columns;
  if (ka != kb || m != p.d.rows || n != p.d.columns || p.c.rows != p.d.rows || p.c.columns != p.d.columns)
    return invalid("extents do not fit: op(A) is " + std::to_string(m) + " x " + std::to_string(ka) + ", op(B) " +
                   std::to_string(kb) + " x " + std::to_string(n) + ", C " + std::to_string(p.c.rows) + " x " +
                   std::to_string(p.c.columns) + ", D " + std::to_string(p.d.rows) + " x " +
                   std::to_string(p.d.columns));
  if (p.a.batch != p.d.batch || p.b.batch != p.d.batch || p.c.batch != p.d.batch)
    return invalid("the batch counts of A, B, C and D differ");
  if (p.c.order != p.d.order) return unsupported("C and D have one order");
  if (p.d.batch > 1) {
    Layout one = p.d;
    one.batch = 1;
    if (p.d.batch_stride < one.extent()) return invalid("the matrices D of the batch lie in each other");
  }
  return {};
}

Verdict check_epilogue(const Problem& p) {
  const Operation& operation = p.operation;
  const auto epilogue = epilogue_of(operation.epilogue);
  if (!epilogue) return invalid("there is no epilogue " + std::to_string(operation.epilogue));
  const bool vector = epilogue->bias || epilogue->bias_gradient || epilogue->sum_a || epilogue->sum_b;
  if (vector && operation.bias_type >= 0 && std::uint32_t(operation.bias_type) != p.d.type)
    return unsupported("\"Bias vector elements are the same type as the elements of output matrix (Dtype)\"");
  if (operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && p.d.order != CUBLASLT_ORDER_COL)
    return unsupported("epilogues other than the default are emulated for D in column order alone");
  if (epilogue->sum_a && operation.transpose_a != CUBLAS_OP_N)
    return unsupported(
        "CUBLASLT_EPILOGUE_BGRADA with op(A) other than CUBLAS_OP_N, which a device refuses (docs/gpu.md)");
  if (epilogue->sum_b && operation.transpose_b != CUBLAS_OP_T)
    return unsupported(
        "CUBLASLT_EPILOGUE_BGRADB with op(B) other than CUBLAS_OP_T, which a device refuses (docs/gpu.md)");
  if (!epilogue->aux) return {};
  const std::int64_t unit = epilogue->relu ? 128 : 8;
  if (operation.aux_ld < std::int64_t(p.d.rows) || operation.aux_ld % unit != 0)
    return invalid("the leading dimension of the auxiliary matrix is " + std::to_string(operation.aux_ld) +
                   ": it \"must be divisible by " + std::to_string(unit) +
                   " and be no less than the number of rows in the output matrix\"");
  if (p.d.batch > 1 && operation.aux_batch_stride % unit != 0)
    return invalid("the batch stride of the auxiliary matrix: it \"must be divisible by " + std::to_string(unit) +
                   "\"");
  if (p.d.batch > 1 && operation.aux_batch_stride < operation.aux_ld * std::int64_t(p.d.columns))
    return invalid("the auxiliary matrices of the batch lie in each other");
  if (epilogue->gelu && operation.aux_type >= 0 && std::uint32_t(operation.aux_type) != p.d.type)
    return invalid("\"GELU input matrix elements type is the same as the type of elements of the output matrix\"");
  return {};
}

/// The same for products that one algorithm fits.
std::uint64_t fingerprint(const Problem& p) {
  std::uint64_t hash = 1469598103934665603u;
  const auto add = [&](std::int64_t value) {
    for (int byte = 0; byte < 8; ++byte) hash = (hash ^ (std::uint64_t(value) >> 8 * byte & 0xFF)) * 1099511628211u;
  };
  for (const Layout* layout : {&p.a, &p.b, &p.c, &p.d})
    for (const std::int64_t value :
         {std::int64_t(layout->type), std::int64_t(layout->order), std::int64_t(layout->rows),
          std::int64_t(layout->columns), layout->ld, std::int64_t(layout->batch), layout->batch_stride})
      add(value);
  for (const std::int64_t value : {p.operation.compute, p.operation.scale, p.operation.transpose_a,
                                   p.operation.transpose_b, std::int32_t(p.operation.epilogue)})
    add(value);
  return hash;
}

/// What an algorithm holds in its opaque words.
struct Algorithm {
  static constexpr std::uint64_t known = 0x6661'7468'6f6d'0001;
  std::uint64_t mark, fingerprint, workspace, alignment;  ///< bytes of A to D in the bits of `alignment`, 16 for each
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

constexpr std::uint64_t wanted_workspace = std::uint64_t{1} << 16;

/// The problem behind the handles; null where one is none.
std::optional<Problem> problem_of(Device& device, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  const auto* const o = object<Operation>(device, operation, operation_kind);
  const Layout* layouts[4] = {};
  const void* const handles[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    layouts[i] = object<Layout>(device, handles[i], layout_kind);
    if (layouts[i] == nullptr) return {};
  }
  if (o == nullptr) return {};
  return Problem{*o, *layouts[0], *layouts[1], *layouts[2], *layouts[3]};
}

/// Whether the bytes are memory of the device's, in one block, and aligned for their elements.
Verdict check_memory(Device& device, const char* name, const void* at, std::int64_t elements, std::size_t element) {
  const std::size_t bytes = std::size_t(elements) * element;
  if (!device.memory().holds(at, bytes))
    return invalid(std::string(name) + ": " + std::to_string(bytes) + " bytes at " + device.memory().describe(at) +
                   " are not in one block");
  if (reinterpret_cast<std::uintptr_t>(at) % element != 0)
    return invalid(std::string(name) + " is not aligned for its elements");
  return {};
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(a), second = reinterpret_cast<std::uintptr_t>(b);
  return first < second + b_bytes && second < first + a_bytes;
}

/// What a call is handed besides the problem.
struct Call {
  const void *a, *b, *c;
  void* d;
  double alpha, beta;
  const cublasLtMatmulAlgo_t* algorithm;
  void* workspace;
  std::size_t workspace_bytes;
  bool captured;
};

/// Whether one that is not 0 is in a matrix.
bool has_a_number(const Layout& layout, const void* matrix) {
  for (std::int64_t r = 0; r < std::int64_t(layout.rows); ++r)
    for (std::int64_t c = 0; c < std::int64_t(layout.columns); ++c)
      if (read_number(*number_of(layout.type), matrix, layout.at(r, c)) != 0) return true;
  return false;
}

Verdict check_algorithm(const Problem& p, const Call& call) {
  if (call.algorithm == nullptr)
    return call.captured ? invalid("no algorithm in a capture: heuristics are asked before") : Verdict{};
  Algorithm algorithm;
  std::memcpy(&algorithm, call.algorithm, sizeof algorithm);
  if (algorithm.mark != Algorithm::known) return invalid("the algorithm comes of no heuristic");
  if (algorithm.fingerprint != fingerprint(p)) return invalid("the algorithm was chosen for another product");
  if (call.workspace_bytes < algorithm.workspace)
    return invalid("\"workspaceSizeInBytes is less than workspace required by configured algo\": " +
                   std::to_string(call.workspace_bytes) + " of " + std::to_string(algorithm.workspace));
  const void* const addresses[4] = {call.a, call.b, call.c, call.d};
  for (int i = 0; i < 4; ++i) {
    const std::uint64_t alignment = algorithm.alignment >> 16 * i & 0xFFFF;
    if (addresses[i] != nullptr && reinterpret_cast<std::uintptr_t>(addresses[i]) % alignment != 0)
      return invalid(std::string("matrix ") + "ABCD"[i] + " is not aligned to the " + std::to_string(alignment) +
                     " bytes that the preference promised (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_" + "ABCD"[i] +
                     "_BYTES)");
  }
  return {};
}

Verdict check_addresses(Device& device, const Problem& p, const Call& call) {
  const Operation& operation = p.operation;
  const Epilogue epilogue = *epilogue_of(operation.epilogue);
  const auto size = [](const Layout& layout) { return bytes_of(*number_of(layout.type)); };
  if (auto no = check_memory(device, "matrix A", call.a, p.a.extent(), size(p.a))) return no;
  if (auto no = check_memory(device, "matrix B", call.b, p.b.extent(), size(p.b))) return no;
  if (auto no = check_memory(device, "matrix D", call.d, p.d.extent(), size(p.d))) return no;
  if (call.beta != 0)
    if (auto no = check_memory(device, "matrix C", call.c, p.c.extent(), size(p.c))) return no;
  const std::size_t d_bytes = std::size_t(p.d.extent()) * size(p.d);
  if (overlap(call.d, d_bytes, call.a, std::size_t(p.a.extent()) * size(p.a)) ||
      overlap(call.d, d_bytes, call.b, std::size_t(p.b.extent()) * size(p.b)))
    return invalid("matrix D lies in A or B");
  if (call.beta != 0 && overlap(call.d, d_bytes, call.c, std::size_t(p.c.extent()) * size(p.c)) &&
      (call.c != call.d || p.c != p.d))
    return invalid("matrix C lies in D and is not the same: in place, C and D have one address and one layout");
  if (epilogue.bias || epilogue.bias_gradient || epilogue.sum_a || epilogue.sum_b) {
    const std::int64_t length = std::int64_t(epilogue.sum_b ? p.d.columns : p.d.rows);
    if (operation.bias == nullptr)
      return invalid("the epilogue has a bias vector, and CUBLASLT_MATMUL_DESC_BIAS_POINTER is not set");
    if (auto no = check_memory(device, "the bias vector", operation.bias,
                               length + (p.d.batch - 1) * operation.bias_batch_stride, size(p.d)))
      return no;
    if (!epilogue.bias && p.d.batch > 1 && operation.bias_batch_stride < length)
      return invalid("the bias gradients of the batch lie in each other");
  }
  if (epilogue.aux) {
    const std::int64_t elements = operation.aux_ld * (std::int64_t(p.d.columns) - 1) + std::int64_t(p.d.rows) +
                                  (p.d.batch - 1) * operation.aux_batch_stride;
    if (operation.aux == nullptr)
      return invalid("the epilogue has an auxiliary matrix, and CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER is not set");
    if (auto no = check_memory(device, "the auxiliary matrix", operation.aux,
                               epilogue.relu ? (elements + 7) / 8 : elements, epilogue.relu ? 1 : size(p.d)))
      return no;
  }
  if (call.workspace_bytes > 0) {
    if (auto no = check_memory(device, "the workspace", call.workspace, std::int64_t(call.workspace_bytes), 1))
      return no;
    if (reinterpret_cast<std::uintptr_t>(call.workspace) % 256 != 0)
      return invalid("the workspace is not aligned to 256 bytes");
  }
  return {};
}

}  // namespace

Verdict check(const Problem& p) {
  for (const auto& [name, layout] :
       {std::pair{"A", &p.a}, std::pair{"B", &p.b}, std::pair{"C", &p.c}, std::pair{"D", &p.d}})
    if (auto no = check_layout(name, *layout)) return no;
  if (p.operation.pointer_mode != CUBLASLT_POINTER_MODE_HOST) return unsupported("the pointer mode is not emulated");
  if (auto no = check_types(p)) return no;
  if (auto no = check_extents(p)) return no;
  return check_epilogue(p);
}

}  // namespace emulated::blas

using namespace emulated;
using namespace emulated::blas;

/// Up to three algorithms, of which the first wants workspace if there may be one. What is not supported is no mistake:
/// a program may ask.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  return call("cublasLtMatmulAlgoGetHeuristic", CUBLAS_STATUS_INTERNAL_ERROR, [&](Device& device) {
    *returned = 0;
    if (device.captures()) {
      device.mistake("cublasLtMatmulAlgoGetHeuristic while a stream captures");
      return CUBLAS_STATUS_INTERNAL_ERROR;
    }
    const auto problem = problem_of(device, operation, a, b, c, d);
    const auto* const wishes = object<Preference>(device, preference, preference_kind);
    if (!problem || wishes == nullptr || object<void>(device, handle, handle_kind) == nullptr || requested <= 0) {
      device.mistake("cublasLtMatmulAlgoGetHeuristic: a handle is none, or no result is asked for");
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (const Verdict no = check(*problem)) return no->status;
    for (int i = 0; i < std::min(requested, 3); ++i) {
      const std::uint64_t workspace = i == 0 ? std::min(wanted_workspace, wishes->workspace) : 0;
      Algorithm algorithm{Algorithm::known, fingerprint(*problem), workspace, 0};
      for (int m = 0; m < 4; ++m) algorithm.alignment |= std::uint64_t(wishes->alignment[m] & 0xFFFF) << 16 * m;
      results[i] = {};
      std::memcpy(&results[i].algo, &algorithm, sizeof algorithm);
      results[i].workspaceSize = workspace;
      results[i].state = CUBLAS_STATUS_SUCCESS;
      results[i].wavesCount = 1;
      ++*returned;
    }
    return CUBLAS_STATUS_SUCCESS;
  });
}

/// Everything that a descriptor says, and alpha and beta, are read at the call; matrices when the stream comes to it.
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  return call("cublasLtMatmul", CUBLAS_STATUS_EXECUTION_FAILED, [&](Device& device) {
    const auto refuse = [&](const Refusal& why) {
      device.mistake("cublasLtMatmul: " + why.text);
      return why.status;
    };
    auto problem = problem_of(device, operation, a_layout, b_layout, c_layout, d_layout);
    if (object<void>(device, handle, handle_kind) == nullptr)
      return refuse({CUBLAS_STATUS_NOT_INITIALIZED, "\"cuBLASLt handle has not been initialized\""});
    if (!problem) return refuse({CUBLAS_STATUS_INVALID_VALUE, "a descriptor is none, or was destroyed"});
    if (const Verdict no = check(*problem)) return refuse(*no);
    const Stream* const on = stream_of(device, stream);
    if (on == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    const bool wide = problem->operation.scale == CUDA_R_64F;
    const auto scalar = [&](const void* at) { return read_number(wide ? Number::f64 : Number::f32, at, 0); };
    if (alpha == nullptr || beta == nullptr) return refuse({CUBLAS_STATUS_INVALID_VALUE, "alpha or beta is null"});
    if (device.memory().owns(alpha) || device.memory().owns(beta))
      return refuse(
          {CUBLAS_STATUS_INVALID_VALUE, "alpha or beta is memory of the device, in CUBLASLT_POINTER_MODE_HOST"});
    const Call call{
        a, b, c, d, scalar(alpha), scalar(beta), algorithm, workspace, workspace_bytes, on->capture != nullptr};
    if (const Verdict no = check_algorithm(*problem, call)) return refuse(*no);
    if (const Verdict no = check_addresses(device, *problem, call)) return refuse(*no);
    if (mutation().hits(Mutation::Kind::transpose)) {
      std::int32_t& transpose = problem->operation.transpose_a;
      transpose = transpose == CUBLAS_OP_N ? CUBLAS_OP_T : CUBLAS_OP_N;
      if (const Verdict no = check(*problem)) return refuse(*no);
    }
    if (problem->a.ld > 1 && mutation().hits(Mutation::Kind::leading_dimension)) --problem->a.ld;
    const cudaError_t error = submit(stream, "cublasLtMatmul", [problem = *problem, call] {
      if (call.workspace_bytes > 0)
        std::memset(call.workspace, 0xFF, call.workspace_bytes);  // whatever it leaves there
      const bool adds = call.beta != 0 && has_a_number(problem.c, call.c);
      const double factor = adds && mutation().hits(Mutation::Kind::beta) ? 0 : call.beta;
      multiply(problem, call.alpha, call.a, call.b, factor, call.c, call.d);
    });
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
  });
}
