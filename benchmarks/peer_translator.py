#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The PyTorch side of compare_translation.py: an encoder-decoder from the weights and batches of another trainer.

    python3 benchmarks/peer_translator.py FOLDER [--threads N] [--compile]

FOLDER is what translation_training wrote. For each number on standard input it makes so many updates, or with 0 a
validation, and prints one line of JSON. It means to be PyTorch at its best: sentences of similar length are padded to the
longest of their batch, only rows with a target go through the output, query, key and value are one matrix,
scaled_dot_product_attention, fused AdamW; with --compile one compiled function from tokens to the loss.
"""

import argparse
import json
import math
import pathlib
import resource
import sys
import time

import numpy
import torch
import torch.nn.functional as F

from fathom_checkpoint import Translator, read_tensors

PADDING = 3


def padded_batches(tensors, name):
    """Batches with padding: source (B, S) and its mask, or None without padding; target (B, T); places of the rows that
    have a target, and these targets."""
    lengths = {side: iter(tensors[f"{name}.{side}_lengths"].tolist()) for side in ("source", "target")}
    tokens = {side: tensors[f"{name}.{side}"].astype(numpy.int64) for side in ("source", "target")}
    place = {"source": 0, "target": 0}

    def take(side, pairs):
        rows = []
        for _ in range(pairs):
            end = place[side] + next(lengths[side])
            rows.append(torch.from_numpy(tokens[side][place[side] : end]))
            place[side] = end
        return rows

    batches = []
    for pairs in tensors[f"{name}.pairs"].tolist():
        source, target = take("source", pairs), take("target", pairs)
        inputs = torch.nn.utils.rnn.pad_sequence([row[:-1] for row in target], True, PADDING)
        outputs = torch.nn.utils.rnn.pad_sequence([row[1:] for row in target], True, -1)
        sources = torch.nn.utils.rnn.pad_sequence(source, True, PADDING)
        lengths_of = torch.tensor([len(row) for row in source])
        mask = (torch.arange(sources.shape[1]) < lengths_of[:, None])[:, None, None, :]
        places = (outputs.flatten() >= 0).nonzero().flatten()
        batches.append((sources, None if mask.all() else mask, inputs, places, outputs.flatten()[places]))
    return batches


def sinusoids(length, width):
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), -1).reshape(length, width).float()


class Model:
    def __init__(self, checkpoint):
        checkpoint.require(
            residual=["PreNorm", "DeepNorm"],
            norm=["LayerNorm"],
            activation=["relu"],
            positions=["sinusoidal"],
            source_embedding=["tied"],
            output=["tied"],
            rotary=[0],
        )
        self.heads, self.pre_norm = checkpoint.heads, checkpoint.pre_norm
        self.alpha = {side: checkpoint.alpha(side) for side in ("encoder", "decoder")}
        self.p = {}
        fused = {"query": ["query", "key", "value"], "key": [], "value": []}
        for name, tensor in checkpoint.tensors.items():
            *path, part, kind = name.split(".")
            prefix = ".".join(path)
            if prefix.endswith(".cross_attention"):
                fused_here = {"key": ["key", "value"], "value": []}
            else:
                fused_here = fused if prefix.endswith(".attention") else {}
            parts = fused_here.get(part, [part])
            if parts:
                arrays = [checkpoint.tensors[f"{prefix}.{each}.{kind}" if prefix else name] for each in parts]
                self.p[name] = torch.from_numpy(numpy.concatenate(arrays)).requires_grad_()
        self.token = self.p["decoder.embedding.token.weight"]
        self.width = self.token.shape[1]
        self.positions = sinusoids(checkpoint.model["source_context"], self.width)
        self.depth = {side: checkpoint.depth(side) for side in ("encoder", "decoder")}

    def parameters(self):
        return list(self.p.values())

    def linear(self, name, x):
        return F.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def norm(self, name, x):
        return F.layer_norm(x, (self.width,), self.p[f"{name}.gain"], self.p[f"{name}.bias"])

    def split(self, x, count):
        batch, rows, _ = x.shape
        return x.view(batch, rows, count, self.heads, self.width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def residual(self, name, x, branch, alpha):
        if self.pre_norm:
            return x + branch(self.norm(f"{name}.norm", x))
        return self.norm(f"{name}.norm", torch.add(branch(x), x, alpha=alpha))

    def attention(self, name, q, k, v, mask, causal):
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.linear(f"{name}.output", o.transpose(1, 2).reshape(o.shape[0], o.shape[2], self.width))

    def stack(self, side, tokens, mask, memory=None):
        x = math.sqrt(self.width) * F.embedding(tokens, self.token) + self.positions[: tokens.shape[1]]
        alpha, causal = self.alpha[side], memory is not None
        for block in (f"{side}.blocks.{i}" for i in range(self.depth[side])):
            own, other, wide = f"{block}.attention", f"{block}.cross_attention", f"{block}.feed_forward"

            def self_attention(h):
                return self.attention(own, *self.split(self.linear(f"{own}.query", h), 3), None if causal else mask, causal)

            def cross_attention(h):
                q = self.split(self.linear(f"{other}.query", h), 1)
                return self.attention(other, *q, *self.split(self.linear(f"{other}.key", memory), 2), mask, False)

            def feed_forward(h):
                return self.linear(f"{wide}.output", F.relu(self.linear(f"{wide}.input", h)))

            x = self.residual(own, x, self_attention, alpha)
            if memory is not None:
                x = self.residual(other, x, cross_attention, alpha)
            x = self.residual(wide, x, feed_forward, alpha)
        return self.norm(f"{side}.final_norm", x) if self.pre_norm else x

    def loss(self, source, mask, target, places, targets, smoothing):
        memory = self.stack("encoder", source, mask)
        hidden = self.stack("decoder", target, mask, memory).flatten(0, 1)[places]
        if "output.scale" in self.p:
            hidden = hidden * (math.sqrt(self.width) * self.p["output.scale"])
        return F.cross_entropy(F.linear(hidden, self.token), targets, label_smoothing=smoothing)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = Model(Translator(options.folder / "start"))
    tensors = read_tensors(options.folder / "batches.safetensors")
    training, validation = padded_batches(tensors, "training"), padded_batches(tensors, "validation")
    rates = tensors["rates"].tolist()
    parameters = model.parameters()
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True)
    loss_of = torch.compile(model.loss, dynamic=True) if options.compile else model.loss
    done = 0

    def update():
        nonlocal done
        optimizer.param_groups[0]["lr"] = rates[done]
        loss = loss_of(*training[done], 0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        done += 1
        return len(training[done - 1][-1]), loss

    for line in sys.stdin:
        count = int(line)
        if count == 0:
            with torch.no_grad():
                sums = [(model.loss(*batch, 0.0).item() * len(batch[-1]), len(batch[-1])) for batch in validation]
            mean = sum(loss for loss, _ in sums) / sum(targets for _, targets in sums)
            total = sum(parameter.numel() for parameter in parameters)
            print(json.dumps({"updates": done, "parameters": total, "validation_loss": mean}), flush=True)
            continue
        begin, tokens = time.perf_counter(), 0
        for _ in range(count):
            targets, loss = update()
            tokens += targets
        result = {"updates": done, "seconds": time.perf_counter() - begin, "target_tokens": tokens, "loss": loss.item()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(result | {"peak_resident_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
