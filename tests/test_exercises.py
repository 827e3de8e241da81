"""The exercises of every lesson: the shown solution passes, the stub is "not yet".

The lesson's own test file plants wrong answers.
"""

import importlib
import re
from typing import NamedTuple

import jupytext
import pytest
import torch
from support import checker, full_disk

import kit.exercises
from kit.exercises import verdict
from kit.notebooks import ROOT, lessons


class Exercise(NamedTuple):
    lesson: str
    name: str  # of the answer
    check: str
    stub: str  # its source, as the solution's
    solution: str


def exercises():
    for lesson in lessons():
        module = ROOT / "lessons" / f"{lesson}.py"
        cells = jupytext.read(module, fmt="py:percent").cells
        texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
        solutions = "\n".join(text for text in texts if "<summary>Solution" in text)
        codes = re.findall(r"```python\n(.*?)```", solutions, re.S)
        for cell in cells:
            found = re.search(r"^check\((\w+), checks\.(\w+)\)$", cell.source, re.M)
            if found and cell.cell_type == "code":
                call, name, check = found.group(0, 1, 2)
                first = re.compile(rf"^(def|class) {name}\b", re.M)
                solution = "".join(code for code in codes if first.search(code))
                stub = cell.source.replace(call, "")
                yield Exercise(lesson, name, check, stub, solution)


def verdict_on(exercise, source):
    namespace = dict(vars(importlib.import_module(f"lessons.{exercise.lesson}")))
    exec(compile(source, f"<{exercise.name}>", "exec"), namespace)
    check = checker(exercise.lesson, exercise.check)
    return verdict(namespace[exercise.name], check)


ALL = list(exercises())


@pytest.mark.parametrize("exercise", ALL, ids=[one.name for one in ALL])
def test_solution_passes_and_stub_is_not_yet(exercise):
    assert verdict_on(exercise, exercise.solution).startswith("✓")
    assert verdict_on(exercise, exercise.stub).startswith("… not yet")


@pytest.mark.parametrize("lesson", lessons())
def test_every_lesson_has_three_exercises(lesson):
    assert sum(one.lesson == lesson for one in ALL) >= 3


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

    line = verdict(deep, checker("resnet", "parameters_of"))
    assert "return torch.nn.Linear(2, 2)(torch.ones(n))" in line


# --- What was solved on this machine


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setattr(kit.exercises, "user_data_path", lambda name: tmp_path / name)
    return kit.exercises.memory()


def holds(answer):
    yield True, ""


@pytest.mark.parametrize("content", ["", "{", "3", "[[1]]", "null", "[" * 100_000])
def test_a_damaged_memory_is_begun_anew(memory, capsys, content):
    memory.parent.mkdir()
    memory.write_text(content)
    assert kit.exercises.solved() == set()
    kit.exercises.check(None, holds)
    assert capsys.readouterr().out == "✓ 1 checks passed\n"
    assert kit.exercises.solved() == {"test_exercises.holds"}
    assert list(memory.parent.iterdir()) == [memory]


def test_a_full_disk_stops_nobody_who_solves_an_exercise(memory, capsys):
    with full_disk(5):
        kit.exercises.check(None, holds)
    assert capsys.readouterr().out == "✓ 1 checks passed\n"
    assert list(memory.parent.iterdir()) == []
