"""What proves the lessons: bugs that are put into them, and figures timed."""

import html
import json
import re
import time

import pytest
import torch

from kit.notebooks import ROOT, lessons
from kit.view.figure import Figure
from proof import mutants, widgets

STORED = mutants.sections(mutants.PAGE.read_text("utf-8"))


@pytest.mark.parametrize("lesson", lessons())
def test_every_bug_is_in_the_table_and_was_noticed(lesson):
    rows = re.findall(r"^\| (.+) \| `(.+)` \|$", STORED[lesson], re.M)
    stored = [what for what, _ in rows]
    assert stored == [bug["what"] for bug in mutants.bugs(lesson)]
    assert len(stored) >= 10
    tests = (ROOT / "tests" / f"test_{lesson}.py").read_text("utf-8")
    for _, noticed_by in rows:
        assert f"def {noticed_by.partition('[')[0]}(" in tests


def test_a_bug_that_nobody_notices_is_told(tmp_path):
    """Two bugs, one of which no test of widths can see."""
    folder = mutants.copy(tmp_path)
    source = "width, 2 * width, 4 * width"
    wider = {"what": "one width", "file": "lessons/resnet.py", "was": source}
    wider["now"] = "width, width, width"
    silent = wider | {"now": "1 * " + source}
    test = "tests/test_resnet.py::test_counts[resnet20]"
    assert mutants.killer("resnet", wider, folder, test)[0] == "test_counts[resnet20]"
    assert mutants.killer("resnet", silent, folder, test)[0] is None
    broken = wider | {"now": "width, ("}
    with pytest.raises(RuntimeError, match="the tests did not run"):
        mutants.killer("resnet", broken, folder, test)
    text = (folder / "lessons" / "resnet.py").read_text("utf-8")
    assert text == (ROOT / "lessons" / "resnet.py").read_text("utf-8")


@pytest.mark.parametrize("was, told", [
    ("no such line", "occurs 0 times"), ("self.norm1", "occurs"),
    ("def stack(", "changes nothing"),
])
def test_a_bug_without_a_place_is_refused(was, told, tmp_path):
    text = f'[[bug]]\nwhat = "one"\nwas = "{was}"\nnow = "def stack("\n'
    (tmp_path / "resnet.toml").write_text(text)
    with pytest.raises(ValueError, match=f"resnet.toml: 'one'.* {told}|{told}"):
        mutants.bugs("resnet", tmp_path)


# ---- how fast the figures answer

ON_PAGE, BY_KERNEL = widgets.stored(widgets.PAGE.read_text("utf-8"))


@pytest.mark.parametrize("lesson", lessons())
def test_every_figure_is_in_the_table_of_times(lesson):
    notebook = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text("utf-8"))
    outputs = [one for cell in notebook["cells"] for one in cell.get("outputs", [])]
    text = "".join("".join(one.get("data", {}).get("text/html", "")) for one in outputs)
    captions = re.findall("<figcaption>(.*?)</figcaption>", text, re.S)
    known = [widgets.beginning(html.unescape(one)) for one in captions]
    assert [row[1] for row in ON_PAGE if row[0] == lesson] == known
    live = [row[1] for row in BY_KERNEL if row[0] == lesson]
    assert live and set(live) <= set(known)
    source = (ROOT / "lessons" / "figures" / f"{lesson}.py").read_text("utf-8")
    assert len(live) == source.count(".widget(")


def test_no_figure_is_slow():
    def worst(column):
        return max(float(row[column]) for row in ON_PAGE if row[column] != "–")

    assert 0 < worst(3) <= widgets.POINTER and 0 < worst(5) <= widgets.CONTROL
    assert 0 < max(float(row[-1]) for row in BY_KERNEL) <= widgets.KERNEL


def test_a_kernel_answers_the_dearest_setting_soon(monkeypatch):
    """At most what 400 products of 512 × 512 matrices take, about a second."""
    matrix, unit = torch.rand(512, 512), []
    for _ in range(3):
        begun = time.process_time()
        for _ in range(40):
            matrix @ matrix
        unit.append(time.process_time() - begun)
    whole = Figure._run

    def first_only(figure, values, controls=None):  # the page's own frames, in no time
        if "first" not in vars(figure):
            figure.first = whole(figure, values, controls)
        return figure.first

    for lesson, make in widgets.LIVE.items():
        monkeypatch.setattr(Figure, "_run", first_only)
        figures = make()
        monkeypatch.setattr(Figure, "_run", whole)
        for widget in figures:
            seconds, setting = widgets.asked(widget)
            assert seconds < 10 * min(unit), (lesson, setting)
