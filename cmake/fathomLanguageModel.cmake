# SPDX-License-Identifier: Apache-2.0
#[=[
A program that trains, evaluates, samples from and describes a decoder-only language model of your own size:

  fathom_add_language_model(
    NAME my-model LAYERS 200 WIDTH 256 HEADS 4 CONTEXT 256 RESIDUAL DeepNorm
    [VOCABULARY 256]          # the program reads bytes, so there is no other
    [FEED_FORWARD 1024]       # 4 * WIDTH unless given
    [KV_HEADS 4]              # fewer than HEADS: grouped-query attention
    [POSITIONS Learned]       # Learned, Sinusoidal, Rotary or Relative
    [EMBEDDING Scaled]        # Scaled by sqrt(WIDTH), as the paper's toolkit does, or Plain, as GPT-2
    [OUTPUT Separate]         # Separate: a matrix of its own, or Tied: the embedding's once more
    [LOGITS Scaled]           # Scaled by one learned factor, or Plain; unless given, Scaled where the output is tied and
                              # RESIDUAL has a post-norm
    [DECAYED_EMBEDDING]       # weight decay shrinks the embedding too, as in nanoGPT
    [NORM LayerNorm]          # LayerNorm or RmsNorm
    [ACTIVATION Gelu]         # Relu, Gelu, GeluTanh, SwiGlu, GeGlu or ReGlu
    [RECOMPUTE Sqrt]          # activations are computed again instead of kept, so many layers at a time, or sqrt(LAYERS)
    [PRECISION Single]        # Mixed: weights and activations of 16 bits, half of the memory that these take; the rest
                              # as floats
    [COMPILED]                # link to fathom::compiled, which compiles in less time
    [CUDA]                    # the program also runs on an NVIDIA GPU, with --device cuda; needs fathom::cuda
    [BLAS])                   # multiply matrices with the BLAS that CMake finds

RESIDUAL is a residual policy of fathom/layers/policies.hpp, which has their sources: DeepNorm, AdminClosedForm, Fixup or
SubNorm, with constants for LAYERS; PreNorm, PostNorm, PostNormInit, ReZero, ReZeroPerLayer, Admin, AdminOfUnitInput, DsInit,
DsInitOfVariance, TFixup, LayerScale, SandwichNorm, GlmNorm, BottomToTop, NormFormer, NormFormerWithScale; a stack of such
layers that reads a sum of all before: Dlcl, of PreNorm, or DlclPost, of PostNorm; a stack whose first layers follow another
rule: MixNorm or Keel (fathom/layers/stacks.hpp); or a policy with constants of your own as
C++ spells it inside `namespace fathom`: "DeepNorm<3.5, 0.2>", "Unchecked<DeepNorm<2.0>>". What would not compile is refused
when CMake configures. Of Dlcl RECOMPUTE keeps what the sums need, whatever its number.

The model is a type, so each size is a program of its own; its depth costs no compile time. It is compiled for this
machine's processor unless FATHOM_NATIVE is set and OFF. `my-model --help` tells the rest.
]=]
include(${CMAKE_CURRENT_LIST_DIR}/fathomProgram.cmake)

function(fathom_add_language_model)
  set(sizes LAYERS WIDTH HEADS CONTEXT)
  set(optional_sizes VOCABULARY FEED_FORWARD KV_HEADS)
  set(choices POSITIONS EMBEDDING OUTPUT LOGITS NORM ACTIVATION PRECISION)
  set(choice_values "Learned|Sinusoidal|Rotary|Relative" "Scaled|Plain" "Separate|Tied" "Scaled|Plain" "LayerNorm|RmsNorm"
                    "Relu|Gelu|GeluTanh|SwiGlu|GeGlu|ReGlu" "Single|Mixed")
  cmake_parse_arguments(PARSE_ARGV 0 MODEL "BLAS;COMPILED;CUDA;DECAYED_EMBEDDING"
                        "NAME;RESIDUAL;RECOMPUTE;${choices};${sizes};${optional_sizes}" "")
  _fathom_check_arguments(fathom_add_language_model REQUIRED NAME RESIDUAL ${sizes} SIZES ${sizes} ${optional_sizes})
  if(NOT DEFINED MODEL_FEED_FORWARD)
    math(EXPR MODEL_FEED_FORWARD "4 * ${MODEL_WIDTH}")
  endif()
  _fathom_defaults(VOCABULARY=256 KV_HEADS=${MODEL_HEADS} POSITIONS=Learned EMBEDDING=Scaled OUTPUT=Separate
                   NORM=LayerNorm ACTIVATION=Gelu PRECISION=Single)
  foreach(argument values IN ZIP_LISTS choices choice_values)
    _fathom_check_choice(fathom_add_language_model ${argument} "${values}")
  endforeach()
  _fathom_check_heads(fathom_add_language_model)
  if(NOT MODEL_VOCABULARY EQUAL 256)
    message(FATAL_ERROR "fathom_add_language_model: VOCABULARY is 256, because the program reads bytes, not "
                        "${MODEL_VOCABULARY}")
  endif()
  _fathom_stack_of_residual()
  _fathom_find_policy(policy DeepNorm "DeepNorm<deepnorm::decoder_only(layers).alpha>"  #
                      AdminClosedForm "AdminClosedForm<2 * layers>" Fixup "Fixup<2 * layers>"  #
                      SubNorm "SubNorm<sub_norm_gain(layers)>")
  if(policy)
    set(MODEL_RESIDUAL "${policy}")
  elseif(MODEL_RESIDUAL MATCHES "[<:]")
    _fathom_check_policy(fathom_add_language_model "${MODEL_RESIDUAL}" "LAYERS ${MODEL_LAYERS}" "
#include <fathom/layers/residual_block.hpp>
#include <fathom/models/language_model.hpp>
namespace fathom {
constexpr int layers = ${MODEL_LAYERS};
using Policy = ${MODEL_RESIDUAL};
using Stack = Repeat<layers, ResidualBlock<Policy, LayerNorm<8>, FeedForwardFor<Policy, 8, 8>>>;
static_assert(LanguageModel<Vocabulary<256>, ContextLength<8>, Stack>::width == 8);
}
")
  else()
    _fathom_refuse_policy(fathom_add_language_model "DeepNorm<3.5, 0.2>")
  endif()
  _fathom_stack_option(fathom_add_language_model)
  _fathom_stack(fathom_add_language_model MODEL_STACK ${MODEL_LAYERS} layers Block "${MODEL_RESIDUAL}")
  set(MODEL_OPTIONS "")  # without a default here: the model has one
  if(DEFINED MODEL_LOGITS)
    string(APPEND MODEL_OPTIONS ", ${MODEL_LOGITS}Logits")
  endif()
  if(MODEL_DECAYED_EMBEDDING)
    string(APPEND MODEL_OPTIONS ", DecayedEmbedding")
  endif()
  _fathom_attention_option()
  _fathom_add_program(fathom_add_language_model language_model.cpp.in)
endfunction()
