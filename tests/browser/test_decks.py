"""The slides in Chromium, opened from files with the network off."""

import re

import pytest

from kit.notebooks import lessons
from kit.slides import make

# Of every slide: its number, how far it sticks out of its box, how far it was shrunk.
FITS = """[...document.querySelectorAll(".slides > section")].map((slide, number) => {
    const box = slide.getBoundingClientRect(), fit = slide.querySelector(".fit");
    const { right, bottom } = fit.getBoundingClientRect();
    const wide = [...fit.querySelectorAll("*")].map(
        node => node.getBoundingClientRect().right - box.right);
    const out = Math.max(bottom - box.bottom, right - box.right, ...wide);
    return [number + 1, Math.round(out), Number(fit.style.zoom)];
}).filter(([, out, zoom]) => out > 1 || zoom < 0.7)"""
DRAWN = "[...document.querySelectorAll('.pcc-live')].every(l => l.childElementCount)"


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    make(lessons(), folder)
    return folder


@pytest.fixture
def show(decks, visitor):
    def open_deck(name, width=1280, height=720):
        visitor.look("light", {"width": width, "height": height})
        visitor.page.goto((decks / f"{name}.html").as_uri())
        visitor.page.wait_for_function(DRAWN)
        visitor.page.wait_for_timeout(300)
        return visitor.page

    return open_deck


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize("name", lessons())
def test_every_slide_is_within_its_box_and_large_enough(show, name, size):
    page = show(name, *size)
    assert page.evaluate(FITS) == []


def test_what_sticks_out_is_found(show):
    page = show("resnet")
    page.evaluate("document.querySelector('.fit').style.paddingTop = '3000px'")
    page.wait_for_timeout(300)
    assert page.evaluate(FITS)[0][0] == 1


def test_keys_turn_slides_and_show_all_of_them(show):
    page = show("resnet")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.getIndices().h") == 2
    page.keyboard.press("o")
    assert page.evaluate("Reveal.isOverview()")


def test_the_speaker_sees_the_note(show):
    page = show("resnet")
    slides = page.locator(".slides > section")
    number = page.evaluate(
        "[...document.querySelectorAll('.slides > section')]"
        ".findIndex(slide => slide.querySelector('aside'))"
    )
    note = slides.nth(number).locator("aside").text_content()
    page.evaluate(f"Reveal.slide({number})")
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    value = popup.value.locator(".speaker-controls-notes .value")
    value.wait_for()
    popup.value.wait_for_function(
        "document.querySelector('.speaker-controls-notes .value').textContent.length"
    )
    assert value.text_content().split() == note.split()
    popup.value.close()


# All slides one below the other, and those of other decks.
SPREAD = """others => {
    const parts = document.querySelectorAll("html, body, .reveal, .slides");
    for (const part of parts)
        part.style.cssText = "position: static; overflow: visible; height: auto;" +
            "width: 1280px; transform: none; zoom: 1";
    for (const part of document.querySelectorAll(".reveal > :not(.slides)"))
        part.remove();
    document.querySelector(".slides").insertAdjacentHTML("beforeend", others);
    for (const slide of document.querySelectorAll(".slides > section")) {
        slide.removeAttribute("aria-hidden");
        slide.hidden = slide.inert = false;
        slide.style.cssText = "display: block; position: static; height: auto;" +
            "visibility: visible; opacity: 1";
    }
}"""


def test_accessibility_of_every_slide(show, decks, grave):
    """Figures and code are alike in all decks; one deck's are enough."""
    page, others = show("electra"), ""
    assert grave(page) == []  # as it is shown
    for name in lessons():
        if name != "electra":
            text = (decks / f"{name}.html").read_text("utf-8")
            slides = text.partition('<div class="slides">')[2]
            slides = slides.partition("\n</div></main>")[0]
            others += re.sub("<(figure|pre).*?</\\1>", "", slides, flags=re.S)
    page.evaluate(SPREAD, others)
    assert page.locator(".slides > section:visible").count() > 150
    assert grave(page) == []


def test_keys_on_a_figure_do_not_turn_the_slide_and_tab_stays_on_it(show):
    page = show("electra")
    here = page.evaluate("""() => {
        const quiz = document.querySelector(".slides > section:has(button.pcc-token)");
        Reveal.slide(Reveal.getIndices(quiz).h);
        return Reveal.getIndices().h;
    }""")
    slide = page.locator(".slides > section").nth(here)
    for keyed in ("input", "button.pcc-token[tabindex='0']", ".pcc-row button"):
        slide.locator(keyed).first.focus()
        for key in ("ArrowDown", "ArrowLeft", "Home", "Space"):
            page.keyboard.press(key)
            assert page.evaluate("Reveal.getIndices().h") == here, (keyed, key)
    assert "You found" in " ".join(slide.get_by_role("status").all_inner_texts())
    focus = """here => {
        const at = document.activeElement.closest(".slides > section");
        return !at || at === document.querySelectorAll(".slides > section")[here];
    }"""
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate(focus, here)
    page.locator(".reveal .navigate-right").focus()
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    page.keyboard.press("Shift")  # what follows is by keyboard
    assert page.evaluate(ring) != "none"


def test_a_figure_on_a_slide_is_alive(show):
    page = show("resnet")
    slide = page.locator(".slides > section:has(figure input[type=range])").first
    turn_to = "slide => Reveal.slide(Reveal.getIndices(slide).h)"
    page.evaluate(turn_to, slide.element_handle())
    slider = slide.locator("input[type=range]").first
    picture = slide.locator("figure :is(svg, canvas)").first
    before, here = picture.inner_html(), page.evaluate("Reveal.getIndices().h")
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_timeout(300)
    assert picture.inner_html() != before
    assert page.evaluate("Reveal.getIndices().h") == here, "the key turned the slide"
    after = picture.inner_html()
    slider.press("PageDown")
    assert page.evaluate("Reveal.getIndices().h") == here + 1
    assert picture.inner_html() == after
