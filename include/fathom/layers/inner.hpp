// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/branch_norm.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>

namespace fathom::inline FATHOM_ABI {

struct InnerTag {};
/// What stands before the output matrix of a sublayer: nothing (default), a norm of the row, a learned factor for each
/// head of attention, or a learned number that is added to all of a row.
///
/// Shapes     x, y (N, Width), what the output matrix would read and what it reads.
/// Gradients  dx is overwritten, dp added to.
struct NoInner {
  using tag = InnerTag;
  static constexpr const char* name = "none";
  template <int Width, int Heads>
  struct Of {
    static constexpr bool present = false;
    template <class T>
    using Params = NoParams<T>;
    template <class P>
    using Saved = NothingSaved<P>;
  };
};

/// y = LN(x).   Sources: Shleifer et al. 2021, arXiv:2110.09456; Wang et al. 2022, arXiv:2210.06423, section 2.
struct InnerNorm {
  using tag = InnerTag;
  static constexpr const char* name = "norm";
  template <int Width, int Heads>
  struct Of {
    static constexpr bool present = true;
    using Norm = LayerNorm<Width>;
    template <class T>
    struct Params {
      typename Norm::template Params<T> norm;
      constexpr void each(auto& visitor) { visitor.nested("inner_norm", norm); }
    };
    template <class P>
    using Saved = typename Norm::template Saved<P>;

    template <class W, class P = PrecisionOf<W>>
    static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                  Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                  Saved<P>& saved) {
      BranchNorm<Norm>::forward(worker, p.norm, flow, x, y, saved);
    }
    template <class W, class P = PrecisionOf<W>>
    static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                   const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                   Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                   Rows<const typename P::Activation, Width> dy,
                                   Rows<typename P::Activation, Width> dx) {
      BranchNorm<Norm>::backward(worker, p.norm, dp.norm, flow, x, saved, dy, dx);
    }
  };
};

/// y_h = γ_h x_h for the columns of each head h.   dx_h = γ_h dy_h;  dγ_h = Σ dy_h ⊙ x_h.
///
/// The factors stand before the output matrix, as the equation has them: Concat(γ_1 h_1, …, γ_n h_n) W. The authors'
/// code multiplies behind that matrix, where a slice of columns is a mixture of all heads: another model, which is not
/// here.   Source: Shleifer et al. 2021, arXiv:2110.09456, equation 1.
struct HeadScales {
  using tag = InnerTag;
  static constexpr const char* name = "head_scales";
  template <int Width, int Heads>
  struct Of {
    static constexpr bool present = true;
    static constexpr int head_width = Width / Heads;
    template <class T>
    struct Params {
      Vector<T, Heads> scale;
      constexpr void each(auto& visitor) { visitor.tensor("head_scale", scale, Role::head_scale, init::ones); }
    };
    template <class P>
    using Saved = NothingSaved<P>;

    template <class W, class P = PrecisionOf<W>>
    static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                  Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                  Saved<P>&) {
      for (int head = 0; head < Heads; ++head)
        worker(op::ResidualAdd<P>{.x = {},
                                  .f = columns_of(x, head),
                                  .a = {},
                                  .b = {1, factor_of(p.scale, head)},
                                  .dropout = {},
                                  .y = columns_of(y, head)});
    }
    template <class W, class P = PrecisionOf<W>>
    static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                   const Params<typename P::Gradient>& dp, const Flow<P>&,
                                   Rows<const typename P::Activation, Width> x, const Saved<P>&,
                                   Rows<const typename P::Activation, Width> dy,
                                   Rows<typename P::Activation, Width> dx) {
      const auto d = in_type_of_stream<P>(worker, dy);
      for (int head = 0; head < Heads; ++head)
        worker(op::ResidualAddBackward<P>{.x = {},
                                          .f = columns_of(x, head),
                                          .a = {},
                                          .b = {1, factor_of(p.scale, head)},
                                          .dropout = {},
                                          .dy = columns_of(d, head),
                                          .dx = {},
                                          .df = columns_of(dx, head),
                                          .da = {},
                                          .db = factor_of(dp.scale, head)});
    }

   private:
    template <class T>
    static constexpr Matrix<T> columns_of(Rows<T, Width> rows, int head) {
      return {offset(rows.data, head * head_width), rows.count, head_width, Width};
    }
    template <class T>
    static constexpr Elements<T> factor_of(Vector<T, Heads> scale, int head) {
      return Elements<T>(scale).part(head, 1);
    }
  };
};

/// y = x + s, and a feed-forward layer has such a number behind its input matrix too, in the place of biases.
/// Source: Zhang, Dauphin and Ma 2019, arXiv:1901.09321, section 3.
struct ScalarShifts {
  using tag = InnerTag;
  static constexpr const char* name = "shifts";
  template <int Width, int Heads>
  struct Of {
    static constexpr bool present = true;
    template <class T>
    struct Params {
      Vector<T, 1> input, output;
      constexpr void each(auto& visitor) {
        visitor.tensor("input.shift", input, Role::shift, init::zeros);
        visitor.tensor("output.shift", output, Role::shift, init::zeros);
      }
    };
    template <class P>
    using Saved = NothingSaved<P>;

    template <class W, class P = PrecisionOf<W>>
    static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                  Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                  Saved<P>&) {
      worker(op::Shift<P>{.x = x, .shift = p.output, .y = y});
    }
    template <class W, class P = PrecisionOf<W>>
    static constexpr void backward(W& worker, const Params<const typename P::Weight>&,
                                   const Params<typename P::Gradient>& dp, const Flow<P>&,
                                   Rows<const typename P::Activation, Width>, const Saved<P>&,
                                   Rows<const typename P::Activation, Width> dy,
                                   Rows<typename P::Activation, Width> dx) {
      worker(op::ShiftBackward<P>{.dy = dy, .dshift = dp.output});
      worker(op::ResidualAdd<P>{.x = {}, .f = dy, .a = {}, .b = {}, .dropout = {}, .y = dx});
    }
  };
};

}  // namespace fathom::inline FATHOM_ABI
