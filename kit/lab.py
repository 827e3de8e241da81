"""The lessons in JupyterLab: ``papers-cell-by-cell [LESSON] [options of JupyterLab]``.

In the project's folder the same is ``python -m kit.lab``.
A reader works on copies in the folder ``my-lessons/`` below the current one. What was
changed there is never overwritten: a new edition of a lesson is laid beside it.
With ``--edit`` the originals open; saving one writes its module in ``lessons/`` too.
"""

import argparse
import os
import re
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import nbformat

from kit import notebooks
from kit.assignments import practice_notebook
from kit.commands import in_one_line
from kit.exercises import solved
from kit.files import store
from kit.notebooks import (
    ROOT,
    about,
    cells_hash,
    home,
    lesson_table,
    lessons,
    to_notebook,
)

MINE = "my-lessons"
CHECK = re.compile(r"^def (\w+)\(answer\):$", re.M)

START = """# Papers, Cell by Cell

These notebooks are yours: run them, change them, write into them.
An update of the project leaves what you changed as it is.
To begin a lesson anew, rename or delete your copy and start JupyterLab again.
{news}
{table}

{progress}
{more}
"""


def stored(path):
    """The notebook in a file, ``None`` where there is none that can be read."""
    with suppress(OSError, ValueError):
        return notebooks.stored(path)


def lay_out(original, folder):
    """Copy a lesson into ``folder`` unless this edition is there; returns the copy.

    An edition ends where the lesson, or what it imports, changes. A copy in which the
    reader changed anything stays; then the new edition gets a name of its own.
    """
    edition = notebooks.stored(original).metadata.get("lesson", {}).get("source")
    for number in count():
        suffix = ("", "-new", f"-new-{number}")[min(number, 2)]
        path = folder / f"{original.stem}{suffix}.ipynb"
        copy = stored(path)
        lesson = copy.metadata.get("lesson", {}) if copy else {}
        if copy and lesson.get("source") == edition:
            return path
        if not path.exists() or (copy and lesson.get("cells") == cells_hash(copy)):
            store(path, original.read_bytes())
            return path


def progress(root=ROOT):
    """A line of Markdown: how many exercises of each lesson were solved here."""
    done, found = solved(), []
    for name in lessons(root):
        path = root / "lessons" / "checks" / f"{name}.py"
        text = path.read_text("utf-8") if path.exists() else ""
        there = {f"{name}.{check}" for check in CHECK.findall(text)}
        if there & done:
            title = about(to_notebook(name, root), name)["title"].partition(":")[0]
            found.append(f"{title} {len(there & done)} of {len(there)}")
    if not found:
        return "Exercises that you solve are counted here when you start again."
    return f"Exercises solved on this machine: {', '.join(found)}."


def more_exercises(folder, root=ROOT):
    """Lay out notebooks of exercises without solutions; returns a line of links."""
    links = []
    for name in lessons(root):
        if (root / "lessons" / "assignments" / f"{name}.py").exists():
            title = about(to_notebook(name, root), name)["title"].partition(":")[0]
            path = folder / f"{name}-exercises.ipynb"
            if not path.exists():
                store(path, nbformat.writes(practice_notebook(name, title)) + "\n")
            links.append(f"[{title}]({path.name})")
    return f"More exercises, without solutions: {', '.join(links)}." if links else ""


def open_desk(root=ROOT, here=None):
    """Lay out the reader's copies and their start page; returns what is new.

    That is a line for each lesson of which the reader has changed an older edition.
    here: where the folder of the copies lies or is made; otherwise in the project.
    """
    folder, news = (here or root) / MINE, {}
    folder.mkdir(exist_ok=True)
    for name in lessons(root):
        original = root / "notebooks" / f"{name}.ipynb"
        if original.exists() and (path := lay_out(original, folder)).stem != name:
            title = about(notebooks.stored(original), name)["title"].partition(":")[0]
            news[path.name] = f"There is a new edition of {title}"
    table = lesson_table(root, root / "notebooks")  # the copies bear the same names
    offers = [f"\n**{text}**: [{file}]({file})\n" for file, text in news.items()]
    parts = {"progress": progress(root), "more": more_exercises(folder, root)}
    start = START.format(news="".join(offers), table=table, **parts)
    store(folder / "index.md", start)
    return [f"{text}: {MINE}/{file}" for file, text in news.items()]


@in_one_line()
def main(args=None, root=ROOT):
    parser = argparse.ArgumentParser(
        prog="papers-cell-by-cell",
        usage="%(prog)s [LESSON] [--edit] [options of JupyterLab]",
        description="The lessons in JupyterLab; LESSON is the one to begin with: "
        f"{', '.join(lessons(root))}.",
        epilog="Other options go to JupyterLab: --no-browser, --port=9999, …",
        allow_abbrev=False,
    )
    parser.add_argument("--edit", action="store_true", help="the originals, no copies")
    options, others = parser.parse_known_args(args)
    # Not an argument of the parser, which would take the 9999 of `--port 9999` for it.
    lesson = others.pop(0) if others and not others[0].startswith("-") else None
    if lesson not in (None, *lessons(root)):
        parser.error(f"no lesson named {lesson}; there are {', '.join(lessons(root))}")
    if options.edit and not (root / "pyproject.toml").exists():
        parser.error("--edit needs the project's folder: `make edit` there")
    home()
    from jupyterlab.labapp import LabApp  # not sooner: importing it looks for the home

    here, page = root, f"notebooks/{lesson}.ipynb" if lesson else "notebooks/index.md"
    if not options.edit:
        here = Path.cwd()
        for line in open_desk(root, here):
            print(line, flush=True)
        copy = lay_out(root / page, here / MINE).name if lesson else "index.md"
        page = f"{MINE}/{copy}"
    # A terminal in JupyterLab, and `!pip` in a notebook, find this Python.
    bin_folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([bin_folder, os.environ["PATH"]])
    LabApp.launch_instance([
        f"--ServerApp.root_dir={here}",
        "--ServerApp.contents_manager_class=kit.contents.Lessons",
        f"--LabApp.default_url=/lab/tree/{page}",
        *others,
    ])


if __name__ == "__main__":
    main()
