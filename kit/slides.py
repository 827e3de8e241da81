"""The lessons as slides: `python -m kit.slides` makes a folder that needs no network.

Tags of a lesson's cells say what a slide shows: `slide` begins one with this cell,
`on-slide` goes on, `figure-only` shows of a cell of code only what it put out, and
`speaker` makes a text the speaker's note. A cell without a tag is not shown.
"""

import argparse
import html
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from kit import book
from kit.commands import in_one_line
from kit.files import store
from kit.notebooks import ON_SLIDES, ROOT, chosen, stored

# A sentence stands on a line of its own in the lessons, and on a slide it stays there.
TO_HTML = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable("table")
FORMAT = HtmlFormatter(nowrap=True)
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")


def reveal():
    """The folder of reveal.js in the package that brings it."""
    package = find_spec("sphinx_revealjs")
    if package is None:
        command = "pip install --no-deps sphinx-revealjs==3.2.1"
        raise ValueError(f"reveal.js is missing: {command}")
    return Path(package.origin).parent / "_static" / "revealjs"


def cell_html(cell, where):
    """One cell as it stands on its slide."""
    if cell.cell_type == "markdown":
        text = book.STAR.sub(r"\1 \2", cell.source)  # in class no way is the short one
        return TO_HTML.render(book.markdown(text, where))
    shown = []
    if "figure-only" not in cell.metadata.get("tags", []):
        code = highlight(cell.source, PythonLexer(), FORMAT).rstrip()
        shown.append(f"<pre><code>{code}</code></pre>")
    shown += (TO_HTML.render(book.output(out, where)) for out in cell.outputs)
    return "\n".join(shown)


def slides(nb, where):
    """The slides of an executed notebook: lists of (kind, HTML), in their order.

    Raises ValueError naming the cell for a note or a `on-slide` before the first slide.
    """
    found = []
    for number, cell in enumerate(nb.cells, 1):
        tags = set(cell.metadata.get("tags", []))
        kinds = [kind for kind in ON_SLIDES if kind in tags]
        if not kinds:
            continue
        place = f"{where}, cell {number}"
        if len(kinds) > 1:
            both = " and ".join(kinds)
            raise ValueError(f"{place}: the tags {both} exclude each other")
        kind = kinds[0]
        if kind == "slide":
            found.append([])
        elif not found:
            raise ValueError(f"{place}: the tag {kind} before the first slide")
        found[-1].append((ON_SLIDES[kind], cell_html(cell, place)))
    return found


def section(parts):
    """One slide; the speaker's notes stand outside of what is fitted into the box."""
    shown = "\n".join(part for kind, part in parts if kind != "notes")
    notes = "\n".join(part for kind, part in parts if kind == "notes")
    aside = f'<aside class="notes">{notes}</aside>' if notes else ""
    return f'<section><div class="fit">{shown}</div>{aside}</section>'


def deck(nb, title, where):
    """The slides of an executed notebook as one page of HTML."""
    sections = "\n".join(section(parts) for parts in slides(nb, where))
    colours = FORMAT.get_style_defs(".reveal pre")
    return PAGE.format(title=html.escape(title), colours=colours, sections=sections)


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="reveal/dist/reveal.css">
<link rel="stylesheet" href="slides.css">
<style>{colours}</style>
</head>
<body>
<main class="reveal"><div class="slides">
{sections}
</div></main>
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script src="slides.js"></script>
</body>
</html>
"""


def make(names, folder, root=ROOT):
    """Write the slides of these lessons, and what they need, into `folder`."""
    source = reveal()
    for part in REVEAL:
        (folder / "reveal" / part).parent.mkdir(parents=True, exist_ok=True)
        store(folder / "reveal" / part, (source / part).read_bytes())
    for part in ("slides.css", "slides.js"):
        store(folder / part, (root / "theme" / part).read_bytes())
    for name in names:
        path = root / "notebooks" / f"{name}.ipynb"
        nb = stored(path)
        title = nb.cells[0].source.splitlines()[0].lstrip("# ")
        store(folder / f"{name}.html", deck(nb, title, path.name))


@in_one_line()
def main(args=None, root=ROOT):
    parser = argparse.ArgumentParser(
        prog="python -m kit.slides", description="Make slides of the lessons."
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=root / "slides")
    options = parser.parse_args(args)
    names = chosen(options.lesson, parser, root)
    make(names, options.output, root)
    print(f"open {options.output / names[0]}.html")


if __name__ == "__main__":
    main()
