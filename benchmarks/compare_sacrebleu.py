#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fathom's scores beside sacreBLEU's: whether they are equal, and how fast each is.

    cmake --build build/release --target score_rates
    python3 benchmarks/compare_sacrebleu.py REFERENCES [HYPOTHESES] [--program build/release/bin/score_rates]

Needs the package sacrebleu. The files are text or gzip, one line for each segment. Without hypotheses these are what a
poor system makes of the references (`degrade` of tests/reference/scores.py). Times are processor time of one
thread, files read and interpreters started before; sacreBLEU's tokenizers have forgotten what they remember of earlier
scores. Prints lines per second, fathom's rate over sacreBLEU's, and the score; ends with 1 when one differs in its
printed digits. Resampled intervals differ, because the random numbers do.
"""

import argparse
import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers import tokenizer_13a, tokenizer_intl, tokenizer_re

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests/reference"))
from scores import degrade

METRICS = {
    "BLEU 13a": (BLEU, {}), "BLEU 13a lc": (BLEU, {"lowercase": True}), "BLEU none": (BLEU, {"tokenize": "none"}),
    "BLEU intl": (BLEU, {"tokenize": "intl"}), "chrF": (CHRF, {}), "chrF++": (CHRF, {"word_order": 2}),
    "BLEU 13a, 1000 resamples": (BLEU, {})}


def read(path):
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return content.decode().removesuffix("\n").split("\n")


def sacrebleu_result(name, hypotheses, references):
    for tokenizer in (tokenizer_13a.Tokenizer13a, tokenizer_intl.TokenizerV14International,
                      tokenizer_re.TokenizerRegexp):
        tokenizer.__call__.cache_clear()
    maker, options = METRICS[name]
    start = time.process_time()
    metric = maker(**options)
    score = metric.corpus_score(hypotheses, [references], **({"n_bootstrap": 1000} if "resamples" in name else {}))
    seconds = time.process_time() - start
    return score.format(width=4, signature=metric.get_signature().format()), seconds


def comparable(result):
    return re.sub(r" \(μ = .*?\)", "", re.sub(r"version:\S+", "version:*", result))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("references", type=pathlib.Path)
    parser.add_argument("hypotheses", type=pathlib.Path, nargs="?")
    parser.add_argument("--program", default="build/release/bin/score_rates")
    parser.add_argument("--seconds", default="1")
    arguments = parser.parse_args()
    references = read(arguments.references)
    texts = [read(arguments.hypotheses) if arguments.hypotheses else degrade(references, 1), references]
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / name for name in ("hypotheses", "references")]
        for file, text in zip(files, texts):
            file.write_bytes("".join(line + "\n" for line in text).encode())
        output = subprocess.run([arguments.program, *map(str, files), arguments.seconds], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
    print(f"{len(texts[0])} lines; sacreBLEU {sacrebleu.__version__}, Python {sys.version.split()[0]}")
    print(f"{'lines per second':26}{'fathom':>10}{'sacreBLEU':>11}{'ratio':>8}  score")
    equal = True
    for line in output.splitlines():
        ours = json.loads(line)
        theirs, seconds = sacrebleu_result(ours["name"], *texts)
        same = comparable(ours["result"]) == comparable(theirs)
        equal &= same
        print(f"{ours['name']:26}{len(texts[0]) / ours['seconds']:10.0f}{len(texts[0]) / seconds:11.0f}"
              f"{seconds / ours['seconds']:8.1f}  {theirs.split(' = ')[1].split(' ')[0]}"
              f"{'' if same else f'  DIFFERS: {ours}'}", flush=True)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
