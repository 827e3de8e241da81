"""Where a reader can go from a lesson: papers, lessons it needs, the next one."""

import re
from pathlib import Path

import pytest

from kit.notebooks import ROOT, lessons, to_notebook

TEXTS = ["README.md", "notebooks/index.md"]
TEXTS += [f"lessons/{name}.py" for name in lessons()]
NUMBER = r"(?:arXiv:\s*\d|\b\d{4}\.\d{5}\b)"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^\s()]+)\)")


def bare_numbers(text):
    """arXiv numbers that are not the text of a link to their own paper."""
    linked = r"\[arXiv:(\d{4}\.\d{5})\]\(https://arxiv\.org/abs/\1\)"
    return re.findall(NUMBER + ".{0,12}", re.sub(linked, "", text))


def markdown(name):
    """The Markdown cells of a lesson."""
    cells = to_notebook(name).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def imported(name):
    """Lessons that a lesson takes code from, in definitions and demonstrations."""
    code = "\n".join(
        cell.source for cell in to_notebook(name).cells if cell.cell_type == "code"
    )
    return set(re.findall(r"\blessons(?:\.| import )(\w+)", code)) & set(lessons())


def needed(text):
    """Lessons that the line "You need" of a lesson links to."""
    (line,) = re.findall(r"^\*\*You need\*\* .+$", text, re.M)
    return {Path(target).stem for target in LINK.findall(line)}


@pytest.mark.parametrize("path", TEXTS)
def test_every_arxiv_number_is_a_link(path):
    assert bare_numbers((ROOT / path).read_text("utf-8")) == []


def test_a_bare_or_wrongly_linked_number_is_found():
    assert bare_numbers("as in arXiv:1512.03385, Eq. 1")
    assert bare_numbers("(1512.03385)")
    assert bare_numbers("[arXiv:1512.03385](https://arxiv.org/abs/1512.03358)")


@pytest.mark.parametrize("name", lessons())
def test_a_lesson_names_the_lessons_it_needs(name):
    assert needed("\n\n".join(markdown(name))) == imported(name)


@pytest.mark.parametrize("name", lessons())
def test_the_last_lines_lead_to_the_neighbours(name):
    order = lessons()
    place = order.index(name)
    (nav,) = re.findall(r"<nav>\n\n(.+)\n\n</nav>", markdown(name)[-1])
    neighbours = order[max(place - 1, 0) : place] + order[place + 1 : place + 2]
    assert LINK.findall(nav) == [f"{one}.ipynb" for one in neighbours]


@pytest.mark.parametrize("path", TEXTS)
def test_relative_links_lead_to_files(path):
    if path.startswith("lessons/"):  # as a notebook, where its links are followed
        text, folder = "\n".join(markdown(Path(path).stem)), ROOT / "notebooks"
    else:
        text, folder = (ROOT / path).read_text("utf-8"), (ROOT / path).parent
    targets = [link for link in LINK.findall(text) if not re.match(r"https?:|#", link)]
    dead = [link for link in targets if not (folder / link.partition("#")[0]).is_file()]
    assert targets and not dead
