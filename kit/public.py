"""What follows from the project's public address: ``python -m kit.public``.

``book.toml`` names the address, as ``git-repository-url`` below ``[output.html]``.
The first code cell of a lesson installs the project from there where it is missing, as
it is on Colab (if Colab then asks for a restart, restart and run all cells again).
This command writes that cell into the lessons, which need ``make notebooks`` next.
The book opens a lesson on Colab and Binder. Without an address the cell says what to
do, and nothing is opened.
"""

import re
import tomllib
from urllib.parse import quote

import jupytext

from kit.commands import in_one_line
from kit.files import store
from kit.notebooks import ROOT, lessons, to_notebook

BRANCH = "main"
ALONE = '''assert find_spec("kit"), (
    "this kernel lacks the project: choose .venv, "
    "or run `pip install -r requirements.txt` in the project's folder"
)'''
FETCHED = '''if not find_spec("kit"):  # as on Colab; it takes some minutes
    %pip install git+{address}'''


def address(book):
    """The project's public address out of mdBook's settings, or None."""
    named = book.get("output", {}).get("html", {}).get("git-repository-url")
    return named.rstrip("/") if named else None


def of_project(root=ROOT):
    return address(tomllib.loads((root / "book.toml").read_text("utf-8")))


def first_cell(address):
    """The first code cell of every lesson, for an address or None."""
    does = FETCHED.format(address=address) if address else ALONE
    return f"from importlib.util import find_spec\n\n{does}"


def open_in(address, notebook):
    """Yield (service, link) for each that opens a file in `notebooks/`.

    Colab knows GitHub alone, Binder any address.
    """
    if not address:
        return
    on_github = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?", address)
    if on_github:
        place = f"{on_github[1]}/blob/{BRANCH}/notebooks/{notebook}"
        yield "Colab", f"https://colab.research.google.com/github/{place}"
    there = f"gh/{on_github[1]}" if on_github else f"git/{quote(address, safe='')}"
    page = f"?urlpath=lab/tree/notebooks/{notebook}"
    yield "Binder", f"https://mybinder.org/v2/{there}/{BRANCH}{page}"


@in_one_line()
def main(root=ROOT):
    cell = first_cell(of_project(root))
    for name in lessons(root):
        nb = to_notebook(name, root)
        first = next(one for one in nb.cells if one.cell_type == "code")
        if first.source != cell:
            first.source = cell
            text = jupytext.writes(nb, "py:percent")
            path = root / "lessons" / f"{name}.py"
            store(path, text)
            print(f"lessons/{name}.py: another first cell; next, `make notebooks`")


if __name__ == "__main__":
    main()
