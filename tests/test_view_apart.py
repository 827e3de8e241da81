"""The viewer that takes a head's scores apart."""

import base64
import re
import unicodedata
from functools import cache

import numpy as np
import pytest
import torch
from support import ADDRESS, data_of, unpacked, work

from kit.view import Apart

HOSTILE = "<script>alert(1)</script>"
ODD = [HOSTILE, "</script>", "한국어", "שלום", "مرحبا", "😀", "a\nb", " ", ""]
ODD += ["\u202eevil", "a" * 200, "$x$"]
TEXT = {"caption": "What to see.", "alt": "What is drawn."}
NAMES = ("c2c", "c2p", "p2c")


def frame(tokens=("the", "cat", "sat", "on", "it"), seed=0, size=2.0, names=NAMES):
    shape = len(names), len(tokens), len(tokens)
    noise = np.random.default_rng(seed).normal(size=shape) * size
    terms = dict(zip(names, torch.from_numpy(noise)))
    return {"tokens": list(tokens), "terms": terms}


def read(sentence="the cat sat on it", head=1):
    if "burst" in sentence:
        raise RuntimeError("the model\nburst")
    return frame(sentence.split(), head) | {"note": f"head {head}"}


def apart(**options):
    controls = {"sentence": ["the cat sat on it", "a dog"], "head": [1, 2]}
    return Apart(read, controls=controls, **TEXT | options)


def plain(text):
    seen = [letter for letter in text if unicodedata.category(letter) != "Cf"]
    return "".join(seen).replace("−", "-")


# -- Python


def test_scores_survive_packing():
    figure, given = Apart(frame(), **TEXT), frame()["terms"]
    for packed, (name, scores) in zip(figure.frames[()]["terms"], given.items()):
        codes = np.frombuffer(base64.b64decode(packed["data"]), "<u2")
        codes = codes.reshape(packed["shape"])
        back = packed["lo"] + codes / (2**16 - 2) * (packed["hi"] - packed["lo"])
        assert np.abs(back - scores.numpy()).max() < 0.001, name
    assert figure.options["terms"] == list(NAMES)
    limit = max(scores.abs().max().item() for scores in given.values())
    assert figure.options["limit"] == pytest.approx(limit, rel=1e-3)


def test_stored_text_is_stable_and_stands_alone():
    html = apart().html
    assert html == apart().html and HOSTILE not in Apart(frame(ODD), **TEXT).html
    assert 'alt="What is drawn."' in html and not re.search(ADDRESS, unpacked(html))
    assert len(data_of(apart())["frames"]) == 4


def made(tokens, **terms):
    return lambda: Apart({"tokens": tokens, "terms": terms}, **TEXT)


def two_frames():
    frames = {1: frame(), 2: frame(names=("c2c", "p2p"))}
    return Apart(frames, controls={"n": [1, 2]}, **TEXT)


@pytest.mark.parametrize(("bad", "message"), [
    (lambda: Apart({"tokens": ["a"]}, **TEXT), "not a frame"),
    (made([], c2c=[[0]]), "needs a list of 1 to 48 strings"),
    (made(["a"] * 49, c2c=np.zeros((49, 49))), "1 to 48 strings, not 49 tokens"),
    (made(["a", "b"], c2c=[[0, 0]]), r"term 'c2c': needs shape \(2, 2\) for 2 tokens"),
    (made(["a"], c2c=[[-np.inf]]), "leave padding out"),
    (made(["a"]), "one to four terms, the same in every frame, not none"),
    (lambda: Apart(frame(names="abcde"), **TEXT), "one to four terms"),
    (two_frames, "the same in every frame, not c2c, p2p"),
])
def test_bad_input_is_told(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()


# -- in Chromium


@cache
def gallery():
    long = frame([f"piece{i}" for i in range(48)])
    return [
        apart(),
        Apart(frame(ODD), caption="Odd.", alt="Odd."),
        Apart(long, caption="Long.", alt="Long."),
        Apart(frame(["one"], names=["c2c"]), caption="One.", alt="One."),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_alive_and_accessible(open_page, grave, scheme):
    page = open_page(color_scheme=scheme).show(*gallery())
    assert page.locator(".pcc-fallback:visible").count() == 0
    assert grave(page) == []


@pytest.mark.parametrize("width", [320, 700, 1300])
def test_it_fits(open_page, width):
    page = open_page(viewport={"width": width, "height": 900}).show(*gallery())
    page.add_style_tag(content="body { max-width: none !important }")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boards = page.locator("figure").first.locator(".pcc-board")
    tops = {round(box["y"]) for box in (board.bounding_box() for board in boards.all())}
    assert boards.count() == 4 and len(tops) == {320: 2, 700: 2, 1300: 1}[width]


def readout(figure):
    return plain(figure.locator(".pcc-read").inner_text())


def test_a_pair_tells_its_numbers_and_its_distance(open_page):
    page = open_page().show(Apart(frame(), **TEXT))
    given = {name: scores.numpy() for name, scores in frame()["terms"].items()}
    total = sum(given.values())
    weights = np.exp(total) / np.exp(total).sum(-1, keepdims=True)
    for panel in range(4):
        box = page.locator("canvas").nth(panel).bounding_box()
        # row 4, column 1
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.7)
        seen = readout(page)
        assert "“on” looks at “the”, 3 to the left, i - j = 3" in seen
        for name in NAMES:
            score = float(re.search(rf"{name} ([+-]?[\d.]+)", seen)[1])
            assert score == pytest.approx(given[name][3, 0], abs=0.006)
        weight = float(re.search(r"weight <?([\d.]+)", seen)[1])
        assert weight == pytest.approx(weights[3, 0], abs=0.011)
    page.mouse.move(1, 1)
    assert "Point at a cell" in readout(page)


def test_switches_change_the_weights_and_survive_a_frame(open_page):
    page = open_page().show(apart())
    page.get_by_label("c2p", exact=True).uncheck()
    assert "weight from c2c + p2c" in page.locator("figure").inner_text()
    assert "c2p, off" in page.locator("figure").inner_text()
    page.get_by_label("head").press("ArrowRight")
    assert not page.get_by_label("c2p", exact=True).is_checked()
    given = read(head=2)["terms"]
    total = (given["c2c"] + given["p2c"]).numpy()
    board = page.get_by_label("What is drawn.")
    board.press("ArrowDown")                        # the first cell
    weight = np.exp(total[0]) / np.exp(total[0]).sum()
    told = float(re.search(r"weight <?([\d.]+)", readout(page))[1])
    assert told == pytest.approx(weight[0], abs=0.011)
    assert "looks at itself" in readout(page) and "c2p (off)" in readout(page)
    for name in ("c2c", "p2c"):
        page.get_by_label(name, exact=True).uncheck()
    board.press("ArrowRight")
    assert "weight from nothing" in page.locator("figure").inner_text()
    assert "weight 0.20" in readout(page)


def test_keys_walk_and_tell(open_page):
    page = open_page().show(Apart(frame(), **TEXT))
    board, said = page.get_by_label("What is drawn."), page.locator(".pcc-said")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        board.press(key)
    assert "“sat” looks at “cat”, 1 to the left" in readout(page)
    assert "“sat”" in plain(said.inner_text())
    board.press("End")
    assert "“sat” looks at “it”, 2 to the right, i - j = -2" in readout(page)
    board.press("Home")
    assert "“sat” looks at “the”" in readout(page)
    board.press("Escape")
    assert "Point at a cell" in readout(page)


def test_markup_in_tokens_stays_text(open_page):
    page = open_page().show(Apart(frame(ODD), **TEXT))
    assert page.locator("figure script").count() == 2
    assert page.locator("svg script").count() == 0
    page.get_by_label("What is drawn.").press("ArrowDown")
    assert plain(readout(page)).startswith("“<script>alert(1)</scri")


def test_a_larger_text_of_ones_own_stays_on_the_scale(open_page):
    large = Apart(frame(size=30.0), **TEXT | {"caption": "Large."})
    page = open_page().show(Apart(frame(size=0.1), **TEXT), large)
    assert page.locator("canvas").count() == 8


def test_hover_is_fast(open_page):
    page = open_page().show(Apart(frame([f"piece{i}" for i in range(48)]), **TEXT))
    milliseconds = work(
        page,
        """() => {
        const svg = document.querySelector("canvas + svg");
        const box = svg.getBoundingClientRect();
        for (let i = 0; i < 40; i++) {
            const at = {
                bubbles: true,
                clientX: box.left + box.width * (0.3 + i / 80),
                clientY: box.top + box.height * (0.2 + i / 80),
            };
            svg.dispatchEvent(new PointerEvent("pointermove", at));
            svg.getBoundingClientRect();
        } }""",
    )
    assert milliseconds / 40 < 16
