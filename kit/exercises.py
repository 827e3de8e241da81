"""Checks of the reader's own answers."""

import traceback


def check(answer, checker):
    """Test a reader's answer and print one line: not yet, what is wrong, or ✓.

    `checker(answer)` yields `(holds, hint)` pairs, easiest first; the first that does not hold is shown.
    An answer that raises NotImplementedError counts as not yet attempted.
    Returns whether the answer passed.
    """
    passed = 0
    try:
        for holds, hint in checker(answer):
            if not holds:
                print(f"✗ {hint}")
                return False
            passed += 1
    except NotImplementedError:
        print("… not yet: replace the line that raises NotImplementedError, then run this cell again")
        return False
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"✗ your code stopped with {type(error).__name__}: {error} (line {where.lineno}: {where.line or where.name})")
        return False
    print(f"✓ {passed} of {passed} checks passed")
    return True
