"""The conversion of executed notebooks into pages, and what mdBook makes of it."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from support import book_settings

from kit.book import include, markdown, page, raw_html

ROOT = Path(__file__).parent.parent
HOSTILE = (
    "<script>alert(1)</script>\n\n# *not* a heading `$x$` {{#include SUMMARY.md}} "
    "&amp;\n    indented </pre> \x1b[31mred\x1b[0m"
)
SCRIPT = """
const a = 1 < 2 && 3 > 1, b = "&amp; <b> $x$ $y$";
const c = `*d* _e_ [f](g.ipynb) {{#include SUMMARY.md}}`;
  if (a < c) { console.log("</b>", '\\u003c'); }
"""
DATA = '{"values":[1,2,3],"token":"\\u003c/script>zebra"}'
SCRIPTS = f"""<script type="application/json" class="pcc-data">{DATA}</script>
<script type="module">{SCRIPT}</script>"""
FIGURE = f"""<figure class="pcc-figure" data-figure="1"> <div class="pcc-live"></div>
<div class="pcc-fallback"><img alt="Three bars" src="data:image/png;base64,AAAA"></div>
<figcaption>Bars of giraffe</figcaption>
{SCRIPTS}</figure>"""


BEGIN, END = (f'<div hidden="">{sign}</div>' for sign in "␂␃")


def code(source="x", *outputs, tags=(), executed=1):
    cell = new_code_cell(source, outputs=list(outputs), execution_count=executed)
    cell.metadata["tags"] = list(tags)
    return cell


def shown(data, **more):
    return new_output("display_data", data=data, **more)


def make_page(*cells, address=None):
    notebook = nbformat.writes(new_notebook(cells=list(cells)))
    return page(notebook, "lesson.ipynb", address)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Run mdBook on the given cells; returns the finished process and the site.

    It has the project's own book.toml and theme.
    """

    def run(*cells, address=None, files=None):
        folder = tmp_path_factory.mktemp("book")
        (folder / "notebooks").mkdir()
        (folder / "book.toml").write_text(book_settings(address), "utf-8")
        shutil.copytree(ROOT / "theme", folder / "theme")
        pages = ["lesson.ipynb", *(name for name in files or {} if ".md" in name)]
        summary = "".join(f"- [Page]({name})\n" for name in pages)
        (folder / "notebooks/SUMMARY.md").write_text(summary)
        for name, text in (files or {}).items():
            (folder / "notebooks" / name).write_text(text)
        notebook = new_notebook(cells=list(cells))
        nbformat.write(notebook, folder / "notebooks/lesson.ipynb")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        options = {"env": {**os.environ, "PATH": path}, "cwd": folder}
        command = ["mdbook", "build"]
        process = subprocess.run(command, capture_output=True, text=True, **options)
        return process, folder / "site"

    return run


@pytest.fixture(scope="module")
def built(build):
    """A notebook with everything difficult in it, as (its page's main part, the site).

    The page is HTML, the site a folder.
    """
    answer = "```python\ndef f(x):\n\n    return '$a$'\n```\n\nThat *is* all."
    fold = f"<details>\n<summary>Solution, $x^2$</summary>\n\n{answer}\n\n</details>"
    table = "| a | b |\n|---|---|\n| $\\lvert x_1 * y_1 * z \\rvert$ | `c` |"
    html = "<table>\n\n    <tr><td>ostrich</td></tr>\n\n</table>"
    process, site = build(
        new_markdown_cell("# A title\nThe text costs $5 and $6."),
        code("print()", new_output("stream", name="stdout", text=HOSTILE)),
        code("figure", shown({"text/html": FIGURE, "text/plain": "<Bars>"})),
        code("table", shown({"text/html": html})),
        code("fold()", tags=["hide-input"]),
        new_markdown_cell(fold),
        new_markdown_cell(table),
    )
    assert process.returncode == 0, process.stderr
    html = (site / "lesson.html").read_text()
    return html[html.index("<main>") : html.index("</main>")], site


def test_math_becomes_mathml():
    inline = markdown(r"with $x_l$ inside", "here")
    assert inline == "with <math><msub><mi>x</mi><mi>l</mi></msub></math> inside"
    display = markdown("$$\n\\frac{a}{b}\n$$", "here")
    assert display.startswith('<math display="block"><mfrac>') and "\n" not in display
    assert markdown("twice: 2$\\times$ and ($n$)", "here").count("<math>") == 2


@pytest.mark.parametrize(
    "text",
    [
        "it costs $5 and $6",
        "$5–$6, US$7 or ($8)",
        r"\$5 and \$x\$",
        "a lone $ and another $",
        "`$x$` and ``a ` $y$``",
        "```python\nprice = '$x$'\n```",
        "  ~~~\n$x$\n~~~",
        "> ```\n> $x$\n> ```",
        "```\nnever closed $x$",
        '<img alt="$x$" src="a.png"> <code>$x$</code> <!-- $x$ -->',
        "paragraph with $x\n\nanother y$ paragraph",
    ],
)
def test_dollars_that_are_no_math_stay(text):
    assert markdown(text, "here") == text


def test_math_text_is_not_read_as_markdown():
    mathml = markdown(r"$a * b * c \lvert x \rvert \text{`d`} < e$", "here")
    text = re.sub("<[^>]*>", "", mathml)
    assert not set(text) & set("*_`|<")


def test_links_between_lessons():
    text = "[a](densenet.ipynb) [b](densenet.ipynb#The-idea \"title\")"
    linked = "[a](densenet.html) [b](densenet.html#the-idea \"title\")"
    others = " [c](https://x.org/y.ipynb) `[d](e.ipynb)` [f](#here)"
    assert markdown(text + others, "here") == linked + others


def test_raw_html_has_no_blank_line_and_loses_nothing():
    script = "<script>let s = `1`;\n\n\nlet t;</script>\n<p>c</p>"
    html = raw_html(f"<pre>a\n\n \nb</pre>\n\n{script}\n")
    assert not re.search(r"\n[ \t]*\n", html)
    script = "<script>let s = `1`;\nlet t;</script>\n<p>c</p>"
    assert html == f"<pre>a&#10;&#10; \nb</pre>&#10;\n{script}"
    assert raw_html(FIGURE) == FIGURE


def test_code_may_contain_fences():
    text = make_page(code('s = """\n```\n"""'))
    assert '````python\ns = """\n```\n"""\n````' in text


def test_output_kinds():
    png = shown({"image/png": "QUJD\nREVG\n", "text/plain": "<Figure>"})
    png.metadata["image/png"] = {"alt": 'loss "falls"'}
    text = make_page(
        code("a", png),
        code("b", shown({"text/markdown": "so $x$", "text/plain": "<Markdown>"})),
        code("c", shown({"text/plain": "3 < 4"})),
        code("d", new_output("stream", name="stderr", text="warned")),
    )
    address = "data:image/png;base64,QUJDREVG"
    assert f'<img src="{address}" alt="loss &quot;falls&quot;">' in text
    assert "so <math><mi>x</mi></math>" in text
    assert '<pre class="output result">3 &lt; 4</pre>' in text
    assert '<pre class="output stderr">warned</pre>' in text
    assert "<Figure>" not in text and "Markdown" not in text


def test_title_first_then_the_download():
    text = make_page(new_markdown_cell("# ResNet\nby He"))
    title, download, rest = text.split("\n\n", 2)
    assert title == "# ResNet" and rest == "by He\n"
    assert '<a href="lesson.ipynb" download>' in download


def opened(text):
    """{service: address} of the links that open a lesson elsewhere."""
    links = re.findall(r'<a href="([^"]*)">Open in (\w+)</a>', text)
    return {service: link for link, service in links}


GITHUB = "https://github.com/someone/papers"
ON_BINDER = "main?urlpath=lab/tree/notebooks/lesson.ipynb"
PLACES = {
    None: {},
    GITHUB: {
        "Colab": "https://colab.research.google.com/github/someone/papers/blob/main/"
        "notebooks/lesson.ipynb",
        "Binder": f"https://mybinder.org/v2/gh/someone/papers/{ON_BINDER}",
    },
    "https://git.example.org/a/b": {
        "Binder": "https://mybinder.org/v2/git/"
        f"https%3A%2F%2Fgit.example.org%2Fa%2Fb/{ON_BINDER}",
    },
}


@pytest.mark.parametrize("address", PLACES)
def test_a_lesson_opens_elsewhere_when_the_project_has_an_address(address):
    text = make_page(new_markdown_cell("# ResNet"), address=address)
    assert opened(text) == PLACES[address]
    assert ("Open in" in text) == bool(PLACES[address])


def test_the_address_that_one_clones_from_is_known_too():
    text = make_page(new_markdown_cell("# ResNet"), address=f"{GITHUB}.git")
    assert opened(text) == PLACES[GITHUB]


@pytest.mark.parametrize("address", [None, GITHUB])
def test_the_book_opens_lessons_by_the_address_in_its_settings(build, address):
    process, site = build(new_markdown_cell("# ResNet"), address=address)
    assert process.returncode == 0, process.stderr
    assert opened((site / "lesson.html").read_text("utf-8")) == PLACES[address]


@pytest.mark.parametrize("there", [True, False])
def test_the_start_page_offers_the_wheel_where_there_is_one(build, there):
    name = "papers_cell_by_cell-0.1.0-py3-none-any.whl"
    files = {"start.md": "# Start\n\nOr so.\n<!-- wheel -->\n\nThe end.\n"}
    files |= {name: "the wheel"} if there else {}
    process, site = build(new_markdown_cell("# ResNet"), files=files)
    assert process.returncode == 0, process.stderr
    html = (site / "start.html").read_text("utf-8")
    assert (f'<a href="{name}" download' in html) == there and "The end." in html
    assert (site / name).exists() == there and ("pip install" in html) == there


def test_make_book_makes_the_wheel_first():
    if not shutil.which("make"):
        pytest.skip("no make")
    command = ["make", "-n", "-o", ".venv/test.stamp", "book"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"pip wheel .* notebooks \.\n.*mdbook build\n", run.stdout)
    start = (ROOT / "notebooks" / "index.md").read_text("utf-8")
    assert "\n<!-- wheel -->\n" in start


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (code("boom()", ERROR), "error, ValueError: no"),
        (code("boom()", executed=None), "never executed"),
        (code("boom()", shown({"application/x-unknown": "a"})), "x-unknown"),
        (new_markdown_cell("boom()\n\nso $\\frac{a}{b$"), r"TeX in '$\\frac{a}{b$'"),
    ],
)
def test_bad_cells_are_refused_by_name(cell, reason):
    with pytest.raises(ValueError) as error:
        make_page(new_markdown_cell("# Fine"), cell)
    message = str(error.value)
    assert message.startswith("lesson.ipynb, cell 2 ('boom()'): ") and reason in message
    assert "\x1b" not in message


def test_empty_cells_need_no_execution():
    page = make_page(new_markdown_cell("# Fine"), code("  \n", executed=None))
    assert "```" not in page


def test_a_refused_notebook_stops_the_build(build):
    process, site = build(code("boom()", executed=None))
    assert process.returncode != 0
    where = "lesson.ipynb, cell 1 ('boom()')"
    assert f"{where}: this cell was never executed" in process.stderr
    assert "Traceback" not in process.stderr and not (site / "lesson.html").exists()


def test_figures_survive_mdbook_byte_for_byte(built):
    main, _ = built
    assert SCRIPTS in main
    assert 'alt="Three bars"' in main
    assert "<figcaption>Bars of giraffe</figcaption>" in main


def test_hostile_output_stays_text(built):
    main, _ = built
    pre = re.search(r'<pre class="output stdout">(.*?)</pre>', main, re.DOTALL)[1]
    seen = pre.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert seen == re.sub(r"\x1b\[\d+m", "", HOSTILE)
    assert "<script>alert" not in main


def test_folds_tables_and_money(built):
    main, _ = built
    text = re.sub(r"\s+", " ", main.replace(BEGIN, "").replace(END, ""))
    python = '<pre><code class="language-python">'
    solution = "<details> <summary>Solution, <math><msup>.*?</summary>"
    assert re.search(f"{solution} {python}def f", text)
    assert "'$a$'" in text and "<em>is</em> all.</p> </details>" in text
    assert f"<summary>Show the code</summary> {python}fold()" in text
    assert "costs $5 and $6." in text
    row = re.search(r"<tbody>(.*)</tbody>", text)[1]
    assert row.count("<td>") == 2 and row.count("<msub>") == 2 and "<em>" not in row
    assert "<tr><td>ostrich</td></tr>" in text and "&lt;tr" not in text


def test_search_index_has_words_but_no_figure_data(built):
    _, site = built
    (index,) = site.glob("searchindex*.js")
    words = index.read_text()
    assert "giraff" in words and "ostrich" in words
    assert "zebra" not in words and "console" not in words and "base64" not in words


def test_search_can_tell_prose_from_code_and_output(built):
    main, _ = built
    prose = re.sub(f"{BEGIN}.*?{END}", "", main, flags=re.DOTALL)
    assert "The text costs" in prose and "all.</p>" in prose
    for machine in ("print()", "giraffe", "ostrich", "fold()", "def f"):
        assert machine not in prose.replace(BEGIN, "")
    assert main.count(BEGIN) == main.count(END) == 5


def test_search_puts_prose_before_code_and_forgives_a_typo(build, browser):
    around = "Words and words. " * 200, "More of it. " * 200
    prose = "Here the wombat sleeps. ".join(around)
    printed = new_output("stream", name="stdout", text="wombat " * 9)
    process, site = build(
        new_markdown_cell("# A title"),
        new_markdown_cell("## Coded"),
        code("wombat = wombat(wombat)"),
        new_markdown_cell("## Quoted\n```python\nwombat(wombat)\n```"),
        new_markdown_cell("## Printed"),
        code("x", printed),
        new_markdown_cell(f"## Told\n{prose}"),
        new_markdown_cell("## Elsewhere\nNothing."),
    )
    assert process.returncode == 0, process.stderr
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((site / "lesson.html").as_uri())
    page.get_by_role("button", name="Toggle Searchbar").click()
    for typed in ("wombat", "wombt", "wmobat"):
        page.locator("#mdbook-searchbar").fill("")
        page.locator("#mdbook-searchbar").press_sequentially(typed)
        header = page.locator("#mdbook-searchresults-header", has_text=f"'{typed}'")
        header.wait_for()
        results = page.locator("#mdbook-searchresults li")
        links = results.locator("a").all_text_contents()
        found = [text.split(" » ")[1] for text in links]
        assert found[0] == "Told" and set(found[1:]) == {"Coded", "Quoted", "Printed"}
        assert "wombat sleeps." in results.first.inner_text()
    context.close()


def test_the_notebook_is_there_to_download(built):
    main, site = built
    (name,) = re.findall(r'<a href="([^"]*)" download', main)
    notebook = site.parent / "notebooks/lesson.ipynb"
    assert (site / name).read_bytes() == notebook.read_bytes()


# --- What a page takes over from a lesson


@pytest.fixture
def executed(tmp_path):
    shown = new_output("stream", name="stdout", text="42")
    cells = [
        new_code_cell("import a\n\n\ndef f(x):\n    return x\n\n\nb = 1"),
        new_code_cell("print(f(42))", outputs=[shown], execution_count=2),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "one.ipynb")
    return tmp_path


def test_a_definition_and_an_output_are_taken_over(executed):
    text = "A\n\n<!-- code of one: def f( -->\n\n<!-- output of one: print(f -->\n"
    page = include(text, "sheet.md", executed)
    assert "```python\ndef f(x):\n    return x\n```" in page
    assert '<pre class="output stdout">42</pre>' in page and "<!--" not in page


@pytest.mark.parametrize(("words", "count"), [("def g(", 0), ("f", 2)])
def test_words_that_no_cell_has_or_several_are_named(executed, words, count):
    told = f"sheet.md: {count} cells of one have '{re.escape(words)}', one should"
    with pytest.raises(ValueError, match=told):
        include(f"<!-- code of one: {words} -->", "sheet.md", executed)
