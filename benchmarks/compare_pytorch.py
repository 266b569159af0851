#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fathom's training step beside PyTorch's on the same shapes, in one run, alternating.

    python3 benchmarks/compare_pytorch.py                      W, M, N, D, K against this interpreter's PyTorch
    python3 benchmarks/compare_pytorch.py --shapes W D --python python3 /usr/bin/python3
    python3 benchmarks/compare_pytorch.py --table              many more shapes, those of the target benchmarks_table
    python3 benchmarks/compare_pytorch.py --generation         tokens/s with a key/value cache, batch 1 and 16, W and D
    python3 benchmarks/compare_pytorch.py --precision bf16     fathom's mixed precision and fp32 against the best of PyTorch's
                                                               bf16 autocast and fp32

Both sides train a decoder-only DeepNorm language model, in fp32 unless --precision says otherwise: learned positions, GELU, separate output, no dropout,
AdamW, gradients clipped to a global norm of 1. The contenders stay and take turns of --seconds, in which the others
wait; the figure of a turn is its median step. For generation and the rates of products each turn is its own process.
A turn during which other processes used more than --limit of the CPU is repeated, and marked when it never was clean.
Figures are medians of the rounds, [lowest .. highest]; the ratio compares fathom to the fastest peer, round by round.

Memory in MiB: peak; states, which are weights, gradients and moments; rest, which is activations and workspace (fathom:
its plan; PyTorch: peak - import - states). The ratios of memory are to the peer that needs least.

Share: what the products and the attention of a step would take at the fastest rate that two threads reach at these very
shapes, over what the step took. That rate is measured in every round by sgemm_rates, with operands in the caches, by
fathom's engine and by OpenBLAS, the better of the two for each product; with --precision bf16 of bf16 numbers, by fathom's.

fathom's side is one executable per shape in build/release/benchmarks, training_step_<name> and generation_<name>,
and with --precision bf16 also mixed_training_step_<name> and mixed_generation_<name>:
    --shape                             prints layers,width,heads,feed-forward,vocabulary,batch,context
    --turns --threads N                 for each number on its standard input, trains so many steps and prints one line
                                        of JSON: tokens_per_second, seconds_per_step, parameters, peak_resident_bytes,
                                        plan (weights, masters, gradients, optimizer, activations, workspace:
                                        bytes),
                                        flops_per_token
    --batch B --tokens K --threads N    (generation) prints tokens_per_second, parameters, peak_resident_bytes
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = {
    "W": "12,512,8,2048,4096,4,128",
    "M": "6,256,4,1024,4096,8,128",
    "N": "48,64,4,256,1024,8,128",
    "D": "200,64,2,256,1024,4,128",
    "K": "1000,64,2,256,1024,4,128",
}
FLOOR = 1.2  # times PyTorch's speed, at any shape
MIB = 2**20


# The machine: who else used it


def busy_seconds():
    """CPU time that all processes have used, and time stolen by the hypervisor, since boot."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft_irq, steal = [int(field) for field in file.readline().split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + soft_irq) / ticks, steal / ticks


def own_seconds(live):
    """CPU time of this process, of its children that have ended, and of those that live."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(process.seconds() for process in live)


class Watch:
    """Shares of the machine that others used, and that the hypervisor took, since the start."""

    def __init__(self, live):
        self.live = live
        self.begin, (self.busy, self.stolen), self.own = time.monotonic(), busy_seconds(), own_seconds(live)

    def shares(self):
        capacity = (time.monotonic() - self.begin) * os.cpu_count()
        busy, stolen = busy_seconds()
        others = busy - self.busy - (own_seconds(self.live) - self.own)
        return max(0.0, others / capacity), (stolen - self.stolen) / capacity


def wait_for_quiet(live, options):
    """Returns when others leave the machine alone for two seconds, or when patience ends."""
    end = time.monotonic() + options.patience
    while time.monotonic() < end:
        watch = Watch(live)
        time.sleep(2)
        if watch.shares()[0] <= options.limit:
            return


# The contenders


class Fathom:
    def __init__(self, executable, precision=""):
        self.executable, self.name = executable, " ".join(["fathom", precision]).strip()

    def training(self, options):
        return [self.executable, "--turns", "--threads", str(options.threads)]

    def generation(self, batch, steps, options):
        tokens = ["--batch", str(batch), "--tokens", str(options.tokens)]
        return [self.executable, *tokens, "--threads", str(options.threads)]

    def memory(self, result):
        plan = result["plan"]
        states = plan["weights"] + plan["masters"] + plan["gradients"] + plan["optimizer"]
        return states, plan["activations"] + plan["workspace"]


class PyTorch:
    def __init__(self, python, version, shape, compiled, autocast):
        self.python, self.shape, self.compiled, self.autocast = python, shape, compiled, autocast
        self.name = f"PyTorch {version} {'compile' if compiled else 'eager'}{' bf16' if autocast else ''}"

    def command(self, mode, options, *more):
        flags = ["--compile"] * self.compiled + ["--autocast"] * self.autocast + ["--tied"] * options.tied
        script = [self.python, str(HERE / "peer_model.py"), mode, self.shape]
        return [*script, "--threads", str(options.threads), *flags, *more]

    def training(self, options):
        return self.command("train", options, "--turns")

    def generation(self, batch, steps, options):
        tokens = ["--batch", str(batch), "--tokens", str(options.tokens)]
        return self.command("generate", options, "--steps", str(steps), *tokens)

    def memory(self, result):
        states = 16 * result["parameters"]  # weight, gradient, two moments
        return states, result["peak_resident_bytes"] - result["import_resident_bytes"] - states


class Products:
    """Not a contender: the rates of a shape's matrix products, measured in the same rounds."""

    name = "products"

    def __init__(self, executable, shape):
        self.executable, self.shape = executable, shape

    def command(self, options):
        precision = "Mixed" if options.precision == "bf16" else "Single"
        return [self.executable, self.shape, "--threads", str(options.threads), "--precision", precision]


def peers(options, shape):
    for python, version in options.interpreters:
        for kind in options.peers:
            if kind == "eager" or not version.startswith("1."):
                for autocast in [False, True][: 1 + (options.precision == "bf16")]:
                    yield PyTorch(python, version, shape, kind == "compile", autocast)


def version_of(python):
    """Of its PyTorch; None when it has none."""
    answer = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    return answer.stdout.strip().split("+")[0] if answer.returncode == 0 else None


def interpreters(named):
    """(python, version of its PyTorch) of those named, or of this one and the system's, where they have one."""
    candidates = named or dict.fromkeys((sys.executable, "/usr/bin/python3"))
    found = [(python, version_of(python)) for python in candidates if named or os.access(python, os.X_OK)]
    for python, version in found:
        if named and version is None:
            sys.exit(f"{python} cannot import torch")
    found = [(python, version) for python, version in found if version]
    if not found:
        sys.exit("no PyTorch to compare to: pip install torch, or name interpreters that have one with --python")
    return found


# Measuring


ENVIRONMENT = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


def run(command):
    """One process: its JSON."""
    answer = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{answer.stderr.strip()}")
    return json.loads(answer.stdout.strip().splitlines()[-1])


class Process:
    """A contender that stays. Called with a number of steps, it takes them: its JSON."""

    def __init__(self, command):
        self.command, self.errors = command, tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, env=ENVIRONMENT, **pipes)

    def __call__(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has ended: so has its output
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        sys.exit(f"{' '.join(self.command)} failed:\n{self.errors.read().strip()}")

    def seconds(self):
        """CPU time that it has used."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.kill()
        self.process.wait()


def measure(turn, live, options):
    """Repeats the turn until it is clean; after the last attempt keeps the cleanest."""
    results = []
    for _ in range(options.attempts):
        wait_for_quiet(live, options)
        watch = Watch(live)
        result = turn()
        others, stolen = watch.shares()
        results.append(result | {"others": others, "stolen": stolen})
        if others <= options.limit:
            break
    return min(results, key=lambda result: result["others"])


def rounds_of(turns, live, options):
    """{contender: [result per round]} of {contender: what takes so many steps}; the first turn of each is not counted,
    it sets the number of steps. `live` are the processes behind the turns that stay."""
    steps = {}
    for contender, turn in turns.items():
        result = turn(2)
        times = result.get("seconds_per_step") or result.get("seconds_per_run") or [options.seconds]
        steps[contender] = max(2, min(500, round(options.seconds / min(times))))
    results = {contender: [] for contender in turns}
    for _ in range(options.rounds):
        for contender, turn in turns.items():
            results[contender].append(measure(lambda: turn(steps[contender]), live, options))
    return results


def training_rounds(contenders, products, options):
    """Results of contenders that stay, and of the products' rates if there are any."""
    live = {}
    try:
        for contender in contenders:
            live[contender] = Process(contender.training(options))
            live[contender](1)  # gets ready, before the next one starts
        rates = {products: lambda _: run(products.command(options))} if products else {}
        return rounds_of(rates | live, live.values(), options)
    finally:
        for process in live.values():
            process.end()


def median(results, key):
    return statistics.median(result[key] for result in results)


def check_same_model(results):
    counts = {contender.name: rounds[0]["parameters"] for contender, rounds in results.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"the contenders do not train the same model, numbers of parameters: {counts}")


def note_of(rounds, limit):
    busy = [result["others"] for result in rounds if result["others"] > limit]
    return f"   {len(busy)} of {len(rounds)} not clean, others used up to {max(busy):.0%}" if busy else ""


def speed_of(rounds, limit):
    speeds = [result["tokens_per_second"] for result in rounds]
    speed = f"{median(rounds, 'tokens_per_second'):10.1f} [{min(speeds):.1f} .. {max(speeds):.1f}]"
    return speed, note_of(rounds, limit)


def sides_of(results):
    """Our first contender, or None, and the peers."""
    ours = next((contender for contender in results if isinstance(contender, Fathom)), None)
    return ours, [contender for contender in results if isinstance(contender, PyTorch)]


def spread(values):
    return f"[{min(values):.2f} .. {max(values):.2f}]"


def ratio_of(results):
    """Our speed over the fastest peer's, its median and spread, and that peer; None without one of the sides."""
    ours, others = sides_of(results)
    if ours is None or not others:
        return None
    best = max(others, key=lambda contender: median(results[contender], "tokens_per_second"))
    each = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(results[ours], results[best])]
    return statistics.median(each), spread(each), best


def print_ratio(results):
    found = ratio_of(results)
    if found:
        ratio, each, best = found
        print(f"    ratio {ratio:.2f} {each} to {best.name}")
    ours = [contender for contender in results if isinstance(contender, Fathom)]
    if len(ours) == 2:
        mixed, single = ([result["tokens_per_second"] for result in results[contender]] for contender in ours)
        each = [a / b for a, b in zip(mixed, single)]
        print(f"    {ours[0].name} {statistics.median(each):.2f} {spread(each)} of {ours[1].name}")


def print_memory(results):
    """Our memory over that of the peer that needs least of it."""
    ours, others = sides_of(results)
    if ours is None or not others:
        return
    peak = {contender: median(results[contender], "peak_resident_bytes") for contender in results}
    rest = {contender: contender.memory(results[contender][-1])[1] for contender in results}
    least_peak, least_rest = min(peak[contender] for contender in others), min(rest[contender] for contender in others)
    print(
        f"    memory: peak {peak[ours] / least_peak:.2f} of the least peer's; activations + workspace "
        f"{rest[ours] / MIB:.0f} of {least_rest / MIB:.0f} MiB, {rest[ours] / least_rest:.2f}"
    )


def print_share(results, products, limit):
    """Our step against the time that its products and attention would take at the products' fastest rate."""
    ours, _ = sides_of(results)
    if ours is None:
        return
    rates = [result["flops_per_second"] / 1e9 for result in products]
    own_rates = [result["fathom_flops_per_second"] / 1e9 for result in products]
    steps = [statistics.median(result["seconds_per_step"]) for result in results[ours]]
    ideals = [result["ideal_seconds_per_step"] for result in products]
    shares = [ideal / step for ideal, step in zip(ideals, steps)]
    print(
        f"    share {statistics.median(shares):.2f} {spread(shares)}: {statistics.median(ideals) * 1e3:.1f} of "
        f"{statistics.median(steps) * 1e3:.1f} ms, products at {statistics.median(rates):.0f} "
        f"[{min(rates):.0f} .. {max(rates):.0f}] GFLOP/s (fathom's alone: {statistics.median(own_rates):.0f})"
        f"{note_of(products, limit)}"
    )


def contenders_of(kind, name, shape, options):
    """Ours first, where they are built, that of the precision asked for before the other."""
    ours = []
    for prefix, precision in [("mixed_", "bf16"), ("", "")][options.precision != "bf16" :]:
        executable = find_executable(prefix + kind, name, options)
        if executable is not None:
            ours.append(Fathom(str(executable), precision))
        elif not options.peer_only:
            wanted = options.build / "benchmarks" / f"{prefix}{kind}_{name}"
            print(f"  {wanted} is not built (cmake --build {options.build} --target benchmarks); measured without it")
    return ours + list(peers(options, shape))


def find_executable(kind, name, options):
    if options.peer_only:
        return None
    return next((path for other, path in executables(kind, options) if other.lower() == name.lower()), None)


def executables(kind, options):
    """(name, path) of each executable of a kind that the build has."""
    paths = sorted((options.build / "benchmarks").glob(f"{kind}_*"))
    return [(p.name[len(kind) + 1 :], p) for p in paths if p.is_file() and os.access(p, os.X_OK)]


# Reports


def compare_training(name, shape, options):
    print(f"{name}  {shape}", flush=True)
    contenders = contenders_of("training_step", name, shape, options)
    executable = options.build / "benchmarks" / "sgemm_rates"
    products = Products(str(executable), shape) if isinstance(contenders[0], Fathom) and executable.exists() else None
    results = training_rounds(contenders, products, options)
    rates = results.pop(products, None)
    check_same_model(results)
    print(f"    {'':28}{'tokens/s':>10}{'':24}{'peak MiB':>9}{'states':>8}{'rest':>8}{'import':>8}   GFLOP/s")
    for contender, rounds in results.items():
        speed, note = speed_of(rounds, options.limit)
        peak = median(rounds, "peak_resident_bytes") / MIB
        states, rest = (size / MIB for size in contender.memory(rounds[-1]))
        imported = rounds[-1].get("import_resident_bytes", 0) / MIB
        flops = rounds[-1].get("flops_per_token")
        rate = f"{flops * median(rounds, 'tokens_per_second') / 1e9:10.1f}" if flops else f"{'':10}"
        print(f"    {contender.name:28}{speed:34}{peak:9.0f}{states:8.0f}{rest:8.0f}{imported:8.0f}{rate}{note}")
    print_ratio(results)
    if rates:
        print_share(results, rates, options.limit)
    print_memory(results)
    sys.stdout.flush()
    return results | ({products: rates} if rates else {})


def compare_generation(name, shape, options):
    print(f"{name}  {shape}", flush=True)
    contenders = contenders_of("generation", name, shape, options)
    collected = {}
    for batch in (1, 16):
        turns = {c: lambda steps, c=c: run(c.generation(batch, steps, options)) for c in contenders}
        results = rounds_of(turns, [], options)
        check_same_model(results)
        print(f"    batch {batch}, {options.tokens} tokens each")
        for contender, rounds in results.items():
            speed, note = speed_of(rounds, options.limit)
            print(f"    {contender.name:28}{speed}{note}")
        print_ratio(results)
        collected[batch] = results
    sys.stdout.flush()
    return collected


def table(options):
    """One line per shape that is built and is not one of SHAPES."""
    found = []
    for name, path in executables("training_step", options):
        if name.upper() not in SHAPES:
            answer = subprocess.run([path, "--shape"], capture_output=True, text=True, check=True)
            found.append((name, answer.stdout.strip()))
    if not found:
        sys.exit(f"nothing to compare: cmake --build {options.build} --target benchmarks_table")
    print(f"{'layers,width,heads,ff,vocabulary,batch,context':48}{'fathom tok/s':>14}{'peer tok/s':>12}   ratio")
    collected, ratios = {}, []
    for name, shape in sorted(found, key=lambda entry: [int(n) for n in entry[1].split(",")]):
        contenders = contenders_of("training_step", name, shape, options)
        results = training_rounds(contenders, None, options)
        check_same_model(results)
        ratio, each, best = ratio_of(results)
        ours, peer = median(results[contenders[0]], "tokens_per_second"), median(results[best], "tokens_per_second")
        busy = sum(result["others"] > options.limit for rounds in results.values() for result in rounds)
        mark = "ok " if ratio >= FLOOR else "LOW"
        note = f"   {busy} measurements not clean" if busy else ""
        print(f"{shape:48}{ours:14.1f}{peer:12.1f}   {ratio:.2f} {each} {mark} to {best.name}{note}", flush=True)
        collected[shape] = results
        ratios.append(ratio)
    low = sum(ratio < FLOOR for ratio in ratios)
    print(f"{len(ratios)} shapes, lowest ratio {min(ratios):.2f}; {low} under the floor of {FLOOR}")
    return collected


def plain(results):
    """The same with names for keys, for --json."""
    if not isinstance(results, dict):
        return results
    return {getattr(key, "name", key): plain(value) for key, value in results.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "release")
    parser.add_argument("--python", nargs="+", help="interpreters with PyTorch; default: this one, and Debian's")
    parser.add_argument("--peers", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="default: all, or W and D with --generation")
    parser.add_argument("--table", action="store_true", help="all other shapes that are built")
    parser.add_argument("--generation", action="store_true", help="generation with a key/value cache")
    parser.add_argument("--tokens", type=int, default=100, help="per sequence, of generation")
    parser.add_argument("--precision", choices=["single", "bf16"], default="single")
    parser.add_argument("--tied", action="store_true", help="the peer's output shares the token embedding")
    parser.add_argument("--peer-only", action="store_true", help="measure PyTorch alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3, help="of a turn")
    parser.add_argument("--limit", type=float, default=0.04, help="share of the CPU that others may use")
    parser.add_argument("--attempts", type=int, default=5, help="per turn, to get a clean one")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds to wait for a quiet machine before each attempt"
    )
    parser.add_argument("--json", type=pathlib.Path, help="also write every measurement to this file")
    options = parser.parse_args()
    options.interpreters = interpreters(options.python)
    if options.table:
        collected = table(options)
    else:
        compare = compare_generation if options.generation else compare_training
        names = options.shapes or (["W", "D"] if options.generation else list(SHAPES))
        collected = {name: compare(name, SHAPES[name], options) for name in names}
    if options.json:
        options.json.write_text(json.dumps(plain(collected), indent=1) + "\n")


if __name__ == "__main__":
    main()
