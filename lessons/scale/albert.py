"""ALBERT by the paper's recipe (Lan et al., ICLR 2020), on text of any size."""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from kit import given, text
from kit.recipes import groups, rising
from kit.scale import Recipe
from lessons.albert import (
    MASK,
    PAD,
    PAIRS,
    VARIANTS,
    PreTraining,
    albert,
    for_training,
    hide,
    join,
    turned,
)

DEFAULT = "albert-base"
SPANS = (6 / 11, 3 / 11, 2 / 11)  # §4.1: of one, two and three tokens, p(n) ∝ 1/n


class Lamb(torch.optim.Optimizer):
    """LAMB (§4.1): Adam whose step in each tensor is as long as its weights, times lr.

    Source: You et al., arXiv:1904.00962, Algorithm 2, with the settings of ALBERT's
    code: weight decay 0.01, but not on vectors; no correction for the first steps.
    """

    def __init__(self, params, lr=0.0, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            one, two = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["mean"] = torch.zeros_like(p)
                    state["square"] = torch.zeros_like(p)
                state["mean"].lerp_(p.grad, 1 - one)
                state["square"].mul_(two).addcmul_(p.grad, p.grad, value=1 - two)
                step = state["mean"] / (state["square"].sqrt() + group["eps"])
                step = step + group["weight_decay"] * p
                weights, length = p.norm(), step.norm()
                moves = (weights > 0) & (length > 0)
                p.sub_(group["lr"] * torch.where(moves, weights / length, 1.0) * step)


def spans(ids, share, generator, odds=SPANS):
    """Which tokens to hide, bool as ids `(tokens,)`: `share` of them, in runs.

    odds: of runs of one token, of two, …. Special tokens are left out, as in the
    lesson's `choose`, which hides single tokens.
    """
    odds, count = torch.tensor(odds), len(ids)
    lengths = 1 + torch.multinomial(odds, count, replacement=True, generator=generator)
    left = max(1, round(share * (ids > MASK).sum().item()))
    chosen, may = [False] * count, (ids > MASK).tolist()
    for start in torch.randperm(count, generator=generator).tolist():
        for place in range(start, min(start + lengths[start].item(), count)):
            if left and may[place] and not chosen[place]:
                chosen[place] = True
                left -= 1
    return torch.tensor(chosen)


def pair(size, ids, kind, generator):
    """A piece of text as two segments, in order or swapped, with tokens hidden."""
    cut = torch.randint(1, len(ids), (), generator=generator).item()
    pairs = [(ids[:cut].tolist(), ids[cut:].tolist())]
    swapped = torch.rand((), generator=generator) < 0.5  # §3.1: sentence order
    ids, segments = join(turned(pairs) if swapped else pairs)
    chosen = spans(ids[0], 0.15, generator)[None]
    read, answers = hide(ids, chosen, size, generator=generator)
    row = {"read": read, "answers": answers, "segments": segments}
    return {name: one[0] for name, one in row.items()} | {"swapped": swapped.long()}


def padded(rows):
    """Samples of `pair` as a batch; short ones are filled up."""
    fill = {"read": PAD, "answers": -100, "segments": 0}
    batch = {
        name: pad_sequence([row[name] for row in rows], True, value)
        for name, value in fill.items()
    }
    return batch | {"swapped": torch.stack([row["swapped"] for row in rows])}


def loss(model, batch):
    """As in the lesson's `fit_pairs`: hidden tokens and the order of segments."""
    read, answers = batch["read"], batch["answers"]
    states = model.encoder(read, read != PAD, batch["segments"])
    chosen = answers >= 0
    filled = F.cross_entropy(model.words(states[chosen]), answers[chosen])
    return filled + F.cross_entropy(model.label(states), batch["swapped"])


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch."""
    words, config = small() if wish.small else large(wish)
    model = PreTraining(albert(config))
    if wish.small:
        model = for_training(model)
    # §4.1: at most 512 tokens, with [CLS] and two [SEP]. Pieces end with their text.
    view, room = partial(pair, config.vocab_size), config.max_position_embeddings - 3
    pieces = given.Pieces(words, room, view, least=min(room, 16), across=False)
    data, heldout = given.held_out(pieces)
    steps = wish.steps or (400 if wish.small else 125_000)  # §4.1
    # §4.1: 0.00176; the authors' repository: up for 3,125 steps, then to 0 in a line
    rate = rising(0.005, 40, steps) if wish.small else rising(0.00176, 3125, steps)
    return Recipe(
        model=model,
        loss=loss,
        data=data,
        heldout=heldout,
        batch_size=wish.batch or (32 if wish.small else 4096),  # §4.1
        steps=steps,
        optimizer=lambda model: Lamb(groups(model, 0.01)),
        rate=rate,
        measure=loss,
        clip=1.0,  # the authors' code
        # One layer that all depths share cannot be sharded apart from the rest.
        layers=(),
        collate=padded,
    )


def large(wish):
    """(Text, sizes) of a folder. Dropout is left out, as in the final models (§4.8)."""
    config = VARIANTS[wish.variant]
    words, tokenizer = given.read_text(  # §4.1: SentencePiece, 30,000
        wish.data, wish.out, "unigram", config.vocab_size, wish.tokenizer
    )
    given.check_special(tokenizer)
    return words, replace(config, vocab_size=words.size)


def small():
    """Ours: two layers of 64 columns on Python programs, the lesson's data for SOP."""
    vocabulary, documents = text.python_tokens(PAIRS.vocab_size)
    return given.text_of(documents.train, len(vocabulary)), PAIRS


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
