"""The built site in Chromium, opened from files with the network off."""
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).parents[2]
LESSONS = [path.stem for path in sorted((ROOT / "lessons").glob("[!_]*.py"))]
PAGES = ["index", *LESSONS]
PICTURES = """figure => [...figure.querySelectorAll('.pcc-live :is(svg, canvas, .pcc-tokens)')]
    .map(picture => picture.toDataURL ? picture.toDataURL() : picture.outerHTML).join()"""
# Of rows of tokens, which are read one by one, the first must be seen with the controls.
TALL = """most => [...document.querySelectorAll('.pcc-live')].map(live => {
    const first = live.querySelector('[data-row="0"]') ?? live;
    return [Math.round(first.getBoundingClientRect().bottom - live.getBoundingClientRect().top), live.innerText.slice(0, 80)];
}).filter(([height]) => height > most)"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the real site, built from the notebooks as they are stored."""
    folder = tmp_path_factory.mktemp("site")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["mdbook", "build", "--dest-dir", str(folder)]
    process = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture
def visit(browser, site):
    """visit(page, scheme, width) opens a page; afterwards no request but for files was tried and the console holds no error."""
    contexts, problems = [], []

    def note_request(request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            problems.append(f"request for {request.url}")

    def note_message(message):
        if message.type == "error":
            problems.append(message.text)

    def open_page(name, scheme="light", width=1280):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("request", note_request)
        page.on("console", note_message)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def test_every_lesson_has_a_page(site):
    assert LESSONS
    chapters = re.findall(r"\((\w+)\.ipynb\)", (ROOT / "notebooks/SUMMARY.md").read_text())
    assert sorted(chapters) == LESSONS
    assert {path.stem for path in site.glob("*.html")} == {*PAGES, "toc"}


def test_every_link_leads_somewhere(visit):
    ids, links = {}, []
    for name in PAGES:
        page = visit(name)
        ids[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        found = page.evaluate("[...document.querySelectorAll('[href], img[src], script[src]')].map(e => e.href || e.src)")
        links += [(name, urlsplit(link)) for link in found if link.startswith("file:")]
    assert len(links) > len(PAGES)
    for name, link in links:
        target = Path(unquote(link.path))
        assert target.is_file(), f"{name}.html links to {target}"
        if link.fragment and target.stem in ids:
            assert unquote(link.fragment) in ids[target.stem], f"{name}.html links to {target.name}#{link.fragment}"


def test_search_index_holds_no_figure_data(site):
    (index,) = site.glob("searchindex*.js")
    assert "pcc-data" not in index.read_text() and "base64" not in index.read_text()
    assert index.stat().st_size < 650_000 * len(PAGES)  # words alone take two thirds of it; one figure adds millions


@pytest.mark.parametrize("lesson", LESSONS)
def test_figures_are_alive(visit, lesson):
    page = visit(lesson)
    figures = page.locator("figure:has(> script.pcc-data)")
    assert figures.count() > 0
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        figure.locator(".pcc-live > *").first.wait_for(state="attached")
        assert figure.locator(".pcc-fallback").is_hidden()


@pytest.mark.parametrize("lesson", LESSONS)
def test_keys_work_in_figures_and_do_not_turn_the_page(visit, lesson):
    page = visit(lesson)
    sliders = page.locator("figure:has(input[type=range])")
    sliders.first.wait_for()
    for figure in sliders.all():
        slider = figure.locator("input[type=range]").first
        before, value = figure.evaluate(PICTURES), slider.input_value()
        slider.press("ArrowRight" if value != slider.get_attribute("max") else "ArrowLeft")
        assert slider.input_value() != value
        page.wait_for_function(f"([figure, before]) => ({PICTURES})(figure) !== before", arg=[figure.element_handle(), before])
    for element in page.locator("main figure [tabindex='0']").all():
        element.press("ArrowLeft")
    page.wait_for_timeout(300)
    assert page.url.endswith(f"/{lesson}.html")


def test_arrow_keys_scroll_a_wide_table(visit):
    page = visit("index", width=360)
    table = page.locator(".table-wrapper[tabindex='0']").first
    table.press("ArrowRight")
    page.wait_for_function("table => table.scrollLeft > 0", arg=table.element_handle())
    assert page.url.endswith("/index.html")


def test_arrow_keys_still_turn_the_page_elsewhere(visit):
    page = visit("index")
    page.locator("main h1").press("ArrowRight")
    page.wait_for_url(f"**/{re.search(r'[(](.*).ipynb', (ROOT / 'notebooks/SUMMARY.md').read_text())[1]}.html")


def test_search_finds_a_word(visit):
    page = visit("index")
    page.get_by_role("button", name="Toggle Searchbar").click()
    page.locator("#mdbook-searchbar").press_sequentially("residual")
    page.locator("#mdbook-searchresults a[href*='resnet.html']").first.wait_for()


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_notebook_can_be_downloaded(visit, lesson):
    page = visit(lesson)
    link = page.get_by_role("link", name="notebook").first
    assert link.get_attribute("download") is not None
    target = Path(unquote(urlsplit(link.evaluate("link => link.href")).path))
    assert target.read_bytes() == (ROOT / f"notebooks/{lesson}.ipynb").read_bytes()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_page(visit, name, width):
    page = visit(name, width=width)
    page.wait_for_timeout(300)
    content = page.locator("#mdbook-content")
    assert content.evaluate("content => content.scrollWidth - content.clientWidth") == 0
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "most"), [(1366, 610), (390, 844)])
@pytest.mark.parametrize("lesson", LESSONS)
def test_what_belongs_together_fits_a_screen(visit, lesson, width, most):
    """Controls, read-out and picture are seen at once, on a phone and in JupyterLab on a laptop.

    There a notebook has 647 pixels, of which a caption takes some.
    """
    page = visit(lesson, width=width)
    page.wait_for_function("[...document.querySelectorAll('.pcc-live')].every(live => live.childElementCount)")
    tall = page.evaluate(TALL, most)
    assert tall == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_theme_and_accessibility(visit, name, scheme):
    page = visit(name, scheme, width=400 if scheme == "dark" else 1280)
    assert page.locator(f"html.{ {'light': 'light', 'dark': 'navy'}[scheme] }").count() == 1
    page.wait_for_timeout(300)
    # preload: axe would fetch the style sheets again, which a browser refuses to pages opened from files.
    violations = Axe().run(page, options={"preload": False}).response["violations"]
    assert not [
        (violation["id"], node["html"][:200], node["failureSummary"])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def test_the_sidebar_folds_by_keyboard(visit):
    page = visit("index")
    sidebar, button = page.locator("#mdbook-sidebar"), page.get_by_role("button", name="Toggle Table of Contents")
    assert sidebar.is_visible()
    button.press("Enter")
    sidebar.wait_for(state="hidden")
    button.press("Space")
    sidebar.wait_for(state="visible")
