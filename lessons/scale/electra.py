"""ELECTRA by the paper's recipe (Clark et al., ICLR 2020), on text of any size."""

from dataclasses import replace
from typing import NamedTuple

import torch

from kit import given, text
from kit.programs import LENGTH, VOCABULARY
from kit.recipes import adamw, rising
from kit.scale import Recipe
from lessons import electra
from lessons.albert import CLS, SEP, MaskedLM
from lessons.electra import Discriminator, Electra, electra_loss, new_encoder

DEFAULT = "electra-small"


class Figures(NamedTuple):
    """Of Table 6: tokens in a text, texts in a batch, rate, steps."""

    length: int
    batch: int
    rate: float
    steps: int


# Table 6. (It hides 25% of the tokens for large; the lesson's loss hides 15% always.)
VARIANTS = {
    "electra-small": Figures(128, 128, 5e-4, 1_000_000),
    "electra-base": Figures(512, 256, 2e-4, 766_000),
    "electra-large": Figures(512, 2048, 2e-4, 400_000),
}
SMALL = Figures(LENGTH, 16, 2e-3, 400)  # ours, as in the lesson


def framed(ids, kind, generator):
    return {"ids": torch.cat([torch.tensor([CLS]), ids, torch.tensor([SEP])])}


def as_it_is(ids, kind, generator):
    return {"ids": ids}


def loss(model, batch):
    """The lesson's: dynamic masks of 15%, λ = 50 (§2, §3.1), drawn on the device."""
    return electra_loss(model, batch["ids"])


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch."""
    figures = SMALL if wish.small else VARIANTS[wish.variant]
    words, model = small() if wish.small else large(wish, figures)
    view, room = (as_it_is, 0) if wish.small else (framed, 2)
    data, heldout = given.held_out(given.Pieces(words, figures.length - room, view))
    steps = wish.steps or figures.steps
    return Recipe(
        model=model,
        loss=loss,
        data=data,
        heldout=heldout,
        batch_size=wish.batch or figures.batch,
        steps=steps,
        optimizer=adamw,  # Table 6: weight decay 0.01, betas 0.9 and 0.999, ε 1e-6
        # Table 6: up for 10,000 steps, then in a line to 0
        rate=rising(figures.rate, 100 if wish.small else 10_000, steps),
        measure=loss,
        clip=1.0,  # the authors' code
        layers=(
            *model.discriminator.encoder.layers,
            *model.generator.encoder.layers,
        ),
    )


def large(wish, figures):
    """(Text, model), of a folder. The lesson's model has no dropout; Table 6: 0.1."""
    words, tokenizer = given.read_text(  # the authors' code: BERT's WordPiece
        wish.data, wish.out, "wordpiece", 30_522, wish.tokenizer
    )
    given.check_special(tokenizer)
    sizes = {"vocab_size": words.size, "max_position_embeddings": 512}
    encoders = [
        new_encoder(replace(electra.VARIANTS[f"{wish.variant}-{part}"], **sizes))
        for part in ("discriminator", "generator")
    ]
    return words, Electra(Discriminator(encoders[0]), MaskedLM(encoders[1]))


def small():
    """Ours: the lesson's pair of networks, on Python programs."""
    _, documents = text.python_tokens(VOCABULARY)
    return given.text_of(documents.train, VOCABULARY), electra.small_electra()


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
