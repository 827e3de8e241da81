"""What proves the lessons: bugs that are put into them."""

import re

import pytest

from kit.notebooks import ROOT, lessons
from proof import mutants

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
