"""Tables in a notebook's output, and numbers as a paper prints them."""

from IPython.display import Markdown


def table(headers, rows):
    """A Markdown table; cells are shown as text, `|` included. Columns that hold numbers only are set flush right."""
    rows = [[str(cell) for cell in row] for row in rows]
    right = [all(row[i][:1].isdigit() for row in rows) for i in range(len(headers))]
    lines = [headers, ["--:" if r else ":--" for r in right], *rows]
    escaped = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
    return Markdown("\n".join(escaped))


def as_printed(count, unit, printed):
    """`count` in `unit` with as many decimals as the paper's `printed`, and ✓ or ✗: is that what it prints?"""
    text = f"{count / unit:.{len(printed.partition('.')[2])}f}"
    return f"{text} {'✓' if text == printed else '✗'}"
