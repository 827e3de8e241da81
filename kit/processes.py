"""Processes that work together: those of torchrun, or one alone.

What one of them refuses, all do, with one line for the user.
"""

import hashlib
import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from tqdm import tqdm

ROOT = Path(__file__).parents[1]


class Refused(Exception):
    """What the user can mend, in one line."""


@contextmanager
def processes():
    """Join the processes that torchrun started, or be one alone; yields the device."""
    local, gpu = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.is_available()
    if gpu and local >= (there := torch.cuda.device_count()):
        sys.exit(f"error: this machine has {there} GPUs, none for process {local}")
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    alone = {} if "RANK" in os.environ else {"rank": 0, "world_size": 1}
    if alone:
        alone["store"] = dist.HashStore()
    # A day, because `first` may be at work on much text; torchrun sees who has died.
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=1), **alone)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def is_first():
    """Whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def say(line):
    if is_first():
        tqdm.write(line, file=sys.stderr)


def gathered(value):
    """The `value` of every process, as a list."""
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def attempted(work):
    """(what `work()` returns, None), or (None, why it failed)."""
    try:
        return work(), None
    except CheckpointException as error:  # has the errors of all processes
        return None, str(next(iter(error.failures.values()))[0])
    except (Refused, ValueError, OSError) as error:
        return None, str(error)


def together(work):
    """`work()` of every process; where it fails in one, all raise Refused."""
    result, reason = attempted(work)
    reasons = gathered(reason)
    for rank, reason in enumerate(reasons):
        if reason is not None:
            alike = len(set(reasons)) == 1
            raise Refused(reason if alike else f"process {rank}: {reason}")
    return result


def first(work):
    """`work()` of the first process alone, for all; where it fails, all are Refused."""
    answer = [attempted(work) if is_first() else None]
    dist.broadcast_object_list(answer)
    result, reason = answer[0]
    if reason is not None:
        raise Refused(reason)
    return result


def code_hash():
    """A hash of the modules of this project that are loaded."""
    ours = tuple(f"{ROOT / folder}{os.sep}" for folder in ("kit", "lessons"))
    names = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
    digest = hashlib.sha256()
    for path in sorted(Path(name) for name in names if name.startswith(ours)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def same_everywhere(facts):
    """Raise Refused where `facts`, {what: value}, differ between the processes."""
    for rank, other in enumerate(gathered(facts)):
        for what in facts:
            if other[what] != facts[what]:
                here = f"{facts[what]!r} here (process {dist.get_rank()})"
                raise Refused(
                    f"all processes need the same {what}: it is {other[what]!r} in "
                    f"process {rank} and {here}"
                )
