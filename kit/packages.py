"""What lies in installed packages: whole, or one error that says how to mend it."""

import base64
import hashlib
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]


def project(package):
    """The name by which pip knows what is imported as `package`."""
    return "scikit-learn" if package == "sklearn" else package.replace("_", "-")


def pinned(name):
    """`name==version` for a package that this project pins."""
    file, pins = ROOT / "requirements.txt", []
    if file.exists():
        pins = file.read_text("utf-8").splitlines()
    else:  # of the wheel
        with suppress(PackageNotFoundError):
            pins = requires("papers-cell-by-cell") or []
    return next((pin for pin in pins if pin.startswith(f"{name}==")), name)


def damaged(package, why):
    name = project(package)
    # Without --no-deps pip would replace what it needs, too, by other versions.
    mends = f"pip install --force-reinstall --no-deps {pinned(name)}"
    return ValueError(f"the package {name} is damaged ({why}); mend it: `{mends}`")


def missing(package):
    name = project(package)
    mends = f"pip install {pinned(name)}"
    return ValueError(f"the package {name} is missing; install it: `{mends}`")


def installed_version(name):
    """The version of an installed package. Raises ValueError where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        raise missing(name) from None


def package_file(package, *path):
    """The path of a file or folder in a package, found without importing it.

    Raises ValueError where the package is missing.
    """
    spec = find_spec(package)
    if spec is None:
        raise missing(package)
    return Path(spec.submodule_search_locations[0], *path)


@contextmanager
def reading(package, *paths):
    """For `with`, around what reads these files of a package, or imports from it.

    Raises ValueError, which names the package and the command that mends it, where it
    is missing or damaged. A file is damaged that is not what pip installed: half of a
    text can be read without an error, too.
    """
    check_files(package, paths)
    try:
        yield
    except ImportError as error:
        if find_spec(package) is None:
            raise missing(package) from None
        raise damaged(package, error) from None
    except MemoryError:
        raise
    except Exception as error:  # each format has errors of its own, some no narrower
        first_line = str(error).partition("\n")[0]
        raise damaged(package, f"{type(error).__name__}: {first_line}") from None


def check_files(package, paths):
    """Raise ValueError for a file whose hash is not the one that pip noted."""
    try:
        found = distribution(project(package))
    except PackageNotFoundError:  # it is not from pip, which has noted nothing
        return
    noted = {found.locate_file(one): one.hash for one in found.files or []}
    for path in paths:
        if noted.get(path) is None or not path.is_file():
            continue
        digest = hashlib.new(noted[path].mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != noted[path].value:
            raise damaged(package, f"{path.name} is not as it was installed")
