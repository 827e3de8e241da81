"""Checkpoints of a run, by torch.distributed.checkpoint: a folder each.

It is written beside its place and moved there when it is whole, with a hash of each of
its files; so what is half written or damaged is told from what is whole.
"""

import hashlib
import json
import shutil

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from kit.files import store
from kit.processes import Refused, first, gathered, say, together

KEPT = 2  # the newest ones


def one_for_all(module):
    """The buffers of the first process, in all."""
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)


def checksums(folder):
    """{name of a file: its hash}; the processes share the work."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "whole.json")
    own = names[dist.get_rank() :: dist.get_world_size()]

    def hashed():
        found = {}
        for name in own:
            with (folder / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    found = {}
    for part in gathered(together(hashed)):
        found |= part
    return found


class Writer(dcp.FileSystemWriter):
    """Tells of a full disk, which torch hides behind an error of its own."""

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def unwrapped(module):
    """What DistributedDataParallel wraps: names under it are those of any other run."""
    return getattr(module, "module", module)


def state_of(module, optimizer):
    model, optimizer = get_state_dict(unwrapped(module), optimizer)
    return {"model": model, "optimizer": optimizer}


def save(folder, step, module, optimizer):
    """Write the checkpoint after `step` steps, beside its place; then move it there.

    Raises Refused where that fails; earlier checkpoints stay as they are.
    """
    whole = folder / f"step-{step:08}"
    partial = whole.with_suffix(".partial")
    one_for_all(module)

    def write():
        dcp.save(state_of(module, optimizer), storage_writer=Writer(partial))

    def finish():
        text = json.dumps({"step": step, "files": sums}, indent=1)
        (partial / "whole.json").write_text(text, "utf-8")
        shutil.rmtree(whole, ignore_errors=True)  # a damaged one, passed over before
        partial.rename(whole)
        old = sorted(folder.glob("step-*[0-9]"))[:-KEPT]
        for one in [*old, *folder.glob("step-*.partial")]:
            shutil.rmtree(one, ignore_errors=True)

    first(lambda: shutil.rmtree(partial, ignore_errors=True))
    try:
        together(write)
        sums = checksums(partial)
        first(finish)
    except Refused as error:
        first(lambda: shutil.rmtree(partial, ignore_errors=True))
        kept = [path.name for path in sorted(folder.glob("step-*[0-9]"))]
        rest = f"{kept[-1]} is intact" if kept else "there is none before it"
        why = f"the checkpoint of step {step} could not be written ({error})"
        raise Refused(f"{why}; {rest}: make room, then run this again") from None


def hashes_in(folder):
    """The hashes that a whole checkpoint has beside its files, or None."""
    try:
        return json.loads((folder / "whole.json").read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def flaw(folder):
    """What is wrong with a checkpoint, None where it is whole."""
    stored = first(lambda: hashes_in(folder))
    if folder.suffix == ".partial" or stored is None:
        return "half written"
    found = checksums(folder)
    wrong = [name for name in stored if found.get(name) != stored[name]]
    return f"damaged ({', '.join(wrong)})" if wrong else None


def load(folder, module, optimizer):
    state = state_of(module, optimizer)
    dcp.load(state, checkpoint_id=folder)
    set_state_dict(
        unwrapped(module),
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
    )


def resume(folder, module, optimizer):
    """Load the newest whole checkpoint in place; how many steps it had, or 0."""
    for path in first(lambda: sorted(folder.glob("step-*"), reverse=True)):
        if wrong := flaw(path):
            say(f"{path.name} is {wrong}: passed over")
            continue
        together(lambda path=path: load(path, module, optimizer))
        say(f"goes on from {path.name}")
        return int(path.name.removeprefix("step-"))
    return 0


def take_folder(folder, facts):
    """Make `folder` the place of this run; Refused where it is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    if path.exists():
        try:
            stored = dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, RecursionError):
            raise Refused(f"{path} cannot be read: choose another --out") from None
        for what in facts:
            if what != "code" and stored.get(what) != facts[what]:
                here = f"{what} {stored.get(what)!r}, now it is {facts[what]!r}"
                raise Refused(f"{folder} is of a run with {here}: choose another --out")
        if stored["code"] != facts["code"]:
            say(f"the code has changed since {folder} was begun")
    elif any(folder.glob("step-*")):
        raise Refused(f"{folder} has checkpoints of no known run: choose another --out")
    store(path, json.dumps(facts, indent=1))


def leave_folder(folder):
    """What `take_folder` took, unless there is something to go on from."""
    if not any(folder.glob("step-*")):
        (folder / "run.json").unlink()
