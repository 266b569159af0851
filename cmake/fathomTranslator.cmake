# SPDX-License-Identifier: Apache-2.0
#[=[
A program that prepares texts for, trains and describes an encoder-decoder of your own size, which translates:

  fathom_add_translator(
    NAME my-translator ENCODER_LAYERS 18 DECODER_LAYERS 18 WIDTH 512 HEADS 8 VOCABULARY 16000 RESIDUAL DeepNorm
    [CONTEXT 256]             # tokens of the longest sentence, its end among them
    [FEED_FORWARD 2048]       # 4 * WIDTH unless given
    [KV_HEADS 8]              # fewer than HEADS: grouped-query attention
    [POSITIONS Sinusoidal]    # Sinusoidal, Learned, Rotary or Relative
    [EMBEDDING Scaled]        # Scaled by sqrt(WIDTH), as the paper's toolkit does, or Plain, as GPT-2
    [TIED All]                # All: source, target and output are one matrix; Output: target and output;
                              # Embeddings: source and target; None
    [LOGITS Scaled]           # Scaled by one learned factor, or Plain; unless given, Scaled where the output is tied and
                              # RESIDUAL has a post-norm
    [NORM LayerNorm]          # LayerNorm or RmsNorm
    [ACTIVATION Relu]         # Relu, Gelu, GeluTanh, SwiGlu, GeGlu or ReGlu
    [NO_BIAS]                 # linear layers without a bias
    [RECOMPUTE Sqrt]          # activations are computed again instead of kept, so many layers at a time, or sqrt of all
    [PRECISION Single]        # Mixed: weights and activations of 16 bits, half of the memory that these take; the rest
                              # as floats
    [COMPILED]                # link to fathom::compiled, which compiles in less time
    [CUDA]                    # the program also runs on an NVIDIA GPU, with --device cuda; needs fathom::cuda
    [BLAS])                   # multiply matrices with the BLAS that CMake finds

VOCABULARY is the number of subwords that both languages share. RESIDUAL is a residual policy by its name, as of
fathom_add_language_model, with the constants that belong to both depths; or one with constants of your own, for both stacks,
as C++ spells it inside `namespace fathom`: "Unchecked<DeepNorm<2.0>>". What would not compile is refused when CMake
configures.

It needs sentencepiece, and for files that are packed by gzip zlib: fathom_HAS_SUBWORDS says whether it can be built.
`my-translator --help` tells the rest.
]=]
include(${CMAKE_CURRENT_LIST_DIR}/fathomProgram.cmake)

function(fathom_add_translator)
  set(sizes ENCODER_LAYERS DECODER_LAYERS WIDTH HEADS VOCABULARY)
  set(optional_sizes CONTEXT FEED_FORWARD KV_HEADS)
  set(choices POSITIONS EMBEDDING TIED LOGITS NORM ACTIVATION PRECISION)
  set(choice_values "Sinusoidal|Learned|Rotary|Relative" "Scaled|Plain" "All|Output|Embeddings|None" "Scaled|Plain"
                    "LayerNorm|RmsNorm" "Relu|Gelu|GeluTanh|SwiGlu|GeGlu|ReGlu" "Single|Mixed")
  cmake_parse_arguments(PARSE_ARGV 0 MODEL "BLAS;COMPILED;CUDA;NO_BIAS"
                        "NAME;RESIDUAL;RECOMPUTE;${choices};${sizes};${optional_sizes}" "")
  _fathom_check_arguments(fathom_add_translator REQUIRED NAME RESIDUAL ${sizes} SIZES ${sizes} ${optional_sizes})
  if(MODEL_VOCABULARY LESS 4)
    message(FATAL_ERROR "fathom_add_translator: VOCABULARY is 4 at least, because the begin, the end and the unknown are three of them, not "
                        "${MODEL_VOCABULARY}")
  endif()
  if(NOT DEFINED MODEL_FEED_FORWARD)
    math(EXPR MODEL_FEED_FORWARD "4 * ${MODEL_WIDTH}")
  endif()
  _fathom_defaults(CONTEXT=256 KV_HEADS=${MODEL_HEADS} POSITIONS=Sinusoidal EMBEDDING=Scaled TIED=All NORM=LayerNorm
                   ACTIVATION=Relu PRECISION=Single)
  foreach(argument values IN ZIP_LISTS choices choice_values)
    _fathom_check_choice(fathom_add_translator ${argument} "${values}")
  endforeach()
  _fathom_check_heads(fathom_add_translator)
  _fathom_stack_of_residual()
  _fathom_find_policy(
    MODEL_ENCODER_RESIDUAL  #
    DeepNorm "DeepNorm<deepnorm::encoder_decoder(encoder_layers, decoder_layers).encoder.alpha>"  #
    AdminClosedForm "AdminClosedForm<2 * encoder_layers>"  #
    Fixup "FixupEncoder<2 * encoder_layers + 3 * decoder_layers>"  #
    SubNorm "SubNorm<sub_norm_encoder_gain(encoder_layers, decoder_layers)>")
  _fathom_find_policy(
    MODEL_DECODER_RESIDUAL  #
    DeepNorm "DeepNorm<deepnorm::encoder_decoder(encoder_layers, decoder_layers).decoder.alpha>"  #
    AdminClosedForm "AdminClosedForm<3 * decoder_layers>"  #
    Fixup "Fixup<2 * encoder_layers + 3 * decoder_layers>"  #
    SubNorm "SubNorm<sub_norm_decoder_gain(decoder_layers)>" TFixup TFixupDecoder)
  if(MODEL_ENCODER_RESIDUAL)
    # both are known by their name
  elseif(MODEL_RESIDUAL MATCHES "[<:]")
    _fathom_check_policy(fathom_add_translator "${MODEL_RESIDUAL}"
                         "ENCODER_LAYERS ${MODEL_ENCODER_LAYERS} DECODER_LAYERS ${MODEL_DECODER_LAYERS}" "
#include <fathom/layers/attention.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual_block.hpp>
#include <fathom/models/translator.hpp>
namespace fathom {
using Policy = ${MODEL_RESIDUAL};
using Source = Repeat<${MODEL_ENCODER_LAYERS}, ResidualBlock<Policy, LayerNorm<8>, AttentionFor<Policy, 8, 2, Full>>>;
using Target = Repeat<${MODEL_DECODER_LAYERS}, ResidualBlock<Policy, LayerNorm<8>, CrossAttentionFor<Policy, 8, 2>>>;
static_assert(Translator<Encoder<Vocabulary<9>, ContextLength<8>, Source>,
                         Decoder<Vocabulary<9>, ContextLength<8>, Target>>::parameter_count > 0);
}
")
    set(MODEL_ENCODER_RESIDUAL "${MODEL_RESIDUAL}")
    set(MODEL_DECODER_RESIDUAL "${MODEL_RESIDUAL}")
  else()
    _fathom_refuse_policy(fathom_add_translator "Unchecked<DeepNorm<2.0>>")
  endif()
  _fathom_stack_option(fathom_add_translator)
  _fathom_stack(fathom_add_translator MODEL_ENCODER_STACK ${MODEL_ENCODER_LAYERS} encoder_layers EncoderBlock
                "${MODEL_ENCODER_RESIDUAL}")
  _fathom_stack(fathom_add_translator MODEL_DECODER_STACK ${MODEL_DECODER_LAYERS} decoder_layers DecoderBlock
                "${MODEL_DECODER_RESIDUAL}")
  set(MODEL_OPTIONS "")  # without a default here: the model has one
  if(DEFINED MODEL_LOGITS)
    string(APPEND MODEL_OPTIONS ", ${MODEL_LOGITS}Logits")
  endif()
  if(MODEL_TIED MATCHES "^(All|Output)$")
    string(APPEND MODEL_OPTIONS ", TiedOutput")
  endif()
  if(MODEL_TIED MATCHES "^(All|Embeddings)$")
    string(APPEND MODEL_OPTIONS ", TiedSourceEmbedding")
  endif()
  _fathom_attention_option()
  set(MODEL_BIAS_OPTION "")
  if(MODEL_NO_BIAS)
    set(MODEL_BIAS_OPTION ", NoBias")
  endif()
  if(NOT fathom_HAS_SUBWORDS)
    message(FATAL_ERROR "fathom_add_translator: its subwords need sentencepiece: install libsentencepiece-dev, or call it "
                        "only if fathom_HAS_SUBWORDS is set")
  endif()
  _fathom_add_program(fathom_add_translator translator.cpp.in)
  target_link_libraries(${MODEL_NAME} PRIVATE fathom::translation)
endfunction()
