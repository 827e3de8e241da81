"""Sentences that a lesson verifies. A claim that does not hold fails its cell."""

from IPython.display import Markdown

from kit.table import dollars

_verified = {}


def claim(sentence, holds, source):
    """Print `✓ sentence` and remember it; AssertionError when `holds` is false.

    `source` says whose sentence it is: a place in the paper ("§4.1") or "ours".
    Running a cell again replaces its claim, so the recap lists each sentence once.
    """
    if not holds:
        _verified.pop(sentence, None)
        raise AssertionError(f"this run contradicts the claim: {sentence} ({source})")
    _verified[sentence] = source
    print(f"✓ {sentence} ({source})")


def recap():
    """The claims verified since the kernel started, as a list to read."""
    items = [f"- ✓ {sentence} *({source})*" for sentence, source in _verified.items()]
    return Markdown("\n".join(map(dollars, items)))
