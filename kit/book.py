"""mdBook preprocessor: executed notebooks become the pages of the site.

mdBook hands over its context and the book as JSON on stdin and takes the book back
on stdout. In every chapter TeX becomes MathML, so that pages need neither scripts nor
fonts for it.
"""
import html
import json
import re
import string
import sys
from pathlib import Path, PurePosixPath

import nbformat
from math_core import LatexError, LatexToMathML

from kit import public
from kit.commands import in_one_line
from kit.notebooks import parsed, stored

ANY = r"(?:(?!\n[ \t]*\n).)"  # any character, never across a blank line
MARKDOWN = re.compile(
    rf"""
    (?P<skip> ^[ \t>]*(?P<fence>`{{3,}}|~{{3,}})[^\n]*\n
              .*? (?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)
            | (?<!`)(?P<ticks>`+)(?!`) {ANY}+? (?<!`)(?P=ticks)(?!`)
            | <(?P<raw>pre|code|script|style)\b .*? </(?P=raw)>
            | <!--.*?--> | </?[a-zA-Z][^<>]*>
            | \\. )
  | \$\$(?P<display>{ANY}+?)\$\$
  # As in Pandoc: no space inside the dollars, no digit after: "$5 and $6" stays money.
  | \$(?P<inline>(?![\s$])(?:\\.|(?!\\|\$){ANY})+(?<!\s))\$(?!\d)
  | \]\((?P<page>[^\s():]+)\.ipynb(?P<anchor>\#[^\s)]*)?(?=[\s)])
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ENTITY = {ord(c): f"&#{ord(c)};" for c in string.punctuation}
# mdBook's search index mixes prose with code and output. theme/pages.js tells them
# apart by these signs, which nobody sees.
UNPROSE = "<div hidden>␂</div>\n\n{}\n\n<div hidden>␃</div>"
FENCED = re.compile(r"^(`{3,})\w*\n.*?^\1$", re.MULTILINE | re.DOTALL)
TO_MATHML = LatexToMathML(fancy_error=False)


def markdown(text, where):
    """Markdown of a cell: its TeX as MathML, its links to notebooks as links to pages.

    Raises ValueError naming `where` and the formula when the TeX is wrong.
    """

    def replace(match):
        if match["skip"]:
            return match[0]
        if match["page"]:  # JupyterLab's heading anchors keep capitals, mdBook's do not
            return f"]({match['page']}.html{(match['anchor'] or '').lower()}"
        tex = match["display"] or match["inline"]
        try:
            mathml = TO_MATHML.convert_with_local_state(
                tex, displaystyle=bool(match["display"])
            )
        except LatexError as error:
            raise ValueError(f"{where}: wrong TeX in {match[0]!r}: {error}") from None
        return re.sub(
            r"(?<=>)[^<]+", lambda t: html.unescape(t[0]).translate(ENTITY), mathml
        )

    return MARKDOWN.sub(replace, text)


def raw_html(text):
    """The same HTML without blank lines, at which an HTML block would end."""

    script_or_break = r"<(script|style)\b.*?</\1\s*>|\n(?=[ \t\r]*\n)"

    # An entity is a line break in HTML; in a script a blank line may simply go.
    def replace(match):
        return re.sub(r"\n(?:[ \t\r]*\n)+", "\n", match[0]) if match[1] else "&#10;"

    flags = re.DOTALL | re.IGNORECASE
    return re.sub(script_or_break, replace, text.strip(), flags=flags)


def fenced(source):
    """Python source as a fenced block; the fence is longer than backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", source)), default=0))
    return f"{fence}python\n{source.rstrip()}\n{fence}"


def preformatted(text, kind):
    # CommonMark lets <pre>, unlike other elements, contain blank lines.
    text = html.escape(ANSI.sub("", text).rstrip())
    return f'<pre class="output {kind}">{text}</pre>'


def output(out, where):
    """Markdown or HTML of one stored output (an nbformat output node)."""
    if out.output_type == "error":
        what = f"{out.ename}: {out.evalue}"
        raise ValueError(f"{where}: the stored output is an error, {what}")
    if out.output_type == "stream":
        return preformatted(out.text, out.name)
    data = out.data
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return f'<div class="output">\n{raw_html(data[kind])}\n</div>'
    if "image/png" in data:
        alt = out.metadata.get("image/png", {}).get("alt") or data.get("text/plain", "")
        alt = raw_html(html.escape(alt))
        url = "data:image/png;base64," + data["image/png"].replace("\n", "")
        return f'<div class="output">\n<img src="{url}" alt="{alt}">\n</div>'
    if "text/markdown" in data:
        text = markdown(data["text/markdown"], where)
        return f'<div class="output">\n\n{text}\n\n</div>'
    if "text/plain" in data:
        return preformatted(data["text/plain"], "result")
    kinds = ", ".join(data) or "no data"
    raise ValueError(f"{where}: no page can show an output that has only {kinds}")


def cell_parts(cell, where):
    """Yield the Markdown blocks of one notebook cell."""
    if cell.cell_type == "markdown":
        text = starred(markdown(cell.source, where))
        yield FENCED.sub(lambda match: UNPROSE.format(match[0]), text)
    elif cell.cell_type == "code" and cell.source.strip():
        if cell.execution_count is None:
            why = "this cell was never executed; run `make notebooks` first"
            raise ValueError(f"{where}: {why}")
        code = fenced(cell.source)
        if "hide-input" in cell.metadata.get("tags", []):
            summary = "<summary>Show the code</summary>"
            code = f"<details>\n{summary}\n\n{code}\n\n</details>"
        outputs = [output(out, where) for out in cell.outputs]
        yield UNPROSE.format("\n\n".join([code, *outputs]))


def parts_of(cells, path):
    blocks = []
    for number, cell in enumerate(cells, 1):
        first_line = cell.source.strip().partition("\n")[0]
        blocks += cell_parts(cell, f"{path}, cell {number} ({first_line!r})")
    return blocks


def page(notebook, path, address=None):
    """Markdown page made of a notebook, given as JSON text; `path` names its file.

    address: the project's, by which the page opens the notebook elsewhere.

    Raises ValueError naming file and cell for an error output, an unexecuted cell or
    wrong TeX.
    """
    blocks = parts_of(parsed(notebook, PurePosixPath(path)).cells, path)
    name = html.escape(PurePosixPath(path).name)
    link = f'<a href="{name}" download>Download this page as a notebook</a>'
    paper = '<button class="print">Print it as a handout</button>'
    opened = [
        f'<a href="{html.escape(place)}">Open in {service}</a>'
        for service, place in public.open_in(address, PurePosixPath(path).name)
    ]
    download = f'<p class="download">{" ".join([*opened, link, paper])}</p>'
    parts = re.fullmatch(r"\s*(# [^\n]*)?(.*)", "\n\n".join(blocks), re.DOTALL)
    title, body = parts.groups(default="")
    return f"{title}\n\n{download}\n\n{body.lstrip()}\n"


STAR = re.compile(r"^(#+) (.+) ★$", re.M)


def starred(text):
    """Headings with a star, which the short way goes by, keep the address without."""

    def addressed(match):
        kept = re.sub(r"[^\w\s-]", "", match[2].lower()).replace(" ", "-")
        return f"{match[0]} {{#{kept}}}"

    return STAR.sub(addressed, text)


def short_way(nb):
    """The cells in sections whose heading has a star, to the next heading as high."""
    cells, level = [], 0
    for cell in nb.cells:
        text, kept = cell.source, cell.cell_type == "code" and level
        if cell.cell_type == "markdown":
            parts = []
            for part in re.split(r"^(?=##+ )", cell.source, flags=re.M):
                if heading := re.match(r"(##+) .*?( ★)?$", part, re.M):
                    if heading[2]:
                        level = level or len(heading[1])
                    elif len(heading[1]) <= level:
                        level = 0
                if level:
                    parts.append(part)
            text, kept = "".join(parts).strip(), bool(parts)
        if kept:
            cells.append(nbformat.from_dict(cell | {"source": text}))
    return cells


INCLUDED = re.compile(r"^<!-- (code|output|short way) of (\w+)(?:: (.+))? -->$", re.M)


def include(text, where, folder):
    """A page of Markdown with what it takes over from the executed lessons.

    `<!-- code of resnet: class ResidualBlock -->` is that definition,
    `<!-- output of resnet: figures.journey( -->` what the cell with these words put
    out, `<!-- short way of resnet -->` the sections whose headings have a star.
    Raises ValueError where not exactly one cell of the lesson has the words.
    """

    def taken(match):
        kind, lesson, words = match.groups()
        nb = stored(folder / f"{lesson}.ipynb")
        if kind == "short way":
            text = "\n\n".join(parts_of(short_way(nb), f"{lesson}.ipynb"))
            return re.sub(r"\]\((?=\w+\.html)", "](../", text)  # from a folder below
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        found = [cell for cell in code if words in cell.source]
        if len(found) != 1:
            cells = f"{len(found)} cells of {lesson}"
            raise ValueError(f"{where}: {cells} have {words!r}, one should")
        if kind == "output":
            return "\n\n".join(output(out, where) for out in found[0].outputs)
        return fenced(definition(found[0].source, words))

    return INCLUDED.sub(taken, text)


WHEEL = """Or, with Python 3.11, 3.12 or 3.13 and nothing else, take the lessons along:
download <a href="{name}" download>{name}</a>, install it with `pip install` and type
`papers-cell-by-cell`."""


def with_wheel(text, folder):
    """A page that offers the wheel at `<!-- wheel -->`, where there is one to copy."""
    names = [path.name for path in folder.glob("*.whl")]
    offer = "\n".join(WHEEL.format(name=html.escape(name)) for name in names)
    return text.replace("<!-- wheel -->", offer)


def definition(source, words):
    """The lines from that with these words to the next that is not further in."""
    lines = source[source.rfind("\n", 0, source.index(words)) + 1 :].splitlines()
    after = (i for i, line in enumerate(lines[1:], 1) if line and line[0] > " ")
    return "\n".join(lines[: next(after, None)])


def chapters(items):
    """Yield every chapter below a list of mdBook's book items."""
    for item in items:
        if chapter := isinstance(item, dict) and item.get("Chapter"):
            yield chapter
            yield from chapters(chapter["sub_items"])


@in_one_line()
def main():
    if sys.argv[1:2] == ["supports"]:
        sys.exit(sys.argv[2] != "html")
    context, book = json.load(sys.stdin.buffer)
    folder = Path(context["root"], context["config"]["book"]["src"])
    address = public.address(context["config"])
    for chapter in chapters(book["items"]):
        path, text = chapter["path"] or "", chapter["content"]
        if path.endswith(".ipynb"):
            chapter["content"] = page(text, path, address)
        else:
            text = starred(markdown(with_wheel(text, folder), path))
            chapter["content"] = include(text, path, folder)
    print(json.dumps(book))


if __name__ == "__main__":
    main()
