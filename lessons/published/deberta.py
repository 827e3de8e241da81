"""Published DeBERTas, of the paper, V2 and V3, in the DeBERTa lesson's models."""

import torch

from kit import weights
from lessons.deberta import (
    ACTIVATIONS,
    CONV_ACTIVATIONS,
    Classifier,
    Config,
    Deberta,
    MaskedLM,
    replace,
)

HEADS = {
    f"{family}{head}": ours
    for family in ("Deberta", "DebertaV2")
    for head, ours in {
        "Model": Deberta,
        "ForMaskedLM": MaskedLM,
        "ForSequenceClassification": Classifier,
    }.items()
}
NAMES = [
    (r"encoder\.rel_embeddings\.", "positions."),
    (r"encoder\.LayerNorm\.", "position_norm."),
    (r"encoder\.conv\.", "layers.0."),
    *weights.BERT,
    (r"\.(query|key|value)_proj\.", r".\1."),
    (r"\.(pos_key_proj|pos_proj)\.", ".position_key."),
    (r"\.(pos_query_proj|pos_q_proj)\.", ".position_query."),
    (r"\.q_bias$", ".query.bias"),
    (r"\.v_bias$", ".value.bias"),
    (r"^cls\.predictions\.decoder\.weight$", "deberta.embeddings.word.weight"),  # tied
    (r"^cls\.predictions\.(transform\.|decoder\.)?", "head."),
]
# The head has these names in published files; the library's default knows others.
PUBLISHED = {
    r"^lm_predictions\.lm_head\.(dense|LayerNorm)\.": r"cls.predictions.transform.\1.",
    r"^lm_predictions\.lm_head\.bias$": "cls.predictions.bias",
}


def from_pretrained(name_or_folder, decoder=False):
    """A published DeBERTa, V2 or V3, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, hidden)`, also where none are named; logits of the pieces
    `(batch, tokens, vocab)`, or of the text `(batch, labels)`.
    decoder: logits of the pieces through the enhanced mask decoder, which files of a
    pre-training have (§3.2); the library leaves it out.
    Raises ValueError for weights that do not fit, for what the lesson's model does not
    have, and for a name that cannot be had.
    """
    config = weights.configuration(name_or_folder)
    kind = weights.architecture(config, HEADS)
    unsupported(config)
    shape = Config(**fields(config))
    names = list(NAMES)
    if decoder:
        kind = kind.partition("For")[0].removesuffix("Model") + "ForMaskedLM"
        shape = replace(shape, decoder=True, absolute=False)
        config.position_biased_input = True  # so that the library reads the table
        names.append((r"embeddings\.position\.", "decoder.position."))
    config.legacy = True
    tensors = weights.read(kind, name_or_folder, config, renamed=PUBLISHED)
    labels = [config.num_labels] if HEADS[kind] is Classifier else []
    with torch.device("meta"):
        model = HEADS[kind](shape, *labels)
    return weights.fill(model, separate(tensors, shape.num_attention_heads), names)


def unsupported(config):
    H, heads = config.hidden_size, config.num_attention_heads
    weights.require(
        config,
        hidden_act=ACTIVATIONS,
        pooler_hidden_act=["gelu"],
        relative_attention=[bool(config.pos_att_type)],
        talking_head=[False],
        norm_rel_ebd=["none", "layer_norm"],
        conv_act=CONV_ACTIVATIONS,
        conv_groups=[1],
        embedding_size=[H],
        pooler_hidden_size=[H],
        attention_head_size=[H // heads],
    )


def fields(config):
    """The fields of the lesson's Config."""
    longest, most = config.max_relative_positions, config.max_position_embeddings
    shape = weights.sizes(config) | {
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.layer_norm_eps,
        "terms": tuple(config.pos_att_type or ()),
        "absolute": config.position_biased_input,
        "max_relative_positions": longest if longest > 0 else most,
    }
    if config.model_type == "deberta-v2":
        shape |= {
            "biased_keys": True,
            "share_projections": getattr(config, "share_att_key", False),
            "norm_positions": getattr(config, "norm_rel_ebd", "none") == "layer_norm",
            "conv_act": getattr(config, "conv_act", "tanh"),
            "conv_kernel_size": getattr(config, "conv_kernel_size", 0) or None,
            "position_buckets": max(0, getattr(config, "position_buckets", -1)) or None,
        }
    return shape


def separate(tensors, heads):
    """Every `in_proj.weight` as three matrices.

    The first DeBERTa has its rows by head, and in a head by query, key and value.
    """
    separated = {}
    for name, tensor in tensors.items():
        if name.endswith("in_proj.weight"):
            parts = tensor.unflatten(0, (heads, 3, -1)).unbind(1)
            for part, rows in zip(("query", "key", "value"), parts):
                separated[name.replace("in_proj", part)] = rows.flatten(0, 1)
        else:
            separated[name] = tensor
    return separated
