"""Tables in a notebook's output, and numbers as a paper prints them."""

import re

from IPython.display import Markdown

PLAIN = "tex2jax_ignore mathjax_ignore"  # MathJax 2 and 3 leave these classes alone


def dollars(text):
    """Text for a Markdown output in which no `$` starts a formula.

    It does in none of JupyterLab, GitHub and the site. In code a `$` is safe.
    """
    sign = f'<span class="{PLAIN}">&#36;</span>'
    return re.sub(r"(`+).+?\1|\$", lambda match: match[0] if match[1] else sign, text)


def table(headers, rows):
    """A Markdown table; cells are shown as text, `|` and `$` included.

    Columns that hold numbers only are set flush right.
    """
    rows = [[str(cell) for cell in row] for row in rows]
    right = [all(row[i][:1].isdigit() for row in rows) for i in range(len(headers))]
    lines = [headers, ["--:" if r else ":--" for r in right], *rows]
    text = ""
    for line in lines:
        cells = [dollars(str(cell)).replace("|", "\\|") for cell in line]
        text += "| " + " | ".join(cells) + " |\n"
    return Markdown(text.removesuffix("\n"))
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def as_printed(count, unit, printed):
    """`count` in `unit` with as many decimals as `printed`, and ✓ or ✗.

    ✓: this is what the paper prints.
    """
    text = f"{count / unit:.{len(printed.partition('.')[2])}f}"
    return f"{text} {'✓' if text == printed else '✗'}"
