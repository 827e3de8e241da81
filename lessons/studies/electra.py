"""ELECTRA: seven ways to pre-train, and some generators and rates, at equal work."""

from functools import partial

from lessons.electra import OBJECTIVES, Learner, median_score, recipe, steps_for


def scores_of(encoder):
    """How many roles of names an encoder finds, fine-tuned on few windows or frozen."""
    return {
        "fine-tuned on 50": median_score(encoder, 50),
        "fine-tuned on 15": median_score(encoder, 15),
        "probe": median_score(encoder, 50, frozen=True),
    }


def studied(objective, seed, width=16, rate=3e-3):
    """Scores after the work of 1,000 steps of ELECTRA, and the loss of the first 50."""
    net, steps = Learner(objective, seed, width), steps_for(objective, width)
    losses = recipe(net, seed, steps, rate=rate)
    return {
        **scores_of(net.encoder),
        "steps": steps,
        "loss of the first 50 steps": losses[:50].mean(),
    }


def untrained(seed):
    return scores_of(Learner("MLM", seed).encoder)


STUDY = {name: partial(studied, name) for name in OBJECTIVES}
STUDY["untrained"] = untrained
for width in (8, 32, 64):
    STUDY[f"width {width}"] = partial(studied, "ELECTRA", width=width)
for name in ("MLM", "ELECTRA"):
    for rate in (0.0015, 0.006):
        STUDY[f"{name}, rate {rate}"] = partial(studied, name, rate=rate)
SEEDS = range(3)
