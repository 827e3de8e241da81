"""Who may import whom."""

import ast

import pytest

from kit.notebooks import ROOT

BESIDE = ("figures", "published", "studies", "checks", "scale")


def imports(path):
    """The modules of the project that a module names, as dotted paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    ours = ("kit", "lessons", "notebooks")
    return {name for name in found if name.split(".")[0] in ours}


def modules(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]


@pytest.mark.parametrize("path", modules("lessons"), ids=lambda path: path.stem)
def test_a_lesson_imports_nothing_of_what_stands_beside_it(path):
    kinds = tuple(f"lessons.{kind}" for kind in BESIDE)
    assert [name for name in imports(path) if name.startswith(kinds)] == []


@pytest.mark.parametrize("kind", BESIDE)
def test_what_stands_beside_lessons_imports_lessons_and_kit(kind):
    own = ("scale",) if kind == "scale" else ()  # recipes share code
    others = tuple(f"lessons.{other}" for other in BESIDE if other not in own)
    for path in modules(f"lessons/{kind}"):
        assert [name for name in imports(path) if name.startswith(others)] == [], path


def test_kit_imports_no_lesson():
    for path in modules("kit", "kit/view"):
        assert {name for name in imports(path) if not name.startswith("kit")} == set()
