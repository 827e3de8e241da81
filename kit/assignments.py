"""The students' edition of the exercises: `python -m kit.assignments` makes a course.

`lessons/assignments/x.py` holds the exercises of a lesson with their solutions, the
lecturer's edition. A course is a folder as nbgrader has it: `source`, `release`, and a
configuration by which `nbgrader autograde` uses the lesson's own checks.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from kit.commands import in_one_line
from kit.exercises import progress
from kit.files import store
from kit.notebooks import ROOT, about, chosen, stored

ANSWER = re.compile(r"^(?:def|class) (\w+)", re.M)
POINTS = re.compile(r"^\*(easy|medium|hard), (\d+) points?\*$", re.M)
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION.*?### END SOLUTION$", re.M | re.S)
OPENING = """# {title}: exercises

Replace every `raise NotImplementedError` by your own code and run the cell behind it:
it tells you what is wrong, or ✓. You may add cells and functions."""
RULES = """
The cells with the checks cannot be changed.
A partly right answer gets part of the points."""
IMPORTS = """from kit.exercises import check
from lessons.checks import {name} as checks
from lessons.{name} import *"""
CONFIG = '''"""nbgrader's settings of this course; see its documentation for more."""

c = get_config()
c.CourseDirectory.course_id = "papers-cell-by-cell"
c.IncludeHeaderFooter.header = ""
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.ClearOutput",
    "kit.grading.Restored",  # in place of DeduplicateIds
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "kit.grading.Checks",  # in place of Execute
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Checks.seconds = 60  # for one exercise
c.Checks.gigabytes = 4
'''


def exercises(name, root=ROOT):
    """Yield (text, code, answer, points) for each exercise of a lesson.

    Raises ValueError naming the exercise for one without points or without an answer.
    """
    path = root / "lessons" / "assignments" / f"{name}.py"
    cells = jupytext.read(path, fmt="py:percent").cells
    for text, code in zip(cells, cells[1:]):
        if text.source.startswith("### ") and code.cell_type == "code":
            where = f"{path.name}, {text.source.splitlines()[0]!r}"
            points, answers = POINTS.search(text.source), ANSWER.findall(code.source)
            if not points:
                raise ValueError(f"{where}: a line such as *easy, 2 points* is missing")
            if len(answers) != 1 or "### BEGIN SOLUTION" not in code.source:
                raise ValueError(f"{where}: it needs one function or class to solve")
            yield text.source, code.source, answers[0], int(points[2])


def numbered(number, text):
    return re.sub("^#+ ", f"## Exercise {number}: ", text)


def practice_notebook(name, title):
    """The exercises of a lesson without solutions and points, for one's own use."""
    cells = [new_markdown_cell(OPENING.format(title=title))]
    cells.append(new_code_cell(IMPORTS.format(name=name)))
    for number, (text, code, answer, _) in enumerate(exercises(name), 1):
        text = numbered(number, POINTS.sub(r"*\1*", text))
        stub = SOLUTION.sub(r"\1raise NotImplementedError", code)
        test = f"check({answer}, checks.{answer})"
        cells += [new_markdown_cell(text), new_code_cell(f"{stub}\n\n\n{test}")]
    return with_kernel(new_notebook(cells=cells))


def with_kernel(nb):
    nb.metadata.kernelspec = {
        "name": "python3", "language": "python", "display_name": "Python 3",
    }
    return nb


def locked(cell, name, **marks):
    """A cell with nbgrader's marks."""
    cell.metadata.nbgrader = {
        "schema_version": 3, "grade_id": name, "locked": True, "grade": False,
        "solution": False, "task": False, **marks,
    }
    return cell


def source_notebook(name, title):
    """The lecturer's edition of a lesson's exercises: solutions, checks, points."""
    lesson = importlib.import_module(f"lessons.{name}")
    checks = importlib.import_module(f"lessons.checks.{name}")
    opening = new_markdown_cell(OPENING.format(title=title) + RULES)
    cells = [locked(opening, "opening")]
    cells.append(locked(new_code_cell(IMPORTS.format(name=name)), "imports"))
    for number, (text, code, answer, points) in enumerate(exercises(name), 1):
        solved = dict(vars(lesson))
        exec(code, solved)
        count, line = progress(solved[answer], getattr(checks, answer))
        if not line.startswith("✓"):
            raise ValueError(f"{name}: the solution of {answer} fails: {line}")
        text = numbered(number, text)
        test = f"check({answer}, checks.{answer})  # {count} checks"
        cells += [
            locked(new_markdown_cell(text), f"text-{answer}"),
            locked(new_code_cell(code), answer, locked=False, solution=True),
            locked(new_code_cell(test), f"check-{answer}", grade=True, points=points),
        ]
    return with_kernel(new_notebook(cells=cells))


def make(names, course, root=ROOT):
    """Write the course and let nbgrader make the students' edition of it."""
    if find_spec("nbgrader") is None:
        raise ValueError("nbgrader is missing: pip install -r tests/requirements.txt")
    course.mkdir(parents=True, exist_ok=True)
    config = course / "nbgrader_config.py"
    if not config.exists():  # the lecturer's own settings stay
        store(config, CONFIG)
    for name in names:
        nb = stored(root / "notebooks" / f"{name}.ipynb")
        title = about(nb, name)["title"].partition(":")[0]
        folder = course / "source" / name
        folder.mkdir(parents=True, exist_ok=True)
        source = nbformat.writes(source_notebook(name, title))
        store(folder / f"{name}.ipynb", source + "\n")
        nbgrader(course, "generate_assignment", name, "--force", "--create")


def nbgrader(course, *command):
    """Run nbgrader in a course. Raises ValueError with what it said where it fails."""
    command = [sys.executable, "-m", "nbgrader", *command]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"cwd": course, "env": os.environ | {"PATH": path}}  # it calls alembic
    run = subprocess.run(command, capture_output=True, text=True, **settings)
    if run.returncode:
        raise ValueError(f"{' '.join(command[1:])} failed:\n{run.stderr}")
    return run.stderr


@in_one_line()
def main(args=None, root=ROOT):
    parser = argparse.ArgumentParser(
        prog="python -m kit.assignments", description="Make a course for nbgrader."
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=root / "course")
    options = parser.parse_args(args)
    names = chosen(options.lesson, parser, root)
    make(names, options.output, root)
    print(f"for students: {options.output / 'release'}")


if __name__ == "__main__":
    main()
