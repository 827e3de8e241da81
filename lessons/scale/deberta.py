"""DeBERTa by the paper's recipe (He et al., ICLR 2021), on text of any size."""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from kit import given, text
from kit.programs import LENGTH, VOCABULARY
from kit.recipes import adamw, rising
from kit.scale import Recipe
from lessons.albert import CLS, SEP, MaskedLM, hide
from lessons.deberta import TEXT, VARIANTS, MaskDecoder, started
from lessons.scale.albert import spans

DEFAULT = "deberta-base"


def masked(size, ids, kind, generator):
    """A piece of text with 15% of its tokens hidden, in runs of up to three."""
    ids = torch.cat([torch.tensor([CLS]), ids, torch.tensor([SEP])])[None]
    # The paper names no odds of the lengths: ALBERT's.
    chosen = spans(ids[0], 0.15, generator)[None]
    read, answers = hide(ids, chosen, size, generator=generator)
    return {"read": read[0], "answers": answers[0]}


def loss(model, batch):
    """The cross-entropy of hidden tokens, as in the lesson."""
    answers = batch["answers"]
    chosen = answers >= 0
    states = model.encoder(batch["read"])
    return F.cross_entropy(model.words(states[chosen]), answers[chosen])


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch.

    xlarge, which the authors published, is not in the paper: it gets the same recipe.
    """
    words, config = small() if wish.small else large(wish)
    model = MaskedLM(MaskDecoder(config))  # with the mask decoder (§3.2)
    if wish.small:
        model = started(model)
    length = LENGTH if wish.small else config.max_position_embeddings
    view = partial(masked, config.vocab_size)
    data, heldout = given.held_out(given.Pieces(words, length - 2, view))
    steps = wish.steps or (300 if wish.small else 1_000_000)  # Table 8
    # Table 8: 2e-4, up for 10,000 steps, then in a line to 0
    rate = rising(5e-3, 50, steps) if wish.small else rising(2e-4, 10_000, steps)
    return Recipe(
        model=model,
        loss=loss,
        data=data,
        heldout=heldout,
        batch_size=wish.batch or (32 if wish.small else 2048),  # Table 8
        steps=steps,
        optimizer=adamw,  # Table 8: weight decay 0.01, betas 0.9 and 0.999, ε 1e-6
        rate=rate,
        measure=loss,
        clip=1.0,  # Table 8
        layers=tuple(model.encoder.layers),
    )


def large(wish):
    """(Text, sizes), of a folder. The lesson's model has no dropout; Table 8: 0.1."""
    config = VARIANTS[wish.variant]
    words, tokenizer = given.read_text(  # RoBERTa's byte pairs
        wish.data, wish.out, "bpe", config.vocab_size, wish.tokenizer
    )
    given.check_special(tokenizer)
    return words, replace(config, vocab_size=words.size)


def small():
    """Ours: the lesson's sizes for text, on Python programs."""
    _, documents = text.python_tokens(VOCABULARY)
    return given.text_of(documents.train, VOCABULARY), TEXT


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
