"""What measured numbers hang on: the machine, the day and the versions."""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path


def processor():
    """The name of this machine's processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line for line in lines if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def made_with(*packages):
    """Processor, cores, date, Python and versions of packages, in one line."""
    day = datetime.date.today().isoformat()
    found = [f"Python {platform.python_version()}"]
    found += [f"{name} {version(name)}" for name in ("torch", *packages)]
    return f"{processor()}, {os.cpu_count()} cores, {day}, {', '.join(found)}"
