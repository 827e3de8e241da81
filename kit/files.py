"""Files that are written whole or not at all."""

import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

PART = re.compile(r"\.(\d+)\.partial$")  # and the number of the process that writes it


def store(path, content):
    """Write a file; what stood there before stays until the new one is whole.

    content: str, stored as UTF-8, or bytes.
    Raises OSError, naming the file, where that fails; then nothing half written is left
    behind. What a killed process left is removed by the next that stores beside it.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    part = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        # Of a full disk the system names no file, and the reader knows but this one.
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            part.unlink()
    sweep(path.parent)


def sweep(folder):
    """Remove the half-written files of processes that no longer run."""
    for path in folder.glob("*.partial"):
        number = PART.search(path.name)
        if number and not psutil.pid_exists(int(number[1])):
            with suppress(OSError):
                path.unlink()
