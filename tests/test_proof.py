"""What proves the lessons: bugs put into them, margins of claims, measured speed."""

import ast
import html
import json
import re
import time

import nbformat
import pytest
import torch

from kit.notebooks import ROOT, lessons
from kit.probe import saved_for_backward
from kit.view.figure import Figure
from proof import bench, growth, machine, mutants, pairs, seeds, widgets

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


WIDTHS = """from lessons.resnet import PlainBlock, cifar_net
def test_widths():
    assert cifar_net(8, PlainBlock).fc.in_features == 64
"""


def test_a_bug_that_nobody_notices_is_told(tmp_path):
    folder = mutants.copy(tmp_path)
    (folder / "tests" / "test_resnet.py").write_text(WIDTHS)
    source = "width, 2 * width, 4 * width"
    bug = {"what": "widths", "file": "lessons/resnet.py", "was": source}
    told = {now: mutants.killer("resnet", bug | {"now": now}, folder)[0]
            for now in ("width, width, width", "1 * " + source)}
    assert list(told.values()) == ["test_widths", None]
    with pytest.raises(RuntimeError, match="'widths'.* the tests did not run"):
        mutants.killer("resnet", bug | {"now": "width, ("}, folder)
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


# ---- the margins of claims


def recorded(cell, **names):
    """What is recorded of a cell as `make seeds` executes it."""
    seeds.recorded.clear()
    tree = seeds.Comparisons().visit(ast.parse(cell))
    code = compile(ast.fix_missing_locations(tree), "cell", "exec")
    exec(code, {"claim": seeds.claimed, "torch": torch} | names)
    return [(one["holds"], one["compared"]) for one in seeds.recorded]


@pytest.mark.parametrize("said, holds, compared", [
    ("a < 3 * b", True, [["1 <", [[2.0, 9.0]]]]),
    ("a > 3 * b", False, [["1 >", [[2.0, 9.0]]]]),
    ("0.5 < a <= b", True, [["1 <", [[0.5, 2.0]]], ["1 ≤", [[2.0, 3.0]]]]),
    ("a < b and t.mean() > b", True, [["1 <", [[2.0, 3.0]]], ["2 >", [[6.0, 3.0]]]]),
    ("all(one > a for one in t)", True,
     [["1 >", [[3.0, 2.0]]], ["1 >", [[7.0, 2.0]]], ["1 >", [[8.0, 2.0]]]]),
    ("(t > a).all()", True, [["1 >", [[3.0, 2.0]]]]),        # the nearest
    ("torch.allclose(t, t + 1, atol=2)", True, [["1 ≤", [[1.0, 2.0]]]]),
    ("torch.equal(t, t)", True, []), ("a == 2", True, []),   # no distance
])
def test_what_a_claim_compares_is_noted(said, holds, compared):
    cell = f"c = a < 0\nclaim('it holds', {said}, 'ours')"
    t = torch.tensor([3.0, 7.0, 8.0])
    assert recorded(cell, a=2.0, b=3.0, t=t) == [(holds, compared)]


@pytest.mark.parametrize("said", [
    "t.mean() < 9", "(t < 9).all()", "t.max() < 9", "max(t.max(), u.max()) < 9",
    "max(one.max() for one in (t, u)) < 9", "max(t.numpy().max(), u.min()) < 9",
])
def test_a_stored_study_has_seeds_of_its_own(said):
    cell = f"claim('it holds', {said}, 'ours, the stored study')"
    t, u = torch.tensor([3.0, 7.0, 8.0]), torch.tensor([2.0, 1.0, 5.0])
    pairs = [[3.0, 9.0], [7.0, 9.0], [8.0, 9.0]]
    assert recorded(cell, t=t, u=u) == [(True, [["1 <", pairs]])]


def test_of_a_count_over_seeds_the_seeds_are_noted():
    cell = "claim('it holds', (t < 9).sum() >= 3, 'ours, the stored study')"
    [(holds, compared)] = recorded(cell, t=torch.tensor([3.0, 7.0, 8.0]))
    pairs = [[3.0, 9.0], [7.0, 9.0], [8.0, 9.0]]
    assert holds and compared == [["1 <", pairs], ["2 ≥", [[3.0, 3.0]]]]


def test_the_margin_is_the_mean_distance_in_units_of_its_spread():
    assert seeds.margin("<", [(1, 4), (2, 4), (3, 4)]) == (2, "plain")
    assert seeds.margin(">", [(1, 4), (2, 4), (3, 4)]) == (-2, "plain")
    assert seeds.margin(">", [(10, 1), (100, 1), (1000, 1)]) == (2, "log")
    assert seeds.margin("<", [(1, 4), (1, 4)]) == (None, "plain")


def test_the_row_of_a_claim_has_its_weakest_comparison():
    def run(value, holds=True):
        near, far = ["1 <", [[value, 4]]], ["2 <", [[value, 40]]]
        compared = [near, ["1 <", [[0, 4]]], far]
        return {"sentence": "a | b", "source": "ours", "holds": holds,
                "compared": compared}

    runs = [run(1), run(2), run(3)]
    line, fragile = seeds.row(runs)
    assert line == r"| a \| b | 2 < 4 | 3 | 2.0 | 3/3 |" and not fragile
    same = seeds.row([run(3), run(3)])
    assert same == ("| a \\| b | 3 < 4 | 2 |  | 2/2 |", False)
    assert seeds.row([*runs[:2], run(3, holds=False)])[1]     # one that failed
    assert seeds.row([run(1), run(3.9), run(3.9)])[1]          # too near


def claimed(name):
    """What a lesson's stored notebook says that it verified."""
    nb = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return [line for cell in nb.cells for output in cell.get("outputs", [])
            for line in output.get("text", "").splitlines() if line.startswith("✓ ")]


def test_every_claim_has_a_stored_margin_and_none_is_below_one():
    stored = json.loads(seeds.STORED.read_text("utf-8"))
    text, fragile = seeds.page(stored)
    assert text == seeds.PAGE.read_text("utf-8") and not fragile
    for name in lessons():
        measured = [f"✓ {one['sentence']} ({one['source']})"
                    for one in stored[name]["runs"]["0"]]
        assert measured == claimed(name)


# ---- speed


def test_the_stored_page_is_of_the_stored_measurement():
    stored = json.loads(bench.STORED.read_text("utf-8"))
    assert bench.page(stored) == bench.PAGE.read_text("utf-8")
    measured = {(row["model"], row["size"], row["threads"]) for row in stored["time"]}
    cases = pairs.cases()
    assert measured == {(*case, threads) for case in cases for threads in (1, 2)}


def test_a_ratio_is_cut_off_and_not_rounded():
    assert bench.cut(0.9999) == "0.99" and bench.cut(1.0) == "1.00"


def test_the_exponent_is_that_of_the_power_law():
    points = [(x, 5 * x**1.5) for x in (1, 2, 4, 8, 16)]
    assert growth.exponent([(0.5, 77), *points]) == pytest.approx(1.5)


def test_sides_take_turns():
    order = []
    times = bench.by_turns(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b"] * 5 and [len(one) for one in times] == [3, 3]


@pytest.mark.parametrize("model", [name for name, size in pairs.cases()
                                   if size == "small"])
def test_we_keep_no_more_for_the_backward_pass_than_the_library(model, monkeypatch):
    monkeypatch.setattr(pairs, "BATCH", 4)
    case = pairs.cases()[model, "small"]()
    ours, theirs = (saved_for_backward(getattr(case, side).train(), case.inputs)
                    for side in bench.SIDES)
    assert 0 < ours <= 1.03 * theirs      # in a batch of 4 CTRL's masks are 2%


def test_the_two_sides_of_a_case_do_the_same():
    case = pairs.cases()["DenseNet-40", "small"]()
    loss = [case.loss(side).item() for side in ("ours", "theirs")]
    assert loss[0] == pytest.approx(loss[1], rel=1e-4)
    case.theirs.get_parameter("output.weight").data.mul_(2)
    with pytest.raises(AssertionError):
        case.checked()


def test_a_measurement_tells_machine_day_and_versions():
    told = r"\d+ cores, \d{4}-\d\d-\d\d, Python 3\.\d+\.\d+, torch 2\..+, numpy \d"
    assert re.search(told, machine.made_with("numpy"))


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
