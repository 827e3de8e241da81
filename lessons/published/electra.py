"""Published ELECTRAs as the lesson's models, and the work that the paper counts."""

from dataclasses import replace

import torch

from kit import weights
from lessons.electra import (
    VARIANTS,
    Discriminator,
    ElectraConfig,
    MaskedLM,
    new_encoder,
)

# --- weights

MODELS = {
    "ElectraModel": lambda encoder: encoder,
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": MaskedLM,
}
HEADS = [
    (r"^generator_lm_head\.weight$", "encoder.embeddings.word.weight"),  # tied
    (r"^(generator_predictions|generator_lm_head)\.", "head."),
    (r"^discriminator_predictions\.dense_prediction\.", "score."),
    (r"^discriminator_predictions\.", ""),
]
NAMES = [*weights.BERT, (r"\bembeddings_project\.", "embeddings.widen."), *HEADS]


def from_pretrained(name_or_folder):
    """A published ELECTRA, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, hidden)`, also where none are named; the discriminator's logits
    `(batch, tokens)`, above 0 for "replaced" (the D of the paper's equations is the
    probability of the opposite); or the generator's `(batch, tokens, vocab)`.
    Raises ValueError for weights that do not fit, for what the lesson's model does not
    have, and for a name that cannot be had.
    """
    config = weights.configuration(name_or_folder)
    kind = weights.architecture(config, MODELS)
    weights.require(
        config,
        hidden_act=weights.ACTIVATIONS,
        position_embedding_type=["absolute"],
        is_decoder=[False],
    )
    tensors = weights.read(kind, name_or_folder, config)
    shape = weights.sizes(config) | {"embedding_size": config.embedding_size}
    with torch.device("meta"):
        model = MODELS[kind](new_encoder(ElectraConfig(**shape)))
    weights.adjust(model, config)
    if kind == "ElectraForMaskedLM":  # a GELU, whatever its layers have
        model.head.activation = weights.ACTIVATIONS["gelu"]
    prefix = "" if kind == "ElectraModel" else "encoder."
    return weights.fill(model, tensors, [*NAMES, (r"^electra\.", prefix)])


def difference_from_reference(kind, seed=0, **changes):
    """Largest difference to a model of transformers, one of MODELS.

    changes: of its configuration.
    """
    sizes = {"embedding_size": 16} | changes
    return weights.difference(from_pretrained, kind, seed, **sizes)


# --- the work of Tables 1 and 2, by the rules that the authors published


def forward_flops(config, tokens):
    """Operations of an encoder for one token of a text of `tokens`."""
    V, E, H = config.vocab_size, config.embedding_size, config.hidden_size
    inner = config.intermediate_size
    layer = 8 * H * H + 4 * H * tokens + 4 * H * inner  # matrix products
    layer += 10 * tokens * config.num_attention_heads + 9 * inner + 20 * H  # the rest
    embedding = 2 * E * V + 2 * E * (tokens + 2)  # as if multiplied by whole tables
    embedding += 2 * E * H if E != H else 0
    return config.num_hidden_layers * layer + embedding + 11 * E


def training_flops(config, batch, steps, tokens=512, head="words", asked=0.15625):
    """Operations of a whole pre-training; the backward pass counts as the forward.

    head: "words" for an MLM, `asked` for that share of the tokens, or "replaced".
    """
    V, E, H = config.vocab_size, config.embedding_size, config.hidden_size
    scores = asked * (2 * H * E + 2 * E * V + 14 * E + 7 * V)
    if head == "replaced":
        scores = 2 * H * H + 11 * H
    return 2 * batch * steps * tokens * (forward_flops(config, tokens) + scores)


def electra_flops(size, batch, steps, tokens=512):
    """A discriminator and its generator."""
    ours = VARIANTS[f"electra-{size}-discriminator"]
    its = VARIANTS[f"electra-{size}-generator"]
    return (training_flops(ours, batch, steps, tokens, head="replaced")
            + training_flops(its, batch, steps, tokens))


def generator_share(size, tokens=512):
    """The generator's part of the work."""
    its = VARIANTS[f"electra-{size}-generator"]
    return training_flops(its, 1, 1, tokens) / electra_flops(size, 1, 1, tokens)


def work_of_tables_1_and_2():
    """Rows (model, printed in 10¹⁸, computed in 10¹⁸, rounded with ✓ or ✗).

    Left out are ELMo and XLNet, which have other layers, and the authors' own BERT.
    """
    small, base, large = (
        VARIANTS[f"electra-{size}-discriminator"] for size in ("small", "base", "large")
    )
    gpt, roberta = replace(base, vocab_size=40_000), replace(large, vocab_size=50_265)
    found = {
        "GPT": ("40", training_flops(gpt, 128, 960_800, asked=1)),
        "BERT-Small": ("1.4", training_flops(small, 128, 1.45e6, tokens=128)),
        "BERT-Base": ("64", training_flops(base, 256, 1e6)),
        "ELECTRA-Small": ("1.4", electra_flops("small", 128, 1e6, tokens=128)),
        "ELECTRA-Base": ("64", electra_flops("base", 256, 766_000)),
        "BERT-Large": ("190", training_flops(large, 256, 1e6)),
        "RoBERTa-100K": ("640", training_flops(roberta, 8000, 1e5)),
        "RoBERTa-500K": ("3200", training_flops(roberta, 8000, 5e5)),
        "ELECTRA-400K": ("710", electra_flops("large", 2048, 4e5)),
        "ELECTRA-1.75M": ("3100", electra_flops("large", 2048, 1.75e6)),
    }
    rows = []
    for name, (printed, value) in found.items():
        rounded = float(f"{value / 1e18:.2g}")
        same = "✓" if rounded == float(printed) else "✗"
        rows.append([name, printed, f"{value / 1e18:.3f}", f"{rounded:g} {same}"])
    return rows
