"""A recipe of `lessons/scale` in its small form: what it printed here, as a picture.

`python -m kit.small_run [LESSON …]` runs it and stores `lessons/scale/x.json`.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from kit import files
from kit.commands import in_one_line
from kit.notebooks import ROOT, chosen
from kit.view import Curves

MEAN_OF = 10
PLACES = 4  # decimal places of a loss


def stored(name, root=ROOT):
    """`losses`, one a step, and `result`, by the name of what was measured."""
    path = root / "lessons" / "scale" / f"{name}.json"
    return json.loads(path.read_text("utf-8"))


def small_run(name):
    """The losses of the stored small run, a curve."""
    run = stored(name)
    losses = run["losses"]
    starts = range(0, len(losses), MEAN_OF)
    means = [fmean(losses[start : start + MEAN_OF]) for start in starts]
    told = [f"{value:.3g} ({what})" for what, value in run["result"].items()]
    line = {"name": "loss", "x": [start + MEAN_OF for start in starts], "y": means}
    note = f"At the end: {', '.join(told)}."
    frame = {"series": [line | {"role": "idea"}], "note": note}
    return Curves(
        frame,
        x_label="step",
        y_label="training loss",
        caption=f"The small run of the recipe: the loss, the mean of {MEAN_OF} steps. "
        "The model and its data are small, the engine is that of the command above.",
        alt=f"A falling curve of the training loss over {len(losses)} steps.",
    )


def store(name, root=ROOT):
    """Run the small form in a process of its own, on one core, and keep what it says.

    Raises ValueError with its words where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "lessons.scale", name, "--small", "--out", folder]
        words = [sys.executable, *command]
        run = subprocess.run(words, cwd=root, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            raise ValueError(f"{name}: {run.stderr}")
        with Path(folder, "curve.csv").open(encoding="utf-8") as file:
            losses = [round(float(row["loss"]), PLACES) for row in csv.DictReader(file)]
        found = json.loads(Path(folder, "result.json").read_text("utf-8"))
    result = {
        what: round(value, PLACES)
        for what, value in found.items()
        if what not in ("last loss", "samples per second")  # the curve's end; a machine
    }
    text = json.dumps({"losses": losses, "result": result})
    path = root / "lessons" / "scale" / f"{name}.json"
    files.store(path, f"{text}\n")


@in_one_line()
def main(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m kit.small_run", description="Run and store the small recipes."
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    for name in chosen(parser.parse_args(args).lesson, parser):
        store(name)


if __name__ == "__main__":
    main()
