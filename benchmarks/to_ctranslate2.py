#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts a checkpoint of a fathom translator to a model of CTranslate2's. Needs ctranslate2 and numpy.

    python3 benchmarks/to_ctranslate2.py CHECKPOINT OUTPUT

The residual is PreNorm, PostNorm or DeepNorm, positions are sinusoidal. CTranslate2 knows no alpha: LN(alpha x + G(x)) is
LN(x + G(x) / alpha), so the last matrix and bias of every branch is divided by alpha. What LN adds to the variance would
have to be divided by alpha^2; CTranslate2 has one such number for all, and gets that of the decoder. The tokens of the
vocabulary are called by their numbers: "<unk>", "<s>", "</s>", "3", "4" and so on.
"""

import pathlib
import sys

import ctranslate2
import numpy
from ctranslate2.specs import TransformerSpec, common_spec

from fathom_checkpoint import Translator

ACTIVATIONS = {
    "relu": common_spec.Activation.RELU,
    "gelu": common_spec.Activation.GELU,
    "gelu_tanh": common_spec.Activation.GELUTanh,
    "silu": common_spec.Activation.SWISH,
}


def vocabulary(size):
    return ["<unk>", "<s>", "</s>"] + [str(number) for number in range(3, size)]


def sinusoids(length, width):
    rate = 10000.0 ** (-numpy.arange(0, width, 2) / width)
    angle = numpy.arange(length)[:, None] * rate
    return numpy.stack((numpy.sin(angle), numpy.cos(angle)), -1).reshape(length, width).astype(numpy.float32)


class Converter:
    def __init__(self, checkpoint):
        checkpoint.require(
            residual=["PreNorm", "PostNorm", "DeepNorm"],
            norm=["LayerNorm"],
            positions=["sinusoidal"],
            rotary=[0],
            gated=[False],
        )
        self.checkpoint, self.tensors = checkpoint, checkpoint.tensors

    def linear(self, spec, names, scale=1.0):
        """The rows of all names, one after another."""
        for kind in ("weight", "bias"):
            rows = [self.tensors[f"{name}.{kind}"] for name in names]
            setattr(spec, kind, (numpy.concatenate(rows) * scale).astype(numpy.float32))

    def norm(self, spec, name):
        spec.gamma, spec.beta = self.tensors[f"{name}.gain"], self.tensors[f"{name}.bias"]

    def attention(self, spec, name, scale, cross=False):
        parts = [["query"], ["key", "value"]] if cross else [["query", "key", "value"]]
        for linear, rows in zip(spec.linear, parts):
            self.linear(linear, [f"{name}.{part}" for part in rows])
        self.linear(spec.linear[-1], [f"{name}.output"], scale)
        self.norm(spec.layer_norm, f"{name}.norm")

    def stack(self, spec, side):
        model = self.checkpoint.model
        own_table = f"{side}.embedding.token.weight"
        embeddings = spec.embeddings[0] if side == "encoder" else spec.embeddings
        embeddings.weight = self.tensors.get(own_table, self.tensors["decoder.embedding.token.weight"])
        width = embeddings.weight.shape[1]
        scale = model[f"{'source' if side == 'encoder' else 'target'}_embedding_scale"]
        spec.scale_embeddings = scale != 1
        spec.position_encodings.encodings = sinusoids(model["source_context"], width)
        scale = 1 / self.checkpoint.alpha(side)
        for number, layer in enumerate(spec.layer):
            block = f"{side}.blocks.{number}"
            self.attention(layer.self_attention, f"{block}.attention", scale)
            if side == "decoder":
                self.attention(layer.attention, f"{block}.cross_attention", scale, cross=True)
            self.linear(layer.ffn.linear_0, [f"{block}.feed_forward.input"])
            self.linear(layer.ffn.linear_1, [f"{block}.feed_forward.output"], scale)
            self.norm(layer.ffn.layer_norm, f"{block}.feed_forward.norm")
        if self.checkpoint.pre_norm:
            self.norm(spec.layer_norm, f"{side}.final_norm")

    def spec(self):
        checkpoint = self.checkpoint
        wide = checkpoint.sublayers("encoder")[-1]
        spec = TransformerSpec.from_config(
            (checkpoint.depth("encoder"), checkpoint.depth("decoder")),
            checkpoint.heads,
            pre_norm=checkpoint.pre_norm,
            activation=ACTIVATIONS[wide["activation"]],
        )
        self.stack(spec.encoder, "encoder")
        self.stack(spec.decoder, "decoder")
        output = self.tensors.get("output.weight", self.tensors["decoder.embedding.token.weight"])
        factor = numpy.sqrt(output.shape[1]) * self.tensors.get("output.scale", [output.shape[1] ** -0.5])[0]
        spec.decoder.projection.weight = (output * factor).astype(numpy.float32)
        spec.decoder.projection.bias = self.tensors.get("output.bias", numpy.zeros(len(output), numpy.float32))
        epsilon = checkpoint.sublayers("decoder")[0]["residual"]["norm"]["epsilon"]
        spec.config.layer_norm_epsilon = epsilon / checkpoint.alpha("decoder") ** 2
        spec.register_source_vocabulary(vocabulary(checkpoint.model["source_vocabulary"]))
        spec.register_target_vocabulary(vocabulary(checkpoint.model["target_vocabulary"]))
        return spec


def convert(directory, output):
    pathlib.Path(output).mkdir(parents=True, exist_ok=True)
    spec = Converter(Translator(directory)).spec()
    spec.validate()
    spec.optimize(quantization="float32")
    spec.save(str(output))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        convert(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"to_ctranslate2.py: {error}; give the folder of a fathom translator's checkpoint")
