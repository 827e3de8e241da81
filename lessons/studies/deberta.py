"""DeBERTa: what each term of the score is worth on text, and what more steps change."""

from functools import partial

from lessons.deberta import LENGTH, POSITIONS, fit, held_out, text_model


def studied(name, steps, seed):
    """Held-out losses at 32 and 64 tokens, and the mean loss of the first 50 steps."""
    model = text_model(name, seed)
    losses = fit(model, seed, steps)
    measured = {
        f"held-out loss, {length} tokens": held_out(model, length)[1].mean().item()
        for length in (LENGTH, 2 * LENGTH)
    }
    return measured | {"loss of the first 50 steps": losses[:50].mean()}


STUDY = {name: partial(studied, name, 600) for name in POSITIONS}
for name in ("absolute", "c2p + p2c"):
    STUDY[f"{name}, 2400 steps"] = partial(studied, name, 2400)
SEEDS = range(3)
