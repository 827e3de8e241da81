"""The slides in Chromium, opened from files with the network off."""

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
