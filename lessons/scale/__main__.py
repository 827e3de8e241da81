"""Training at the paper's scale: ``torchrun -m lessons.scale NAME …``.

``python -m lessons.scale NAME --small --out FOLDER`` is the same in a minute.

What the user can mend ends a run with one line and the exit code 1, and so does Ctrl-C;
torchrun adds a report of its own to that.
"""

import argparse
import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch

from kit import train
from kit.files import store
from kit.given import fingerprint
from kit.processes import Refused, first, is_first, processes, together
from kit.scale import Options, run

NAMES = ("resnet", "densenet", "albert", "electra", "deberta", "ctrl")


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


class Costs(argparse.Action):
    """Prints the tables of the book's page "What scale costs"."""

    def __call__(self, parser, *rest):
        from lessons.scale.costs import tables

        print(tables())
        parser.exit()


def parser():
    made = argparse.ArgumentParser(
        prog="lessons.scale",
        description="Train a lesson's model by its paper's recipe; it goes on where "
        "it stopped. Several processes: torchrun --nproc-per-node=8 -m lessons.scale …",
    )
    add = made.add_argument
    add("name", choices=NAMES)
    add("--variant", help="a name in the lesson's VARIANTS")
    add("--data", type=Path, help="CIFAR-10, ImageNet or text: a folder")
    add("--small", action="store_true", help="a small model on bundled data, a minute")
    add("--out", type=Path, required=True, help="a folder for checkpoints and curve")
    add("--tokenizer", help="its file, folder or name; otherwise one is trained")
    add("--steps", type=number, help="instead of the paper's")
    add("--batch", type=number, help="of all processes; instead of the paper's")
    add("--accumulate", type=number, default=1, help="parts of a process's batch")
    add("--shard", action="store_true", help="FSDP2: for models too large for a GPU")
    add("--bf16", action="store_true", help="autocast to bfloat16")
    add("--compile", action="store_true", help="torch.compile")
    add("--sync-bn", action="store_true", help="batch norm over all GPUs")
    add("--save-every", type=number, help="steps; otherwise twenty times in a run")
    add("--workers", type=int, default=0, help="that prepare samples, a process")
    add("--tensorboard", action="store_true", help="logs in its format, too")
    add("--costs", action=Costs, nargs=0, help="print what the papers' runs cost")
    return made


def wishes(arguments):
    made = parser()
    wish = made.parse_args(arguments)
    if wish.small == (wish.data is not None):
        made.error("give either --data FOLDER, or --small for what is bundled")
    if wish.data and wish.out.resolve().is_relative_to(wish.data.resolve()):
        made.error("--out lies in the folder of the data, which it would change")
    if wish.small and (wish.variant or wish.tokenizer):
        made.error("--small has a model and tokens of its own")
    if wish.sync_bn and not torch.cuda.is_available():
        made.error("--sync-bn works on GPUs only: torch has no such kernel elsewhere")
    return made, wish


def note(path, found):
    """A run that was over has no loss and no speed of its own: the old ones stay."""
    earlier = {}
    if path.exists():
        with suppress(ValueError, RecursionError):
            earlier = json.loads(path.read_text("utf-8"))
    store(path, json.dumps(earlier | found, indent=1) + "\n")


def main(arguments=None):
    made, wish = wishes(arguments)
    recipes = importlib.import_module(f"lessons.scale.{wish.name}")
    wish.variant = wish.variant or recipes.DEFAULT
    if wish.variant not in recipes.VARIANTS:
        made.error(f"there is no {wish.variant}: {', '.join(recipes.VARIANTS)}")
    if wish.small:
        torch.set_num_threads(1)  # networks this small run fastest on one core
    try:
        seed = train.seed()
    except ValueError as error:
        made.error(error)
    options = Options(
        out=wish.out,
        seed=seed,
        accumulate=wish.accumulate,
        shard=wish.shard,
        bf16=wish.bf16,
        compile=wish.compile,
        sync_bn=wish.sync_bn,
        save_every=wish.save_every,
        workers=wish.workers,
        tensorboard=wish.tensorboard,
    )
    asked = ("name", "variant", "small", "steps", "batch", "tokenizer")
    facts = {what: getattr(wish, what) for what in asked}
    with processes() as device:
        facts["data"] = together(
            lambda: "bundled" if wish.small else fingerprint(wish.data)
        )
        found = run(device, lambda: recipes.recipe(wish), options, **facts)
        first(lambda: note(wish.out / "result.json", found))
        if is_first():
            told = [f"{what} {value:.4g}" for what, value in found.items()]
            print(f"{wish.name}:", ", ".join(told))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as torchrun stops us
    try:
        main()
    except KeyboardInterrupt:
        stopped = "stopped: the same command goes on from the last checkpoint"
        sys.exit(stopped if is_first() else 1)
    except Refused as error:
        sys.exit(f"error: {error}" if is_first() else 1)
    # All is written. Sharding leaves threads of gloo behind, for which torch 2.13 now
    # and then aborts a process that ends in the usual way.
    sys.stdout.flush()
    os._exit(0)
