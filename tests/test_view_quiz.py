import re
import unicodedata

import numpy as np
import pytest
import torch
from support import ADDRESS, data_of, unpacked

from kit.view import Spot

HOSTILE = "<script>alert(1)</script>"
TEXT = {"caption": "Which tokens were replaced?", "alt": "A sentence to judge."}
WORDS = ["the", "chef", "ate", "the", "meal", HOSTILE, "שלום", "😀", "a\nb", ""]


def frame(text=1, heat=1.0):
    """Text 1 has two replaced tokens; the judge finds one and suspects one more.

    Text 2 has none.
    """
    if text == 3:
        raise RuntimeError("the model\nburst")
    tokens, originals = list(WORDS), list(WORDS)
    values = np.zeros(10)
    if text == 1:
        originals[2], originals[7] = "cooked", "</script>"
        values = torch.tensor([0.1, 0.2, 0.9, 0.1, 0.8, 0, 0, 0.4, 0, 1e-9])
    words = {"tokens": tokens, "originals": originals}
    return words | {"values": values, "note": f"text {text}"}


def spot(**options):
    return Spot(frame, judge="the judge", controls={"text": [1, 2]}, **TEXT | options)


def plain(text):
    # isolates are not seen
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


# -- Python


def test_what_is_packed():
    html = spot().html
    data = data_of(spot())
    assert data["frames"][0]["tokens"] == WORDS
    assert data["frames"][0]["originals"][2] == "cooked"
    assert data["frames"][0]["values"][2] == 0.9
    assert data["options"] == {"judge": "the judge"}
    assert html == spot().html and not re.search(rf"\n\s*\n|{ADDRESS}", unpacked(html))
    assert html.count("<script") == 2 and html.count("</script>") == 2
    assert len(html) < 60_000


def test_what_stands_in_where_scripts_are_stripped():
    fallback = re.search(r'pcc-fallback">(.*?)</div>', spot().html, re.S).group(1)
    tags = {"p", "bdi", "details", "summary", "ul", "li"}
    assert set(re.findall(r"</?(\w+)", fallback)) == tags
    assert "ate instead of cooked (the judge: 0.90)" in fallback
    assert fallback.count("<li>") == 2


BARE = {"tokens": ["a"], "originals": ["a"]}


def made(judge="the judge", **changes):
    return lambda: Spot(frame() | changes, judge=judge, **TEXT)


@pytest.mark.parametrize("make, message", [
    (made(tokens=["a"]), "Spot: 1 tokens, 10 originals and 10 values"),
    (made(values=[0.5]), "Spot: 10 tokens, 10 originals and 1 values"),
    (made(values=np.full(10, 1.5)), r"values: each in 0…1, not 1.5 \(token 1\)"),
    (made(values=[0] * 9 + [np.nan]), r"values: each in 0…1, not nan \(token 10\)"),
    (made(tokens="abc"), "list of 1 to 200 strings, not 'abc'"),
    (made(tokens=[]), r"list of 1 to 200 strings, not \[\]"),
    (made(originals=list(range(10))), "list of 1 to 200 strings"),
    (made(tokens=["a"] * 201), "not 201 tokens"),
    (made(judge=" "), "Spot needs judge=..., a sentence"),
    (lambda: Spot(BARE, judge="x", **TEXT), "Spot: not a frame .*values"),
])
def test_bad_input_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_kernel_makes_further_texts(monkeypatch):
    widget, sent = spot().widget(controls={"text": [1, 2, 3], "heat": [1.0, 2.0]}), []
    monkeypatch.setattr(type(widget), "send", lambda _, message: sent.append(message))
    for ask in ([1, 1], [2, 0]):
        widget._handle_custom_msg({"ask": ask}, [])
    assert sent[0]["frame"]["note"] == "text 2"
    assert sent[1]["problem"] == "RuntimeError: the model burst"


# -- in Chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_alive_and_accessible_before_and_after(open_page, grave, scheme):
    page = open_page(color_scheme=scheme).show(spot())
    for press in (None, "Commit"):
        if press:
            page.locator("button[data-i='2']").click()
            page.get_by_role("button", name=press).click()
            page.keyboard.press("ArrowRight")
        assert grave(page) == []
    assert page.locator(".pcc-fallback:visible").count() == 0


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits(open_page, width):
    page = open_page(viewport={"width": width, "height": 900}).show(spot())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Commit").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_is_told_before_the_commitment(open_page):
    page = open_page().show(spot())
    assert "cooked" not in page.locator("main").inner_text()
    assert page.locator("[role=application]").count() == 0
    tokens = page.get_by_label(TEXT["alt"]).get_by_role("button")
    assert tokens.count() == 10 and tokens.nth(5).inner_text() == HOSTILE
    tokens.nth(2).click()
    tokens.nth(4).click()
    tokens.nth(4).click()
    pressed = [one.get_attribute("aria-pressed") for one in tokens.all()]
    assert pressed == ["false", "false", "true"] + 7 * ["false"]
    status = page.get_by_role("status").filter(has_text="picked")
    assert status.inner_text() == "1 of 10 picked"


def test_a_game_by_pointer(open_page):
    page = open_page().show(spot())
    for i in (2, 0):
        page.locator(f"button[data-i='{i}']").click()
    page.get_by_role("button", name="Commit").click()
    told = page.get_by_role("status").filter(has_text="found").inner_text()
    you = "You found 1 of 2 replaced tokens, with 1 false alarm"
    assert f"{you}; the judge 1, with 1 false alarm." in told
    assert "Tokens judged rightly here: you 8 of 10, the judge 8." in told
    page.locator("[data-i='2']").first.hover()
    seen = re.sub(r"\s+", " ", plain(page.locator(".pcc-read").inner_text()))
    assert "“ate” instead of “cooked” you: replaced the judge: 0.90" in seen
    assert page.locator(".pcc-at").count() == 3  # one in each strip


def test_a_game_by_keys_over_two_texts(open_page):
    page = open_page().show(spot())
    page.locator("button[data-i='0']").focus()
    right, left = "ArrowRight", "ArrowLeft"
    keys = right, right, "Space", "End", right, left, left, "Enter", "Tab", "Enter"
    for key in keys:
        page.keyboard.press(key)
    told = page.locator(".pcc-stage").inner_text()
    assert "You found 2 of 2 replaced tokens, with no false alarm" in told
    page.keyboard.press("ArrowRight")  # the result has the focus
    assert "token 1\n" in page.locator(".pcc-read").inner_text()
    page.keyboard.press("End")
    assert "token 10" in page.locator(".pcc-said").inner_text()
    slider = page.get_by_role("slider")
    slider.press("ArrowRight")
    assert "text 2" in page.locator(".pcc-note").inner_text()
    assert page.get_by_role("button", name="Commit").is_visible()
    page.get_by_role("button", name="Commit").click()
    told = page.locator(".pcc-stage").inner_text()
    assert "You found 0 of 0" in told
    assert "in 2 texts: you 20 of 20, the judge 18." in told
    slider.press("ArrowLeft")
    # played once, it stays so
    assert "You found 2 of 2" in page.locator(".pcc-stage").inner_text()


def test_a_new_width_keeps_picks_and_focus(open_page):
    page = open_page().show(spot())
    page.locator("button[data-i='4']").click()
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.dataset.i") == "4"
    assert page.locator("button[aria-pressed=true]").count() == 1


@pytest.mark.parametrize("width", [360, 900])
def test_committing_moves_nothing(open_page, width):
    page = open_page(viewport={"width": 1400, "height": 900}).show(spot())
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(200)
    heights = []
    for button in ("[data-i='2']", "[data-i='4']", "text=Commit"):
        heights.append(page.locator("figure").bounding_box()["height"])
        page.locator(f"button{button}" if "data" in button else button).click()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        heights.append(page.locator("figure").bounding_box()["height"])
        page.keyboard.press(key)
    assert max(heights) - min(heights) < 1, heights


def test_a_line_end_breaks_the_line(open_page):
    tokens = ["a", "\n", "b", "c"]
    one = {"tokens": tokens, "originals": tokens, "values": np.zeros(4)}
    page = open_page().show(Spot(one, judge="the judge", **TEXT))

    def lines():
        chips = page.locator("figure [data-i]").all()[:4]
        tops = [chip.bounding_box()["y"] for chip in chips]
        return [top > tops[0] + 5 for top in tops]

    assert lines() == [False, False, True, True]
    page.get_by_role("button", name="Commit").click()
    assert lines() == [False, False, True, True]


def test_two_quizzes_do_not_mix(open_page):
    page = open_page().show(spot(), spot(caption="Another one."))
    page.get_by_role("button", name="Commit").first.click()
    assert page.get_by_role("button", name="Commit").count() == 1


def test_the_judge_gets_as_many_picks_as_the_reader(open_page):
    others = spot(caption="Another one."), spot(caption="A third.")
    page = open_page().show(spot(), *others)
    told = []
    for nth, picks in enumerate([(0,), (0, 1, 3), ()]):
        figure = page.locator("figure").nth(nth)
        for i in picks:
            figure.locator(f"button[data-i='{i}']").click()
        figure.get_by_role("button", name="Commit").click()
        told.append(plain(figure.inner_text()))
    # 0.9, a fake
    assert "the judge 1, with no false alarm." in told[0]
    assert "its pick is the highest" in told[0]
    # 0.9, 0.8 and 0.4
    assert "the judge 2, with 1 false alarm." in told[1]
    assert "its 3 picks are the highest" in told[1]
    # no picks: one for each fake
    assert "You found 0 of 2" in told[2] and "its 2 picks are the highest" in told[2]
