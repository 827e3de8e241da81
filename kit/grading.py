"""Marks of submitted notebooks: every exercise is checked in a process of its own.

nbgrader calls `Checks` where it would execute a notebook. What a submission prints, or
writes into the cells of the checks, plays no part, and one that loops for ever, eats
memory or is no Python loses that exercise and nothing else.
"""

import contextlib
import importlib
import multiprocessing
import os
import re
import time

import psutil
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Float

from kit.exercises import progress

CHECK = re.compile(r"^check\((\w+), checks\.(\w+)\)  # (\d+) checks$", re.M)
START = "forkserver" if os.name == "posix" else "spawn"  # a copy costs no imports


def answer(pipe, lesson, name, check, cells):
    """Run the cells of a submission and send (passed, line) of one exercise."""
    module = importlib.import_module(f"lessons.{lesson}")
    # Taken hold of before a line of the submission runs.
    checker = getattr(importlib.import_module(f"lessons.checks.{lesson}"), check)
    namespace, send, judge, trouble = dict(vars(module)), pipe.send, progress, ""
    nowhere = open(os.devnull, "w", encoding="utf-8")
    with nowhere, contextlib.redirect_stdout(nowhere):
        for source in cells:
            try:
                exec(compile(source, f"<{name}>", "exec"), namespace)
            except Exception as error:
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
        process.kill()
        process.join()


def used(pid):
    """(processor seconds, bytes) of a process; a busy machine takes from nobody."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(process.cpu_times()[:2]), process.memory_info().rss
    return 0, 0


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
