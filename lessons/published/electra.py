"""Published ELECTRAs, discriminators and generators, in the ELECTRA lesson's models."""

import torch
import torch.nn.functional as F

from kit import weights
from lessons.electra import ACTIVATIONS, Albert, Config, Discriminator, MaskedLM

HEADS = {
    "ElectraModel": Albert,
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": MaskedLM,
}
SAME = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
)
NAMES = [
    *weights.BERT,
    (r"^electra\.", "albert."),
    (r"\bembeddings_project\.", "project."),
    (r"^generator_lm_head\.weight$", "albert.embeddings.word.weight"),  # tied
    (r"^(generator_predictions|generator_lm_head)\.", "head."),
    (r"^discriminator_predictions\.dense_prediction\.", "head.output."),
    (r"^discriminator_predictions\.", "head."),
]


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
    kind = weights.architecture(config, HEADS)
    weights.require(
        config,
        hidden_act=ACTIVATIONS,
        position_embedding_type=["absolute"],
        is_decoder=[False],
    )
    tensors = weights.read(kind, name_or_folder, config)
    shape = {name: getattr(config, name) for name in SAME}
    with torch.device("meta"):
        model = HEADS[kind](Config(**shape, share="none", pooler=False))
    if kind == "ElectraForMaskedLM":
        model.head.activation = F.gelu  # whatever its layers have
    return weights.fill(model, tensors, NAMES)
