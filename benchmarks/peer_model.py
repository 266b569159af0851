#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The PyTorch side of compare_pytorch.py: a decoder-only DeepNorm language model, one measurement per process.

    python3 benchmarks/peer_model.py train 12,512,8,2048,4096,4,128 --steps 5 [--compile]
    python3 benchmarks/peer_model.py train 12,512,8,2048,4096,4,128 --turns [--compile]
    python3 benchmarks/peer_model.py train 200,512,8,2048,32768,16,256 --steps 5 --device cuda --autocast [--compile]
    python3 benchmarks/peer_model.py generate 12,512,8,2048,4096,4,128 --batch 1 --tokens 64 [--compile]

The shape is layers,width,heads,feed-forward,vocabulary,batch,context. Prints one line of JSON; with
--turns one for each number of steps, or runs of generation, that it reads from standard input. Works from PyTorch 1.13
on and means to be PyTorch at its best: query, key and value in one matrix, scaled_dot_product_attention where there is
one, the fastest of its own AdamW implementations, no module overhead, and with --compile one compiled function for all
blocks.
"""

import argparse
import json
import re
import statistics
import sys
import time

import torch
import torch.nn.functional as F


def memory_of_process(field):
    with open("/proc/self/status") as status:
        return int(re.search(field + r":\s+(\d+) kB", status.read()).group(1)) * 1024


def reset_peak_memory():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


class Shape:
    def __init__(self, text):
        numbers = [int(number) for number in text.split(",")]
        self.layers, self.width, self.heads, self.hidden, self.vocabulary, self.batch, self.context = numbers


def make_parameters(shape, tied):
    """Embeddings, one list of tensors per block, output; initialized as DeepNet says."""
    width, hidden, beta = shape.width, shape.hidden, (8 * shape.layers) ** -0.25

    def xavier(out, inputs, gain=1.0):
        return torch.randn(out, inputs) * gain * (2 / (out + inputs)) ** 0.5

    def norm():
        return [torch.ones(width), torch.zeros(width)]

    def block():
        qkv = torch.cat([xavier(width, width), xavier(width, width), xavier(width, width, beta)])
        return [
            *(qkv, torch.zeros(3 * width), xavier(width, width, beta), torch.zeros(width), *norm()),
            *(
                xavier(hidden, width, beta),
                torch.zeros(hidden),
                xavier(width, hidden, beta),
                torch.zeros(width),
                *norm(),
            ),
        ]

    token = torch.randn(shape.vocabulary, width) * width**-0.5
    position = torch.randn(shape.context, width) * width**-0.5
    blocks = [block() for _ in range(shape.layers)]
    output = token if tied else xavier(shape.vocabulary, width)
    embeddings = [token, position]
    every = embeddings + [tensor for tensors in blocks for tensor in tensors] + ([] if tied else [output])
    return embeddings, blocks, output, every


def causal_attention(q, k, v, mask):
    """q, k, v (batch, heads, rows, head width); mask is for versions without scaled_dot_product_attention."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    batch, heads, rows, head = q.shape
    q, k, v = (t.reshape(batch * heads, rows, head) for t in (q, k, v))
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=head**-0.5)
    return torch.bmm(torch.softmax(scores, -1), v).view(batch, heads, rows, head)


def rest_of_block(x, o, wo, bo, g1, b1, w1, c1, w2, c2, g2, b2, alpha):
    """What follows attention in a DeepNorm block."""
    size = x.shape[-1:]
    x = F.layer_norm(torch.add(F.linear(o, wo, bo), x, alpha=alpha), size, g1, b1)
    return F.layer_norm(torch.add(F.linear(F.gelu(F.linear(x, w1, c1)), w2, c2), x, alpha=alpha), size, g2, b2)


def training_block(x, wqkv, bqkv, wo, bo, g1, b1, w1, c1, w2, c2, g2, b2, heads: int, alpha: float, mask):
    batch, rows, width = x.shape
    q, k, v = F.linear(x, wqkv, bqkv).view(batch, rows, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    o = causal_attention(q, k, v, mask).transpose(1, 2).reshape(batch, rows, width)
    return rest_of_block(x, o, wo, bo, g1, b1, w1, c1, w2, c2, g2, b2, alpha)


def growing_cache_block(x, wqkv, bqkv, *rest, heads, alpha, keys, values, position):
    """One token per sequence; keys and values (batch, heads, context, head width) are written at `position`."""
    batch, width = x.shape
    q, k, v = F.linear(x, wqkv, bqkv).view(batch, 3, heads, 1, width // heads).unbind(1)
    keys[:, :, position : position + 1] = k
    values[:, :, position : position + 1] = v
    past_keys, past_values = keys[:, :, : position + 1], values[:, :, : position + 1]
    if hasattr(F, "scaled_dot_product_attention"):
        o = F.scaled_dot_product_attention(q, past_keys, past_values)
    else:
        o = torch.softmax(q @ past_keys.transpose(2, 3) * (width // heads) ** -0.5, -1) @ past_values
    return rest_of_block(x, o.reshape(batch, width), *rest, alpha)


def fixed_cache_block(x, wqkv, bqkv, *rest, heads, alpha, keys, values, position, mask):
    """The same with shapes that never change, so that it compiles once; mask (1, context) hides what is empty."""
    batch, width = x.shape
    q, k, v = F.linear(x, wqkv, bqkv).view(batch, 3, heads, 1, width // heads).unbind(1)
    keys.index_copy_(2, position, k)
    values.index_copy_(2, position, v)
    o = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
    return rest_of_block(x, o.reshape(batch, width), *rest, alpha)


def make_optimizer(name, parameters):
    groups = [
        {"params": [p for p in parameters[2:] if p.dim() > 1], "weight_decay": 0.1},
        {"params": parameters[:2] + [p for p in parameters[2:] if p.dim() == 1], "weight_decay": 0.0},
    ]
    options = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[name]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-8, **options)


def fastest_optimizer(parameters):
    """The fastest of PyTorch's AdamW implementations on these tensors; some versions lack some of them."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    seconds = {}
    for name in ("fused", "foreach", "loop"):
        try:
            optimizer = make_optimizer(name, parameters)
            optimizer.step()
            times = []
            for _ in range(3):
                begin = time.perf_counter()
                optimizer.step()
                times.append(time.perf_counter() - begin)
            seconds[name] = min(times)
        except (TypeError, RuntimeError):
            continue
    for parameter in parameters:
        parameter.grad = None
    return min(seconds, key=seconds.get)


def finished(device):
    """Waits for what a GPU was asked to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def train(options, shape):
    torch.set_default_device(options.device)
    embeddings, blocks, output, every = make_parameters(shape, options.tied)
    for parameter in every:
        parameter.requires_grad_()
    alpha = (2 * shape.layers) ** 0.25
    mask = torch.full((shape.context, shape.context), float("-inf")).triu(1)
    block = torch.compile(training_block, fullgraph=True, dynamic=False) if options.compile else training_block
    chosen = fastest_optimizer(every) if options.optimizer == "auto" else options.optimizer
    optimizer = make_optimizer(chosen, every)
    losses = []

    def loss_of(tokens):
        x = F.embedding(tokens[:, :-1], embeddings[0]) + embeddings[1]
        for parameters in blocks:
            x = block(x, *parameters, shape.heads, alpha, mask)
        logits = F.linear(x.view(-1, shape.width), output)
        return F.cross_entropy(logits, tokens[:, 1:].reshape(-1))

    def step():
        tokens = torch.randint(shape.vocabulary, (shape.batch, shape.context + 1))
        finished(options.device)
        begin = time.perf_counter()
        with torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.autocast):
            loss = loss_of(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        finished(options.device)
        return time.perf_counter() - begin

    for _ in range(options.warmup):
        step()
    reset_peak_memory()

    def measure(steps):
        seconds = [step() for _ in range(steps)]
        return {
            "tokens_per_second": shape.batch * shape.context / statistics.median(seconds),
            "seconds_per_step": seconds,
            "parameters": sum(parameter.numel() for parameter in every),
            "optimizer": chosen,
            "losses": [losses[0], losses[-1]],
            "device_bytes": torch.cuda.max_memory_allocated() if options.device == "cuda" else 0,
        }

    return measure


@torch.inference_mode()
def generate(options, shape):
    embeddings, blocks, output, every = make_parameters(shape, options.tied)
    alpha = (2 * shape.layers) ** 0.25
    cache = (shape.layers, options.batch, shape.heads, shape.context, shape.width // shape.heads)
    keys, values = torch.zeros(cache).unbind(0), torch.zeros(cache).unbind(0)
    fixed = torch.compile(fixed_cache_block, fullgraph=True, dynamic=False) if options.compile else None
    visible = torch.ones(shape.context, shape.context).tril().bool()
    places = torch.arange(shape.context).split(1)

    if options.autocast:  # nothing is trained: all numbers are bf16
        embeddings, output = [tensor.bfloat16() for tensor in embeddings], output.bfloat16()
        blocks = [[tensor.bfloat16() for tensor in tensors] for tensors in blocks]
        keys, values = ([tensor.bfloat16() for tensor in cache] for cache in (keys, values))

    @torch.inference_mode()
    def run():
        token = torch.zeros(options.batch, dtype=torch.long)
        begin = time.perf_counter()
        for position in range(options.tokens):
            x = F.embedding(token, embeddings[0]) + embeddings[1][position]
            for parameters, k, v in zip(blocks, keys, values):
                common = {"heads": shape.heads, "alpha": alpha, "keys": k, "values": v}
                if fixed:
                    mask = visible[position : position + 1]
                    x = fixed(x, *parameters, **common, position=places[position], mask=mask)
                else:
                    x = growing_cache_block(x, *parameters, **common, position=position)
            token = F.linear(x, output).argmax(-1)
        return time.perf_counter() - begin

    for _ in range(options.warmup):
        run()
    reset_peak_memory()

    def measure(runs):
        seconds = [run() for _ in range(runs)]
        return {
            "tokens_per_second": options.batch * options.tokens / statistics.median(seconds),
            "seconds_per_run": seconds,
            "parameters": sum(parameter.numel() for parameter in every),
        }

    return measure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["train", "generate"])
    parser.add_argument("shape", type=Shape, help="layers,width,heads,feed-forward,vocabulary,batch,context")
    parser.add_argument("--steps", type=int, default=5, help="timed steps, or timed runs of generation")
    parser.add_argument("--turns", action="store_true", help="read how many from standard input, again and again")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of training")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--autocast", action="store_true", help="bf16 autocast; generation: weights and cache in bf16")
    parser.add_argument("--tied", action="store_true", help="the output shares the token embedding")
    parser.add_argument("--optimizer", choices=["auto", "fused", "foreach", "loop"], default="auto")
    parser.add_argument("--batch", type=int, default=1, help="of generation")
    parser.add_argument("--tokens", type=int, default=64, help="per sequence, of generation")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    if options.compile:  # the compiler's own memory is not the model's
        torch.compile(lambda x: x + 1)(torch.zeros(8))
    imported = memory_of_process("VmRSS")
    measure = (train if options.mode == "train" else generate)(options, options.shape)
    for steps in map(int, sys.stdin) if options.turns else [options.steps]:
        result = measure(steps) | {
            "version": torch.__version__,
            "peak_resident_bytes": memory_of_process("VmHWM"),
            "import_resident_bytes": imported,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
