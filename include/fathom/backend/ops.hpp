// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops/activation.hpp>  // IWYU pragma: export
#include <fathom/backend/ops/attention.hpp>   // IWYU pragma: export
#include <fathom/backend/ops/embedding.hpp>   // IWYU pragma: export
#include <fathom/backend/ops/linear.hpp>      // IWYU pragma: export
#include <fathom/backend/ops/loss.hpp>        // IWYU pragma: export
#include <fathom/backend/ops/norm.hpp>        // IWYU pragma: export
#include <fathom/backend/ops/residual.hpp>    // IWYU pragma: export
#include <fathom/backend/ops/update.hpp>      // IWYU pragma: export

/// The op vocabulary: everything a layer asks of a machine.
///
/// An op is a plain struct of views and constants; a layer fills one in by name and hands it to its worker, and a
/// backend is a type with a `run(lane, op)` for each. Decorators (timer, non-finite finder) are written once
/// for all ops, from the facts that each op states about itself:
///   name         for profiles and messages
///   flops()      floating-point operations, a multiply-add counted as two, causal attention counted once
///   bytes()      bytes that must move when every view is touched once
///   outputs(f)   calls f(matrix) for each result and gradient that is written, if it is there; a vector is one row
///
/// Common rules.
/// - Matrices are row-major, one row per token, packed as the worker's current `Packing` says. There may be no rows.
/// - An op is a value: two are equal when they name the same views and the same numbers, whatever the views hold.
/// - Every matrix may be strided. An op takes each one's own stride, which is at least its columns, and neither reads
///   nor writes what lies between the rows. No view need be aligned. Vectors and the slabs of a cache have no gaps.
/// - "Overwritten" outputs may hold anything before, also NaN; "added to" outputs must hold a value.
/// - Unless an alias is allowed here, views of one op do not overlap. "May be x" means the very view x: its first
///   element and its stride.
/// - A `StreamResult` is wanted in the stream's type, in that of activations, or in both; each is rounded once from
/// what
///   the op computes. One view may be another one only where both are of one type.
/// - "Null" means without rows or elements, wherever the pointer points. A null view is absent, or not wanted, where
///   the comment allows it.
/// - Views are of memory of the machine, and so are results (`sums`, `result`, `results`). Packings, tokens, targets
/// and
///   tables are memory of the host, which stays unchanged until the region ends: a backend whose machine cannot read
///   there copies them (backend/inputs.hpp).
/// - The rows of dropout count from the start of their sequence, past rows included.
/// - Inputs of ops that add to parameter gradients must stay unchanged until the enclosing frame closes, and no two ops
///   of one frame add to the same gradient, because a backend may put that work off until then and do it in parallel.

/// X(Op, …) for every op that is made of a precision: all but `FirstNonFinite`, which is made of a type of numbers.
#define FATHOM_EACH_OP(X, ...)            \
  X(Activation, __VA_ARGS__)              \
  X(ActivationBackward, __VA_ARGS__)      \
  X(AttentionForward, __VA_ARGS__)        \
  X(AttentionBackward, __VA_ARGS__)       \
  X(Rotate, __VA_ARGS__)                  \
  X(CopyCache, __VA_ARGS__)               \
  X(Embedding, __VA_ARGS__)               \
  X(EmbeddingBackward, __VA_ARGS__)       \
  X(LinearForward, __VA_ARGS__)           \
  X(LinearBackwardInput, __VA_ARGS__)     \
  X(LinearBackwardWeight, __VA_ARGS__)    \
  X(LinearCrossEntropy, __VA_ARGS__)      \
  X(RankLogits, __VA_ARGS__)              \
  X(Norm, __VA_ARGS__)                    \
  X(NormBackward, __VA_ARGS__)            \
  X(ResidualAdd, __VA_ARGS__)             \
  X(ResidualAddBackward, __VA_ARGS__)     \
  X(ResidualAddNorm, __VA_ARGS__)         \
  X(ResidualAddNormBackward, __VA_ARGS__) \
  X(Shift, __VA_ARGS__)                   \
  X(ShiftBackward, __VA_ARGS__)           \
  X(WeightedSum, __VA_ARGS__)             \
  X(WeightedSumBackward, __VA_ARGS__)     \
  X(Variance, __VA_ARGS__)                \
  X(Copy, __VA_ARGS__)                    \
  X(Zero, __VA_ARGS__)                    \
  X(Initialize, __VA_ARGS__)              \
  X(TensorSquares, __VA_ARGS__)           \
  X(SumOfSquares, __VA_ARGS__)            \
  X(Round, __VA_ARGS__)                   \
  X(Average, __VA_ARGS__)                 \
  X(SgdUpdate, __VA_ARGS__)               \
  X(AdamUpdate, __VA_ARGS__)              \
  X(LionUpdate, __VA_ARGS__)              \
  X(AdafactorUpdate, __VA_ARGS__)
