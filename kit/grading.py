"""Marks of submitted notebooks: every exercise is checked in a process of its own.

nbgrader calls `Checks` where it would execute a notebook, and `Restored` before that.
What a submission prints, or does to the cells of the checks, plays no part, and one
that loops for ever, eats memory or is no Python loses that exercise and nothing else.
"""

import contextlib
import importlib
import multiprocessing
import os
import re
import signal
import sys
import time

import psutil
from nbformat.v4 import new_code_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Float

from kit.assignments import locked
from kit.exercises import progress

CHECK = re.compile(r"^check\((\w+), checks\.(\w+)\)  # (\d+) checks$", re.M)
UNIX = os.name == "posix"
START = "forkserver" if UNIX else "spawn"  # a copy costs no imports
MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.M)  # a line for IPython


def compiled(source, name):
    """The code of a cell; lines for IPython do nothing here."""
    try:
        return compile(source, f"<{name}>", "exec")
    except SyntaxError:
        return compile(MAGIC.sub(r"\1pass", source), f"<{name}>", "exec")


def alone():
    """Silence this process, and give it a group of its own, which ends with it."""
    if UNIX:
        os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def answer(pipe, lesson, name, check, cells):
    """Run the cells of a submission and send (passed, line) of one exercise."""
    alone()
    module = importlib.import_module(f"lessons.{lesson}")
    # Taken hold of before a line of the submission runs.
    checker = getattr(importlib.import_module(f"lessons.checks.{lesson}"), check)
    namespace, send, judge, trouble = dict(vars(module)), pipe.send, progress, ""
    sys.modules["lessons.assignments"] = None  # the solutions: to import them fails
    for source in cells:
        try:
            exec(compiled(source, name), namespace)
        except (Exception, SystemExit) as error:
            trouble = f"; a cell stopped with {type(error).__name__}: {error}"
    if name in namespace:
        passed, line = judge(namespace[name], checker)
    else:
        passed, line = 0, f"✗ there is no {name}{trouble}"
    send((passed, line))


def run(lesson, name, check, cells, seconds=60, gigabytes=4):
    """(checks passed, the line about it) for the cells of one answer."""
    context = multiprocessing.get_context(START)
    if START == "forkserver":
        context.set_forkserver_preload([f"lessons.checks.{lesson}"])
    ours, its = context.Pipe(duplex=False)
    task = lesson, name, check, cells
    process = context.Process(target=answer, args=(its, *task), daemon=True)
    process.start()
    its.close()
    begun = time.monotonic()
    try:
        while not ours.poll(0.1):
            work, memory = used(process.pid)
            if work > seconds or time.monotonic() > begun + 10 * seconds:
                return 0, f"✗ no answer after {seconds:g} seconds of work: does it end?"
            if memory > gigabytes * 2**30:
                return 0, f"✗ more than {gigabytes:g} GB of memory were used"
        return ours.recv()
    except EOFError:
        return 0, "✗ your code ended Python"
    finally:
        with contextlib.suppress(ProcessLookupError, AttributeError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.kill()
        process.join()


def used(pid):
    """(processor seconds, bytes) of a process; a busy machine takes from nobody."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(process.cpu_times()[:2]), process.memory_info().rss
    return 0, 0


class Restored(NbGraderPreprocessor):
    """Each cell of checks once: copies of it are none, a missing one comes back."""

    def preprocess(self, nb, resources):
        names, asked = set(), resources["nbgrader"]
        for cell in nb.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in names:
                del cell.metadata["nbgrader"]
            names.add(name)
        with Gradebook(asked["db_url"]) as book:
            place = asked["notebook"], asked["assignment"]
            for graded in book.find_notebook(*place).grade_cells:
                if graded.name not in names:
                    source = book.find_source_cell(graded.name, *place).source
                    points = {"grade": True, "points": graded.max_score}
                    cell = locked(new_code_cell(source), graded.name, **points)
                    nb.cells.append(cell)
        return nb, resources


class Checks(NbGraderPreprocessor):
    """Fills the cells with the checks of a submission with points and hints."""

    seconds = Float(60, help="of the processor, an exercise").tag(config=True)
    gigabytes = Float(4, help="for one exercise").tag(config=True)

    def preprocess(self, nb, resources):
        lesson = resources["nbgrader"]["assignment"]
        answers = [cell for cell in nb.cells if cell.cell_type == "code"]
        for cell in answers:
            cell.outputs, cell.execution_count = [], None
        for cell in filter(is_grade, answers):
            name, check, checks = CHECK.search(cell.source).groups()
            its = [one.source for one in answers if not is_grade(one)]
            limits = self.seconds, self.gigabytes
            passed, line = run(lesson, name, check, its, *limits)
            share = 1 if line.startswith("✓") else min(passed / int(checks), 1)
            points = round(cell.metadata.nbgrader.points * share, 1)
            told = new_output("stream", name="stdout", text=f"{line}\n")
            score = {"text/plain": f"{points:g}"}
            cell.outputs = [told, new_output("execute_result", score)]
        return nb, resources
