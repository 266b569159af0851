#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fathom's training of a translator beside PyTorch's: the same data in the same order from the same initial weights.

    python3 benchmarks/compare_translation.py MULTI30K                     500 updates of the Pre-LN model
    python3 benchmarks/compare_translation.py MULTI30K --policy DeepNorm --updates 20 --peers eager compile

MULTI30K is the folder with train.lc.norm.tok.en.gz and its kin. The model is the usual one: 4 + 4 layers, width 128,
feed-forward layers of 256, 4 heads, 10,000 subwords, all embeddings tied. No dropout, label smoothing 0.1, Adam with
beta2 0.98, batches of 4,096 tokens, gradients clipped to a norm of 1, a rate that rises to 5e-3 in 2,000 updates.

fathom's program (target `benchmarks`: translation_training_<policy>) learns the subwords and writes initial weights and
batches; the peers read them. All of them stay and take turns of --turn updates, in which the others wait. Tokens are
those of the target, end tokens included, without padding. The ratio is taken turn by turn: median [lowest .. highest].
"others" is the share of the machine that other processes used in the median turn.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from compare_pytorch import Process, Watch, version_of

HERE = pathlib.Path(__file__).resolve().parent


def spread(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f} .. {max(values):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--policy", choices=["PreNorm", "DeepNorm"], default="PreNorm")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--turn", type=int, default=20, help="updates")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="*", choices=["eager", "compile"], default=["eager"])
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has PyTorch")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "release")
    parser.add_argument("--folder", type=pathlib.Path, help="keeps batches, subwords, first and last weights")
    options = parser.parse_args()
    version = version_of(options.python)
    if version is None:
        sys.exit(f"{options.python} cannot import torch: pip install torch, or name one with --python")

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or pathlib.Path(temporary)
        texts = [str(options.data / f"{part}.lc.norm.tok.{side}.gz") for part in ("train", "val") for side in ("en", "de")]
        program = options.build / "benchmarks" / f"translation_training_{options.policy}"
        rest = ["--threads", str(options.threads)]
        contenders = {"fathom": Process([str(program), *texts, str(folder), "--steps", str(options.updates), *rest])}
        before = {"fathom": contenders["fathom"](0)}  # then it has written what the peers read
        for kind in options.peers:
            script = [options.python, str(HERE / "peer_translator.py"), str(folder), *rest]
            name = f"PyTorch {version} {kind}"
            contenders[name] = Process(script + ["--compile"] * (kind == "compile"))
            before[name] = contenders[name](0)

        turns, others = {name: [] for name in contenders}, {name: [] for name in contenders}
        for first in range(0, options.updates, options.turn):
            for name, contender in contenders.items():
                watch = Watch(list(contenders.values()))
                turns[name].append(contender(min(options.turn, options.updates - first)))
                others[name].append(watch.shares()[0])
            print(f"  {turns[name][-1]['updates']} updates", *(f"{t[-1]['loss']:.4f}" for t in turns.values()), flush=True)
        after = {name: contender(0) for name, contender in contenders.items()}
        contenders["fathom"].process.stdin.close()  # it saves its weights
        contenders["fathom"].process.wait()
        for contender in contenders.values():
            contender.end()

    speed = {name: [turn["target_tokens"] / turn["seconds"] for turn in done] for name, done in turns.items()}
    print(f"{options.policy}, {options.updates} updates, {before['fathom']['parameters']} parameters, {options.threads} threads")
    print(f"{'':26}{'tokens/s':>9}  {'validation loss before':>22}{'after':>9}{'peak MiB':>10}{'others':>8}")
    for name in contenders:
        tokens, seconds = (sum(turn[key] for turn in turns[name]) for key in ("target_tokens", "seconds"))
        print(
            f"{name:26}{tokens / seconds:9.0f}  {before[name]['validation_loss']:22.5f}{after[name]['validation_loss']:9.4f}"
            f"{turns[name][-1]['peak_resident_bytes'] / 2**20:10.0f}{statistics.median(others[name]):8.0%}"
        )
    for name in list(contenders)[1:]:
        ratios = [ours / theirs for ours, theirs in zip(speed["fathom"], speed[name])]
        difference = after["fathom"]["validation_loss"] - after[name]["validation_loss"]
        print(f"fathom to {name}: speed {spread(ratios)}, validation loss {difference:+.4f} nats")


if __name__ == "__main__":
    main()
