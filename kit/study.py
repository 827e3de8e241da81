"""Long experiments, run once and stored: ``python -m kit.study LESSON``.

``make study-LESSON`` does the same.

``lessons/studies/LESSON.py`` has ``STUDY``, {name: function(seed)}, each of which gives
{measurement: number}, and ``SEEDS``, for all of them or as {name: its seeds}.
Runs of one name measure the same things.
Every run is stored in ``lessons/studies/LESSON.json`` as soon as it is over, so an
interrupted study goes on where it stopped. Lessons plot what is stored.
"""

import ast
import datetime
import hashlib
import importlib
import json
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from kit.commands import in_one_line
from kit.files import store
from kit.text import bare

LESSONS = Path(__file__).parents[1] / "lessons"
FOLDER = LESSONS / "studies"


MADE_WITH = ("data", "probe", "text", "train")  # what of kit can change a measurement
WHERE_IMPORTED = ("kit.programs",)  # the same, but for those who use it only


def counts(module):
    return module.startswith("lessons.") or module in WHERE_IMPORTED


def code_hash(lesson):
    """Hash of the code of a study, the lessons it imports and the parts of kit used.

    Comments, docstrings and the layout of blank lines do not count.
    """
    files = [FOLDER / f"{lesson}.py"]
    for path in files:  # grows: an imported lesson may import others
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and counts(node.module):
                path = LESSONS.parent.joinpath(*node.module.split("."))
                found = path.with_suffix(".py")
                files += [found] if found not in files else []
    files += [Path(__file__).with_name(f"{name}.py") for name in MADE_WITH]
    whole = "\0".join(bare(path.read_text("utf-8")) for path in files)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def versions(lesson):
    """What the numbers of a study hang on, besides the processor."""
    installed = {name: version(name) for name in ("numpy", "torch")}
    return {"python": platform.python_version(), **installed, "code": code_hash(lesson)}


def load(path):
    """The stored study {"versions": {…}, "runs": {name: [{"seed", …}]}}.

    Raises ValueError, with what to do, where there is none or not a whole one.
    """
    again = f"run `python -m kit.study {path.stem}`"
    try:
        stored = json.loads(path.read_text("utf-8"))
        found = {"versions": dict(stored["versions"]), "runs": dict(stored["runs"])}
        runs = [one for its in found["runs"].values() for one in its]
        if not all(isinstance(one.get("seed"), int) for one in runs):
            raise ValueError("a run has no seed")
        return found
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; {again}") from None
    except KeyError as error:
        why = f"it has no {error}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    raise ValueError(f"{path} is damaged ({why}); mend or delete it, then {again}")


def read(lesson, folder=FOLDER):
    """The stored runs of a study, {name: [{"seed", measurement: number, …}]}."""
    return load(Path(folder) / f"{lesson}.json")["runs"]


def seeds_of(studied, seeds):
    """{name: its seeds}; `seeds` are those of all names, or already such a dict."""
    return seeds if isinstance(seeds, dict) else dict.fromkeys(studied, list(seeds))


def run(lesson, studied, seeds, folder=FOLDER):
    """Run what is not yet stored of ``studied``, {name: function(seed)}, for each seed.

    seeds: for all names, or {name: its seeds}: what is tuned on a seed that is left out
    of the results has that one only.
    Raises ValueError when the stored runs were made with other versions, by other code
    or measured other things: numbers of different origin do not mix.
    """
    path = Path(folder) / f"{lesson}.json"
    stored = load(path) if path.exists() else {"versions": versions(lesson), "runs": {}}
    if stored["versions"] != (today := versions(lesson)):
        made = f"was made with {stored['versions']}, here are {today}"
        raise ValueError(f"{path} {made}; delete it to run the whole study again")
    if foreign := stored["runs"].keys() - studied.keys():
        names = ", ".join(sorted(foreign))
        raise ValueError(
            f"{path} has runs of {names}, which the study no longer has; "
            "delete them or the file"
        )
    stored_runs = stored["runs"].items()
    done = {(name, one["seed"]) for name, runs in stored_runs for one in runs}
    seeds = seeds_of(studied, seeds)
    every = dict.fromkeys(seed for own in seeds.values() for seed in own)
    due = [(name, seed) for seed in every for name in studied if seed in seeds[name]]
    due = [one for one in due if one not in done]
    for name, seed in (bar := tqdm(due, desc=lesson)):
        bar.set_postfix_str(f"{name}, seed {seed}")
        found = studied[name](seed)
        measured = {key: round(float(value), 6) for key, value in found.items()}
        measured = {"seed": seed} | measured
        runs = stored["runs"].setdefault(name, [])
        if runs and runs[0].keys() != measured.keys():
            before, now = (", ".join(sorted(one)) for one in (runs[0], measured))
            what = f"has {before} of each run of {name}, now it would be {now}"
            raise ValueError(f"{path} {what}; delete it")
        runs.append(measured)
        stored["date"] = datetime.date.today().isoformat()
        text = json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False)
        store(path, text + "\n")


def within_spread(lesson, name, seed, measurement, value, times=1):
    """Raise AssertionError unless `value` is what the stored run gave.

    It may be off by `times` the spread, the standard deviation over the stored seeds.
    The same processor and libraries give the same digits. Others round otherwise:
    hardly to be seen after a few steps, after a whole training like another seed
    (`times=3`).
    """
    stored = load(FOLDER / f"{lesson}.json")
    values = {one["seed"]: one[measurement] for one in stored["runs"][name]}
    spread = statistics.stdev(values.values())
    if abs(value - values[seed]) > times * spread:
        raise AssertionError(
            f"{name}, seed {seed}: {measurement} is {value:.6g}, "
            f"stored is {values[seed]:.6g}, "
            f"the spread over {len(values)} seeds {spread:.2g}; stored with "
            f"{stored['versions']}, here are {versions(lesson)}"
        )


@in_one_line("stopped: what was measured is stored, the same command goes on")
def main():
    known = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        sys.exit(f"error: name one lesson that has a study: {', '.join(known)}")
    lesson = sys.argv[1]
    module = importlib.import_module(f"lessons.studies.{lesson}")
    torch.set_num_threads(1)
    run(lesson, module.STUDY, module.SEEDS)


if __name__ == "__main__":
    main()
