// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/half.hpp>

#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack_bf16.hpp"
#include "fathom/backend/cpu/matmul/unit.hpp"

/// What multiplies packed blocks of bf16 operands, for `Bf16Products`. A kernel says what it reads them as, how many
/// rows and columns of a result it takes at once, how operands are packed for it, and computes:
///
///   run(rows, units, a, b, start, c, columns)    C[rows, columns] = start + A · B over so many units
///
/// with rows and columns at most those of the kernel, and start possibly C itself. A `Session` lives around all calls
/// of `run` of one product.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// The micro-kernel, in vector registers: a panel of B lies unit by unit, a tile of A as its operand does.
template <class UnitOfKernel>
struct RegisterKernel {
  using Unit = UnitOfKernel;
  using DotUnit = Unit;  ///< what `forward_few_rows` multiplies
  static constexpr std::size_t max_rows = detail::RegisterTile<float>::rows;
  static constexpr std::size_t max_columns = detail::RegisterTile<float>::columns;
  static constexpr std::size_t padded_rows = (max_rows + simd_width<float> - 1) / simd_width<float> * simd_width<float>;
  struct Session {};

  /// Units of a panel or of a tile of A for so many numbers of the summed index.
  static constexpr std::size_t units(std::size_t depth) { return detail::units_of<Unit>(depth); }

  /// A tile of A from a[rows, depth], and from its transpose a[depth, rows].
  template <std::size_t Stride>
  static detail::Left<Unit> pack_rows(RowMajor<const Bf16> a, std::size_t rows, std::size_t depth, Unit* packed) {
    detail::pack_bf16_rows<Stride>(a, rows, depth, packed);
    return {packed, Stride, 1};
  }
  template <std::size_t Stride>
  static detail::Left<Unit> pack_columns(RowMajor<const Bf16> a, std::size_t depth, std::size_t rows, Unit* packed) {
    detail::pack_bf16_columns<padded_rows>(a, depth, rows, packed);
    return {packed, 1, padded_rows};
  }

  /// A panel of B from b[depth, columns], and from its transpose w[columns, depth].
  static void pack_panel(RowMajor<const Bf16> b, std::size_t depth, std::size_t columns, Unit* packed) {
    detail::pack_bf16_columns<max_columns>(b, depth, columns, packed);
  }
  static void pack_panel_of_transpose(RowMajor<const Bf16> w, std::size_t columns, std::size_t depth, Unit* packed) {
    detail::pack_bf16_transposed<max_columns>(w, columns, depth, packed);
  }

  static void run(std::size_t rows, std::size_t units, detail::Left<Unit> a, const Unit* b, detail::Start<float> start,
                  RowMajor<float> c, std::size_t columns) {
    detail::Ahead<float> ahead;
    detail::micro_kernel(rows, units, a, b, max_columns, start, c.data, c.stride, columns, ahead);
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
