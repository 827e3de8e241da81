"""What a lesson's tags make of it on slides."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from kit.notebooks import lessons, to_notebook
from kit.slides import deck, main, slides


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source, *tags, prints=""):
    outputs = [new_output("stream", name="stdout", text=prints)] if prints else []
    metadata = {"tags": list(tags)}
    return new_code_cell(source, metadata=metadata, outputs=outputs, execution_count=1)


def made(*cells):
    return slides(new_notebook(cells=cells), "x.ipynb")


def test_tags_decide_what_is_shown_where():
    first, second = made(
        text("# Begins", "slide"),
        text("not on a slide"),
        code("a = 1", "on-slide", prints="one"),
        text("say this", "speaker"),
        code("b = 2", "active-ipynb", "slide", "figure-only", prints="two"),
    )
    assert [kind for kind, _ in first] == ["slide", "-", "notes"]
    shown = "".join(part for _, part in first)
    assert "<h1>Begins</h1>" in shown and "one" in shown and "not on" not in shown
    assert re.sub("<[^>]+>", "", first[1][1]).startswith("a = 1")
    (_, only), = second
    assert "two" in only and "b = 2" not in re.sub("<[^>]+>", "", only)


def test_the_star_of_the_short_way_stays_off_the_slides():
    ((_, shown),), = made(text("## Go ★", "slide"))
    assert shown.strip() == "<h2>Go</h2>"


def test_notes_stand_beside_the_slide_and_its_title_is_text():
    nb = new_notebook(cells=[text("# A", "slide"), text("say *this*", "speaker")])
    page = deck(nb, "A < B", "x.ipynb")
    assert "<title>A &lt; B</title>" in page
    parts = '<div class="fit">(.*?)</div><aside(.*?)</aside>'
    fit, notes = re.search(parts, page, re.S).groups()
    assert "say" not in fit and "<em>this</em>" in notes


def test_code_has_colours():
    page = deck(new_notebook(cells=[code("def f(): pass", "slide")]), "A", "x.ipynb")
    kind = re.search('<span class="(k[a-z]*)">def</span>', page)[1]
    assert re.search(rf"\.reveal pre \.{kind} {{ color: #", page)


def test_a_sentence_keeps_its_line_and_a_formula_needs_no_script():
    ((_, shown),), = made(text("One.\nTwo $x^2$.", "slide"))
    assert "One.<br" in shown and "<math" in shown and "$" not in shown


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([text("a", "on-slide")], "x.ipynb, cell 1: the tag on-slide before the first"),
        ([text("a", "slide", "speaker")], "cell 1: the tags slide and speaker exclude"),
    ],
)
def test_tags_that_make_no_sense_are_refused(cells, told):
    with pytest.raises(ValueError, match=told):
        made(*cells)


def test_an_unknown_lesson_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["resnext"])
    assert "no lesson named resnext; the lessons are: resnet" in capsys.readouterr().err


@pytest.mark.parametrize("name", lessons())
def test_a_lesson_has_20_to_35_slides(name):
    kinds = [cell.metadata.slideshow.slide_type for cell in to_notebook(name).cells]
    assert 20 <= kinds.count("slide") <= 35
    assert kinds[0] == "slide" and "notes" in kinds
