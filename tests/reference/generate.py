#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the reference vectors beside this script: one `<case>.safetensors` for each case below.

    python3 tests/reference/generate.py            write all cases
    python3 tests/reference/generate.py --check    recompute all and compare with the files (1e-11, relative)

Needs PyTorch >= 2.5 and safetensors; the tests need neither. Everything is computed in double from the formulas in
formulas.py, gradients by automatic differentiation, and compared to PyTorch's own modules and optimizers where they
exist.

Names in a file:
    parameter.NAME   a parameter, NAME relative to what is tested: query.weight, blocks.1.attention.norm.gain
    input.NAME       what goes in: x, memory, tokens, targets, gradient.NAME (optimizers)
    offsets          first row of each sequence, then the number of rows; memory_offsets likewise
    output.NAME      what comes out: y, o, log_sum_exp, loss, logits, hidden, gradient_norm
    upstream.NAME    gradient of the checked scalar with respect to output.NAME; outputs without one have gradient 0, a
                     loss has 1
    grad.T           gradient with respect to the tensor T of the same file: grad.parameter.query.weight, grad.input.x
    final.T          the tensor T after training
    setting.NAME     numbers of the case, one element: heads, alpha, smoothing, ...
Floats are F64, integers I32. Ignored targets are -1. Matrices are (out, in), activations (rows, width). Norms use
epsilon 1e-5 and attention the scale 1 / sqrt(head width).
"""

import argparse
import math
import pathlib
import random
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import formulas as f

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
HERE = pathlib.Path(__file__).resolve().parent
CASES = {}


def case(function):
    """Registers a function that returns the tensors of the case of its name, or {suffix: tensors} of several."""
    CASES[function.__name__] = function
    return function


class Source:
    """Random tensors that do not depend on the version of PyTorch."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def normal(self, *shape, std=1.0, mean=0.0):
        count = math.prod(shape)
        return torch.tensor([mean + std * self.random.gauss(0, 1) for _ in range(count)]).reshape(shape)

    def integers(self, bound, count):
        return torch.tensor([self.random.randrange(bound) for _ in range(count)], dtype=torch.int32)

    def linear(self, name, out, width, bias=True, gain=1.0):
        p = {f"{name}.weight": self.normal(out, width, std=gain * math.sqrt(2 / (out + width)))}
        if bias:
            p[f"{name}.bias"] = self.normal(out, std=0.1)
        return p

    def norm(self, name, width, bias=True):
        p = {f"{name}.gain": self.normal(width, std=0.1, mean=1.0)}
        if bias:
            p[f"{name}.bias"] = self.normal(width, std=0.1)
        return p

    def attention(self, width, kv_width=None, bias=True, gain=1.0):
        kv_width = kv_width or width
        return {
            **self.linear("query", width, width, bias),
            **self.linear("key", kv_width, width, bias),
            **self.linear("value", kv_width, width, bias, gain),
            **self.linear("output", width, width, bias, gain),
        }

    def feed_forward(self, width, hidden, bias=True, gated=False, gain=1.0):
        return {
            **(self.linear("gate", hidden, width, bias, gain) if gated else {}),
            **self.linear("input", hidden, width, bias, gain),
            **self.linear("output", width, hidden, bias, gain),
        }

    def language_model(self, vocabulary, width, hidden, context, depth, beta, final_norm, tied, scaled=False):
        p = {
            "embedding.token.weight": self.normal(vocabulary, width, std=0.5),
            "embedding.position.weight": self.normal(context, width, std=0.5),
        }
        for i in range(depth):
            p |= prefixed(f"blocks.{i}.attention", self.attention(width, gain=beta) | self.norm("norm", width))
            feed_forward = self.feed_forward(width, hidden, gain=beta)
            p |= prefixed(f"blocks.{i}.feed_forward", feed_forward | self.norm("norm", width))
        if final_norm:
            p |= self.norm("final_norm", width)
        if not tied:
            p["output.weight"] = self.normal(vocabulary, width, std=0.3)
        if scaled:
            p["output.scale"] = torch.tensor([0.1])
        return p


def prefixed(prefix, tensors):
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def offsets_of(lengths):
    return torch.tensor([sum(lengths[:i]) for i in range(len(lengths) + 1)], dtype=torch.int32)


def settings_of(values):
    return {
        f"setting.{name}": torch.tensor([value], dtype=torch.int32 if isinstance(value, int) else torch.float64)
        for name, value in values.items()
    }


def record(seed, function, parameters={}, inputs={}, plain={}, settings={}, silent=()):
    """Runs function(parameters, inputs) -> {output: tensor} and collects the tensors of a case.

    Outputs of one element are losses, with upstream gradient 1; the others get a random one, those in `silent` none.
    """
    p = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    x = {name: t.clone().requires_grad_(t.is_floating_point()) for name, t in inputs.items()}
    outputs = function(p, x)
    source, scalar, tensors = Source(seed + 1_000_000), 0.0, {}
    for name, y in outputs.items():
        tensors[f"output.{name}"] = y
        if name in silent:
            continue
        if y.dim() == 0:
            scalar = scalar + y
        else:
            tensors[f"upstream.{name}"] = source.normal(*y.shape)
            scalar = scalar + (tensors[f"upstream.{name}"] * y).sum()
    scalar.backward()
    for kind, group in (("parameter", p), ("input", x)):
        for name, tensor in group.items():
            tensors[f"{kind}.{name}"] = tensor
            if tensor.requires_grad:
                tensors[f"grad.{kind}.{name}"] = tensor.grad
    return tensors | plain | settings_of(settings)


def same(ours, theirs, tolerance=1e-12):
    """Our formula agrees with PyTorch's own."""
    worst = (ours.detach() - theirs.detach()).abs().max().item()
    assert worst <= tolerance * max(1.0, theirs.abs().max().item()), f"differs from PyTorch by {worst}"


# Layers


@case
def linear():
    def make(seed, bias):
        s = Source(seed)
        p = f.part(s.linear("layer", 7, 5, bias), "layer")
        x = {"x": s.normal(9, 5)}
        same(f.linear(p, x["x"]), F.linear(x["x"], p["weight"], p.get("bias")))
        return record(seed, lambda p, x: {"y": f.linear(p, x["x"])}, p, x)

    return {"": make(1, True), "no_bias": make(2, False)}


@case
def layer_norm():
    s = Source(3)
    p = f.part(s.norm("layer", 11), "layer")
    # Rows far from zero, and rows so small that epsilon counts.
    x = torch.cat([s.normal(3, 11), s.normal(2, 11, std=3, mean=100), s.normal(2, 11, std=1e-3)])
    same(f.layer_norm(p, x), F.layer_norm(x, (11,), p["gain"], p["bias"], f.EPSILON))
    return record(3, lambda p, x: {"y": f.layer_norm(p, x["x"])}, p, {"x": x}, settings={"epsilon": f.EPSILON})


@case
def rms_norm():
    s = Source(4)
    p = f.part(s.norm("layer", 11, bias=False), "layer")
    x = torch.cat([s.normal(3, 11), s.normal(2, 11, std=3, mean=100), s.normal(2, 11, std=1e-3)])
    same(f.rms_norm(p, x), F.rms_norm(x, (11,), p["gain"], f.EPSILON))
    return record(4, lambda p, x: {"y": f.rms_norm(p, x["x"])}, p, {"x": x}, settings={"epsilon": f.EPSILON})


@case
def activation():
    s = Source(5)
    x = torch.cat([s.normal(37, std=2), torch.tensor([-40.0, -8.0, -1e-9, 1e-9, 0.5, 8.0, 40.0])]).reshape(4, 11)
    theirs = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu}
    cases = {}
    for name, function in theirs.items():
        ours = getattr(f, name)
        same(ours(x), function(x))
        cases[name] = record(5, lambda p, x: {"y": ours(x["x"])}, inputs={"x": x})
    return cases


@case
def feed_forward():
    def make(seed, activation, **options):
        s = Source(seed)
        p, x = s.feed_forward(6, 10, **options), {"x": s.normal(7, 6)}
        return record(seed, lambda p, x: {"y": f.feed_forward(p, x["x"], activation)}, p, x)

    return {
        "relu": make(10, f.relu),
        "gelu": make(11, f.gelu),
        "gelu_tanh": make(12, f.gelu_tanh),
        "swiglu": make(13, f.silu, gated=True, bias=False),
        "swiglu_bias": make(14, f.silu, gated=True),
    }


def attention_case(
    seed, width, heads, kv_heads, lengths, memory_lengths=None, bias=True, causal=True, rotate=False, relative=(0, 0)
):
    s = Source(seed)
    p = s.attention(width, width // heads * kv_heads, bias)
    buckets, furthest = relative
    if buckets:
        p["relative.weight"] = s.normal(heads, buckets)
    offsets = offsets_of(lengths)
    x, plain = {"x": s.normal(sum(lengths), width)}, {"offsets": offsets}
    memory_offsets = None
    if memory_lengths:
        memory_offsets = plain["memory_offsets"] = offsets_of(memory_lengths)
        x["memory"] = s.normal(sum(memory_lengths), width)

    def forward(p, x):
        memory = x.get("memory")
        return {"y": f.attention(p, x["x"], offsets, heads, kv_heads, causal, rotate, memory, memory_offsets, furthest)}

    settings = {"heads": heads, "kv_heads": kv_heads, "causal": int(causal), "rotary": int(rotate)}
    return record(seed, forward, p, x, plain, settings)


@case
def attention():
    check_attention()
    return {
        "causal": attention_case(20, 12, 3, 3, [5, 1, 4]),
        "causal_no_bias": attention_case(21, 12, 3, 3, [5, 1, 4], bias=False),
        "causal_long": attention_case(22, 8, 2, 2, [37, 1, 20]),
        "full": attention_case(23, 12, 3, 3, [5, 1, 4], causal=False),
        "rotary": attention_case(24, 12, 3, 3, [5, 1, 4], rotate=True),
        "rotary_full": attention_case(25, 12, 3, 3, [5, 1, 4], rotate=True, causal=False),
        "grouped": attention_case(26, 12, 6, 2, [5, 1, 4]),
        "grouped_rotary": attention_case(27, 16, 4, 2, [5, 1, 4], bias=False, rotate=True),
        "one_kv_head": attention_case(28, 12, 3, 1, [5, 1, 4], causal=False),
        "relative": attention_case(31, 12, 3, 3, [37, 1, 20], bias=False, relative=(8, 20)),
        "relative_full": attention_case(32, 12, 6, 2, [37, 1, 20], causal=False, relative=(8, 20)),
        "cross": attention_case(29, 12, 3, 3, [5, 1, 4], [3, 6, 2], causal=False),
        "cross_grouped": attention_case(30, 12, 6, 2, [5, 1, 4], [3, 6, 2], causal=False),
    }


def check_attention():
    s = Source(40)
    p, x, memory = s.attention(12), s.normal(5, 12), s.normal(7, 12)
    module = torch.nn.MultiheadAttention(12, 3)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([p["query.weight"], p["key.weight"], p["value.weight"]]))
        module.in_proj_bias.copy_(torch.cat([p["query.bias"], p["key.bias"], p["value.bias"]]))
        module.out_proj.weight.copy_(p["output.weight"])
        module.out_proj.bias.copy_(p["output.bias"])
    mask = torch.ones(5, 5).triu(1).bool()
    ours = f.attention(p, x, offsets_of([5]), 3, 3, True)
    same(ours, module(x, x, x, attn_mask=mask)[0])
    ours = f.attention(p, x, offsets_of([5]), 3, 3, False, memory=memory, memory_offsets=offsets_of([7]))
    same(ours, module(x, memory, memory)[0])

    q, k, v = s.normal(5, 24), s.normal(5, 8), s.normal(5, 8)
    ours, _ = f.attention_core(q, k, v, offsets_of([5]), offsets_of([5]), 6, 2, True)
    split = [t.view(5, -1, 4).transpose(0, 1)[None] for t in (q, k, v)]
    theirs = F.scaled_dot_product_attention(*split, is_causal=True, enable_gqa=True)
    same(ours, theirs[0].transpose(0, 1).reshape(5, 24))

    bias = s.normal(6, 8)
    distance = torch.arange(5)[:, None] - torch.arange(5)[None, :]
    ours, _ = f.attention_core(q, k, v, offsets_of([5]), offsets_of([5]), 6, 2, False, bias, 3)
    theirs = F.scaled_dot_product_attention(
        *split, attn_mask=bias[:, f.relative_bucket(distance, 8, 3, False)], enable_gqa=True
    )
    same(ours, theirs[0].transpose(0, 1).reshape(5, 24))
    # In T5's default, of which these are known: 8 buckets of one distance each, then 12, 16, 23, 32, 46, 64, 91 begin one.
    starts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    expected = torch.tensor([sum(start <= d for start in starts) - 1 for d in range(200)])
    same(f.relative_bucket(torch.arange(200), 32, 128, False), expected)
    same(f.relative_bucket(-torch.arange(1, 200), 32, 128, False), 16 + expected[1:])

    turned = (
        torch.view_as_complex(q.view(5, 6, 2, 2))
        * torch.polar(torch.ones(5, 2), torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.01])))[:, None]
    )
    same(f.rotary(q, offsets_of([5]), 6), torch.view_as_real(turned).reshape(5, 24))


@case
def attention_core():
    def make(seed, heads, kv_heads, head, lengths, key_lengths, causal):
        s = Source(seed)
        rows, keys = sum(lengths), sum(key_lengths)
        x = {
            "q": s.normal(rows, heads * head),
            "k": s.normal(keys, kv_heads * head),
            "v": s.normal(keys, kv_heads * head),
        }
        offsets, key_offsets = offsets_of(lengths), offsets_of(key_lengths)

        def forward(p, x):
            o, lse = f.attention_core(x["q"], x["k"], x["v"], offsets, key_offsets, heads, kv_heads, causal)
            return {"o": o, "log_sum_exp": lse}

        return record(
            seed,
            forward,
            inputs=x,
            plain={"offsets": offsets, "memory_offsets": key_offsets},
            settings={"heads": heads, "kv_heads": kv_heads, "causal": int(causal)},
            silent=["log_sum_exp"],
        )

    return {
        "causal": make(50, 2, 2, 4, [6, 1, 3], [6, 1, 3], True),
        "causal_past": make(51, 2, 1, 4, [2, 1, 3], [6, 5, 3], True),  # more keys than queries, as with a cache
        "full": make(52, 3, 3, 5, [6, 1, 3], [6, 1, 3], False),
        "cross": make(53, 4, 2, 3, [6, 1, 3], [2, 7, 4], False),
    }


@case
def rotary():
    s = Source(55)
    offsets = offsets_of([7, 2])
    return record(
        55,
        lambda p, x: {"y": f.rotary(x["x"], offsets, 2)},
        inputs={"x": s.normal(9, 16)},
        plain={"offsets": offsets},
        settings={"heads": 2, "base": 10000.0},
    )


@case
def embedding():
    def make(seed, learned, scale, halves_from=None):
        s = Source(seed)
        offsets, tokens = offsets_of([6, 1, 3]), s.integers(9, 10)  # some tokens occur twice, some never
        p = {"token.weight": s.normal(9, 8)}
        if learned:
            p["position.weight"] = s.normal(7, 8)
        return record(
            seed,
            lambda p, x: {"y": f.embedding(p, x["tokens"], offsets, scale, halves_from)},
            p,
            {"tokens": tokens},
            {"offsets": offsets},
            {"scale": scale} | ({"first": halves_from} if halves_from else {}),
        )

    return {
        "learned": make(60, True, 1.0),
        "sinusoidal": make(61, False, math.sqrt(8)),
        "halves": make(62, False, math.sqrt(8), 1),
    }


@case
def opennmt():
    layers, heads, width, hidden, vocabularies = 2, 2, 8, 12, {"encoder": 7, "decoder": 6}
    s = Source(63)
    p = {}

    def linear(name, out, wide):
        p[f"{name}/weight"], p[f"{name}/bias"] = s.normal(out, wide, std=0.5), s.normal(out, std=0.1)

    def norm(name):
        p[f"{name}/layer_norm/gamma"] = s.normal(width, std=0.1, mean=1.0)
        p[f"{name}/layer_norm/beta"] = s.normal(width, std=0.1)

    for stack, vocabulary in vocabularies.items():
        p[f"{stack}/embeddings/weight"] = s.normal(vocabulary, width)
        for layer in (f"{stack}/layer_{i}" for i in range(layers)):
            norm(f"{layer}/self_attention")
            linear(f"{layer}/self_attention/linear_0", 3 * width, width)
            linear(f"{layer}/self_attention/linear_1", width, width)
            if stack == "decoder":
                norm(f"{layer}/attention")
                linear(f"{layer}/attention/linear_0", width, width)
                linear(f"{layer}/attention/linear_1", 2 * width, width)
                linear(f"{layer}/attention/linear_2", width, width)
            norm(f"{layer}/ffn")
            linear(f"{layer}/ffn/linear_0", hidden, width)
            linear(f"{layer}/ffn/linear_1", width, hidden)
        norm(stack)
    linear("decoder/projection", vocabularies["decoder"], width)
    source, target = s.integers(7, 5), s.integers(6, 4)
    memory, logits = f.opennmt(p, source, target, layers, heads)
    tensors = {f"parameter.{name}": tensor for name, tensor in p.items()}
    return tensors | {"input.source": source, "input.target": target, "output.memory": memory, "output.logits": logits}


@case
def linear_cross_entropy():
    def make(seed, ignored=False, bias=False, spread=0.5, **options):
        s = Source(seed)
        p = {"weight": s.normal(13, 6, std=spread)} | ({"bias": s.normal(13)} if bias else {})
        x, targets = s.normal(10, 6), s.integers(13, 10)
        if ignored:
            targets[[0, 4, 5, 9]] = -1
        ours = f.linear_cross_entropy(p, x, targets, options.get("smoothing", 0.0))
        same(
            ours,
            F.cross_entropy(
                f.linear(p, x), targets.long(), ignore_index=-1, label_smoothing=options.get("smoothing", 0.0)
            ),
        )
        return record(
            seed,
            lambda p, x: {"loss": f.linear_cross_entropy(p, x["x"], x["targets"], **options)},
            p,
            {"x": x, "targets": targets},
            settings={"smoothing": 0.0, "z_loss": 0.0} | options,
        )

    return {
        "": make(70),
        "smoothing": make(71, smoothing=0.1),
        "ignored": make(72, ignored=True),
        "z_loss": make(73, z_loss=1e-2),
        "all": make(74, ignored=True, bias=True, smoothing=0.1, z_loss=1e-2),
        "large_logits": make(75, spread=300.0),
    }


# Residual policies


@case
def residual():
    width, hidden = 8, 12

    def make(seed, policy, norm=True, scale=None, settings={}):
        s = Source(seed)
        p = s.feed_forward(width, hidden) | (s.norm("norm", width) if norm else {})
        if scale is not None:
            p["scale"] = scale(s)
        x = {"x": s.normal(6, width)}
        return record(
            seed, lambda p, x: {"y": policy(p, x["x"], lambda y: f.feed_forward(p, y, f.gelu))}, p, x, settings=settings
        )

    alpha = 200**0.25
    return {
        "post_norm": make(80, f.post_norm),
        "pre_norm": make(81, f.pre_norm),
        "deep_norm": make(82, f.deep_norm(alpha), settings={"alpha": alpha}),
        "rezero": make(83, f.rezero, norm=False, scale=lambda s: torch.tensor([0.3])),
        "admin": make(84, f.admin, scale=lambda s: s.normal(width, std=0.2, mean=2.0)),
    }


@case
def policy():
    """A stack of decoder layers under each policy, at parameters that are not the initial ones."""
    width, hidden, depth, heads = 4, 6, 3, 2
    offsets, memory_offsets = offsets_of([3, 1]), offsets_of([2, 3])
    alpha = (3 * depth) ** 0.25

    def norm(name):
        return lambda s: s.norm(name, width)

    def scale(size, mean=1.0):
        return lambda s: {"scale": s.normal(size, std=0.2, mean=mean)}

    def shift(s):
        return {"shift": s.normal(1, std=0.2)}

    def make(seed, policy, *around, attention=(), cross=(), wide=(), wide_around=None, layer=None, bias=True):
        """`around`: makers of parameters of a residual; the others: of what stands inside, and of a layer."""
        s = Source(seed)
        p = {}
        for i in range(depth):
            for kind, more in (("attention", attention), ("cross_attention", cross), ("feed_forward", wide)):
                ours = s.feed_forward(width, hidden, bias) if kind == "feed_forward" else s.attention(width, bias=bias)
                outside = wide_around if kind == "feed_forward" and wide_around is not None else around
                for maker in (*more, *outside):
                    ours |= maker(s)
                p |= prefixed(f"blocks.{i}.{kind}", ours)
            if layer is not None:
                p |= prefixed(f"blocks.{i}", layer(s))
        x = {"x": s.normal(4, width), "memory": s.normal(5, width)}

        def forward(p, x):
            y = f.decoder_stack(p, x["x"], depth, policy, offsets, heads, x["memory"], memory_offsets)
            return {"y": y}

        return record(seed, forward, p, x, {"offsets": offsets, "memory_offsets": memory_offsets})

    def head_scale(s):
        return {"head_scale": s.normal(heads, std=0.2, mean=1.0)}

    def inner_norm(size):
        return lambda s: s.norm("inner_norm", size)

    def shifts(s):
        return {"input.shift": s.normal(1, std=0.2), "output.shift": s.normal(1, std=0.2)}

    post, pre, branch = norm("norm"), norm("norm"), norm("branch_norm")
    before = norm("pre_norm")
    former = {"attention": [head_scale], "cross": [head_scale], "wide": [inner_norm(hidden)]}
    return {
        "PostNorm": make(130, f.plain(f.post_norm), post),
        "PreNorm": make(131, f.plain(f.pre_norm), pre),
        "DeepNorm": make(132, f.plain(f.deep_norm(alpha)), post),
        "ReZero": make(133, f.plain(f.rezero), scale(1, 0.3)),
        "ReZeroPerLayer": make(134, f.rezero_per_layer, layer=scale(1, 0.3)),
        "Admin": make(135, f.plain(f.admin), post, scale(width, 2.0)),
        "TFixup": make(136, f.plain(f.no_norm)),
        "Fixup": make(137, f.plain(f.fixup), scale(1), shift, wide=[shifts], bias=False),
        "LayerScale": make(138, f.plain(f.layer_scale), pre, scale(width, 0.3)),
        "SandwichNorm": make(139, f.plain(f.sandwich_norm), pre, branch),
        "GlmNorm": make(140, f.glm_norm, pre),
        "BottomToTop": make(141, f.bottom_to_top, post),
        "NormFormer": make(142, f.norm_former, pre, branch, wide_around=[pre], **former),
        "NormFormerWithScale": make(
            143, f.norm_former_with_scale, pre, branch, wide_around=[pre, scale(width)], **former
        ),
        "Keel": make(145, f.plain(f.keel(3 * depth)), before, post),
        "SubNorm": make(
            144, f.plain(f.pre_norm), pre, attention=[inner_norm(width)], wide=[inner_norm(hidden)]
        ),
    }


@case
def stacks():
    """Stacks whose first layers differ."""
    width, hidden, heads, offsets = 8, 12, 2, offsets_of([4, 2])

    def layer(s, first, rest):
        p = prefixed("attention", s.attention(width) | first(s))
        return p | prefixed("feed_forward", s.feed_forward(width, hidden) | rest(s))

    def one(s):
        return s.norm("norm", width)

    def two(s):
        return s.norm("pre_norm", width) | s.norm("norm", width)

    def make(seed, forward, *layers):
        s = Source(seed)
        p = {}
        for name, first, rest in layers:
            p |= prefixed(name, layer(s, first, rest))
        return record(seed, lambda p, x: {"y": forward(p, x["x"])}, p, {"x": s.normal(6, width)}, {"offsets": offsets})

    return {
        "mix_norm": make(
            150,
            lambda p, x: f.mix_norm(p, x, 1, 2, offsets, heads),
            ("stack.0.blocks.0", one, one),
            ("stack.1.blocks.0", one, one),
            ("stack.1.blocks.1", one, one),
        ),
        "keel": make(
            151,
            lambda p, x: f.keel_stack(p, x, 3, offsets, heads),
            ("stack.0.blocks.0", one, two),
            ("stack.1.blocks.0", two, two),
            ("stack.1.blocks.1", two, two),
        ),
    }


def decoder_layer(s, width, hidden, *norms):
    """Parameters of a decoder's layer; `norms`: the names of each sublayer's norms."""
    p = {}
    for kind, names in zip(("attention", "cross_attention", "feed_forward"), norms):
        ours = s.feed_forward(width, hidden) if kind == "feed_forward" else s.attention(width)
        for name in names:
            ours |= s.norm(name, width)
        p |= prefixed(kind, ours)
    return p


@case
def decoders():
    """Stacks of several rules that read an encoder's output."""
    width, hidden, heads, depth = 4, 6, 2, 3
    offsets, memory_offsets = offsets_of([3, 1]), offsets_of([2, 3])
    one, two = [["norm"]] * 3, [["pre_norm", "norm"]] * 3

    def make(seed, forward, parameters):
        s = Source(seed)
        p = parameters(s)
        x = {"x": s.normal(4, width), "memory": s.normal(5, width)}

        def run(p, x):
            def layer(residual):
                return lambda q, y: f.decoder_block(q, y, residual, offsets, heads, x["memory"], memory_offsets)

            return {"y": forward(p, x["x"], layer)}

        return record(seed, run, p, x, {"offsets": offsets, "memory_offsets": memory_offsets})

    def of_blocks(*blocks):
        def parameters(s):
            p = {}
            for name, norms in blocks:
                p |= prefixed(name, decoder_layer(s, width, hidden, *norms))
            return p

        return parameters

    def with_history(s):
        p = {"history.weight": s.normal((depth + 1) * (depth + 2) // 2, std=0.2, mean=0.4)}
        for i in range(depth):
            p |= prefixed(f"blocks.{i}", decoder_layer(s, width, hidden, *one)) | s.norm(f"blocks.{i}.history", width)
        return p

    def mix_norm(p, x, layer):
        x = layer(f.post_norm)(f.part(p, "stack.0.blocks.0"), x)
        for i in range(2):
            x = layer(f.pre_norm)(f.part(p, f"stack.1.blocks.{i}"), x)
        return x

    def keel(p, x, layer):
        first = {"attention": f.pre_norm, "cross_attention": f.keel(1), "feed_forward": f.keel(1)}
        x = layer(first)(f.part(p, "stack.0.blocks.0"), x)
        for i in range(2):
            x = layer(f.keel(3 * depth))(f.part(p, f"stack.1.blocks.{i}"), x)
        return x

    return {
        "mix_norm": make(
            160, mix_norm, of_blocks(("stack.0.blocks.0", one), ("stack.1.blocks.0", one), ("stack.1.blocks.1", one))
        ),
        "keel": make(
            161,
            keel,
            of_blocks(
                ("stack.0.blocks.0", [["norm"], *two[1:]]), ("stack.1.blocks.0", two), ("stack.1.blocks.1", two)
            ),
        ),
        "dlcl": make(162, lambda p, x, layer: f.dlcl(p, x, depth, layer(f.pre_norm)), with_history),
        "dlcl_post": make(163, lambda p, x, layer: f.dlcl_post(p, x, depth, layer(f.post_norm)), with_history),
    }


@case
def shifted_output():
    def make(seed, *names):
        s = Source(seed)
        p = {name: s.normal(1, std=0.3, mean=mean) for name, mean in names}
        return record(seed, lambda p, x: {"y": f.shifted_output(p, x["x"])}, p, {"x": s.normal(5, 6)})

    return {"": make(170, ("shift", 0.0)), "scaled": make(171, ("shift", 0.0), ("scale", 1.0))}


@case
def dlcl():
    width, depth, heads, offsets = 8, 3, 2, offsets_of([4, 2])

    def make(seed, with_attention, form=f.dlcl, residual=f.pre_norm):
        s = Source(seed)
        p = {"history.weight": s.normal((depth + 1) * (depth + 2) // 2, std=0.2, mean=0.4)}
        for i in range(depth):
            if with_attention:
                p |= prefixed(f"blocks.{i}.attention", s.attention(width) | s.norm("norm", width))
            p |= prefixed(f"blocks.{i}.feed_forward", s.feed_forward(width, 12) | s.norm("norm", width))
            p |= s.norm(f"blocks.{i}.history", width)

        def forward(p, x):
            return {"y": form(p, x["x"], depth, lambda q, y: f.block(q, y, residual, offsets, heads))}

        return record(
            seed, forward, p, {"x": s.normal(6, width)}, {"offsets": offsets}, {"depth": depth, "heads": heads}
        )

    return {
        "": make(90, True),
        "feed_forward": make(91, False),
        "post": make(92, True, f.dlcl_post, f.post_norm),
    }


# Language models

DEPTH, HEADS, VOCABULARY, WIDTH, HIDDEN, CONTEXT = 3, 2, 37, 16, 32, 12
ALPHA, BETA = (2 * DEPTH) ** 0.25, (8 * DEPTH) ** -0.25  # DeepNet's constants for a decoder-only model
SHAPE = {
    "layers": DEPTH,
    "heads": HEADS,
    "vocabulary": VOCABULARY,
    "width": WIDTH,
    "feed_forward": HIDDEN,
    "context": CONTEXT,
}


def check_block():
    """Our post-norm block agrees with nn.TransformerEncoderLayer."""
    s = Source(99)
    p = prefixed("attention", s.attention(8) | s.norm("norm", 8))
    p |= prefixed("feed_forward", s.feed_forward(8, 12) | s.norm("norm", 8))
    module = torch.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu")
    names = {
        "self_attn.out_proj": "attention.output",
        "linear1": "feed_forward.input",
        "linear2": "feed_forward.output",
    }
    state = {f"{theirs}.{kind}": p[f"{ours}.{kind}"] for theirs, ours in names.items() for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = torch.cat(
            [p[f"attention.{name}.{kind}"] for name in ("query", "key", "value")]
        )
        for index, sublayer in (("1", "attention"), ("2", "feed_forward")):
            state[f"norm{index}.{kind}"] = p[f"{sublayer}.norm.{'gain' if kind == 'weight' else 'bias'}"]
    module.load_state_dict(state)
    x = s.normal(5, 8)
    same(f.block(p, x, f.post_norm, offsets_of([5]), 2, causal=False), module(x))


@case
def language_model():
    check_block()

    def make(seed, residual, final_norm, tied, scaled=False, settings={}):
        s = Source(seed)
        p = s.language_model(VOCABULARY, WIDTH, HIDDEN, CONTEXT, DEPTH, BETA, final_norm, tied, scaled)
        offsets = offsets_of([12, 7, 1])
        tokens, targets = s.integers(VOCABULARY, 20), s.integers(VOCABULARY, 20)
        targets[[3, 18]] = -1

        def forward(p, x):
            hidden = f.language_model(p, x["tokens"], offsets, DEPTH, HEADS, residual)
            weight = {"weight": f.output_weight(p)}
            loss = f.linear_cross_entropy(weight, hidden, x["targets"])
            return {"loss": loss, "hidden": hidden, "logits": f.linear(weight, hidden)}

        return record(
            seed,
            forward,
            p,
            {"tokens": tokens, "targets": targets},
            {"offsets": offsets},
            SHAPE | settings,
            silent=["hidden", "logits"],
        )

    return {
        "deep_norm": make(100, f.deep_norm(ALPHA), final_norm=False, tied=False, settings={"alpha": ALPHA}),
        "deep_norm_tied": make(
            102, f.deep_norm(ALPHA), final_norm=False, tied=True, scaled=True, settings={"alpha": ALPHA}
        ),
        "pre_norm": make(101, f.pre_norm, final_norm=True, tied=True),
    }


@case
def admin_profile():
    """The skip scales that Admin's profiling pass gives six decoder-only layers, from their initial weights: tokens
    scaled by sqrt(width), learned positions, no dropout."""
    depth, width = 6, 8
    s = Source(120)
    p = {
        "embedding.token.weight": s.normal(VOCABULARY, width, std=width**-0.5),
        "embedding.position.weight": s.normal(CONTEXT, width),
    }
    for i in range(depth):
        for name, matrices in (("attention", s.attention(width)), ("feed_forward", s.feed_forward(width, 16))):
            norm = {"norm.gain": torch.ones(width), "norm.bias": torch.zeros(width)}
            p |= prefixed(f"blocks.{i}.{name}", matrices | norm)
    p["output.weight"] = s.normal(VOCABULARY, width, std=width**-0.5)
    offsets, tokens = offsets_of([12, 7, 1]), s.integers(VOCABULARY, 20)
    scales = [1.0]
    f.language_model(p, tokens, offsets, depth, HEADS, f.profiled_admin(scales), math.sqrt(width))
    return {
        **prefixed("parameter", p),
        "input.tokens": tokens,
        "offsets": offsets,
        "output.scales": torch.tensor(scales[:-1]),
        **settings_of({"layers": depth, "heads": HEADS}),
    }


@case
def training():
    """20 steps of AdamW on the DeepNorm model with all gradients clipped to a global norm of 1.

    The weights of linear layers and of the output decay; embeddings, biases and norms do not. input.tokens and
    input.targets are (20 steps, 4 sequences x 12 rows); output.loss is before the step's update, output.gradient_norm
    before clipping.
    """
    steps, batch, rate, decay, limit = 20, 4, 1e-3, 0.1, 1.0
    s = Source(110)
    start = s.language_model(VOCABULARY, WIDTH, HIDDEN, CONTEXT, DEPTH, BETA, final_norm=False, tied=False)
    offsets = offsets_of([CONTEXT] * batch)
    tokens, targets = [], []
    for _ in range(steps * batch):  # noisy counting, so that there is something to learn
        stride, text = s.random.choice([1, 2, 3]), [s.random.randrange(VOCABULARY)]
        while len(text) <= CONTEXT:
            noise = s.random.randrange(VOCABULARY) if s.random.random() < 0.1 else 0
            text.append((text[-1] + stride + noise) % VOCABULARY)
        tokens += text[:-1]
        targets += text[1:]
    tokens = torch.tensor(tokens, dtype=torch.int32).reshape(steps, -1)
    targets = torch.tensor(targets, dtype=torch.int32).reshape(steps, -1)
    decays = {n: decay if n.endswith(".weight") and not n.startswith("embedding") else 0.0 for n in start}

    def loss_of(p, step):
        return f.language_model_loss(p, tokens[step], targets[step], offsets, DEPTH, HEADS, f.deep_norm(ALPHA))

    theirs = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [theirs[n] for n in theirs if decays[n] == d], "weight_decay": d} for d in (decay, 0.0)],
        lr=rate,
        betas=(0.9, 0.98),
        eps=1e-8,
    )
    ours, states = dict(start), {name: f.Adam(0.9, 0.98, 1e-8) for name in start}
    losses, norms = [], []
    for step in range(steps):
        p = {name: tensor.clone().requires_grad_() for name, tensor in ours.items()}
        loss = loss_of(p, step)
        loss.backward()
        norm, gradients = f.clip_by_global_norm({name: tensor.grad for name, tensor in p.items()}, limit)
        ours = {name: states[name].update(tensor, gradients[name], rate, decays[name]) for name, tensor in ours.items()}
        losses.append(loss.item())
        norms.append(norm)

        optimizer.zero_grad()
        loss_of(theirs, step).backward()
        torch.nn.utils.clip_grad_norm_(theirs.values(), limit)
        optimizer.step()
    for name, tensor in ours.items():
        same(tensor, theirs[name], 1e-6)  # PyTorch adds 1e-6 to the norm when it clips
    assert min(norms) < limit < max(norms), "clipping must act in some steps and rest in others"
    return {
        **prefixed("parameter", start),
        **prefixed("final.parameter", ours),
        "input.tokens": tokens,
        "input.targets": targets,
        "offsets": offsets,
        "output.loss": torch.tensor(losses),
        "output.gradient_norm": torch.tensor(norms),
        **settings_of(
            SHAPE
            | {
                "alpha": ALPHA,
                "learning_rate": rate,
                "beta1": 0.9,
                "beta2": 0.98,
                "epsilon": 1e-8,
                "weight_decay": decay,
                "clip": limit,
            }
        ),
    }


# Optimizers


@case
def optimizer():
    """input.gradient.NAME and output.NAME hold one tensor per step, stacked; matrices decay, the vector does not."""
    steps, decay = 10, 0.1
    s = Source(120)
    start = {"matrix": s.normal(3, 5), "tall": s.normal(6, 2, std=0.1), "vector": s.normal(7)}
    gradients = {name: s.normal(steps, *tensor.shape, std=0.5, mean=0.2) for name, tensor in start.items()}

    def make(new, theirs, rate, decay, **settings):
        rates = [rate * (1 - 0.05 * step) for step in range(steps)]
        tensors = {
            "input.learning_rate": torch.tensor(rates),
            **prefixed("parameter", start),
            **prefixed("input.gradient", gradients),
            **settings_of(settings | {"weight_decay": decay}),
        }
        for name, tensor in start.items():
            decayed = 0.0 if name == "vector" else decay
            ours, state, path = tensor, new(), []
            peer = tensor.clone().requires_grad_()
            judge = theirs and theirs([peer], decayed)
            for step in range(steps):
                ours = state.update(ours, gradients[name][step], rates[step], decayed)
                path.append(ours)
                if judge:
                    peer.grad = gradients[name][step]
                    judge.param_groups[0]["lr"] = rates[step]
                    judge.step()
                    same(ours, peer)
            tensors[f"output.{name}"] = torch.stack(path)
        return tensors

    optim = torch.optim
    return {
        "sgd": make(f.Sgd, lambda p, d: optim.SGD(p, weight_decay=d), 0.1, 0.0),
        "sgd_momentum": make(lambda: f.Sgd(0.9), lambda p, d: optim.SGD(p, momentum=0.9), 0.1, 0.0, momentum=0.9),
        "sgd_nesterov": make(
            lambda: f.Sgd(0.9, True), lambda p, d: optim.SGD(p, momentum=0.9, nesterov=True), 0.1, 0.0, momentum=0.9
        ),
        "adam": make(f.Adam, lambda p, d: optim.Adam(p), 0.01, 0.0, beta1=0.9, beta2=0.999, epsilon=1e-8),
        "adamw": make(
            lambda: f.Adam(0.9, 0.98, 1e-6),
            lambda p, d: optim.AdamW(p, betas=(0.9, 0.98), eps=1e-6, weight_decay=d),
            0.01,
            decay,
            beta1=0.9,
            beta2=0.98,
            epsilon=1e-6,
        ),
        "lion": make(f.Lion, None, 0.01, decay, beta1=0.9, beta2=0.99),
        # eps1 tiny: the paper's value, where both definitions agree.
        "adafactor": make(f.Adafactor, lambda p, d: optim.Adafactor(p, eps=(1e-30, 1e-3), weight_decay=d), 0.01, decay),
    }


def files():
    for name, function in CASES.items():
        made = function()
        if any(isinstance(value, torch.Tensor) for value in made.values()):
            made = {"": made}
        for suffix, tensors in made.items():
            yield "_".join(filter(None, (name, suffix))), {
                n: t.detach().contiguous() for n, t in sorted(tensors.items())
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    check = parser.parse_args().check
    total, expected = 0, set()
    for name, tensors in files():
        path = HERE / f"{name}.safetensors"
        expected.add(path)
        if not check:
            save_file(tensors, path)
        stored = load_file(path)
        if stored.keys() != tensors.keys():
            sys.exit(f"{path.name}: holds other tensors than this script makes")
        for key, tensor in tensors.items():
            if tensor.shape != stored[key].shape or tensor.dtype != stored[key].dtype:
                sys.exit(f"{path.name}: {key} has another shape or type")
            if (tensor - stored[key]).abs().max() > 1e-11 * max(1.0, tensor.abs().max().item()):
                sys.exit(f"{path.name}: {key} differs")
        total += path.stat().st_size
    for path in set(HERE.glob("*.safetensors")) - expected:
        sys.exit(f"{path.name}: no case makes this file; delete it")
    print(f"{len(expected)} files, {total} bytes {'agree' if check else 'written'}")


if __name__ == "__main__":
    main()
