// SPDX-License-Identifier: Apache-2.0
// cuBLASLt's product and its epilogues, in double.
#include <cmath>
#include <vector>

#include "blas.hpp"

namespace emulated::blas {

namespace {

constexpr double root_two_over_pi = 0.79788456080286535588, cubic = 0.044715;

// The form with a tanh, as seen on a device (docs/gpu.md); the documentation does not say which.
double gelu(double x) { return 0.5 * x * (1 + std::tanh(root_two_over_pi * (x + cubic * x * x * x))); }
double gelu_gradient(double x) {
  const double t = std::tanh(root_two_over_pi * (x + cubic * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root_two_over_pi * (1 + 3 * cubic * x * x);
}

/// One matrix of a batch.
struct Matrix {
  const Layout& layout;
  Number type;
  void* first;

  Matrix(const Layout& of, const void* begin, std::int64_t number)
      : layout(of),
        type(*number_of(of.type)),
        first(static_cast<std::byte*>(const_cast<void*>(begin)) +
              number * of.batch_stride * std::int64_t(bytes_of(type))) {}

  double get(std::int64_t row, std::int64_t column) const { return read_number(type, first, layout.at(row, column)); }
  void set(std::int64_t row, std::int64_t column, double value) const {
    write_number(type, first, layout.at(row, column), value);
  }
};

/// The bit of element (row, column) of a ReLU mask: bits lie from the lowest of each byte on, columns `ld` bits apart.
struct Mask {
  std::uint8_t* bytes;
  std::int64_t ld;

  bool get(std::int64_t row, std::int64_t column) const {
    const std::int64_t bit = column * ld + row;
    return (bytes[bit / 8] >> (bit % 8) & 1) != 0;
  }
  void set(std::int64_t row, std::int64_t column, bool value) const {
    const std::int64_t bit = column * ld + row;
    bytes[bit / 8] = std::uint8_t((bytes[bit / 8] & ~(1 << bit % 8)) | int(value) << bit % 8);
  }
};

void multiply_one(const Problem& p, int number, double alpha, const void* a, const void* b, double beta, const void* c,
                  void* d) {
  const Operation& operation = p.operation;
  const Epilogue epilogue = *epilogue_of(operation.epilogue);
  const Matrix left(p.a, a, number), right(p.b, b, number), before(p.c, c, beta == 0 ? 0 : number),
      result(p.d, d, number);
  const std::int64_t rows = std::int64_t(p.d.rows), columns = std::int64_t(p.d.columns);
  const bool ta = operation.transpose_a != CUBLAS_OP_N, tb = operation.transpose_b != CUBLAS_OP_N;
  const std::int64_t inner = std::int64_t(ta ? p.a.rows : p.a.columns);
  const auto a_at = [&](std::int64_t i, std::int64_t k) { return ta ? left.get(k, i) : left.get(i, k); };
  const auto b_at = [&](std::int64_t k, std::int64_t j) { return tb ? right.get(j, k) : right.get(k, j); };

  const Number bias_type = operation.bias_type < 0 ? result.type : *number_of(operation.bias_type);
  void* const bias = static_cast<std::byte*>(operation.bias) +
                     number * operation.bias_batch_stride * std::int64_t(bytes_of(bias_type));
  const std::int64_t aux_first = number * operation.aux_batch_stride;
  const Mask mask{static_cast<std::uint8_t*>(operation.aux) + aux_first / 8, operation.aux_ld};
  const auto aux_at = [&](std::int64_t i, std::int64_t j) { return aux_first + j * operation.aux_ld + i; };

  // Columns of op(B) once in double, and rows of op(A).
  std::vector<double> row(static_cast<std::size_t>(inner)), all(static_cast<std::size_t>(inner * columns));
  for (std::int64_t j = 0; j < columns; ++j)
    for (std::int64_t k = 0; k < inner; ++k) all[std::size_t(j * inner + k)] = b_at(k, j);
  for (std::int64_t i = 0; i < rows; ++i) {
    double gradient = 0, sum_of_a = 0;
    for (std::int64_t k = 0; k < inner; ++k) sum_of_a += row[std::size_t(k)] = a_at(i, k);
    for (std::int64_t j = 0; j < columns; ++j) {
      double value = 0;
      for (std::int64_t k = 0; k < inner; ++k) value += row[std::size_t(k)] * all[std::size_t(j * inner + k)];
      value *= alpha;
      if (beta != 0) value += beta * before.get(i, j);
      if (epilogue.bias) value += read_number(bias_type, bias, i);
      if (epilogue.relu && !epilogue.gradient) {
        if (epilogue.aux) mask.set(i, j, value >= 0);  // zero counts, as on a device (docs/gpu.md)
        value = std::fmax(value, 0);
      }
      if (epilogue.gelu && !epilogue.gradient) {
        if (epilogue.aux) write_number(result.type, operation.aux, aux_at(i, j), value);
        value = gelu(value);
      }
      if (epilogue.relu && epilogue.gradient && !mask.get(i, j)) value = 0;
      if (epilogue.gelu && epilogue.gradient)
        value *= gelu_gradient(read_number(result.type, operation.aux, aux_at(i, j)));
      gradient += value;
      result.set(i, j, value);
    }
    if (epilogue.bias_gradient) write_number(bias_type, bias, i, gradient);
    if (epilogue.sum_a) write_number(bias_type, bias, i, sum_of_a);
  }
  if (epilogue.sum_b)
    for (std::int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < inner; ++k) sum += all[std::size_t(j * inner + k)];
      write_number(bias_type, bias, j, sum);
    }
}

}  // namespace

void multiply(const Problem& problem, double alpha, const void* a, const void* b, double beta, const void* c, void* d) {
  for (int number = 0; number < problem.d.batch; ++number) multiply_one(problem, number, alpha, a, b, beta, c, d);
}

}  // namespace emulated::blas
