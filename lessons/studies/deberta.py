"""DeBERTa: who solves which puzzle, what needs absolute positions, and curves on text.

Everything is tuned on seed 100 and, for text, on validation windows. What was measured
there is stored, too, and the choice is computed from it.
"""

from dataclasses import replace
from functools import partial

import torch

from kit import study
from kit.programs import windows
from lessons.albert import fit, held_out_loss
from lessons.deberta import (
    NOUNS,
    PUZZLE,
    Deberta,
    DisentangledAttention,
    MaskDecoder,
    PositionToContent,
    delta,
    fill_in,
    fill_in_nouns,
    long_windows,
    p2c_scores,
    small_encoder,
    solve,
    tested,
    text_model,
)

STUDY, SEEDS = {}, {}


def add(name, function, seeds):
    STUDY[name], SEEDS[name] = function, list(seeds)


# --- text, first of all its tuning: it is read by what follows

RATES, LENGTHS = (0.001, 0.002, 0.004, 0.008), (400, 2400)


def tuning(positions, steps, rate, seed):
    """The loss on validation windows."""
    model = text_model(positions, seed)
    fit(model, windows().train, steps, seed, learning_rate=rate)
    return {"validation loss": held_out_loss(model, windows().validation)[0]}


def tuned(positions, steps):
    """The best rate of the grid: of absolute positions, or of both terms."""
    kind = "absolute" if positions == "absolute" else "both"
    stored = study.read("deberta")
    losses = {
        rate: stored[f"tuning: {kind}, {steps} steps, {rate}"][0]["validation loss"]
        for rate in RATES
    }
    return min(losses, key=losses.get)


def curve(positions, steps, seed):
    """Losses on test windows of 32 tokens as training goes on, and in the end on 64."""
    rate, found = tuned(positions, steps), {}
    model = text_model(positions, seed)

    def watch(step, loss):
        if (step + 1) % (steps // 8) == 0:
            found[f"after {step + 1}"] = held_out_loss(model, windows().test)[0]

    fit(model, windows().train, steps, seed, watch, rate)
    longer = held_out_loss(model, long_windows())[0]
    return found | {"64 tokens": longer, "rate": rate}


for steps in LENGTHS:
    for kind in ("absolute", "both"):
        for rate in RATES:
            run = partial(tuning, kind, steps, rate)
            add(f"tuning: {kind}, {steps} steps, {rate}", run, [100])

# --- puzzles

TASKS = "fixed", "reader", "sender"
KINDS = "none", "absolute", "c2p", "p2c", "both"


class AsPrinted(PositionToContent):
    """p2c at δ(j, i), as Eq. 4 has it, and not at δ(i, j), as released code does."""

    def terms(self, query, key, positions):
        rows = self.heads(self.position_query(positions))
        index = delta(key.shape[-2], len(positions) // 2)
        terms = super().terms(query, key, positions)
        return terms | {"p2c": p2c_scores(key, rows, index.T)}


class BothAsPrinted(AsPrinted, DisentangledAttention):
    """The same, with c2p."""


def solved(positions, task, seed, steps=300, rate=5e-3, **changes):
    """Percent right at positions that were trained, and at later ones.

    positions: as for `small_encoder`, or a class of attention.
    """
    torch.manual_seed(seed)
    config = replace(PUZZLE, **changes)
    if isinstance(positions, str):
        encoder = small_encoder(positions, config)
    else:
        encoder = Deberta(config, positions)
    trained, later = tested(solve(encoder, task, seed, steps, rate), task)
    return {"trained positions": trained, "later positions": later}


for kind in KINDS:
    for task in TASKS:
        add(f"{kind}, {task}", partial(solved, kind, task), range(5))
    for task in TASKS[1:]:
        for rate in (0.0025, 0.01):
            run = partial(solved, kind, task, rate=rate)
            add(f"{kind}, {task}, rate {rate}", run, [100])
        add(f"{kind}, {task}, rate 0.005", partial(solved, kind, task), [100])
for task in TASKS[1:]:
    run = partial(solved, "absolute", task, rate=0.02)
    add(f"absolute, {task}, rate 0.02", run, [100])
    run = partial(solved, "absolute", task, steps=1500)
    add(f"absolute, {task}, 1500 steps", run, range(5))
    run = partial(solved, BothAsPrinted, task)
    add(f"both as in Eq. 4, {task}", run, range(5))
add("p2c as in Eq. 4, sender", partial(solved, AsPrinted, "sender"), range(5))
for kind, task in (("c2p", "sender"), ("p2c", "reader")):
    run = partial(solved, kind, task, num_attention_heads=4)
    add(f"{kind}, four heads, {task}", run, range(5))
    run = partial(run, steps=1500)
    add(f"{kind}, four heads, {task}, 1500 steps", run, range(3))
    run = partial(solved, kind, task, steps=1500)
    add(f"{kind}, {task}, 1500 steps", run, range(3))

# --- clozes


class WithoutPlaces(MaskDecoder):
    """The mask decoder with a table of positions that stays at 0."""

    def forward(self, *inputs):
        self.position.weight.data.zero_()                   # `started` fills it
        return super().forward(*inputs)


def nouns(positions, seed, **settings):
    torch.manual_seed(seed)
    encoder = small_encoder(positions, NOUNS)
    return {"right": fill_in_nouns(encoder, seed, **settings)}


def filled(positions, kind, seed, **settings):
    return {"right": fill_in(positions, kind, seed, **settings)}


for kind in ("none", "both", "absolute"):
    add(f"store and mall among fillers, {kind}", partial(nouns, kind), range(5))
run = partial(nouns, "both", masked=(2, 3, 7))
add("store and mall among fillers, both, no verb", run, range(5))
for place in ("column", "quarter"):
    for kind in ("none", "both", "decoder", "absolute"):
        add(f"{place}, {kind}", partial(filled, kind, place), range(5))
for rate in (0.0025, 0.01):
    run = partial(filled, "both", "column", rate=rate)
    add(f"column, both, rate {rate}", run, [100])
run = partial(filled, WithoutPlaces, "column")
add("column, decoder without positions", run, range(5))
add("column, both, 1500 steps", partial(filled, "both", "column", steps=1500), range(3))

# --- text

for steps in LENGTHS:
    for kind in (*KINDS, "decoder"):
        add(f"text: {kind}, {steps} steps", partial(curve, kind, steps), range(3))
