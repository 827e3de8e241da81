"""A whole course of nbgrader: made, handed in eight times, marked, exported."""

import csv
import importlib
import re
from copy import deepcopy

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from support import checker

from kit import assignments
from kit.exercises import verdict
from kit.notebooks import lessons

LESSON = "resnet"


def edition(course, kind):
    return nbformat.read(course / kind / LESSON / f"{LESSON}.ipynb", as_version=4)


def by_name(nb):
    return {cell.metadata.nbgrader.grade_id: cell for cell in nb.cells}


def hand_in(course, student, nb):
    folder = course / "submitted" / student / LESSON
    folder.mkdir(parents=True)
    text = nb if isinstance(nb, str) else nbformat.writes(nb)
    (folder / f"{LESSON}.ipynb").write_text(text, "utf-8")


def changed(course, **sources):
    """The solved notebook with other sources in some of its cells."""
    nb = edition(course, "source")
    for name, source in sources.items():
        by_name(nb)[name.replace("check_", "check-")].source = source
    return nb


PARTLY = "def layers(blocks, bottleneck):\n    return 2 * sum(blocks) + 2"
FOREVER = "def layers(blocks, bottleneck):\n    while True:\n        pass"
HUNGRY = """def layers(blocks, bottleneck):
    x = []
    while True:
        x.append(b"x" * 2**25)"""
FORGED = """import kit.exercises
from lessons.checks import resnet
resnet.layers = lambda answer: iter([(True, "")])
kit.exercises.progress = kit.exercises.verdict = lambda *of: (9, "✓ 9 checks passed")
print("✓ 4 checks passed")
def check(answer, checker):
    print("✓ 4 checks passed")
def layers(blocks, bottleneck):
    return 0"""

PEEKED = """from lessons.assignments import resnet
layers = resnet.layers"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    course = tmp_path_factory.mktemp("course")
    assignments.make([LESSON], course)
    hand_in(course, "right", edition(course, "source"))
    hand_in(course, "untouched", edition(course, "release"))
    hand_in(course, "partly", changed(course, layers=PARTLY))
    hand_in(course, "loops", changed(course, layers=FOREVER))
    hand_in(course, "hungry", changed(course, layers=HUNGRY))
    hand_in(course, "syntax", changed(course, layers="def layers(blocks, bottleneck)"))
    hand_in(course, "nothing", "this is no notebook")
    forged = changed(course, layers=FORGED, check_layers="print('✓ 4 checks passed')")
    hand_in(course, "forged", forged)
    answer = by_name(edition(course, "source"))["layers"].source
    hand_in(course, "magic", changed(course, layers=f"%matplotlib inline\n{answer}"))
    ends = edition(course, "source")
    ends.cells.insert(1, new_code_cell("exit()"))
    hand_in(course, "ends", ends)
    hand_in(course, "peeks", changed(course, layers=PEEKED))
    copied, fewer = edition(course, "source"), edition(course, "source")
    copied.cells.append(deepcopy(by_name(copied)["check-layers"]))
    copied.cells[-1].id = "copy"
    hand_in(course, "copied", copied)
    fewer.cells.remove(by_name(fewer)["check-layers"])
    hand_in(course, "fewer", fewer)
    settings = course / "nbgrader_config.py"
    limits = "c.Checks.seconds = 6\nc.Checks.gigabytes = 1.5\n"
    settings.write_text(settings.read_text("utf-8") + limits, "utf-8")
    try:
        assignments.nbgrader(course, "autograde", LESSON, "--create")
    except ValueError as error:  # of the one that is no notebook
        assert "nothing" in str(error)
    assignments.nbgrader(course, "generate_feedback", LESSON)
    assignments.nbgrader(course, "export", "--assignment", LESSON)
    return course


def scores(course):
    with open(course / "grades.csv", encoding="utf-8") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def test_everyone_gets_what_they_deserve(course):
    table = scores(course)
    found = {student: float(row["score"] or 0) for student, row in table.items()}
    everything = sum(points for *_, points in assignments.exercises(LESSON))
    first = everything - 2
    partly = first + 0.5
    assert found == {
        "right": everything, "untouched": 0, "partly": partly, "loops": first,
        "hungry": first, "syntax": first, "forged": first, "nothing": 0,
        "magic": everything, "ends": everything, "peeks": first,
        "copied": everything, "fewer": everything,
    }


def test_the_feedback_has_the_hint(course):
    for student, hint in [
        ("partly", "a bottleneck has three convolutions"),
        ("loops", "no answer after 6 seconds of work"),
        ("hungry", "more than 1.5 GB of memory"),
        ("syntax", "SyntaxError"),
        ("forged", "make 34 layers, not 0"),
        ("right", "checks passed"),
    ]:
        page = course / "feedback" / student / LESSON / f"{LESSON}.html"
        assert hint in page.read_text("utf-8"), student


def test_students_get_no_solution(course):
    cells = edition(course, "release").cells
    text = "\n".join(cell.source for cell in cells)
    assert "SOLUTION" not in text
    count = len(list(assignments.exercises(LESSON)))
    assert text.count("raise NotImplementedError") == count + 1  # and in the opening
    assert len(re.findall(r"^## Exercise \d", text, re.M)) == count


@pytest.mark.parametrize("lesson", lessons())
def test_exercises_are_of_three_grades_and_solved_by_the_lessons_names(lesson):
    grades = set()
    module = importlib.import_module(f"lessons.{lesson}")
    practice = assignments.practice_notebook(lesson, lesson)
    stubs = [cell.source for cell in practice.cells if cell.cell_type == "code"][1:]
    found = list(assignments.exercises(lesson))
    assert len(found) == len(stubs) >= 3
    for (text, code, answer, points), stub in zip(found, stubs):
        grades.add(assignments.POINTS.search(text)[1])
        assert 1 <= points <= 6
        for source, sign in ((code, "✓"), (stub.rpartition("\n\n\n")[0], "… not yet")):
            names = dict(vars(module))
            exec(source, names)
            assert verdict(names[answer], checker(lesson, answer)).startswith(sign)
    assert grades == {"easy", "medium", "hard"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("# ### A\n\n# %%\ndef f():\n    pass", "a line such as [*]easy, 2 points"),
        ("# ### A\n#\n# *easy, 2 points*\n\n# %%\nx = 1", "one function or class to"),
    ],
)
def test_an_exercise_without_points_or_answer_is_named(tmp_path, source, told):
    (tmp_path / "lessons/assignments").mkdir(parents=True)
    path = tmp_path / "lessons/assignments/x.py"
    path.write_text(f"# %% [markdown]\n{source}\n")
    with pytest.raises(ValueError, match=f"x.py, '### A': .*{told}"):
        list(assignments.exercises("x", tmp_path))
