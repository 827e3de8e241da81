"""CTRL by the paper's recipe (Keskar et al., 2019): text, in folders named by codes."""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from kit import given
from kit.processes import Refused
from kit.recipes import rising
from kit.scale import Recipe
from lessons.ctrl import CODES, SMALL, TOKEN, VARIANTS, Ctrl, windows

DEFAULT = "ctrl-256"


def loss(model, batch):
    logits = model(batch["ids"])  # (batch, tokens, vocabulary)
    return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())


def coded(tokens, ids, kind, generator):
    """The code before every piece of text (§3.2); each token is to be predicted."""
    read = torch.cat([torch.tensor([tokens[kind]]), ids[:-1]])
    return {"ids": read, "targets": ids}


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch."""
    text, tokens, config = small() if wish.small else large(wish)
    model, rate = Ctrl(config), 0.05  # §3.2
    # A piece stays within a kind, so that its code is true of all of it.
    pieces = given.Pieces(text, config.n_positions - wish.small, partial(coded, tokens))
    data, heldout = given.held_out(pieces)
    return Recipe(
        model=model,
        loss=loss,
        data=data,
        heldout=heldout,
        batch_size=wish.batch or (24 if wish.small else 1024),  # §3.2
        steps=wish.steps or (200 if wish.small else 800_000),  # §3.2
        optimizer=partial(adagrad, rate),
        # §3.2: up in a line for 25,000 steps; it does not fall
        rate=rising(rate, 50 if wish.small else 25_000),
        measure=loss,
        clip=0.25,  # §3.2
        layers=tuple(model.layers),
    )


def adagrad(rate, model):
    return torch.optim.Adagrad(model.parameters(), lr=rate)  # §3.2


def large(wish):
    """(Text, the token of each kind, sizes), of a folder."""
    # §3.2: byte pairs, about 250,000 tokens; the published file gives 246,534 rows
    config = VARIANTS[wish.variant]
    text, tokenizer = given.read_text(
        wish.data, wish.out, "bpe", config.vocab_size, wish.tokenizer
    )
    if "" in text.names:
        right = "every text in a folder that bears the name of its control code"
        raise Refused(f"CTRL needs {right}, in {wish.data}")
    tokens = [tokenizer.token_to_id(name) for name in text.names]
    return text, tokens, replace(config, vocab_size=text.size)


def small():
    """Ours: the lesson's network and its six kinds of text, with dropout (§3)."""
    rows = [windows(code) for code in CODES]
    kinds = [i for i, one in enumerate(rows) for _ in one]
    pieces = [row.numpy() for one in rows for row in one]
    text = given.text_of(pieces, SMALL.vocab_size, kinds, CODES)
    return text, list(TOKEN.values()), replace(SMALL, dropout=0.1)


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
