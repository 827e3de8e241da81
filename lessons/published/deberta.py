"""Published DeBERTas, of the paper, V2 and V3, and what is printed of them."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, weights
from kit.config import check_fields, variant
from kit.probe import parameters
from kit.table import as_printed
from lessons.deberta import (
    ATTENTION,
    VARIANTS,
    ContentToContent,
    Deberta,
    DebertaConfig,
    DisentangledAttention,
    Layer,
    MaskDecoder,
    MaskedLM,
    build,
    c2p_scores,
    init_weights,
    log_buckets,
    p2c_scores,
    sizes,
)

# --- V2 and V3

CONV_ACTIVATIONS = {**weights.ACTIVATIONS, "tanh": nn.Tanh()}


@dataclass(frozen=True)
class V2Config(DebertaConfig):
    """The sizes of a DeBERTa-v2 or V3."""

    vocab_size: int = 128_100
    position_buckets: int = 256
    conv_kernel_size: int = 0  # odd, or 0 for no convolution
    conv_act: str = "gelu"

    def __post_init__(self):
        check_fields(self, may_be_zero=("conv_kernel_size",))
        k, kernel = self.max_relative_positions, self.conv_kernel_size
        if kernel and kernel % 2 == 0:
            raise ValueError(f"conv_kernel_size should be 0 or odd, not {kernel}")
        if not 2 <= self.position_buckets < 2 * k - 2:
            right = f"2 to below {2 * k - 2}"
            found = self.position_buckets
            raise ValueError(f"position_buckets should be {right}, not {found}")


class SharedAttention(ContentToContent):
    """All three terms, by the projections of the content, for buckets of distances."""

    longest = 512  # the distance at which the last bucket ends

    def __init__(self, hidden_size, num_heads):
        super().__init__(hidden_size, num_heads)
        self.key = nn.Linear(hidden_size, hidden_size)

    def terms(self, query, key, positions):
        k = len(positions) // 2
        place = torch.arange(query.shape[-2], device=query.device)
        bucket = log_buckets(place[:, None] - place, k, self.longest)
        index = (bucket + k).clamp(0, 2 * k - 1)
        keys = self.heads(self.key(positions))              # (heads, 2k, d)
        queries = self.heads(self.query(positions))
        return super().terms(query, key, positions) | {
            "c2p": c2p_scores(query, keys, index),
            "p2c": p2c_scores(key, queries, index),
        }


class ConvolvedLayer(Layer):
    """DeBERTa-v2's first layer: a convolution over the tokens stands beside it."""

    def __init__(self, layer, config):
        H, kernel = config.hidden_size, config.conv_kernel_size
        super().__init__(layer.attention, layer.ffn, H, eps=1e-7)
        self.conv = nn.Conv1d(H, H, kernel, padding=(kernel - 1) // 2)
        self.norm = nn.LayerNorm(H, eps=1e-7)
        self.conv_activation = CONV_ACTIVATIONS[config.conv_act]

    def forward(self, x, mask, *context):                   # (batch, tokens, hidden)
        near = self.conv(x.transpose(1, 2)).transpose(1, 2)
        real = 1
        if mask is not None:
            real = mask.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
        x = super().forward(x, mask, *context)
        return self.norm(x + self.conv_activation(near * real)) * real


class DebertaV2(Deberta):
    """The encoder of a V2Config; called as a Deberta."""

    def __init__(self, config, attention=SharedAttention):
        super().__init__(config, attention)
        for layer in self.layers:
            layer.attention.longest = config.max_relative_positions
        H = config.hidden_size
        self.positions = nn.Embedding(2 * config.position_buckets, H)
        init_weights(self.positions)
        self.position_norm = nn.LayerNorm(H, eps=1e-7)
        if config.conv_kernel_size:
            self.layers[0] = ConvolvedLayer(self.layers[0], config)

    def start(self, input_ids, attention_mask=None):
        x, (mask, _) = super().start(input_ids, attention_mask)
        # All rows: which bucket a distance falls into hangs on how many there are.
        return x, (mask, self.position_norm(self.positions.weight))


class DebertaV2Decoder(MaskDecoder, DebertaV2):
    """A DebertaV2 with the enhanced mask decoder in place of its last layer."""


def v2_sizes(hidden_size, layers, **more):
    return V2Config(**vars(sizes(hidden_size, layers)) | {"vocab_size": 128_100} | more)


V2_VARIANTS = {
    "deberta-v2-xlarge": v2_sizes(1536, 24, conv_kernel_size=3),
    "deberta-v2-xxlarge": v2_sizes(1536, 48, conv_kernel_size=3),
    "deberta-v3-xsmall": v2_sizes(384, 12),
    "deberta-v3-small": v2_sizes(768, 6),
    "deberta-v3-base": v2_sizes(768, 12),
    "deberta-v3-large": v2_sizes(1024, 24),
    "mdeberta-v3-base": v2_sizes(768, 12, vocab_size=251_000),
}


def build_v2(name, **changes):
    """The encoder of V2_VARIANTS with random weights; as `build` of the lesson."""
    return DebertaV2(variant(V2_VARIANTS, name, changes))


# --- weights


class Classifier(nn.Module):
    """Inputs as of its Encoder, to logits `(batch, num_labels)`: for fine-tuning."""

    def __init__(self, encoder, num_labels=2):
        super().__init__()
        H = encoder.config.hidden_size
        self.encoder = encoder
        self.pooler, self.classifier = nn.Linear(H, H), nn.Linear(H, num_labels)
        for layer in (self.pooler, self.classifier):
            init_weights(layer)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        states = self.encoder(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.classifier(F.gelu(self.pooler(states[:, 0])))


HEADS = {  # what stands on the encoder, by the class that a checkpoint names
    "Model": lambda encoder, labels: encoder,
    "ForMaskedLM": lambda encoder, labels: MaskedLM(encoder),
    "ForSequenceClassification": Classifier,
}
KINDS = [f"{family}{head}" for family in ("Deberta", "DebertaV2") for head in HEADS]
TERMS = {  # of `pos_att_type`
    ("c2p",): "c2p", ("p2c",): "p2c", ("c2p", "p2c"): "both", ("p2c", "c2p"): "both"
}
NAMES = [
    (r"encoder\.rel_embeddings\.", "positions."),
    (r"encoder\.LayerNorm\.", "position_norm."),
    (r"encoder\.conv\.", "layers.0."),
    *weights.BERT,
    (r"\.(query|key|value)_proj\.", r".\1."),
    (r"\.pos_proj\.", ".position_key."),
    (r"\.pos_q_proj\.", ".position_query."),
    (r"\.q_bias$", ".query.bias"),
    (r"\.v_bias$", ".value.bias"),
    (r"^cls\.predictions\.decoder\.weight$", "encoder.embeddings.word.weight"),  # tied
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
    kind = weights.architecture(config, KINDS)
    unsupported(config)
    names = list(NAMES)
    if decoder:
        kind = kind.partition("For")[0].removesuffix("Model") + "ForMaskedLM"
        config.position_biased_input = True  # so that the library reads the table
        names.append((r"\bembeddings\.position\.", "position."))
    config.legacy = True
    head = kind.removeprefix("DebertaV2").removeprefix("Deberta")
    with torch.device("meta"):
        model = HEADS[head](encoder_of(config, decoder), config.num_labels)
    tensors = weights.read(kind, name_or_folder, config, renamed=PUBLISHED)
    names.append((r"^deberta\.", "" if head == "Model" else "encoder."))
    tensors = separate(tensors, config.num_attention_heads)
    return weights.fill(weights.adjust(model, config), tensors, names)


def unsupported(config):
    """Raise ValueError for what the lesson's models do not have."""
    heads = config.num_attention_heads
    weights.require(
        config,
        hidden_act=weights.ACTIVATIONS,
        pooler_hidden_act=["gelu"],
        relative_attention=[True],
        pos_att_type=list(map(list, TERMS)),
        position_biased_input=[False],
        type_vocab_size=[0],
        talking_head=[False],
        embedding_size=[config.hidden_size],
        pooler_hidden_size=[config.hidden_size],
        attention_head_size=[config.hidden_size // heads],
    )
    if config.model_type == "deberta-v2":
        if len(config.pos_att_type) == 1:
            raise ValueError("of V2 the lesson has only the one with c2p and p2c")
        weights.require(
            config,
            share_att_key=[True],
            norm_rel_ebd=["layer_norm"],
            conv_act=CONV_ACTIVATIONS,
            conv_groups=[1],
        )


def encoder_of(config, decoder=False):
    """An encoder of ours for a configuration of the transformers library."""
    longest, most = config.max_relative_positions, config.max_position_embeddings
    shape = weights.sizes(config) | {
        "type_vocab_size": 2,  # of other lessons' models
        "max_relative_positions": longest if longest > 0 else most,
    }
    if config.model_type == "deberta":
        attention = ATTENTION[TERMS[tuple(config.pos_att_type)]]
        kind = MaskDecoder if decoder else Deberta
        return kind(DebertaConfig(**shape), attention)
    ours = V2Config(
        **shape,
        position_buckets=config.position_buckets,
        conv_kernel_size=getattr(config, "conv_kernel_size", 0),
        conv_act=getattr(config, "conv_act", "tanh"),
    )
    kind = DebertaV2Decoder if decoder else DebertaV2
    return kind(ours, SharedAttention)


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


# --- the reference

RELATIVE = {  # the settings of a DeBERTa; k is small, so that distances are cut off
    "relative_attention": True,
    "pos_att_type": "c2p|p2c",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": 8,
}
V3 = RELATIVE | {
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 6,
    "max_relative_positions": -1,
}
CONV = {"conv_kernel_size": 3, "conv_act": "gelu"}
CASES = {  # class of the library, its configuration
    "hidden states": ("DebertaModel", RELATIVE),
    "c2p alone": ("DebertaModel", RELATIVE | {"pos_att_type": "c2p"}),
    "p2c alone": ("DebertaModel", RELATIVE | {"pos_att_type": "p2c"}),
    "logits of the words": ("DebertaForMaskedLM", RELATIVE),
    "logits of a text": ("DebertaForSequenceClassification", RELATIVE),
    "V2, with its convolution": ("DebertaV2Model", V3 | CONV),
    "V3": ("DebertaV2Model", V3),
    "V3, logits of the words": ("DebertaV2ForMaskedLM", V3),
}


def differences_from_reference(seed=0):
    """Largest difference to transformers with the same random weights, for CASES."""
    difference = partial(weights.difference, from_pretrained)
    return {
        name: difference(kind, seed, **changes)
        for name, (kind, changes) in CASES.items()
    }


# --- what is printed

CARDS = {  # millions of parameters but the table of words
    "deberta-v3-xsmall": "22",
    "deberta-v3-small": "44",
    "deberta-v3-base": "86",
    "deberta-v3-large": "304",
}


def position_parameters(encoder):
    """(matrices of the position terms, their biases, the table P): how many numbers."""
    matrices = biases = 0
    for layer in encoder.layers:
        for one in (layer.attention.position_key, layer.attention.position_query):
            matrices += one.weight.numel()
            biases += 0 if one.bias is None else one.bias.numel()
    return matrices, biases, encoder.positions.weight.numel()


def table_13():
    """{row: (printed, ours)}: parameters of base, changed step by step.

    All that the rows seem to count: the table of absolute positions, the head for
    masked words, and a pooler.
    """
    with torch.device("meta"):
        model = MaskedLM(
            MaskDecoder(VARIANTS["deberta-base"], DisentangledAttention)
        )
    config = model.encoder.config
    H, V = config.hidden_size, config.vocab_size
    matrices, biases, table = position_parameters(model.encoder)
    whole = parameters(model) + H * H + H                   # a pooler
    shared = whole - matrices - biases
    convolved = shared + 3 * H * H + H + 2 * H              # and its normalisation
    return {
        "RoBERTa-ReImp": ("120", shared - table),
        "DeBERTa": ("134", whole),
        "+ ShareProjection": ("120", shared),
        "+ Conv": ("122", convolved),
        "+ 128k vocabulary": ("190", convolved + (128_000 - V) * (H + 1)),
    }


def printed_counts():
    """Rows (what, printed in millions, ours, unit, ours rounded with ✓ or ✗)."""
    found = []
    for name, printed in (("deberta-base", "14"), ("deberta-large", "49")):
        with torch.device("meta"):
            matrices, _, table = position_parameters(build(name))
        row = f"position terms of {name} (A.7)", printed, matrices + table
        found.append((*row, 2**20))
    for row, (printed, count) in table_13().items():
        found.append((f"Table 13, {row}", printed, count, 2**20))
    for name, printed in CARDS.items():
        with torch.device("meta"):
            encoder = build_v2(name)
        words = encoder.embeddings.word.weight.numel()
        pooler = encoder.config.hidden_size**2              # its matrix
        count = parameters(encoder) - words + pooler
        found.append((f"{name} but its words (card)", printed, count, 10**6))
    return [
        [what, printed, f"{count:,}", "2²⁰" if unit == 2**20 else "10⁶",
         as_printed(count, unit, printed)]
        for what, printed, count, unit in found
    ]
