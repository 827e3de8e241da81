"""CTRL: the same network with codes, and with one start token for all."""

from functools import partial

import torch

from lessons.ctrl import (
    VOCABULARY,
    all_probes,
    attention_to_code,
    fit,
    obeyed,
    right_and_wrong,
    small_model,
    steering,
    token_losses,
)


def studied(coded, seed):
    """Losses on held-out text, attribution, and how many of 200 texts obey."""
    model = small_model(seed)
    losses = fit(model, seed, 400, coded)
    model.eval()
    rows, kinds = all_probes()
    found = token_losses(model, rows)
    right, wrong = right_and_wrong(found, kinds)

    def attributed(tokens):
        return (found[..., :tokens].sum(-1).argmin(0) == kinds).float().mean().item()

    first = VOCABULARY + coded * kinds[:, None]
    looking = attention_to_code(model, torch.cat([first, rows], dim=1))
    looking = looking[..., 48:].mean(-1)  # (layers, heads)
    return {
        "loss, right code": right.mean().item(),
        "loss, wrong code": wrong.mean().item(),
        "loss, start token": found[0].mean().item(),
        "attributed, 8 tokens": attributed(8),
        "attributed, 32 tokens": attributed(32),
        "obeyed": obeyed(steering(model, seed, each=40, coded=coded)),
        "loss of the first 20 steps": losses[:20].mean(),
        "weight on the first token, mean": looking.mean().item(),
        "weight on the first token, most": looking.max().item(),
    }


STUDY = {
    "with codes": partial(studied, True),
    "without codes": partial(studied, False),
}
SEEDS = range(5)
