"""The exercises of every lesson: the shown solution passes, the stub is "not yet". The lesson's own test file plants wrong answers."""

import importlib
import re

import jupytext
import pytest
import torch
from support import checker

from kit.exercises import verdict
from kit.notebooks import ROOT, lessons


def exercises():
    """(lesson, name of the answer, name of its check, source of the stub, source of the solution) of every exercise."""
    for lesson in lessons():
        cells = jupytext.read(ROOT / "lessons" / f"{lesson}.py", fmt="py:percent").cells
        solutions = "\n".join(c.source for c in cells if c.cell_type == "markdown" and "<summary>Solution" in c.source)
        codes = re.findall(r"```python\n(.*?)```", solutions, re.S)
        for cell in cells:
            found = re.search(r"^check\((\w+), checks\.(\w+)\)$", cell.source, re.M)
            if found and cell.cell_type == "code":
                solution = [code for code in codes if re.search(rf"^(def|class) {found[1]}\b", code, re.M)]
                yield lesson, found[1], found[2], cell.source.replace(found[0], ""), "".join(solution)


def answer(lesson, name, source):
    namespace = dict(vars(importlib.import_module(f"lessons.{lesson}")))
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


ALL = list(exercises())


@pytest.mark.parametrize(("lesson", "name", "check", "stub", "solution"), ALL, ids=[one[1] for one in ALL])
def test_solution_passes_and_stub_is_not_yet(lesson, name, check, stub, solution):
    assert verdict(answer(lesson, name, solution), checker(lesson, check)).startswith("✓")
    assert verdict(answer(lesson, name, stub), checker(lesson, check)).startswith("… not yet")


@pytest.mark.parametrize("lesson", lessons())
def test_every_lesson_has_three_exercises(lesson):
    assert sum(one[0] == lesson for one in ALL) >= 3


def test_an_answer_that_raises_is_named_with_its_line():
    line = verdict(lambda n: 1 / 0, checker("resnet", "parameters_of"))
    assert re.match(r"✗ your code stopped with ZeroDivisionError: .* \(line \d+", line)


def test_an_error_inside_torch_is_shown_where_the_reader_caused_it():
    def answer(n):
        return torch.ones(2) @ torch.ones(n)

    line = verdict(answer, checker("resnet", "parameters_of"))
    assert "RuntimeError" in line and "return torch.ones(2) @ torch.ones(n)" in line

    def deep(n):
        return torch.nn.Linear(2, 2)(torch.ones(n))

    assert "return torch.nn.Linear(2, 2)(torch.ones(n))" in verdict(deep, checker("resnet", "parameters_of"))
