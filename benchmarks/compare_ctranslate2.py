#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decoding with a fathom translator beside CTranslate2 on the same weights, in float32. Needs ctranslate2 and numpy.

    python3 benchmarks/compare_ctranslate2.py CHECKPOINT SUBWORDS TEXT [--policy DeepNorm]

CHECKPOINT is of the usual model for Multi30k, as fathom-translate and compare_translation.py leave it, SUBWORDS its
subwords.model, TEXT has a sentence a line. fathom's program (target `benchmarks`: translation_decoding_<policy>) stays
and encodes the text; both translate these tokens in turns, greedily and with a beam of 5, one sentence and 32 at a time,
with CTranslate2's length penalty of 1. One translation of the whole text is a turn. tokens/s are those of the
translations; the ratio is taken turn by turn: median [lowest .. highest]. "processor" is the same ratio by the time of
the processor that each side used, which says more on a machine that has other work: with --threads 1 no thread of either
side waits for another.

"equal" are sentences with the same translation, "ties" others whose scores differ by less than 1e-4; "score" is the
largest difference of the scores of equal translations. "others" is the share of the machine that other processes used.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

import ctranslate2

from compare_pytorch import Process, Watch
from compare_translation import spread
from to_ctranslate2 import convert, vocabulary

HERE = pathlib.Path(__file__).resolve().parent
NEAR = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("subwords", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--policy", choices=["PreNorm", "DeepNorm"], default="PreNorm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=200, help="tokens of a translation, at most")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "release")
    options = parser.parse_args()

    program = options.build / "benchmarks" / f"translation_decoding_{options.policy}"
    inputs = [str(path) for path in (options.checkpoint, options.subwords, options.text)]
    ours = Process([str(program), *inputs, "--threads", str(options.threads), "--limit", str(options.limit)])
    text = ours("0 0")
    names = vocabulary(text["vocabulary"])
    sources = [[names[token] for token in tokens] for tokens in text["sources"]]
    number = {name: place for place, name in enumerate(names)}

    with tempfile.TemporaryDirectory() as folder:
        convert(options.checkpoint, folder)
        peer = ctranslate2.Translator(
            folder, device="cpu", compute_type="float32", inter_threads=1, intra_threads=options.threads
        )

    def our_turn(beam, batch):
        used = ours.seconds()
        return ours(f"{beam} {batch}") | {"used": ours.seconds() - used}

    def their_turn(beam, batch):
        begin, used = time.perf_counter(), time.process_time()
        results = peer.translate_batch(
            sources,
            beam_size=beam,
            max_batch_size=batch,
            max_decoding_length=options.limit,
            return_scores=True,
        )
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        translations = [[number[token] for token in result.hypotheses[0]] for result in results]
        tokens = sum(len(translation) for translation in translations)
        scores = [result.scores[0] for result in results]
        return {"seconds": seconds, "used": used, "tokens": tokens, "translations": translations, "scores": scores}

    print(f"{options.policy}, {len(sources)} sentences, {options.threads} threads, CTranslate2 {ctranslate2.__version__}")
    print(
        f"{'beam':>4} {'batch':>5} {'fathom':>8} {'CTranslate2':>11} tokens/s  {'ratio':22}{'processor':22}"
        f"{'equal':>12}{'ties':>6}{'rest':>6}  {'score':>7}{'others':>8}"
    )
    for beam in (1, 5):
        for batch in (1, 32):
            turns = {"ours": [], "theirs": []}
            others = []
            for turn in range(-1, options.rounds):
                for side, translate in (("ours", our_turn), ("theirs", their_turn)):
                    watch = Watch([ours])
                    result = translate(beam, batch)
                    if turn >= 0:  # the first one warms up
                        turns[side].append(result)
                        others.append(watch.shares()[0])
            a, b = turns["ours"][0], turns["theirs"][0]
            speed = {side: [t["tokens"] / t["seconds"] for t in done] for side, done in turns.items()}
            difference = [abs(x - y) for x, y in zip(a["scores"], b["scores"])]
            equal = [x == y for x, y in zip(a["translations"], b["translations"])]
            ties = sum(not same and gap < NEAR for same, gap in zip(equal, difference))
            ratio = [x / y for x, y in zip(speed["ours"], speed["theirs"])]
            used = [y["used"] / max(x["used"], 0.01) for x, y in zip(turns["ours"], turns["theirs"])]
            print(
                f"{beam:4} {batch:5} {statistics.median(speed['ours']):8.0f} {statistics.median(speed['theirs']):11.0f}"
                f"{'':11}{spread(ratio):22}{spread(used):22}{sum(equal):6}/{len(equal)}{ties:6}{len(equal) - sum(equal) - ties:6}"
                f"  {max(gap for same, gap in zip(equal, difference) if same):7.0e}{statistics.median(others):8.0%}",
                flush=True,
            )
    ours.end()


if __name__ == "__main__":
    main()
