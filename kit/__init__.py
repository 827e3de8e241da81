import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip is not always asked
    raise SystemExit(
        "Papers, Cell by Cell runs on Python 3.11, 3.12 and 3.13; "
        "this is {}.{}".format(*sys.version_info)
    )
