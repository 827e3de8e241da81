"""Lessons → executed notebooks: ``python -m kit.notebooks [--force] [LESSON …]``.

``lessons/x.py`` becomes ``notebooks/x.ipynb``, executed from top to bottom in a fresh kernel. A lesson is executed again only when
something that it depends on changed: its text, a lesson or a part of ``kit`` that it imports, Python or a package of ``requirements.txt``.
A cell that fails stops its lesson and leaves the old notebook as it was. A notebook that was edited by hand in ways that its module
does not have is not overwritten.
Stored notebooks are those of seed 0: with another ``LESSON_SEED`` the lessons run, to see whether their claims hold, and nothing is stored.
"""

import argparse
import ast
import asyncio
import atexit
import hashlib
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def lessons(root=ROOT):
    """Names of all lessons: those of ``notebooks/SUMMARY.md`` in its order, then the others."""
    summary = root / "notebooks" / "SUMMARY.md"
    listed = re.findall(r"(\w+)\.ipynb", summary.read_text("utf-8")) if summary.exists() else []
    found = sorted(path.stem for path in (root / "lessons").glob("*.py") if path.stem != "__init__")
    return sorted(found, key=lambda name: listed.index(name) if name in listed else len(listed))


def kit_files(sources):
    """The files of ``kit`` that Python sources need: what they import, what that imports, and the scripts of the viewers among it."""
    import kit.view  # here: it loads matplotlib

    folder, files, waiting = ROOT / "kit" / "view", set(), list(sources)
    while waiting:
        found = set()
        for node in ast.walk(ast.parse(waiting.pop())):
            module = getattr(node, "module", None) or ""
            if not isinstance(node, ast.ImportFrom) or module.split(".")[0] != "kit":
                continue
            place = ROOT.joinpath(*module.split("."))
            found |= {path for path in (place.with_suffix(".py"), *(place / f"{name.name}.py" for name in node.names)) if path.exists()}
            for viewer in (getattr(kit.view, name.name) for name in node.names if module == "kit.view"):
                parts = [part for part in viewer.__mro__ if part.__module__.startswith("kit.")]
                found |= {Path(inspect.getsourcefile(part)) for part in parts}
                scripts = ["base.js", "wake.js", *(part.script for part in parts)]
                found |= {folder / script for script in scripts if script}
        waiting += [path.read_text("utf-8") for path in found - files if path.suffix == ".py"]
        files |= found
    return files


def source_hash(name, root=ROOT):
    """Hash of the text that a lesson's outputs depend on.

    That is its own, what stands beside it in ``figures``, ``studies`` and so on, the
    lessons that these import, and the parts of ``kit`` that all of them use.
    """
    names, known = [name], set(lessons(root))
    imported = r"\blessons(?:\.(\w+))?(?: import (\w+))?"
    for lesson in names:  # grows while it is walked: an imported lesson may import others
        for path in beside(lesson, root):
            found = {word for pair in re.findall(imported, path.read_text("utf-8")) for word in pair}
            names += sorted(found & known - set(names))
    files = [path for lesson in names for path in beside(lesson, root)]
    # As notebooks, in which the cells that are comments in the module are code.
    sources = [cell.source for lesson in names for cell in to_notebook(lesson, root).cells if cell.cell_type == "code"]
    sources += [path.read_text("utf-8") for path in files if path.suffix == ".py"]
    files += sorted(kit_files(sources))
    # Text mode, so that the line ends of a Windows checkout give the same hash.
    return sha("\0".join(p.name + "\0" + p.read_text("utf-8") for p in files))


def beside(lesson, root=ROOT):
    """The files of a lesson: its module and what bears its name in the folders beside it."""
    return [path for kind in ("py", "json") for path in sorted((root / "lessons").rglob(f"{lesson}.{kind}"))]


def cells_hash(nb):
    """Hash of all cells with their outputs: a notebook that was run and saved by hand has another."""
    return sha(nbformat.writes(nbformat.v4.new_notebook(cells=nb.cells)))


def inputs_hash(nb):
    """Hash of what a notebook and its module both hold: kind, text and tags of every cell."""
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nb.cells]
    return sha(json.dumps(cells))


def apart(name, root=ROOT):
    """What to do about a notebook that was edited by hand when its module has other cells; ``None`` when all is well.

    Edited by hand: its cells are neither those that were last executed nor those last saved together with the module.
    """
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.exists() or not (root / "lessons" / f"{name}.py").exists():
        return None
    nb = nbformat.read(path, as_version=4)
    lesson, inputs = nb.metadata.get("lesson", {}), inputs_hash(nb)
    if inputs in (lesson.get("inputs"), inputs_hash(to_notebook(name, root))) or lesson.get("cells") == cells_hash(nb):
        return None
    return (
        f"notebooks/{name}.ipynb was edited by hand, and lessons/{name}.py has other cells.\n"
        f"To keep those of the notebook, run `python -m jupytext --to py:percent --output lessons/{name}.py notebooks/{name}.ipynb`.\n"
        f"To keep those of the module, run `python -m kit.notebooks --force {name}`."
    )


def home():
    """Where Jupyter can keep nothing, as in a container with an unknown user, give it a home until this process ends."""
    with suppress(RuntimeError):  # no HOME, and nobody knows the user's
        if os.access(Path.home(), os.W_OK):
            return
    os.environ["HOME"] = tempfile.mkdtemp(prefix="papers-cell-by-cell-")
    atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def seed():
    """The seed of the lessons; ValueError when `LESSON_SEED` is none."""
    if os.environ.get("LESSON_SEED", "0") == "0":
        return 0
    from kit import train  # here: it loads torch

    return train.seed()


def environment():
    """What else the outputs depend on: Python and every package pinned in ``requirements.txt``, ``{name: version}``."""
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text("utf-8"), re.M)
    return {"python": "{}.{}".format(*sys.version_info)} | {name: version(name) for name in pinned}


def stable_ids(nb):
    """Give every cell an id that only its content decides (copies are numbered)."""
    seen = {}
    for cell in nb.cells:
        digest = sha(f"{cell.cell_type}\0{cell.source}")[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return nb


def to_notebook(name, root=ROOT):
    """The lesson as a notebook without outputs."""
    nb = stable_ids(jupytext.reads((root / "lessons" / f"{name}.py").read_text("utf-8"), "py:percent"))
    nb.nbformat_minor = 5
    nb.metadata = nbformat.from_dict({
        # The filters of jupytext.toml, for tools that read a notebook without it.
        "jupytext": {"cell_metadata_filter": "tags,-all", "notebook_metadata_filter": "-all"},
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    })
    return nb


def about(nb, name):
    """Title, paper and promise out of the first cell of a lesson; ``ValueError`` where one is missing."""
    text = nb.cells[0].source if nb.cells else ""
    marks = {"title": "# ", "paper": "**Paper:** ", "see": "**You will see:** "}
    found = {key: re.search(rf"^{re.escape(mark)}(.+)$", text, re.M) for key, mark in marks.items()}
    if missing := [f"'{marks[key].strip()}'" for key in found if not found[key]]:
        raise ValueError(f"lessons/{name}.py: its first cell needs a line that starts with {' and one with '.join(missing)}")
    return {key: match[1].strip() for key, match in found.items()}


def is_current(name, root=ROOT):
    """Whether the stored notebook is what executing today's text in today's environment left."""
    if not (path := root / "notebooks" / f"{name}.ipynb").exists():
        return False
    nb = nbformat.read(path, as_version=4)
    today = {"source": source_hash(name, root), "environment": environment(), "cells": cells_hash(nb)}
    return today.items() <= nb.metadata.get("lesson", {}).items()


def without_widgets(nb):
    """Drop live widgets, which mean nothing without their kernel.

    The HTML of a figure stays; what names a widget in it goes.
    """
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {}) or set(out.data) - {WIDGET, "text/plain"}]
            for output in cell.outputs:
                data = output.get("data", {})
                data.pop(WIDGET, None)
                if "text/html" in data:
                    named = r'(?<=<figure) data-kernel="\w+"'
                    data["text/html"] = re.sub(named, "", data["text/html"])
    return nb


async def execute(nb, folder, bar):
    """Run all cells of ``nb`` in place; returns ``(seconds of processor time, peak memory in MB)`` of the kernel.

    Not the time by the clock: a lesson uses one core, and the clock would count whatever else the machine was busy with.
    """
    seconds = peak = 0
    client = NotebookClient(
        nb, timeout=300, resources={"metadata": {"path": str(folder)}},
        record_timing=False, coalesce_streams=True, extra_arguments=["--log-level=40"],
        on_cell_start=lambda cell, cell_index: bar.update(cell_index - bar.n),
    )

    async def watch():
        nonlocal seconds, peak
        while True:
            with suppress(AttributeError, psutil.NoSuchProcess):  # not started yet, or just gone
                kernel = psutil.Process(client.km.provisioner.pid)
                seconds, peak = sum(kernel.cpu_times()[:2]), max(peak, kernel.memory_info().rss)
            if sys.stderr.isatty():
                bar.refresh()  # the seconds go on during a long cell
            await asyncio.sleep(0.2)

    watcher = asyncio.create_task(watch())
    try:
        await client.async_execute()
        for index, cell in enumerate(nb.cells):
            for out in cell.get("outputs", []):
                if out.output_type == "error":  # what a cell shows could not be drawn
                    bar.update(index - bar.n)
                    raise CellExecutionError.from_cell_and_msg(cell, out)
        bar.update(len(nb.cells) - bar.n)
    finally:
        watcher.cancel()
    return round(seconds), round(peak / 2**20)


async def build(name, root, slots, position):
    """Execute one lesson and store it; returns whether it succeeded."""
    async with slots:
        path, nb = root / "notebooks" / f"{name}.ipynb", to_notebook(name, root)
        lesson = {"source": source_hash(name, root), "environment": environment()}  # before the run: an edit during it counts as a change
        layout = "{desc:<12} {bar:30} {n_fmt}/{total_fmt} cells, {elapsed_s:.0f} s"
        with tqdm(total=len(nb.cells), desc=name, position=position, bar_format=layout) as bar:
            try:
                seconds, memory = await execute(nb, path.parent, bar)
            except (CellControlSignal, DeadKernelError) as error:
                cells = [cell for cell in nb.cells[: bar.n + 1] if cell.cell_type == "code"]
                kind, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
                source, text = (part.strip().partition("\n")[0] for part in (cells[-1].source, text))
                tqdm.write(f"{name}: stopped, its old notebook stays\n  cell [{len(cells)}]: {source}\n  {kind}: {text}", file=sys.stderr)
                return False
        if seed():
            tqdm.write(f"{name}: every claim holds with LESSON_SEED={seed()}; nothing stored", file=sys.stderr)
            return True
        without_widgets(nb)
        nb.metadata.lesson = lesson | {"cells": cells_hash(nb), "inputs": inputs_hash(nb), "seconds": seconds, "memory_mb": memory}
        path.with_suffix(".partial").write_text(nbformat.writes(nb) + "\n", "utf-8", newline="\n")
        path.with_suffix(".partial").replace(path)
        return True


def lesson_table(root, folder):
    """The table of executed lessons in Markdown, links relative to ``folder``."""
    rows = ["| Lesson | Paper | What you see | Time | Memory |", "|---|---|---|--:|--:|"]
    for name in lessons(root):
        path = root / "notebooks" / f"{name}.ipynb"
        if path.exists():
            nb = nbformat.read(path, as_version=4)
            info, run = about(nb, name), nb.metadata.lesson
            lesson = f"[{info['title']}]({path.relative_to(folder).as_posix()})"
            cells = [lesson, info["paper"], info["see"], f"{run.seconds}\u00a0s", f"{run.memory_mb / 1024:.1f}\u00a0GB"]
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def with_table(text, table):
    """``text`` with ``table`` between its markers."""
    new, count = re.subn(r"(<!-- lessons -->).*?(<!-- /lessons -->)", lambda m: f"{m[1]}\n{table}\n{m[2]}", text, flags=re.S)
    if count != 1:
        raise ValueError(f"the lesson table needs one pair of <!-- lessons --> and <!-- /lessons -->, found {count}")
    return new


async def build_all(names, root=ROOT, force=False):
    """Bring notebooks and lesson tables up to date; returns whether every lesson ran."""
    for name in names:
        about(to_notebook(name, root), name)  # a lesson without its first lines is refused before anything runs
    due = [name for name in names if force or seed() or not is_current(name, root)]
    if not (force or seed()) and (edits := list(filter(None, (apart(name, root) for name in due)))):
        raise ValueError("\n".join(edits))
    print(*(f"{name}: up to date\n" for name in names if name not in due), sep="", end="")
    slots = asyncio.Semaphore(min(2, os.cpu_count()))
    done = await asyncio.gather(*(build(name, root, slots, i) for i, name in enumerate(due)))
    for path in (root / "README.md", root / "notebooks" / "index.md"):
        if path.exists():
            path.write_text(with_table(path.read_text("utf-8"), lesson_table(root, path.parent)), "utf-8", newline="\n")
    return all(done)


def main(args=None, root=ROOT):
    parser = argparse.ArgumentParser(prog="python -m kit.notebooks", description="Execute the lessons that changed.")
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    parser.add_argument("--force", action="store_true", help="execute even what is up to date or was edited by hand")
    options = parser.parse_args(args)
    home()
    known = lessons(root)
    if unknown := [name for name in options.lesson if name not in known]:
        parser.error(f"no lesson named {', '.join(unknown)}; the lessons are: {', '.join(known)}")
    try:
        return 0 if asyncio.run(build_all(options.lesson or known, root, options.force)) else 1
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())
