# SPDX-License-Identifier: Apache-2.0
"""The formulas of fathom's layers, losses and optimizers, written once more from elementary PyTorch operations.

Nothing here calls torch.nn, torch.nn.functional or torch.optim, so that this file states each formula by itself;
generate.py compares it to PyTorch's own modules wherever one exists. Activations are token-major, (rows, width), the
rows of all sequences one after another; `offsets` holds the first row of each sequence, then the number of rows.
Parameters are dictionaries from checkpoint names to tensors.
"""

import math

import torch

EPSILON = 1e-5  # of both norms


def part(parameters, prefix):
    """The parameters below `prefix.`, named from there."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in parameters.items() if name.startswith(prefix + ".")}


def spans(offsets):
    offsets = offsets.tolist()
    return list(zip(offsets, offsets[1:]))


# Layers


def linear(p, x):
    y = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


def layer_norm(p, x):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + EPSILON) * p["gain"] + p["bias"]


def rms_norm(p, x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPSILON) * p["gain"]


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + torch.exp(-x))


def feed_forward(p, x, activation):
    """With a gate: output(activation(gate(x)) * input(x)); without: output(activation(input(x)))."""
    hidden = linear(part(p, "input"), x)
    if "gate.weight" in p:
        hidden = activation(linear(part(p, "gate"), x)) * hidden
    else:
        hidden = activation(hidden)
    return linear(part(p, "output"), hidden)


def rotary(x, offsets, heads, base=10000.0):
    """Rotates the neighbours (2i, 2i+1) of each head by position * base^(-2i / head width)."""
    rows, width = x.shape
    head = width // heads
    position = torch.cat([torch.arange(end - begin) for begin, end in spans(offsets)]).to(x.dtype)
    rate = base ** (-torch.arange(0, head, 2).to(x.dtype) / head)
    angle = (position[:, None] * rate)[:, None, :]
    even, odd = x.view(rows, heads, head // 2, 2).unbind(-1)
    turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
    return torch.stack(turned, -1).reshape(rows, width)


def relative_bucket(distance, buckets, furthest, causal):
    """T5's bucket of a key `distance` places before its query; not causal, half of the buckets are for keys behind it.

    Raffel et al. 2020, section 2.1, with the logarithmic steps of their published code.
    """
    first = torch.zeros_like(distance)
    if not causal:
        buckets //= 2
        first = torch.where(distance < 0, buckets, 0)
    distance = distance.abs() if not causal else distance.clamp(min=0)
    exact = buckets // 2
    # A tiny addend, so that what is a whole number is not rounded to one less.
    steps = torch.log(distance.clamp(min=1) / exact) / math.log(furthest / exact) * (buckets - exact) + 1e-9
    large = (exact + steps.long()).clamp(max=buckets - 1)
    return first + torch.where(distance < exact, distance, large)


def attention_core(q, k, v, offsets, key_offsets, heads, kv_heads, causal, relative=None, furthest=0):
    """softmax(q k^T / sqrt(head width) + bias) v; query head h reads key/value head h // (heads // kv_heads).

    Causal: row i of T queries sees the keys j <= i + (S - T). Also returns the natural log-sum-exp, (rows, heads).
    """
    head = q.shape[1] // heads
    group = heads // kv_heads
    outputs, sums = [], []
    for (begin, end), (key_begin, key_end) in zip(spans(offsets), spans(key_offsets)):
        rows, keys = end - begin, key_end - key_begin
        seen = torch.arange(keys)[None, :] <= torch.arange(rows)[:, None] + (keys - rows)
        columns, column_sums = [], []
        for h in range(heads):
            mine, shared = slice(h * head, (h + 1) * head), slice(h // group * head, (h // group + 1) * head)
            scores = q[begin:end, mine] @ k[key_begin:key_end, shared].T / math.sqrt(head)
            if relative is not None:
                distance = torch.arange(rows)[:, None] + (keys - rows) - torch.arange(keys)[None, :]
                scores = scores + relative[h][relative_bucket(distance, relative.shape[1], furthest, causal)]
            if causal:
                scores = scores.masked_fill(~seen, -math.inf)
            lse = torch.logsumexp(scores, 1, keepdim=True)
            columns.append(torch.exp(scores - lse) @ v[key_begin:key_end, shared])
            column_sums.append(lse)
        outputs.append(torch.cat(columns, 1))
        sums.append(torch.cat(column_sums, 1))
    return torch.cat(outputs), torch.cat(sums)


def attention(p, x, offsets, heads, kv_heads, causal, rotate=False, memory=None, memory_offsets=None, furthest=0):
    source, source_offsets = (x, offsets) if memory is None else (memory, memory_offsets)
    q = linear(part(p, "query"), x)
    k = linear(part(p, "key"), source)
    v = linear(part(p, "value"), source)
    if rotate:
        q, k = rotary(q, offsets, heads), rotary(k, source_offsets, kv_heads)
    o, _ = attention_core(
        q, k, v, offsets, source_offsets, heads, kv_heads, causal, p.get("relative.weight"), furthest
    )
    return linear(part(p, "output"), o)


def sinusoid(positions, width):
    """Channel 2i is sin(p / 10000^(2i / width)), channel 2i+1 the cosine ("Attention is all you need", section 3.5)."""
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), -1).reshape(positions, width)


def sinusoid_halves(positions, width, first):
    """Of the positions from `first` on: sines in the first half of the channels, cosines in the other."""
    half = width // 2
    frequency = torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half))
    angle = torch.arange(first, first + positions)[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), 1)


def embedding(p, tokens, offsets, scale=1.0, halves_from=None):
    """scale * token row + position row; the position counts from 0 in each sequence; sinusoids when none is learned,
    in halves and counted from `halves_from` if that is given."""
    lengths = [end - begin for begin, end in spans(offsets)]
    table = p.get("position.weight")
    width = p["token.weight"].shape[1]
    if halves_from is not None:
        table = sinusoid_halves(max(lengths), width, halves_from)
    elif table is None:
        table = sinusoid(max(lengths), width)
    position = torch.cat([torch.arange(length) for length in lengths])
    return scale * p["token.weight"][tokens.long()] + table[position]


def opennmt(p, source, target, layers, heads):
    """The Pre-LN encoder-decoder of OpenNMT-tf on one pair: the encoder's output, and the logits behind each token of
    the target. Parameters have CTranslate2's names."""

    def projected(name, x):
        return linear({"weight": p[f"{name}/weight"], "bias": p[f"{name}/bias"]}, x)

    def normed(name, x):
        return layer_norm({"gain": p[f"{name}/layer_norm/gamma"], "bias": p[f"{name}/layer_norm/beta"]}, x)

    def attended(q, k, v, causal):
        offsets = [torch.tensor([0, len(rows)]) for rows in (q, k)]
        return attention_core(q, k, v, *offsets, heads, heads, causal)[0]

    def stack(name, tokens, memory=None):
        embeddings = p[f"{name}/embeddings/weight"]
        width = embeddings.shape[1]
        x = math.sqrt(width) * embeddings[tokens.long()] + sinusoid_halves(len(tokens), width, 1)
        for layer in (f"{name}/layer_{i}" for i in range(layers)):
            own, other, ffn = f"{layer}/self_attention", f"{layer}/attention", f"{layer}/ffn"
            q, k, v = projected(f"{own}/linear_0", normed(own, x)).chunk(3, 1)
            x = x + projected(f"{own}/linear_1", attended(q, k, v, memory is not None))
            if memory is not None:
                q = projected(f"{other}/linear_0", normed(other, x))
                k, v = projected(f"{other}/linear_1", memory).chunk(2, 1)
                x = x + projected(f"{other}/linear_2", attended(q, k, v, False))
            x = x + projected(f"{ffn}/linear_1", relu(projected(f"{ffn}/linear_0", normed(ffn, x))))
        return normed(name, x)

    memory = stack("encoder", source)
    return memory, projected("decoder/projection", stack("decoder", target, memory))


def linear_cross_entropy(p, x, targets, smoothing=0.0, z_loss=0.0):
    """Mean over the targets that are not negative of (1 - s) ce + s mean_v(-log p_v) + z_loss * logsumexp^2."""
    counted = targets >= 0
    logits = linear(p, x)[counted]
    lse = torch.logsumexp(logits, 1)
    logs = logits - lse[:, None]
    entropy = -logs[torch.arange(len(logs)), targets[counted].long()]
    loss = (1 - smoothing) * entropy + smoothing * -logs.mean(1) + z_loss * lse * lse
    return loss.mean()


# Residual policies: x is the sublayer's input, branch a function of it, p the sublayer's parameters


def post_norm(p, x, branch):
    return layer_norm(part(p, "norm"), x + branch(x))


def pre_norm(p, x, branch):
    return x + branch(layer_norm(part(p, "norm"), x))


def deep_norm(alpha):
    return lambda p, x, branch: layer_norm(part(p, "norm"), alpha * x + branch(x))


def rezero(p, x, branch):
    return x + p["scale"] * branch(x)


def admin(p, x, branch):
    return layer_norm(part(p, "norm"), p["scale"] * x + branch(x))


def variance(x):
    """Over all elements, as numpy's var."""
    return ((x - x.mean()) ** 2).mean()


def profiled_admin(scales):
    """Admin's profiling pass: appends the skip scale of each sublayer to `scales`, which begins with [1]."""

    def residual(p, x, branch):
        skip, added = scales[-1] * x, branch(x)
        scales.append(torch.sqrt(variance(skip) + variance(added)).item())
        return layer_norm(part(p, "norm"), skip + added)

    return residual


def block(p, x, residual, offsets, heads, causal=True, activation=gelu):
    """A sublayer of attention, where there is one, and a sublayer of feed-forward."""
    a, f = part(p, "attention"), part(p, "feed_forward")
    if a:
        x = residual(a, x, lambda y: attention(a, y, offsets, heads, heads, causal))
    return residual(f, x, lambda y: feed_forward(f, y, activation))


# Stacks of decoder layers under the policies that know more than one sublayer: `policy(p, x, branch, place)`


class Place:
    """Where a sublayer stands: its kind, the parameters and the input of its layer, whether it is the layer's last
    sublayer, and the number of layers."""

    def __init__(self, kind, layer, layer_input, last, depth):
        self.kind, self.layer, self.layer_input, self.last, self.depth = kind, layer, layer_input, last, depth


def plain(residual):
    """A policy that needs no place."""
    return lambda p, x, branch, place: residual(p, x, branch)


def no_norm(p, x, branch):
    return x + branch(x)


def sandwich_norm(p, x, branch):
    return x + layer_norm(part(p, "branch_norm"), branch(layer_norm(part(p, "norm"), x)))


def rezero_per_layer(p, x, branch, place):
    return x + place.layer["scale"] * branch(x)


def layer_scale(p, x, branch):
    return x + p["scale"] * branch(layer_norm(part(p, "norm"), x))


def fixup(p, x, branch):
    return x + p["scale"] * branch(x + p["shift"])


def glm_norm(p, x, branch, place):
    h = layer_norm(part(p, "norm"), x)
    return math.sqrt(2 * place.depth) * h + branch(h)


def keel(alpha):
    return lambda p, x, branch: layer_norm(part(p, "norm"), alpha * x + branch(layer_norm(part(p, "pre_norm"), x)))


def bottom_to_top(p, x, branch, place):
    z = x + branch(x)
    return layer_norm(part(p, "norm"), place.layer_input + z if place.last else z)


def norm_former(p, x, branch, place):
    return pre_norm(p, x, branch) if place.kind == "feed_forward" else sandwich_norm(p, x, branch)


def norm_former_with_scale(p, x, branch, place):
    if place.kind != "feed_forward":
        return sandwich_norm(p, x, branch)
    return p["scale"] * x + branch(layer_norm(part(p, "norm"), x))


def inside(p, kind, x, offsets, heads, memory, memory_offsets):
    """A sublayer with what its parameters say stands inside: a norm or factors of the heads before the output matrix,
    numbers that are added before and behind the activation."""
    if kind == "feed_forward":
        hidden = gelu(linear(part(p, "input"), x) + p.get("input.shift", 0))
        width = 1
    else:
        crosses = kind == "cross_attention"
        source, source_offsets = (memory, memory_offsets) if crosses else (x, offsets)
        q, k, v = linear(part(p, "query"), x), linear(part(p, "key"), source), linear(part(p, "value"), source)
        hidden, _ = attention_core(q, k, v, offsets, source_offsets, heads, heads, not crosses)
        width = x.shape[1] // heads
    if "inner_norm.gain" in p:
        hidden = layer_norm(part(p, "inner_norm"), hidden)
    if "head_scale" in p:
        hidden = hidden * p["head_scale"].repeat_interleave(width)
    return linear(part(p, "output"), hidden + p.get("output.shift", 0))


def decoder_stack(p, x, depth, policy, offsets, heads, memory, memory_offsets):
    kinds = ("attention", "cross_attention", "feed_forward")
    for i in range(depth):
        layer, bottom = part(p, f"blocks.{i}"), x
        for kind in kinds:
            sublayer = part(layer, kind)
            place = Place(kind, layer, bottom, kind == kinds[-1], depth)
            x = policy(
                sublayer, x, lambda y: inside(sublayer, kind, y, offsets, heads, memory, memory_offsets), place
            )
    return x


def decoder_block(p, x, residual, offsets, heads, memory, memory_offsets):
    """A decoder's layer by one rule, or by one rule for each kind of sublayer."""
    for kind in ("attention", "cross_attention", "feed_forward"):
        sublayer = part(p, kind)
        rule = residual[kind] if isinstance(residual, dict) else residual
        x = rule(sublayer, x, lambda y: inside(sublayer, kind, y, offsets, heads, memory, memory_offsets))
    return x


def shifted_output(p, x):
    """Fixup's layer behind a stack: x + s, or m (x + s)."""
    return p.get("scale", 1) * (x + p["shift"])


def mix_norm(p, x, post_layers, pre_layers, offsets, heads):
    """Mix-LN: a stack of Post-LN layers, and one of Pre-LN layers behind it."""
    for i in range(post_layers):
        x = block(part(p, f"stack.0.blocks.{i}"), x, post_norm, offsets, heads)
    for i in range(pre_layers):
        x = block(part(p, f"stack.1.blocks.{i}"), x, pre_norm, offsets, heads)
    return x


def keel_stack(p, x, depth, offsets, heads):
    """Keel: LN(2 depth x + G(LN x)) for all layers but the first, which has x + G(LN x) and then LN(x + G(LN x))."""
    first = part(p, "stack.0.blocks.0")
    a, f = part(first, "attention"), part(first, "feed_forward")
    x = pre_norm(a, x, lambda y: attention(a, y, offsets, heads, heads, True))
    x = keel(1)(f, x, lambda y: feed_forward(f, y, gelu))
    for i in range(depth - 1):
        x = block(part(p, f"stack.1.blocks.{i}"), x, keel(2 * depth), offsets, heads)
    return x


def dlcl(p, x, depth, layer):
    """Dynamic linear combination of layers, pre-norm (Wang et al. 2019): returns the combination after the last layer.

    The input of layer l is sum_{k <= l} W[l, k] LN_k(y_k), y_0 = x without a norm, y_k the output of layer k - 1.
    history.weight holds the rows of the lower triangle W one after another, blocks.<k - 1>.history the norm LN_k.
    """
    history = [x]
    for l in range(depth + 1):
        first = l * (l + 1) // 2
        y = sum(p["history.weight"][first + k] * stream for k, stream in enumerate(history))
        if l == depth:
            return y
        history.append(layer_norm(part(p, f"blocks.{l}.history"), layer(part(p, f"blocks.{l}"), y)))


def dlcl_post(p, x, depth, layer):
    """The post-norm form: the input of layer l > 0 is LN_l(sum_{k <= l} W[l, k] y_k), and so is the output."""
    history = [x]
    for l in range(depth + 1):
        first = l * (l + 1) // 2
        y = sum(p["history.weight"][first + k] * stream for k, stream in enumerate(history))
        if l > 0:
            y = layer_norm(part(p, f"blocks.{l - 1}.history"), y)
        if l == depth:
            return y
        history.append(layer(part(p, f"blocks.{l}"), y))


# A decoder-only language model


def language_model(p, tokens, offsets, depth, heads, residual, scale=1.0):
    """What the output matrix multiplies: hidden states behind the last layer, then final_norm and output.scale, where
    there are such. `scale` is that of embedded tokens."""
    x = embedding(part(p, "embedding"), tokens, offsets, scale)
    for i in range(depth):
        x = block(part(p, f"blocks.{i}"), x, residual, offsets, heads)
    if "final_norm.gain" in p:
        x = layer_norm(part(p, "final_norm"), x)
    return math.sqrt(x.shape[1]) * p["output.scale"] * x if "output.scale" in p else x


def output_weight(p):
    return p["output.weight"] if "output.weight" in p else p["embedding.token.weight"]


def language_model_loss(p, tokens, targets, offsets, depth, heads, residual):
    hidden = language_model(p, tokens, offsets, depth, heads, residual)
    return linear_cross_entropy({"weight": output_weight(p)}, hidden, targets)


# Optimizers: update(parameter, gradient, rate, decay) of one tensor; the state lives in the object


class Sgd:
    def __init__(self, momentum=0.0, nesterov=False):
        self.momentum, self.nesterov, self.velocity = momentum, nesterov, 0.0

    def update(self, p, g, rate, decay):
        self.velocity = self.momentum * self.velocity + g
        return p * (1 - rate * decay) - rate * (g + self.momentum * self.velocity if self.nesterov else self.velocity)


class Adam:
    """AdamW when the decay is not zero: p shrinks by rate * decay before the step (Loshchilov and Hutter 2019)."""

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.m, self.v, self.step = 0.0, 0.0, 0

    def update(self, p, g, rate, decay):
        self.step += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        m = self.m / (1 - self.beta1**self.step)
        v = self.v / (1 - self.beta2**self.step)
        return p * (1 - rate * decay) - rate * m / (torch.sqrt(v) + self.epsilon)


class Lion:
    """Chen et al. 2023, arXiv:2302.06675, program 1."""

    def __init__(self, beta1=0.9, beta2=0.99):
        self.beta1, self.beta2, self.m = beta1, beta2, 0.0

    def update(self, p, g, rate, decay):
        direction = torch.sign(self.beta1 * self.m + (1 - self.beta1) * g)
        self.m = self.beta2 * self.m + (1 - self.beta2) * g
        return p - rate * (direction + decay * p)


class Adafactor:
    """Shazeer and Stern 2018, arXiv:1804.04235, algorithm 4 and 5, without momentum.

    beta2 of step t is 1 - t^-0.8; the step is max(1e-3, rms(p)) * min(rate, 1 / sqrt(t)) * u / max(1, rms(u)). The
    paper's epsilon_1 (1e-30, added to g^2) is left out: it is below double's resolution here.
    """

    def __init__(self):
        self.row, self.column, self.v, self.step = 0.0, 0.0, 0.0, 0

    def update(self, p, g, rate, decay):
        self.step += 1
        beta2 = 1 - self.step**-0.8
        if g.dim() > 1:
            self.row = beta2 * self.row + (1 - beta2) * (g * g).mean(1, keepdim=True)
            self.column = beta2 * self.column + (1 - beta2) * (g * g).mean(0, keepdim=True)
            v = self.row * self.column / self.row.mean()
        else:
            v = self.v = beta2 * self.v + (1 - beta2) * g * g
        u = g / torch.sqrt(v)
        scale = max(1e-3, rms(p)) * min(rate, 1 / math.sqrt(self.step)) / max(1.0, rms(u))
        return p * (1 - rate * decay) - scale * u


def rms(x):
    return math.sqrt((x * x).mean())


def clip_by_global_norm(gradients, limit):
    """Scales all gradients by min(1, limit / norm), without PyTorch's 1e-6 in the denominator. Returns the norm."""
    norm = math.sqrt(sum((g * g).sum() for g in gradients.values()))
    factor = min(1.0, limit / norm)
    return norm, {name: g * factor for name, g in gradients.items()}
