"""Checks of the reader's own answers, and which were right once on this machine."""

import json
import traceback
from contextlib import suppress

from platformdirs import user_data_path

from kit.files import store


def check(answer, checker):
    """Test a reader's answer and print one line: not yet, what is wrong, or ✓.

    `checker(answer)` yields `(holds, hint)` pairs, easiest first; the hint of the first
    that does not hold is shown.
    An answer that raises NotImplementedError counts as not yet attempted.
    """
    line = verdict(answer, checker)
    print(line)
    if line.startswith("✓"):
        remember(checker)


def memory():
    return user_data_path("papers-cell-by-cell") / "solved.json"


def solved():
    """The exercises solved so far on this machine, such as "resnet.parameters_of"."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return set(json.loads(memory().read_text("utf-8")))
    return set()


def remember(checker):
    """An exercise is solved. A home that cannot be written to is no reason to stop."""
    name = f"{checker.__module__.rpartition('.')[2]}.{checker.__name__}"
    with suppress(OSError):
        memory().parent.mkdir(parents=True, exist_ok=True)
        store(memory(), json.dumps(sorted(solved() | {name})))


def verdict(answer, checker):
    """The line that `check` prints; it begins with …, ✗ or ✓."""
    return progress(answer, checker)[1]


def progress(answer, checker):
    """(checks passed before one failed, the line that `check` prints)."""
    passed = 0
    try:
        for holds, hint in checker(answer):
            if not holds:
                return passed, f"✗ {hint}"
            passed += 1
    except NotImplementedError:
        own = "write your own code in place of `raise NotImplementedError`"
        return passed, f"… not yet: {own}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename]
        where = (own or frames)[-1]  # not inside torch
        what = f"{type(error).__name__}: {error}"
        line = f"line {where.lineno}: {where.line or where.name}"
        return passed, f"✗ your code stopped with {what} ({line})"
    return passed, f"✓ {passed} checks passed"
