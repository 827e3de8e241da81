"""How far each claim is from failing: ``python -m proof.seeds [LESSON …]``.

Every lesson is executed with the seeds 0 to 9, and what its claims compare is noted:
`claim(…, a < 3 * b, …)` has the distance 3b − a. The margin of a claim is the mean of
its distances over the seeds, in units of their standard deviation. A claim about a
stored study is the same with every seed of the lesson; its seeds are the study's own.

`proof/seeds.json` has what was compared, as soon as a run is over, so that the rest is
run after an interruption; ``notebooks/proof/seeds.md`` has the margins.
"""

import argparse
import ast
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from IPython import get_ipython
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.v4 import new_code_cell
from tqdm import tqdm

from kit import claims, files
from kit.commands import in_one_line
from kit.notebooks import (
    ROOT,
    NotStarted,
    chosen,
    code,
    execute,
    home,
    lessons,
    needed,
    sha,
    to_notebook,
)
from kit.study import MADE_WITH
from kit.text import bare
from proof.machine import made_with

STORED = ROOT / "proof" / "seeds.json"
PAGE = ROOT / "notebooks" / "proof" / "seeds.md"
SEEDS = range(10)
SIGNS = {
    "<": lambda a, b: a < b, "≤": lambda a, b: a <= b,
    ">": lambda a, b: a > b, "≥": lambda a, b: a >= b,
}
OF_NODES = dict(zip((ast.Lt, ast.LtE, ast.Gt, ast.GtE), SIGNS))
WIDE = 10  # a value that differs by more than this factor is counted in powers of ten


# ---- in the kernel: what do claims compare?

compared, recorded = [], []  # since the last claim; [claim with its comparisons]


def numbers(value):
    """The numbers of a number, tensor, array or list, in a flat list."""
    return torch.as_tensor(value).double().flatten().tolist()


def compare(place, signs, *sides, by_seed=None):
    """`sides[0] signs[0] sides[1] …` as Python gives it, and the numbers are noted.

    by_seed: gives the sides without averages over the seeds of a study, or fails.
    """
    seen = sides
    with suppress(Exception):
        found = by_seed()
        seen = found if max(len(numbers(one)) for one in found) > 1 else sides
    for left, sign, right in zip(seen, signs, seen[1:]):
        left, right = numbers(left), numbers(right)
        longest = max(len(left), len(right))
        left, right = (one * longest if len(one) == 1 else one for one in (left, right))
        pairs = [list(pair) for pair in zip(left, right)]
        if by_seed is None:  # the nearest of many numbers
            pairs = [min(pairs, key=lambda pair: distance(sign, *pair))]
        compared.append([f"{place} {sign}", pairs])
    held = [SIGNS[sign](a, b) for a, sign, b in zip(sides, signs, sides[1:])]
    return held[0] if len(held) == 1 else all(held)


def extreme(which, *values):
    """`min` or `max`, element by element where the values are of several seeds."""
    values = list(values[0]) if len(values) == 1 else list(values)
    if max(len(numbers(one)) for one in values) > 1:
        values = torch.stack([torch.as_tensor(one) for one in values])
        return getattr(values, f"a{which}")(0)
    return {"min": min, "max": max}[which](values)


def close(place, left, right, *, atol):
    """`torch.allclose(left, right, atol=atol)`, and the largest difference is noted."""
    compare(place, ["≤"], (left - right).abs().max(), atol)
    return torch.allclose(left, right, atol=atol)


def claimed(sentence, holds, source):
    """In place of `kit.claims.claim`: one that fails is noted, too, and none stops."""
    recorded.append({"sentence": sentence, "source": source, "holds": bool(holds),
                     "compared": compared.copy()})
    compared.clear()
    with suppress(AssertionError):
        claim(sentence, holds, source)


claim = claims.claim


def listen():
    claims.claim = claimed
    get_ipython().ast_transformers.append(Comparisons())


def call(name, *given, **options):
    """The expression `proof.seeds.name(*given)`, without a name in the notebook."""
    function = ast.parse(f"__import__('proof.seeds').seeds.{name}", mode="eval").body
    keywords = [ast.keyword(key, value) for key, value in options.items()]
    return ast.Call(function, list(given), keywords)


class Comparisons(ast.NodeTransformer):
    """`a < b` in what `claim` is to hold becomes `compare(…, a, b)`."""

    def __init__(self):
        self.places = self.of_study = None  # outside of a claim

    def visit_Call(self, node):
        if self.places is not None and ast.unparse(node.func) == "torch.allclose":
            self.places += 1
            options = {one.arg: one.value for one in node.keywords}
            return call("close", ast.Constant(self.places), *node.args, **options)
        if getattr(node.func, "id", None) != "claim":
            return self.generic_visit(node)
        self.places, self.of_study = 0, "study" in ast.unparse(node.args[2])
        node.args[1] = self.visit(node.args[1])
        self.places = None
        return ast.fix_missing_locations(node)

    def visit_Compare(self, node):
        signs = [OF_NODES.get(type(one)) for one in node.ops]
        if self.places is None or None in signs:
            return node
        sides, options = [node.left, *node.comparators], {}
        if self.of_study:
            single = ast.parse(ast.unparse(ast.Tuple(sides, ast.Load())), mode="eval")
            nothing = ast.parse("lambda: 0", mode="eval").body.args
            options["by_seed"] = ast.Lambda(nothing, BySeed().visit(single.body))
            # `(a > b).sum() ≥ 11`: of the seeds that are counted
            sides = [self.visit(side) for side in sides]
        self.places += 1
        shown = ast.List([ast.Constant(sign) for sign in signs], ast.Load())
        return call("compare", ast.Constant(self.places), shown, *sides, **options)


class BySeed(ast.NodeTransformer):
    """Averages over seeds, `x.mean()`, become `x`; `min(…)` goes element by element."""

    def visit_Call(self, node):
        node = self.generic_visit(node)
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if isinstance(node.func, ast.Attribute) and not node.args:
            return node.func.value if name in ("mean", "min", "max") else node
        if isinstance(node.func, ast.Name) and name in ("min", "max"):
            return call("extreme", ast.Constant(name), *node.args)
        return node


# ---- runs

def code_hash(name):
    """Hash of the code that decides what a lesson's claims compare.

    How a figure is drawn does not, nor sentences, comments and docstrings.
    """
    names, files = needed(name)
    counted = [ROOT / "lessons" / kind for kind in ("figures", "published", "studies")]
    kit = [ROOT / "kit" / f"{part}.py" for part in MADE_WITH]
    texts = [text for lesson in names for text in code(lesson)]
    for path in files:
        if path.parent in counted or path in kit:
            text = path.read_text("utf-8")
            texts.append(bare(text) if path.suffix == ".py" else text)
    return sha("\0".join(texts))


async def run(name, seed, folder, bar):
    """Execute a lesson with a seed; returns what its claims compared."""
    nb, path = to_notebook(name), Path(folder, f"{name}-{seed}.json")
    begin = "from proof import seeds\nseeds.listen()"
    end = f"__import__('proof.seeds').seeds.save({str(path)!r})"
    nb.cells = [new_code_cell(begin), *nb.cells, new_code_cell(end)]
    surroundings = {"LESSON_SEED": str(seed), "OMP_NUM_THREADS": "1"}
    surroundings["PYTHONPATH"] = str(ROOT)
    await execute(nb, ROOT / "notebooks", bar, os.environ | surroundings)
    return json.loads(path.read_text("utf-8"))


def save(path):
    Path(path).write_text(json.dumps(recorded), "utf-8")


def load(path):
    """What is stored. Raises ValueError, with what to do, where that is damaged."""
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        why = f"{path} is damaged ({error})"
        raise ValueError(f"{why}; mend or delete it, then run this again") from None


async def run_all(names, jobs, path=STORED):
    """Run what is not stored of the text of today; store each run as it ends."""
    stored = load(path)
    for name in names:
        if stored.get(name, {}).get("source") != (now := code_hash(name)):
            stored[name] = {"source": now, "runs": {}}
    due = [(name, seed) for seed in SEEDS for name in names]
    due = [(name, seed) for name, seed in due if str(seed) not in stored[name]["runs"]]
    slots = asyncio.Semaphore(jobs)

    async def one(name, seed, folder):
        async with slots:
            with tqdm(desc=f"{name}, seed {seed}", leave=False) as cells:
                found = await run(name, seed, folder, cells)
            stored[name]["runs"][str(seed)] = found
            stored[name]["made with"] = made_with()
            text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
            files.store(path, text + "\n")
            bar.update()

    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(due)) as bar:
        await asyncio.gather(*(one(name, seed, folder) for name, seed in due))
    return stored


# ---- margins

def distance(sign, left, right):
    """By how much a comparison holds; negative where it does not."""
    return right - left if sign in "<≤" else left - right


def margin(sign, pairs):
    """(mean distance of [(left, right)] in units of its deviation, how it is counted).

    None for the margin where all distances are the same.
    """
    sides = list(zip(*pairs))
    positive = all(value > 0 for side in sides for value in side)
    if positive and any(max(side) > WIDE * min(side) for side in sides):
        sides, how = [[math.log10(x) for x in side] for side in sides], "log"
    else:
        how = "plain"
    distances = [distance(sign, *pair) for pair in zip(*sides)]
    spread = statistics.stdev(distances) if len(distances) > 1 else 0
    return statistics.fmean(distances) / spread if spread else None, how


def weakest(runs):
    """The comparison of a claim that is nearest to failing: (sign, pairs, margin, how).

    runs: what the claim was with each seed. The margin is None where all is the same
    with every seed; and the whole, where nothing is compared but found equal.
    """
    found = []
    for place, pairs in runs[0]["compared"]:
        sign = place.split()[1]
        if "study" not in runs[0]["source"]:  # the nearest of a place, in every run
            of_runs = [[pair for where, seen in run["compared"] if where == place
                        for pair in seen] for run in runs]
            pairs = [min(seen, key=lambda pair: distance(sign, *pair))
                     for seen in of_runs if seen]
        found.append((sign, pairs, *margin(sign, pairs)))
    return min(found, key=lambda one: math.inf if one[2] is None else one[2],
               default=None)


TITLE = f"""# How far the claims are from failing

Each lesson was executed with the seeds {SEEDS[0]} to {SEEDS[-1]}.
A claim compares what was measured with a bound; its *margin* is the mean distance between the two, in units of the standard deviation of that distance over the seeds.
With a margin of 1 about one seed in six would fail, were the distances distributed normally.
Of several comparisons in a claim the nearest is shown.
Claims about a stored study have the margin over the study's own runs (*n* of them); what is the same with every seed, or a plain yes or no, has none.
Margins are cut off, not rounded. ¹ counted in powers of ten, as the value differs more than {WIDE}-fold among seeds.
`make seeds` does it again and writes this page.
"""  # noqa: E501


def row(runs):
    """A line of the table, and whether the claim is fragile."""
    held, nearest = sum(run["holds"] for run in runs), weakest(runs)
    shown, count, far, fragile = "", "", "", held < len(runs)
    if nearest:
        sign, pairs, far, how = nearest
        left, right = (statistics.fmean(side) for side in zip(*pairs))
        shown, count = f"{left:.4g} {sign} {right:.4g}", str(len(pairs))
        fragile |= far is not None and far < 1
        # Cut off; the mark tells how it is counted.
        far = "" if far is None else f"{math.floor(10 * far) / 10:.1f}"
        far += "¹" if how == "log" else ""
    cells = [runs[0]["sentence"], shown, count, far, f"{held}/{len(runs)}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", fragile


def section(name, stored):
    """(the part of the page about one lesson, its fragile claims)."""
    runs = [stored["runs"][str(seed)] for seed in SEEDS]
    rows = [row(same) for same in zip(*runs, strict=True)]
    lines = [f"## {name}\n", f"On {stored['made with']}.\n"]
    lines += ["| Claim | Nearest comparison, means | *n* | Margin | Held |"]
    lines += ["|---|---|--:|--:|--:|"]
    lines += [line for line, _ in rows]
    return "\n".join(lines) + "\n", [line for line, fragile in rows if fragile]


def page(stored):
    """(the text of the page, the fragile claims) of what is stored."""
    parts, fragile = zip(*(section(name, stored[name]) for name in lessons()))
    return "\n".join([TITLE, *parts]), sum(fragile, [])


@in_one_line("stopped: what was run is stored, the same command goes on")
def main(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m proof.seeds",
        description="Execute lessons with ten seeds; print the margins of claims.",
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(args)
    home()
    names = chosen(options.lesson, parser)
    try:
        stored = asyncio.run(run_all(names, options.jobs))
    except (CellExecutionError, DeadKernelError, NotStarted) as error:
        sys.exit(f"error: {error}")
    fragile = []
    for name in names:
        text, weak = section(name, stored[name])
        print(text)
        fragile += weak
    runs = [stored.get(name, {}).get("runs", []) for name in lessons()]
    if all(len(of_lesson) == len(SEEDS) for of_lesson in runs):
        files.store(PAGE, page(stored)[0])
    for line in fragile:
        print(f"fragile: {line}", file=sys.stderr)
    return bool(fragile)


if __name__ == "__main__":
    sys.exit(main())
