import sys

if sys.version_info < (3, 11):  # noqa: UP036  without an installation nothing else says so
    found = "{}.{}".format(*sys.version_info)
    raise SystemExit(f"Papers, Cell by Cell runs on Python 3.11, 3.12 and 3.13; this is {found}")
