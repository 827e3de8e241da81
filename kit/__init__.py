import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip is not always asked
    raise SystemExit(
        "Papers, Cell by Cell runs on Python 3.11, 3.12 and 3.13; "
        "this is {}.{}".format(*sys.version_info)
    )


def uncaught(kind, error, trace, usual=sys.excepthook):
    """Ctrl-C while a command still imports: that is no error, and takes one line."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        usual(kind, error, trace)


if sys.argv[0] == "-m":  # python -m kit.notebooks, and the like
    sys.excepthook = uncaught
