"""Checks of the reader's own answers."""

import traceback


def check(answer, checker):
    """Test a reader's answer and print one line: not yet, what is wrong, or ✓.

    `checker(answer)` yields `(holds, hint)` pairs, easiest first; the hint of the first
    that does not hold is shown.
    An answer that raises NotImplementedError counts as not yet attempted.
    """
    print(verdict(answer, checker))


def verdict(answer, checker):
    """The line that `check` prints; it begins with …, ✗ or ✓."""
    passed = 0
    try:
        for holds, hint in checker(answer):
            if not holds:
                return f"✗ {hint}"
            passed += 1
    except NotImplementedError:
        return "… not yet: write your own code in place of `raise NotImplementedError`"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename]
        where = (own or frames)[-1]  # not inside torch
        what = f"{type(error).__name__}: {error}"
        line = f"line {where.lineno}: {where.line or where.name}"
        return f"✗ your code stopped with {what} ({line})"
    return f"✓ {passed} checks passed"
