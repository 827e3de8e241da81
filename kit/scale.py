"""Training at any size, on torch's own engine: what `lessons/scale` runs on.

`run` trains what a Recipe describes, in one process or in those that torchrun started:
DistributedDataParallel, or every layer sharded by FSDP2. It goes on where it stopped.

The samples of a step, its *global batch*, are cut into parts, processes × accumulate of
them. What a step draws is a function of seed, step, place in the batch and part alone.
So two processes see what one sees that accumulates two parts, and a resumed run is the
uninterrupted one: exactly so on processors; some kernels of GPUs add in any order.

Two things hang on the number of parts, which is therefore kept for a whole run. A loss
is the mean of the parts' means. Batch norm takes mean and variance over one part;
`sync_bn` joins those of all processes, which torch has on GPUs only. (Its running
averages, for evaluation, are the first process's.)
"""

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from kit.checkpoint import leave_folder, one_for_all, resume, save, take_folder
from kit.files import store
from kit.processes import (
    Refused,
    code_hash,
    first,
    is_first,
    same_everywhere,
    together,
)

FLUSH = 10  # steps between two looks at the losses: each makes a GPU wait


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    data, heldout: have a length, and `example(index, generator)` gives a dict of
    tensors; what it draws, it draws from `generator`. collate: a list of them to one.
    loss: `loss(model, batch)`, a scalar. measure: the same for held-out data, a scalar
    or a number for each sample; its mean is reported under the name `measured`.
    optimizer: `optimizer(model)`. rate: the learning rate of a step, `rate(step)`.
    clip: the longest gradient. layers: the modules that FSDP shards one by one.
    """

    model: nn.Module
    loss: Callable
    data: object
    heldout: object
    batch_size: int
    steps: int
    optimizer: Callable
    rate: Callable
    measure: Callable
    measured: str = "held-out loss"
    clip: float | None = None
    layers: tuple = ()
    collate: Callable = default_collate


@dataclass(frozen=True)
class Options:
    """How a run is carried out; `out` is a folder that all processes see."""

    out: Path
    seed: int = 0
    accumulate: int = 1
    shard: bool = False
    bf16: bool = False
    compile: bool = False
    sync_bn: bool = False
    save_every: int | None = None  # None: twenty times in a run
    workers: int = 0  # processes that prepare samples, for each process that trains
    tensorboard: bool = False


# ---- samples


def mix(*parts):
    """A seed made of several numbers and words: alike for alike ones only."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


@lru_cache(maxsize=2)  # a batch may hold the end of one epoch and the start of the next
def order(count, seed, epoch):
    random = torch.Generator().manual_seed(mix(seed, "epoch", epoch))
    return torch.randperm(count, generator=random)


class Drawn:
    """A data set whose items are asked for by (index, seed of what the item draws)."""

    def __init__(self, data):
        self.data = data

    def __getitem__(self, place):
        index, number = place
        return self.data.example(index, torch.Generator().manual_seed(number))


def places(count, seed, positions):
    """For positions in the endless row of shuffled epochs: [(index, seed), …]."""
    found = []
    for position in positions:
        epoch, place = divmod(position, count)
        index = order(count, seed, epoch)[place].item()
        found.append((index, mix(seed, "sample", position)))
    return found


class Parts:
    """The parts of this process from step `start` on, as lists for `Drawn`."""

    def __init__(self, recipe, options, start):
        self.recipe, self.options, self.start = recipe, options, start

    def __iter__(self):
        recipe, accumulate = self.recipe, self.options.accumulate
        size = recipe.batch_size // (dist.get_world_size() * accumulate)
        for step in range(self.start, recipe.steps):
            for part in range(accumulate):
                number = dist.get_rank() * accumulate + part
                begin = step * recipe.batch_size + number * size
                positions = range(begin, begin + size)
                yield places(len(recipe.data), self.options.seed, positions)


def moved(batch, device):
    return {name: one.to(device, non_blocking=True) for name, one in batch.items()}


# ---- the model, spread over the processes


class Objective(nn.Module):
    """A model and what it is trained for, so that one call gives the loss of a batch.

    In eval mode it gives the recipe's measure instead.
    """

    def __init__(self, recipe, bf16):
        super().__init__()
        self.model, self.bf16 = recipe.model, bf16
        self.loss, self.measure = recipe.loss, recipe.measure

    def forward(self, batch):
        kind = next(self.model.parameters()).device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            return (self.loss if self.training else self.measure)(self.model, batch)


def spread(recipe, options, device):
    """The recipe's Objective on every process, with gradients that are averaged.

    Sharded, each process has its part of weights, gradients and optimizer only. (It
    makes the whole model in its own memory first: all by the same seed.)
    """
    objective = Objective(recipe, options.bf16)
    if options.sync_bn:
        nn.SyncBatchNorm.convert_sync_batchnorm(objective)
    if options.compile:
        for module in recipe.layers if options.shard else [objective]:
            module.compile()
    if options.shard:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for layer in recipe.layers:
            fully_shard(layer, mesh=mesh)
        return fully_shard(objective, mesh=mesh)
    # Running averages need not be alike in training: `one_for_all` before they are used
    return DistributedDataParallel(objective.to(device), forward_sync_buffers=False)


# ---- the run


class Curve:
    """The loss of every step, in `curve.csv`, and where asked in TensorBoard's format.

    Rows from `start` on, of a run that stopped later than its last checkpoint, go.
    """

    def __init__(self, options, start):
        self.path, self.waiting, self.board = options.out / "curve.csv", [], None
        first(lambda: self.keep(start))
        if options.tensorboard and is_first():
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(options.out / "tensorboard", purge_step=start)

    def keep(self, count):
        kept = self.path.read_text("utf-8") if self.path.exists() else ""
        rows = ["step,loss,rate", *kept.splitlines()[1 : count + 1], ""]
        store(self.path, "\n".join(rows))

    def add(self, step, loss, rate):
        self.waiting.append((step, loss, rate))

    def write(self, steps, losses, rates):
        try:
            with self.path.open("a", encoding="utf-8") as file:
                for step, loss, rate in zip(steps, losses, rates):
                    file.write(f"{step},{loss:.9g},{rate:.6g}\n")
        except OSError as error:
            why = f"{self.path} could not be written ({error})"
            raise Refused(f"{why}: make room, then run this again") from None
        if self.board:
            for step, loss, rate in zip(steps, losses, rates):
                self.board.add_scalar("loss", loss, step)
                self.board.add_scalar("rate", rate, step)

    def close(self):
        if self.board:
            self.board.close()

    def flush(self):
        """Write what waits; Refused where a loss is not a number."""
        if not self.waiting:
            return None
        steps, losses, rates = zip(*self.waiting)
        self.waiting = []
        losses = torch.stack(losses)
        dist.all_reduce(losses)
        losses = (losses / dist.get_world_size()).tolist()
        first(lambda: self.write(steps, losses, rates))
        for step, loss in zip(steps, losses):
            if not math.isfinite(loss):
                raise Refused(f"the loss of step {step} is {loss}: lower the rate")
        return losses[-1]


@torch.no_grad()
def measured(recipe, options, module, device):
    """The mean of the recipe's measure over all held-out samples."""
    one_for_all(module)
    module.eval()
    count, drawn = len(recipe.heldout), Drawn(recipe.heldout)
    rank, world = dist.get_rank(), dist.get_world_size()
    # As many at once as in training, but no tiny parts: nothing is kept for gradients.
    size = max(16, recipe.batch_size // (world * options.accumulate))
    total = torch.zeros(2, device=device)
    for number in range(math.ceil(count / (world * size))):  # alike in all processes
        begin = (number * world + rank) * size
        positions = range(begin, begin + size)
        batch = [drawn[min(i, count - 1), mix("held out", i)] for i in positions]
        torch.manual_seed(mix("held out", begin))
        values = module(moved(recipe.collate(batch), device))
        real = torch.tensor([i < count for i in positions], device=device)
        total += torch.stack([(values * real).sum(), real.sum()])
    dist.all_reduce(total)
    module.train()
    return (total[0] / total[1]).item()


def update(step, recipe, options, module, optimizer, batches):
    """One step of training; the mean loss of this process's parts."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(step)
    total, accumulate = 0, options.accumulate
    for part in range(accumulate):
        batch = next(batches)
        # What the model draws: dropout, and what a lesson's loss does.
        number = dist.get_rank() * accumulate + part
        torch.manual_seed(mix(options.seed, "part", step, number))
        # Only the last part's gradients need an exchange: it has the sum of all.
        waits = part + 1 < accumulate and not options.shard
        with module.no_sync() if waits else nullcontext():
            loss = module(batch) / accumulate
            loss.backward()
        total = total + loss.detach()
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad()
    return total


def train(recipe, options, device):
    """All steps that are left; {what: number} of the trained model."""
    module = spread(recipe, options, device)
    optimizer = recipe.optimizer(module)
    start = resume(options.out, module, optimizer)
    curve, found, began = Curve(options, start), {}, time.monotonic()
    loader = DataLoader(
        Drawn(recipe.data),
        batch_sampler=Parts(recipe, options, start),
        collate_fn=recipe.collate,
        num_workers=options.workers,
        pin_memory=device.type == "cuda",
    )
    batches = (moved(batch, device) for batch in loader)
    save_every = options.save_every or max(1, recipe.steps // 20)
    progress = {"unit": " samples", "unit_scale": recipe.batch_size, "initial": start}
    with tqdm(total=recipe.steps, disable=not is_first(), **progress) as bar:
        for step in range(start, recipe.steps):
            loss = update(step, recipe, options, module, optimizer, batches)
            curve.add(step, loss, recipe.rate(step))
            done = step + 1
            due = done % save_every == 0 or done == recipe.steps
            if due or done % FLUSH == 0:
                found["last loss"] = curve.flush()
                bar.set_postfix_str(f"loss {found['last loss']:.3f}", refresh=False)
            if due:
                save(options.out, done, module, optimizer)
            bar.update()
    curve.close()
    if found:
        samples = (recipe.steps - start) * recipe.batch_size
        found["samples per second"] = samples / (time.monotonic() - began)
    return {recipe.measured: measured(recipe, options, module, device)} | found


def run(device, make, options, **facts):
    """Train `make()`, a Recipe, on all `processes`, and return {what: number} of it.

    facts: what tells this run from others, beside its options.
    Raises Refused for what the user can mend, alike in all processes.
    """
    parts = dist.get_world_size() * options.accumulate
    facts |= {"parts": parts, "seed": options.seed, "bf16": options.bf16}
    facts["code"] = code_hash()
    same_everywhere(facts | {"version of torch": torch.__version__})
    if options.tensorboard and find_spec("tensorboard") is None:
        raise Refused("--tensorboard needs a package: pip install tensorboard")
    first(lambda: take_folder(options.out, facts))
    torch.manual_seed(options.seed)
    try:
        recipe = together(make)
        if recipe.batch_size % parts:
            what = f"a batch of {recipe.batch_size} cannot be cut into {parts} parts"
            raise Refused(f"{what} (processes × --accumulate)")
    except Refused:  # the folder stays free for the right words
        first(lambda: leave_folder(options.out))
        raise
    return train(recipe, options, device)
