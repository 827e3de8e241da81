"""What pyproject.toml cannot say about the wheel: its pins, notebooks and exercises."""

import re
import shutil
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # nbgrader's words
SOLUTION = re.compile(rf"^( *)({BEGIN}\n).*?(^ *{END})$", re.M | re.S)
STUB = r"\1\2\1raise NotImplementedError\n\3"


class Pins(MetadataHookInterface):
    """The wheel depends on what requirements.txt names, in the same versions."""

    def update(self, metadata):
        text = Path(self.root, "requirements.txt").read_text("utf-8")
        metadata["dependencies"] = re.findall(r"^\w[\w.-]*==\S+", text, re.M)


class Reader(BuildHookInterface):
    """What a reader needs besides `kit` and `lessons`: they lie as in a checkout.

    The solutions of lessons/assignments are the lecturer's; a wheel has the exercises
    without them.
    """

    def initialize(self, version, build_data):
        if version == "editable":
            return
        root, self.folder = Path(self.root), Path(tempfile.mkdtemp())
        files = [root / "notebooks" / "SUMMARY.md"]
        files += sorted((root / "notebooks").glob("*.ipynb"))
        included = {str(path): f"notebooks/{path.name}" for path in files}
        for path in sorted((root / "lessons" / "assignments").glob("*.py")):
            text, stub = path.read_text("utf-8"), self.folder / path.name
            stub.write_text(SOLUTION.sub(STUB, text), "utf-8", newline="\n")
            included[str(stub)] = f"lessons/assignments/{path.name}"
        build_data["force_include"].update(included)

    def finalize(self, version, build_data, artifact_path):
        if version != "editable":
            shutil.rmtree(self.folder)
