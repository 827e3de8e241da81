"""The built site in Chromium, opened from files with the network off."""
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LESSONS = [path.stem for path in sorted((ROOT / "lessons").glob("[!_]*.py"))]
PAGES = ["index", *LESSONS]
PICTURES = """figure => {
    const pictures = figure.querySelectorAll('.pcc-live :is(svg, canvas, .pcc-tokens)');
    return [...pictures].map(picture =>
        picture.toDataURL ? picture.toDataURL() : picture.outerHTML).join(); }"""
# Of the thousands of coloured words in code, each kind once: axe would compute the
# contrast of each of them.
ALIKE = """() => {
    const kinds = new Set();
    for (const word of document.querySelectorAll("pre code span")) {
        const classes = [word.className, word.parentElement.className];
        const kind = [...classes, word.checkVisibility()].join();
        kinds.has(kind) ? word.replaceWith(word.textContent) : kinds.add(kind);
    } }"""
# Of rows of tokens, which are read one by one, the first must be seen with the
# controls.
TALL = """most => [...document.querySelectorAll('.pcc-live')].map(live => {
    const first = live.querySelector('[data-row="0"]') ?? live;
    const top = live.getBoundingClientRect().top;
    const height = first.getBoundingClientRect().bottom - top;
    return [Math.round(height), live.innerText.slice(0, 80)];
}).filter(([height]) => height > most)"""
DRAWN = """[...document.querySelectorAll('.pcc-live')].every(
    live => live.childElementCount)"""
# In a drawing the address is an object, and as it was written.
ADDRESS = """e => e.href?.baseVal === undefined ? e.href || e.src
    : new URL(e.href.baseVal, document.baseURI).href"""
# The pages in their order, and those beside the lessons.
SUMMARY = (ROOT / "notebooks/SUMMARY.md").read_text("utf-8")
CHAPTERS = re.findall(r"\((\w+)\.ipynb\)", SUMMARY)
BESIDE = re.findall(r"\((\w+/\w+|(?!index)\w+)\.md\)", SUMMARY)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the real site, built from the notebooks as they are stored."""
    folder = tmp_path_factory.mktemp("site")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["mdbook", "build", "--dest-dir", str(folder)]
    environment = {**os.environ, "PATH": path}
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture
def visit(site, visitor):
    """visit(page, scheme, width) opens a page; a test has one at a time.

    The page may ask for files only and complain of nothing.
    """

    def open_page(name, scheme="light", width=1280):
        visitor.look(scheme, {"width": width, "height": 900})
        visitor.page.goto((site / f"{name}.html").as_uri())
        return visitor.page

    return open_page


def test_every_lesson_has_a_page(site):
    assert LESSONS
    assert sorted(CHAPTERS) == LESSONS
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert {page.as_posix() for page in pages} == {*PAGES, *BESIDE, "toc"}


def test_every_link_leads_somewhere(visit):
    ids, links = {}, []
    for name in [*PAGES, *BESIDE]:
        page = visit(name)
        all_of = "[...document.querySelectorAll('{}')]".format
        here = urlsplit(page.url).path
        ids[here] = set(page.evaluate(f"{all_of('[id]')}.map(e => e.id)"))
        linking = all_of("[href], img[src], script[src]")
        found = page.evaluate(f"{linking}.map({ADDRESS})")
        links += [(name, urlsplit(link)) for link in found if link.startswith("file:")]
    assert len(links) > len(PAGES)
    for name, link in links:
        target = Path(unquote(link.path))
        told = f"{name}.html links to {target}#{link.fragment}"
        assert target.is_file(), told
        if link.fragment and link.path in ids:
            assert unquote(link.fragment) in ids[link.path], told


def test_search_index_holds_no_figure_data(site):
    (index,) = site.glob("searchindex*.js")
    assert "pcc-data" not in index.read_text() and "base64" not in index.read_text()
    # words alone take two thirds of it; one figure adds millions
    assert index.stat().st_size < 650_000 * len(PAGES)


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
        last = value == slider.get_attribute("max")
        slider.press("ArrowLeft" if last else "ArrowRight")
        assert slider.input_value() != value
        change = f"([figure, before]) => ({PICTURES})(figure) !== before"
        page.wait_for_function(change, arg=[figure.element_handle(), before])
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
    page.wait_for_url(f"**/{CHAPTERS[0]}.html")


def test_search_finds_a_word(visit):
    page = visit("index")
    page.get_by_role("button", name="Toggle Searchbar").click()
    page.locator("#mdbook-searchbar").press_sequentially("residual")
    page.locator("#mdbook-searchresults a[href*='resnet.html']").first.wait_for()


def test_search_finds_a_word_with_a_typo(visit):
    page = visit("index")
    page.get_by_role("button", name="Toggle Searchbar").click()
    page.locator("#mdbook-searchbar").press_sequentially("degradaton")
    found = page.locator("#mdbook-searchresults li")
    found.first.wait_for()
    assert "resnet.html" in found.first.locator("a").get_attribute("href")
    assert "degradation" in "".join(found.all_inner_texts()).lower()


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
    """Controls, read-out and picture are seen at once, on a phone and in JupyterLab.

    There, on a laptop, a notebook has 647 pixels, of which a caption takes some.
    """
    page = visit(lesson, width=width)
    page.wait_for_function(DRAWN)
    tall = page.evaluate(TALL, most)
    assert tall == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", LESSONS)
def test_theme_and_accessibility(visit, grave, name, scheme):
    page = visit(name, scheme, width=400 if scheme == "dark" else 1280)
    theme = {"light": "light", "dark": "navy"}[scheme]
    assert page.locator(f"html.{theme}").count() == 1
    page.wait_for_timeout(300)
    page.evaluate(ALIKE)
    assert grave(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_of_the_pages_beside_the_lessons(visit, site, grave, scheme):
    """All on the start page: the short ways are parts of lessons, figures theirs."""
    mains = []
    for name in BESIDE:
        if not name.startswith("short"):
            text = (site / f"{name}.html").read_text("utf-8")
            main = re.search("<main>(.*?)</main>", text, re.S)[1]
            main = re.sub("<(figure|script).*?</\\1>", "", main, flags=re.S)
            folder = name.rpartition("/")[0]
            mains.append(re.sub(r'(?<=src=")(?=\w+\.svg)', f"{folder}/", main))
    page = visit("index", scheme)
    put = "text => document.querySelector('main').insertAdjacentHTML('beforeend', text)"
    page.evaluate(put, "".join(mains))
    page.evaluate(ALIKE)
    assert page.locator("main h1").count() == 1 + len(mains) > 15
    assert grave(page) == []


def test_the_sidebar_folds_by_keyboard(visit):
    page = visit("index")
    sidebar = page.locator("#mdbook-sidebar")
    button = page.get_by_role("button", name="Toggle Table of Contents")
    assert sidebar.is_visible()
    button.press("Enter")
    sidebar.wait_for(state="hidden")
    button.press("Space")
    sidebar.wait_for(state="visible")


def test_on_a_phone_code_keeps_its_lines_and_scrolls_by_keyboard(visit):
    page = visit("resnet", width=360)
    blocks = page.locator("main pre > code")
    folded = blocks.evaluate_all(
        """blocks => blocks.filter(code => {
            const height = code.clientHeight;
            code.style.whiteSpace = "pre";
            return code.clientHeight < height;
        }).map(code => code.textContent)"""
    )
    assert blocks.count() > 50 and not folded
    block = page.locator("main pre > code[tabindex='0']").first
    block.press("ArrowRight")
    page.wait_for_function("code => code.scrollLeft > 0", arg=block.element_handle())
    assert page.url.endswith("/resnet.html")


@pytest.mark.parametrize("lesson", LESSONS)
def test_code_does_not_scroll_on_a_desk(visit, lesson):
    page = visit(lesson, width=1280)
    assert page.locator("main pre > code").count() > 50
    assert page.locator("main pre > code[tabindex='0']").count() == 0


# --- On paper ---

PAPER = (680, 1009)  # pixels of an A4 page between margins of 15 mm
WIDER = """width => [...document.querySelectorAll("main *")]
    // In code, a space hangs over the end of a line; nobody sees it.
    .filter(node => node.checkVisibility() && !node.closest(".pcc-said, pre"))
    .filter(node => node.getBoundingClientRect().right > width + 1)
    .map(node => node.outerHTML.slice(0, 120))"""
STYLE = """figure => {
    const style = getComputedStyle(figure);
    return [style.breakInside, style.printColorAdjust];
}"""
# For each block of code: lines of the source, rows that begin at column 0, all rows.
ROWS = """blocks => blocks.map(code => {
    const range = document.createRange(), rows = new Map();
    range.selectNodeContents(code);
    for (const { left, top, width, height } of range.getClientRects()) {
        const middle = Math.round(top + height / 2);
        if (width) rows.set(middle, Math.min(left, rows.get(middle) ?? Infinity));
    }
    const lefts = [...rows.values()], edge = Math.min(...lefts);
    const lines = code.textContent.split("\\n").filter(Boolean).length;
    return [lines, lefts.filter(left => left < edge + 1).length, lefts.length];
})"""


@pytest.fixture
def on_paper(visit):
    """on_paper(lesson): its page, read in the dark, as the printer gets it."""

    def lay_out(name):
        page = visit(name, scheme="dark", width=1366)
        page.wait_for_function("!document.querySelector('.pcc-live:empty')")
        page.wait_for_timeout(300)
        # Printing gives figures no time to draw themselves anew for the paper.
        page.evaluate("window.requestAnimationFrame = () => 0")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": PAPER[0], "height": PAPER[1]})
        return page

    return lay_out


def nothing_is_cut(page):
    assert page.evaluate(WIDER, PAPER[0]) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER[0]
    for figure in page.locator("main figure").all():
        assert figure.bounding_box()["height"] < PAPER[1]
        assert figure.evaluate(STYLE) == ["avoid", "exact"]
    rows = page.locator("main pre > code").evaluate_all(ROWS)
    assert all(lines == begun for lines, begun, _ in rows)
    assert all(drawn == lines for lines, _, drawn in rows)


def it_is_black_on_white(page):
    for place, what, color in [
        ("html", "backgroundColor", "rgb(255, 255, 255)"),
        ("main p", "color", "rgb(0, 0, 0)"),
        ("main pre > code span", "color", "rgb(0, 0, 0)"),
    ]:
        node = page.locator(place).first
        assert node.evaluate(f"node => getComputedStyle(node).{what}") == color
    assert page.locator(".pcc-dark").count() == 0


def only_the_lesson_is_there(page):
    text = page.locator("body").inner_text()
    assert page.locator("nav:visible").count() == 0
    for noise in ("Download this page", "Lesson before", "Next lesson", "Commit\n"):
        assert noise not in text
    assert page.locator("main").bounding_box()["y"] < 40


def solutions_come_last(page):
    folds = page.locator("main .solutions details").all()
    titles = page.locator("main :is(h2, h3):visible").all_inner_texts()
    assert folds and titles[-len(folds) - 1] == "Solutions"
    for title in titles[-len(folds) :]:
        assert title.startswith("Exercise") and titles.count(title) == 2
    exercises, solutions = page.locator("main").inner_text().split("\nSolutions\n")
    assert exercises.count("The solution is at the end.") == len(folds)
    for fold in folds:
        assert fold.inner_text().strip() and fold.inner_text().strip() in solutions


def figures_tell_their_setting(page):
    sliders = page.locator("main .pcc-controls label:has(input[type=range])").all()
    assert sliders
    for slider in sliders:
        name = slider.locator("input").get_attribute("aria-label")
        value = slider.locator("output").inner_text()
        assert slider.inner_text().split() == f"{name} {value}".split()
    for choice in page.locator("main .pcc-controls fieldset").all():
        name = choice.locator("legend").inner_text()
        chosen = choice.locator("label:has(:checked)").inner_text()
        assert choice.inner_text().split() == f"{name} {chosen}".split()
    handles = ":is(.pcc-controls input, button:not(.pcc-token)):visible"
    assert page.locator(f"main {handles}").count() == 0


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_prints_as_a_handout(on_paper, lesson):
    page = on_paper(lesson)
    only_the_lesson_is_there(page)
    nothing_is_cut(page)
    it_is_black_on_white(page)
    solutions_come_last(page)
    figures_tell_their_setting(page)


def test_printing_leaves_the_page_as_it_was(visit):
    page = visit("resnet", scheme="dark")
    page.locator("main details").nth(1).evaluate("fold => { fold.open = true; }")
    page.wait_for_timeout(500)
    page.evaluate(
        """window.addEventListener("beforeprint", () => {
            window.onPaper = document.querySelector("main").lastElementChild.className;
        })"""
    )
    html = page.locator("html")
    before = html.get_attribute("class"), page.locator("main").inner_html()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.onPaper") == "solutions"
    page.wait_for_timeout(500)
    assert (html.get_attribute("class"), page.locator("main").inner_html()) == before


@pytest.mark.parametrize("name", [name for name in BESIDE if name.startswith("sheets")])
def test_a_sheet_is_one_page_of_paper(visit, name):
    page = visit(name)
    page.wait_for_function(DRAWN)
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))
    assert len(pages) == 1


@pytest.mark.parametrize("lesson", CHAPTERS)
def test_a_lesson_has_its_short_way_its_sheet_and_its_page_for_lecturers(lesson):
    assert {f"{kind}/{lesson}" for kind in ("short", "sheets", "lecturer")} <= {*BESIDE}


@pytest.mark.parametrize("name", [name for name in BESIDE if name.startswith("lect")])
def test_a_lecturer_finds_what_there_is_to_know(name):
    text = (ROOT / "notebooks" / f"{name}.md").read_text("utf-8")
    assert re.findall("^## (.+)", text, re.M) == [
        "45 minutes",
        "90 minutes",
        "Questions before the figures",
        "Where they stumble",
        "What to leave out",
        "When a cell is slow or the projector dark",
    ]
    plans = text.split("\n## ")[1:3]
    for minutes, plan in zip((45, 90), plans):
        spans = [tuple(map(int, span)) for span in re.findall(r"(\d+)–(\d+)", plan)]
        assert spans[0][0] == 0 and spans[-1][1] == minutes
        assert all(one[1] == other[0] for one, other in zip(spans, spans[1:]))


@pytest.mark.parametrize("lesson", CHAPTERS)
def test_the_short_way_is_part_of_the_lesson(visit, lesson):
    page = visit(lesson)
    whole = page.locator("main :is(h2, h3)").all_inner_texts()
    starred = [title for title in whole if title.endswith("★")]
    page = visit(f"short/{lesson}")
    short = page.locator("main :is(h2, h3)").all_inner_texts()
    assert starred and set(starred) <= set(short) < set(whole)
    assert page.locator("main figure").count() > 0
