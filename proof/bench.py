"""How fast the lessons' models are: ``python -m proof.bench``, in half an hour.

Ours and the library's take turns in one process, so that whatever else the machine does
hits both; each pair of turns gives a ratio. `proof/bench.json` has every ratio,
``notebooks/proof/bench.md`` the medians. Nothing else should run beside it.
"""

import argparse
import ctypes
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from kit import files
from kit.commands import in_one_line
from kit.notebooks import ROOT
from kit.probe import saved_for_backward
from kit.view.style import ROLES
from proof import growth
from proof.machine import made_with
from proof.pairs import cases

STORED = ROOT / "proof" / "bench.json"
PAGE = ROOT / "notebooks" / "proof" / "bench.md"
SIDES = ("ours", "theirs")
PAIRS = {"small": 15, "middle": 7}
GENERATED, BEGIN = 64, 8  # tokens


# ---- what is timed

def step(case, side):
    """One step of training, as a function of nothing."""
    model = getattr(case, side).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def run():
        optimizer.zero_grad()
        case.loss(side).backward()
        optimizer.step()
    return run


def inference(case, side):
    model = getattr(case, side)

    @torch.no_grad()
    def run():
        model.eval()
        case.logits(side)
    return run


def generation(case, side):
    """Tokens drawn one after another, with the keys and values before them kept."""
    getattr(case, side).eval()

    @torch.no_grad()
    def run():
        return case.generated(side, BEGIN, GENERATED)
    return run


def tasks(name):
    found = {"training step": step, "inference": inference}
    return found | ({f"{GENERATED} tokens drawn": generation} if name == "CTRL" else {})


# ---- time

def seconds(run):
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def by_turns(ours, theirs, pairs):
    """(seconds of ours, seconds of theirs), a number for each pair of turns."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs + 2)]
    return list(zip(*times[2:]))  # the first two warm up


def peak(size=1024, rounds=15):
    """Operations a second of this machine's matrix product, the best of some."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(rounds))


def operations(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def compare(name, size, make, threads):
    """[a row of the stored result], for each task of a model."""
    torch.set_num_threads(threads)
    case, best, rows = make(), peak(), []
    for task, prepare in tasks(name).items():
        ours, theirs = (prepare(case, side) for side in SIDES)
        work = operations(ours)
        times = by_turns(ours, theirs, PAIRS[size])
        ratios = [b / a for a, b in zip(*times)]
        rows.append({
            "model": name, "size": size, "threads": threads, "task": task,
            "attention": case.attention, "ratios": [round(one, 4) for one in ratios],
            "seconds": [round(statistics.median(one), 6) for one in times],
            "share of peak": work / statistics.median(times[0]) / best,
        })
    return rows


# ---- memory: a process for each side

STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(which):
    """Memory of this process in MiB: "VmRSS" now, "VmHWM" its peak. On Linux only."""
    return int(re.search(rf"{which}:\s+(\d+)", STATUS.read_text())[1]) / 1024


def memory_here(name, size, side):
    """What a side of a case needs, in a fresh process; MiB.

    peak: of three training steps, on top of the model. kept: by a forward pass for its
    backward pass. attention: the library's.
    """
    torch.set_num_threads(1)
    case = cases()[name, size]()
    kept = saved_for_backward(getattr(case, side).train(), case.inputs) / 2**20
    run = step(case, side)
    # What building the models needed goes back to the system, its peak is forgotten.
    ctypes.CDLL(None).malloc_trim(0)
    REFS.write_text("5")
    before = resident("VmRSS")
    for _ in range(3):
        run()
    peak = resident("VmHWM") - before
    return {"peak": peak, "kept": kept, "attention": case.attention}


# Memory of this size is given back to the system as soon as it is free; with glibc's
# own choice, which changes as it runs, peaks differ by a fifth from run to run.
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}


def memory(name, size):
    """{side: what `memory_here` gives}, or nothing where the system does not tell."""
    if not REFS.exists():
        return {}
    found = {}
    for side in SIDES:
        command = [sys.executable, "-m", "proof.bench", "--memory", name, size, side]
        told = subprocess.run(command, cwd=ROOT, env=os.environ | AT_ONCE, check=True,
                              capture_output=True)
        found[side] = json.loads(told.stdout)
    return found


# ---- the page

TITLE = f"""# As fast as a library?

The lessons' models beside those of `transformers` and `pytorchcv`, with the same weights and the same input; both give the same logits.
They take turns in one process. Each pair of turns gives a ratio, the library's time through ours: above 1 ours is faster.
Shown is the median of the pairs, cut off and not rounded, and between which two values the middle half of them lies.
`transformers` has the faster of its attentions (sdpa or eager), both libraries' networks of images the memory format in which ours train (channels last).
*Small* is 16 texts of 128 tokens in 4 layers of width 128, or 16 images of 32×32; *middle* is a width of 384, or 4 images of 224×224. The vocabulary has 4,000 pieces.
A training step is forward, loss, backward and SGD with momentum; generation begins with {BEGIN} tokens and keeps a memory.
*Of peak* is what ours does of the operations a second that one product of two 1024×1024 matrices does on this machine, with as many threads.
`make bench` measures it again and writes this page; nothing else should run beside it.
"""  # noqa: E501
MEMORY = """MiB that three training steps need on top of the model, at the peak, and that a forward pass keeps for its backward pass.
"""  # noqa: E501
GROWTH = """## How cost grows

![Five pictures on logarithmic axes: {alt}](growth.svg)

The exponent a of y ~ xᵃ is fitted to the three largest x of each curve.
At 512 tokens n × n × d needs 64 MiB, which the system may hand out anew each time; that can cost more than the arithmetic, and raises the exponent (less so with `MALLOC_MMAP_MAX_=0`).
"""  # noqa: E501


def cut(value):
    """Two decimals, cut off."""
    return f"{math.floor(100 * value) / 100:.2f}"


def line(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def time_table(rows):
    head = "Model", "Size", "Threads", "What", "Ratio", "Middle half", "Of peak"
    lines = [line(*head)]
    lines.append("|---|---|--:|---|--:|--:|--:|")
    for row in rows:
        low, middle, high = statistics.quantiles(row["ratios"], n=4)
        spread = f"{cut(low)} to {cut(high)}"
        share = f"{math.floor(100 * row['share of peak'])}%"
        model = row["model"] + (f" ({row['attention']})" if row["attention"] else "")
        about = model, row["size"], row["threads"], row["task"]
        lines.append(line(*about, f"**{cut(middle)}**", spread, share))
    return "\n".join(lines) + "\n"


def in_words(rows):
    """Of how many rows the middle half of the pairs lies on one side of 1."""
    quarters = [statistics.quantiles(row["ratios"], n=4) for row in rows]
    above = sum(low > 1 for low, _, _ in quarters)
    below = sum(high < 1 for _, _, high in quarters)
    least = min(middle for _, middle, _ in quarters)
    return (
        f"In {above} of {len(rows)} rows the middle half of the pairs lies above 1, in "
        f"{below} below; in the others the two cannot be told apart. "
        f"The smallest ratio is {cut(least)}.\n"
    )


def draw_ratios(rows, path):
    """A dot for each median and a line for the middle half, as an SVG file."""
    labels = [f"{row['model']}, {row['size']}: {row['task']}" for row in rows]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    figure = Figure(figsize=(9, 8), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for threads, role in ((1, "idea"), (2, "control")):
        color, _, marker = ROLES[role]
        shown = [(places[label] + 0.3 * (threads - 1), row["ratios"])
                 for label, row in zip(labels, rows) if row["threads"] == threads]
        heights, ratios = zip(*shown)
        quarters = [statistics.quantiles(one, n=4) for one in ratios]
        axes.plot([one[1] for one in quarters], heights, marker, color=color,
                  label=f"{threads} thread" + "s" * (threads > 1))
        lows, _, highs = zip(*quarters)
        axes.hlines(heights, lows, highs, color=color)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(places.values()), list(places))
    axes.invert_yaxis()
    axes.set_xlabel("the library's time through ours: right of 1 ours is faster")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def memory_table(found):
    head = "Model", "Size", "Peak, ours", "Library's", "Ratio", "Kept, ours"
    lines = [line(*head, "Library's", "Ratio")]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for name, sides in found.items():
        model, size = name.split(", ")
        if how := sides["theirs"]["attention"]:
            model += f" ({how})"
        cells = [model, size]
        for what in ("peak", "kept"):
            ours, theirs = (sides[side][what] for side in SIDES)
            cells += [f"{ours:.1f}", f"{theirs:.1f}", f"**{cut(theirs / ours)}**"]
        lines.append(line(*cells))
    return "\n".join(lines) + "\n"


def page(stored):
    curves = [f"{picture}, {name}: exponent {growth.exponent(points):.2f}"
              for picture, curves in stored["growth"].items()
              for name, points in curves.items()]
    parts = [TITLE, f"On {stored['made with']}.\n", "## Time\n"]
    parts += ["![The ratios of the table below, 1 marked](speed.svg)\n"]
    parts += [in_words(stored["time"]), time_table(stored["time"]), "## Memory\n"]
    parts += [MEMORY, memory_table(stored["memory"])]
    parts += [GROWTH.format(alt="; ".join(curves))]
    return "\n".join(parts)


def measure():
    stored = {"made with": made_with("transformers", "pytorchcv"), "time": []}
    made = cases()
    for threads in (1, 2):
        for (name, size), make in tqdm(made.items(), desc=f"{threads} threads"):
            stored["time"] += compare(name, size, make, threads)
    stored["memory"] = {
        ", ".join(which): memory(*which) for which in tqdm(made, desc="memory")
    }
    stored["growth"] = growth.measure()
    return stored


@in_one_line()
def main(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m proof.bench",
        description="Time the lessons' models beside the libraries', and their growth.",
    )
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.memory:
        print(json.dumps(memory_here(*options.memory)))
        return
    stored = measure()
    files.store(STORED, json.dumps(stored, indent=1) + "\n")
    growth.draw(stored["growth"], PAGE.with_name("growth.svg"))
    draw_ratios(stored["time"], PAGE.with_name("speed.svg"))
    files.store(PAGE, page(stored))
    print(page(stored))


if __name__ == "__main__":
    main()
