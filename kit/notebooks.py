"""Lessons → executed notebooks: ``python -m kit.notebooks [--force] [LESSON …]``.

``lessons/x.py`` becomes ``notebooks/x.ipynb``, executed from top to bottom in a fresh
kernel. A lesson is executed again only when something that it depends on changed: its
text, a lesson or a part of ``kit`` that it imports, Python or a package of
``requirements.txt``. A cell that fails stops its lesson and leaves the old notebook as
it was. A notebook that was edited by hand in ways that its module does not have is not
overwritten. Stored notebooks are those of seed 0: with another ``LESSON_SEED`` the
lessons run, to see whether their claims hold, and nothing is stored.
"""

import argparse
import ast
import asyncio
import atexit
import hashlib
import inspect
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import jupytext
import nbformat
import psutil
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from tqdm import tqdm

from kit.commands import in_one_line
from kit.files import store
from kit.packages import installed_version

ROOT = Path(__file__).parents[1]
# What reading a file that holds no notebook, or half of one, ends in.
DAMAGES = (
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    nbformat.ValidationError,
)
WIDGET = "application/vnd.jupyter.widget-view+json"
# What tags make of a cell on the slides, in JupyterLab's words.
ON_SLIDES = {"slide": "slide", "on-slide": "-", "speaker": "notes"}


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def lessons(root=ROOT):
    """Names of all lessons: those of ``notebooks/SUMMARY.md``, then the others."""
    summary = root / "notebooks" / "SUMMARY.md"
    listed = []
    if summary.exists():
        listed = re.findall(r"(\w+)\.ipynb", summary.read_text("utf-8"))
    found = {path.stem for path in (root / "lessons").glob("*.py")} - {"__init__"}
    unlisted = sorted(found - set(listed))
    return [name for name in dict.fromkeys(listed) if name in found] + unlisted


def kit_files(sources):
    """The files of ``kit`` that Python sources need.

    They are what the sources import, what that imports, and scripts of the viewers
    among it.
    """
    import kit.view  # here: it loads matplotlib

    folder, files, waiting = ROOT / "kit" / "view", set(), list(sources)
    while waiting:
        found, source = set(), waiting.pop()
        try:
            nodes = ast.walk(ast.parse(source))
        except (SyntaxError, ValueError):  # no Python: to be told when it is run
            continue
        for node in nodes:
            module = getattr(node, "module", None) or ""
            if not isinstance(node, ast.ImportFrom) or module.split(".")[0] != "kit":
                continue
            names = [alias.name for alias in node.names]
            place = ROOT.joinpath(*module.split("."))
            places = [place, *(place / name for name in names)]
            modules = [one.with_suffix(".py") for one in places]
            found |= {path for path in modules if path.exists()}
            viewers = names if module == "kit.view" else []
            for viewer in (getattr(kit.view, name) for name in viewers):
                line = viewer.__mro__
                parts = [one for one in line if one.__module__.startswith("kit.")]
                found |= {Path(inspect.getsourcefile(part)) for part in parts}
                scripts = ["base.js", "wake.js", *(part.script for part in parts)]
                found |= {folder / script for script in scripts if script}
        new = [path for path in found - files if path.suffix == ".py"]
        waiting += [path.read_text("utf-8") for path in new]
        files |= found
    return files


def needed(name, root=ROOT):
    """What a lesson's outputs depend on: (its name and those it imports, their files).

    The files are its own, what stands beside it in ``figures``, ``studies`` and so on,
    those of the lessons that these import, and the parts of ``kit`` that all of them
    use.
    """
    names, known = [name], set(lessons(root))
    imported = r"\blessons(?:\.(\w+))?(?: import (\w+))?"
    for lesson in names:  # grows: an imported lesson may import others
        for path in beside(lesson, root):
            pairs = re.findall(imported, path.read_text("utf-8"))
            found = {word for pair in pairs for word in pair}
            names += sorted(found & known - set(names))
    files = [path for lesson in names for path in beside(lesson, root)]
    # As notebooks, in which the cells that are comments in the module are code.
    sources = [text for lesson in names for text in code(lesson, root)]
    sources += [path.read_text("utf-8") for path in files if path.suffix == ".py"]
    return names, files + sorted(kit_files(sources))


def code(name, root=ROOT):
    """The code of all cells of a lesson, those that are comments in its module, too."""
    cells = to_notebook(name, root).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    return [TransformerManager().transform_cell(one) for one in sources]  # %pip


def source_hash(name, root=ROOT):
    """Hash of the text that a lesson's outputs depend on."""
    _, files = needed(name, root)
    # Text mode, so that the line ends of a Windows checkout give the same hash.
    return sha("\0".join(p.name + "\0" + p.read_text("utf-8") for p in files))


def beside(lesson, root=ROOT):
    """The files of a lesson: its module and those of its name in folders beside it.

    Without its recipe at the paper's scale, which no cell runs.
    """
    found = []
    for kind in ("py", "json"):
        found += sorted((root / "lessons").rglob(f"{lesson}.{kind}"))
    return [one for one in found if one.parts[-2:] != ("scale", f"{lesson}.py")]


def stored(path):
    """The notebook in a file, as `parsed`."""
    return parsed(path.read_bytes(), path)


def parsed(content, path):
    """The notebook that `content` is, bytes or str, of the file `path`.

    Raises ValueError, naming the file, where it is none, or half of one.
    """
    try:
        nb = nbformat.reads(content, as_version=4)
        nbformat.validate(nb)
        return nb
    except DAMAGES as error:
        why = f"{path} is damaged ({type(error).__name__})"
    again = f"`python -m kit.notebooks --force {path.stem}`"
    raise ValueError(f"{why}: mend it, or make it anew with {again}")


def cells_hash(nb):
    """Hash of all cells with outputs: another once it was run and saved by hand."""
    return sha(nbformat.writes(nbformat.v4.new_notebook(cells=nb.cells)))


def inputs_hash(nb):
    """Hash of what a notebook and its module both hold: kind, text, tags of cells."""
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nb.cells]
    return sha(json.dumps(cells))


def apart(name, root=ROOT):
    """What to do about a notebook edited by hand whose module has other cells, or None.

    Edited by hand: its cells are neither those that were last executed nor those last
    saved together with the module.
    """
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.exists() or not (root / "lessons" / f"{name}.py").exists():
        return None
    nb = stored(path)
    lesson, inputs = nb.metadata.get("lesson", {}), inputs_hash(nb)
    if inputs in (lesson.get("inputs"), inputs_hash(to_notebook(name, root))):
        return None
    if lesson.get("cells") == cells_hash(nb):
        return None
    pair = f"lessons/{name}.py notebooks/{name}.ipynb"
    return (
        f"notebooks/{name}.ipynb was edited by hand, and lessons/{name}.py has "
        "other cells.\n"
        f"To keep those of the notebook, run "
        f"`python -m jupytext --to py:percent --output {pair}`.\n"
        f"To keep those of the module, run `python -m kit.notebooks --force {name}`."
    )


def home():
    """Where Jupyter can keep nothing, give it a home until this process ends.

    So it is in a container with an unknown user.
    """
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
    """What else the outputs depend on, as ``{name: version}``.

    It is Python and every package pinned in ``requirements.txt``.
    """
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    names = re.findall(r"^([\w.-]+)==", pinned, re.M)
    versions = {name: installed_version(name) for name in names}
    return {"python": "{}.{}".format(*sys.version_info)} | versions


def stable_ids(nb):
    """Give every cell an id that only its content decides (copies are numbered)."""
    seen = {}
    for cell in nb.cells:
        digest = sha(f"{cell.cell_type}\0{cell.source}")[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return nb


def slide_type(cell):
    """What a cell is on the slides, in JupyterLab's words; its tags say it in ours."""
    tags = cell.metadata.get("tags", [])
    return next((kind for tag, kind in ON_SLIDES.items() if tag in tags), "skip")


def to_notebook(name, root=ROOT):
    """The lesson as a notebook without outputs."""
    text = (root / "lessons" / f"{name}.py").read_text("utf-8")
    nb = stable_ids(jupytext.reads(text, "py:percent"))
    nb.nbformat_minor = 5
    for cell in nb.cells:
        cell.metadata.slideshow = {"slide_type": slide_type(cell)}
    # The filters of jupytext.toml, for tools that read a notebook without it.
    filters = {"cell_metadata_filter": "tags,-all", "notebook_metadata_filter": "-all"}
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python"}
    nb.metadata = nbformat.from_dict({
        "jupytext": filters,
        "kernelspec": kernel | {"name": "python3"},
    })
    return nb


def about(nb, name):
    """Title, paper and promise out of the first cell of a lesson.

    Raises ValueError where one is missing.
    """
    text = nb.cells[0].source if nb.cells else ""
    marks = {"title": "# ", "paper": "**Paper:** ", "see": "**You will see:** "}
    found = {
        key: re.search(rf"^{re.escape(mark)}(.+)$", text, re.M)
        for key, mark in marks.items()
    }
    if missing := [f"'{marks[key].strip()}'" for key in found if not found[key]]:
        lines = " and one with ".join(missing)
        where = f"lessons/{name}.py: its first cell"
        raise ValueError(f"{where} needs a line that starts with {lines}")
    return {key: match[1].strip() for key, match in found.items()}


def is_current(name, root=ROOT):
    """Whether the stored notebook is what today's text gives in today's environment."""
    if not (path := root / "notebooks" / f"{name}.ipynb").exists():
        return False
    nb = stored(path)
    lesson = nb.metadata.get("lesson", {})
    today = {"source": source_hash(name, root), "environment": environment()}
    return (today | {"cells": cells_hash(nb)}).items() <= lesson.items()


def only_widget(output):
    data = output.get("data", {})
    return WIDGET in data and set(data) <= {WIDGET, "text/plain"}


def without_widgets(nb):
    """Drop live widgets, which mean nothing without their kernel.

    The HTML of a figure stays; what names a widget in it goes.
    """
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not only_widget(out)]
            for output in cell.outputs:
                data = output.get("data", {})
                data.pop(WIDGET, None)
                if "text/html" in data:
                    named = r'(?<=<figure) data-kernel="\w+"'
                    data["text/html"] = re.sub(named, "", data["text/html"])
    return nb


SILENT = logging.Logger("nbclient", logging.CRITICAL)  # it would tell what `build` does


class Client(NotebookClient):
    """Ends its kernel however its task ends, and leaves Ctrl-C to asyncio.

    nbclient's own way listens to Ctrl-C, too, for one client of a process; here two run
    at once, and asyncio cancels both.
    """

    @asynccontextmanager
    async def async_setup_kernel(self, **options):
        self.create_kernel_manager()
        cancelled = asyncio.current_task().cancelling
        with tempfile.TemporaryFile() as said:
            try:
                await self.start(said, **options)
                yield
            except DeadKernelError:
                if cancelled():  # nbclient tells the one for the other
                    raise asyncio.CancelledError from None
                if complaint := words(said):
                    tqdm.write(complaint, file=sys.stderr)
                raise
            finally:
                if cancelled():
                    self.shutdown_kernel = "immediate"  # it is in the middle of a cell
                if self.km is not None:  # not yet ended, as after a start that failed
                    await self._async_cleanup_kernel()

    async def start(self, said, **options):
        """Start a kernel, which writes into the file `said` what it complains of.

        Raises NotStarted, with the last of that.
        """
        try:
            await self.async_start_new_kernel(stderr=said, **options)
            await self.async_start_new_kernel_client()
        except (NoSuchKernel, OSError, RuntimeError) as error:
            last = words(said).rpartition("\n")[2]
            raise NotStarted(last or str(error)) from None


class NotStarted(Exception):
    """A lesson's kernel did not start."""


def words(said):
    """What was written into a file, as text."""
    said.seek(0)
    return said.read().decode(errors="replace").strip()


async def execute(nb, folder, bar, env=None):
    """Run all cells of ``nb`` in place; returns what the kernel took.

    That is ``(seconds of processor time, peak memory in MB)``.
    env: the surroundings of the kernel, in place of ours.

    Not the time by the clock: a lesson uses one core, and the clock would count
    whatever else the machine was busy with.
    """
    seconds = peak = 0
    client = Client(
        nb,
        log=SILENT,
        timeout=300,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=40"],
        on_cell_start=lambda cell, cell_index: bar.update(cell_index - bar.n),
    )

    async def watch():
        nonlocal seconds, peak
        while True:
            # It has not started yet, or has just gone.
            with suppress(AttributeError, psutil.NoSuchProcess):
                kernel = psutil.Process(client.km.provisioner.pid)
                seconds = sum(kernel.cpu_times()[:2])
                peak = max(peak, kernel.memory_info().rss)
            if sys.stderr.isatty():
                bar.refresh()  # the seconds go on during a long cell
            await asyncio.sleep(0.2)

    watcher = asyncio.create_task(watch())
    try:
        await client.async_execute(env=env or os.environ.copy())
        for index, cell in enumerate(nb.cells):
            for out in cell.get("outputs", []):
                if out.output_type == "error":  # what a cell shows could not be drawn
                    bar.update(index - bar.n)
                    raise CellExecutionError.from_cell_and_msg(cell, out)
        bar.update(len(nb.cells) - bar.n)
    finally:
        watcher.cancel()
    return round(seconds), round(peak / 2**20)


def first_line(text):
    return text.strip().partition("\n")[0]


async def build(name, root, slots, position):
    """Execute one lesson and store it; returns whether it succeeded."""
    async with slots:
        path, nb = root / "notebooks" / f"{name}.ipynb", to_notebook(name, root)
        # Before the run: an edit during it counts as a change.
        lesson = {"source": source_hash(name, root), "environment": environment()}
        layout = "{desc:<12} {bar:30} {n_fmt}/{total_fmt} cells, {elapsed_s:.0f} s"
        bar = tqdm(total=len(nb.cells), desc=name, position=position, bar_format=layout)
        with bar:
            try:
                seconds, memory = await execute(nb, path.parent, bar)
            except (CellControlSignal, DeadKernelError) as error:
                begun = nb.cells[: bar.n + 1]
                cells = [cell for cell in begun if cell.cell_type == "code"]
                kind = getattr(error, "ename", type(error).__name__)
                text = first_line(getattr(error, "evalue", str(error)))
                where = f"  cell [{len(cells)}]: {first_line(cells[-1].source)}"
                return stopped(name, f"{where}\n  {kind}: {text}")
            except (NotStarted, OSError) as error:
                return stopped(name, f"  its kernel did not start: {error}")
        if seed():
            held = f"every claim holds with LESSON_SEED={seed()}; nothing stored"
            tqdm.write(f"{name}: {held}", file=sys.stderr)
            return True
        without_widgets(nb)
        lesson |= {"cells": cells_hash(nb), "inputs": inputs_hash(nb)}
        nb.metadata.lesson = lesson | {"seconds": seconds, "memory_mb": memory}
        try:
            store(path, nbformat.writes(nb) + "\n")
        except OSError as error:
            return stopped(name, f"  {error}")
        return True


def stopped(name, why):
    told = f"{name}: stopped, its old notebook stays\n{why}"
    tqdm.write(told, file=sys.stderr)
    return False


def lesson_table(root, folder):
    """The table of executed lessons in Markdown, links relative to ``folder``."""
    rows = [
        "| Lesson | Paper | What you see | Time | Memory |",
        "|---|---|---|--:|--:|",
    ]
    for name in lessons(root):
        path = root / "notebooks" / f"{name}.ipynb"
        nb = stored(path) if path.exists() else None
        if nb and "seconds" in nb.metadata.get("lesson", {}):  # it was executed
            info, run = about(nb, name), nb.metadata.lesson
            lesson = f"[{info['title']}]({path.relative_to(folder).as_posix()})"
            time, gigabytes = f"{run.seconds}\u00a0s", run.memory_mb / 1024
            memory = f"{gigabytes:.1f}\u00a0GB"
            paper = re.sub(r": \*[^*]+\*", "", info["paper"])  # its title is long
            cells = [lesson, paper, info["see"], time, memory]
            escaped = (cell.replace("|", "\\|") for cell in cells)
            rows.append("| " + " | ".join(escaped) + " |")
    return "\n".join(rows)


def with_table(text, table):
    """``text`` with ``table`` between its markers."""
    marked = re.compile("(<!-- lessons -->).*?(<!-- /lessons -->)", re.S)
    new, count = marked.subn(lambda m: f"{m[1]}\n{table}\n{m[2]}", text)
    if count != 1:
        pair = "one pair of <!-- lessons --> and <!-- /lessons -->"
        raise ValueError(f"the lesson table needs {pair}, found {count}")
    return new


async def build_all(names, root=ROOT, force=False):
    """Bring notebooks and lesson tables up to date; returns whether all lessons ran."""
    for name in names:  # refused before anything runs
        about(to_notebook(name, root), name)
    for name in lessons(root):
        path = root / "notebooks" / f"{name}.ipynb"
        if path.exists() and not (force and name in names):
            stored(path)
    due = [name for name in names if force or seed() or not is_current(name, root)]
    edits = [] if force or seed() else [apart(name, root) for name in due]
    if edits := [edit for edit in edits if edit]:
        raise ValueError("\n".join(edits))
    for name in names:
        if name not in due:
            print(f"{name}: up to date")
    slots = asyncio.Semaphore(min(2, os.cpu_count()))
    builds = [build(name, root, slots, i) for i, name in enumerate(due)]
    done = await asyncio.gather(*builds)
    for path in (root / "README.md", root / "notebooks" / "index.md"):
        if path.exists():
            text = path.read_text("utf-8")
            new = with_table(text, lesson_table(root, path.parent))
            if new != text:
                store(path, new)
    return all(done)


def chosen(names, parser, root=ROOT):
    """The lessons named on a command line, or all; `parser` refuses an unknown one."""
    known = lessons(root)
    if unknown := [name for name in names if name not in known]:
        lacking, there = ", ".join(unknown), ", ".join(known)
        parser.error(f"no lesson named {lacking}; the lessons are: {there}")
    return names or known


@in_one_line("stopped: every lesson is whole, the old one or the new")
def main(args=None, root=ROOT):
    parser = argparse.ArgumentParser(
        prog="python -m kit.notebooks", description="Execute the lessons that changed."
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    always = "execute even what is up to date or was edited by hand"
    parser.add_argument("--force", action="store_true", help=always)
    options = parser.parse_args(args)
    home()
    names = chosen(options.lesson, parser, root)
    return 0 if asyncio.run(build_all(names, root, options.force)) else 1


if __name__ == "__main__":
    sys.exit(main())
