#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two programs that print tokens_per_second, in turn, as processes of their own: training_step_<shape> of two versions or
two precisions, or generation_<shape>.

    pairs.py [--rounds 5] "./generation_W --batch 1 --tokens 96" "./mixed_generation_W --batch 1 --tokens 96"

Prints the median of each, and the median of the second one's ratio to the first one's, pair by pair, [lowest .. highest].
"""

import argparse
import json
import shlex
import statistics
import subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("commands", nargs=2)
arguments = parser.parse_args()


def rate(command):
    lines = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout.splitlines()
    return json.loads(lines[-1])["tokens_per_second"]


rates = ([], [])
for turn in range(arguments.rounds):
    for side in (0, 1) if turn % 2 == 0 else (1, 0):
        rates[side].append(rate(arguments.commands[side]))
ratios = [second / first for first, second in zip(*rates)]
print(f"{statistics.median(rates[0]):.1f}, {statistics.median(rates[1]):.1f} tokens/s; "
      f"ratio {statistics.median(ratios):.3f} [{min(ratios):.3f} .. {max(ratios):.3f}]")
