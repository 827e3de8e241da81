"""The published CTRL in the CTRL lesson's model."""

import torch

from kit import weights
from lessons.ctrl import Config, Ctrl, CtrlLM, sinusoids

HEADS = {"CTRLModel": Ctrl, "CTRLLMHeadModel": CtrlLM}
SAME = (
    "vocab_size",
    "n_positions",
    "n_embd",
    "dff",
    "n_layer",
    "n_head",
    "layer_norm_epsilon",
)
BODY = [
    (r"^transformer\.", ""),
    (r"^w\.", "word."),
    (r"^h\.", "layers."),
    (r"^layernorm\.", "norm."),
    (r"\.multi_head_attention\.Wq\.", ".attention.inner.query."),
    (r"\.multi_head_attention\.Wk\.", ".attention.inner.key."),
    (r"\.multi_head_attention\.Wv\.", ".attention.inner.value."),
    (r"\.multi_head_attention\.dense\.", ".attention.inner.output."),
    (r"\.layernorm1\.", ".attention.norm."),
    (r"\.layernorm2\.", ".ffn.norm."),
    (r"\.ffn\.0\.", ".ffn.inner.up."),
    (r"\.ffn\.2\.", ".ffn.inner.down."),
]


def from_pretrained(name_or_folder):
    """A published CTRL, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, n_embd)`, or logits `(batch, tokens, vocab)`; where none are named,
    logits if the file has their bias. The weights are held in memory once.
    Raises ValueError for weights that do not fit, and a name that cannot be had.
    """
    config = weights.configuration(name_or_folder)
    kind = weights.architecture(config, HEADS, bare="CTRLLMHeadModel")
    optional = "^$" if config.architectures else r"^lm_head\."
    tensors = weights.read(kind, name_or_folder, config, optional)
    shape = {name: getattr(config, name) for name in SAME}
    shape |= {"dropout": config.resid_pdrop, "tied": config.tie_word_embeddings}
    with torch.device("meta"):  # no memory: the model takes the library's tensors
        head = CtrlLM if "lm_head.bias" in tensors else Ctrl
        model = head(Config(**shape))
    body = model.ctrl if head is CtrlLM else model
    body.position = sinusoids(
        config.n_positions, config.n_embd
    )  # no weight: not stored
    return weights.fill(model, tensors, names_of(head, config.tie_word_embeddings))


def names_of(head, tied):
    if head is Ctrl:
        return [*BODY, (r"^lm_head\.weight$", "word.weight")]
    output = "ctrl.word.weight" if tied else "output"
    return [
        *BODY,
        (r"^(word|layers|norm)\.", r"ctrl.\1."),
        (r"^lm_head\.bias$", "bias"),
        (r"^lm_head\.weight$", output),
    ]
