import os
import shutil
from pathlib import Path

import pytest

# Two test processes share the processor; without this each would start one thread per core. Kernels inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def browser():
    """A Chromium that asks nothing of the network by itself. Where there is none: a failure in CI, elsewhere a skip."""

    def missing(what):
        message = f"browser tests need {what}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright: pip install -r tests/requirements.txt")
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        path = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        if not Path(path).exists():
            missing("Chromium: apt-get install chromium, or python -m playwright install chromium")
        quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
        )
        yield chromium
        chromium.close()
