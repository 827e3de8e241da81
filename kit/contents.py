"""How JupyterLab opens and saves the lessons, when `kit.lab` starts it."""

from pathlib import Path

import nbformat
from jupytext import AsyncTextFileContentsManager
from tornado.web import HTTPError

from kit.lab import stored
from kit.notebooks import ROOT, apart, inputs_hash


class Lessons(AsyncTextFileContentsManager):
    """JupyterLab's access to files, with what pairs of notebook and module need.

    The stored notebooks are trusted, so that their figures are alive. An edit that the
    notebook alone has is not dropped for a newer module: opening either says so.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            if nb := stored(path):
                self.notary.sign(nb)  # by content: copies of it are trusted too

    def is_paired(self, path):
        place = Path(path.strip("/"))
        suffixes = {"lessons": ".py", "notebooks": ".ipynb"}
        return suffixes.get(str(place.parent)) == place.suffix

    async def get(self, path, content=True, type=None, **options):
        if content and type in (None, "notebook") and self.is_paired(path):
            if trouble := apart(Path(path).stem, Path(self.root_dir)):
                raise HTTPError(409, trouble)
        return await super().get(path, content=content, type=type, **options)

    async def save(self, model, path=""):
        if model.get("type") == "notebook" and self.is_paired(path):
            lesson = model["content"]["metadata"].setdefault("lesson", {})
            lesson["inputs"] = inputs_hash(nbformat.from_dict(model["content"]))
        return await super().save(model, path)
