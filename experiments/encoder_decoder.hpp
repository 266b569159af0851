// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual_block.hpp>

namespace fathom::experiments {

/// The two stacks of an encoder-decoder with as many encoder as decoder layers.
template <class Method, int Depth, int Width, int Hidden, int Heads>
struct EncoderDecoder {
  template <class Policy, class... Attentions>
  using Block = ResidualBlock<Policy, LayerNorm<Width>, Attentions..., FeedForwardFor<Policy, Width, Hidden, Relu>>;
  using Policy = typename Method::template Encoder<Depth, Depth>;
  using Source = typename Method::template Stack<Depth, Block<Policy, AttentionFor<Policy, Width, Heads, Full>>>;
  using Reader = typename Method::template Decoder<Depth, Depth>;
  using Target = typename Method::template Stack<
      Depth, Block<Reader, AttentionFor<Reader, Width, Heads, Causal>, CrossAttentionFor<Reader, Width, Heads, Width>>>;
};

}  // namespace fathom::experiments
