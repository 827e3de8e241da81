"""How the commands of this project end."""

import sys
from contextlib import contextmanager


@contextmanager
def in_one_line(stopped="stopped"):
    """What the user can mend ends a command in one line, and so does Ctrl-C.

    For `with`, or as a decorator. What the user can mend is an OSError or a ValueError,
    with exit code 1; after Ctrl-C the line is `stopped`, the exit code 130, as a shell
    has it.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
