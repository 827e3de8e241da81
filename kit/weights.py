"""Published weights: from the name of a repository or a folder into a lesson's model.

The transformers library reads what it knows (`configuration`, `read`), `tensors_of` the
rest, and `fill` puts the tensors into a model of ours.
"""

import pickle
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import huggingface_hub
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

KINDS = ["*.safetensors", "pytorch_model*.bin", "*.pth"]  # the first that is there

# Names of the BERT family in transformers, and those of our lessons.
BERT = [
    (r"embeddings\.(word|position)_embeddings\.", r"embeddings.\1."),
    (r"embeddings\.token_type_embeddings\.", "embeddings.segment."),
    (r"encoder\.layer\.", "layers."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.output."),
    (r"\.attention\.output\.LayerNorm\.", ".attention_norm."),
    (r"\.intermediate\.dense\.", ".ffn.up."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.ffn.down."),
    (r"(layers\.\d+)\.output\.LayerNorm\.", r"\1.ffn_norm."),
    (r"\bLayerNorm\.", "norm."),
    (r"\bpooler\.dense\.", "pooler."),
]
SIZES = (  # fields of its configurations, and of our lessons'
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
ACTIVATIONS = {  # under the names of its configurations
    "gelu": nn.GELU(),
    "gelu_new": nn.GELU(approximate="tanh"),
    "relu": nn.ReLU(),
}


def sizes(config):
    """The SIZES of a configuration of the transformers library, {field: number}."""
    return {name: getattr(config, name) for name in SIZES}


def adjust(model, config):
    """Give a model the activation and the eps of a configuration; returns it.

    Lessons' models have those of the paper: every `activation` a GELU, eps 1e-12.
    """
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = config.layer_norm_eps
        if hasattr(module, "activation"):
            module.activation = ACTIVATIONS[config.hidden_act]
    return model


# ---- what the transformers library knows


@contextmanager
def quiet():
    """No progress bars and reports of the libraries: what matters is raised."""
    loggers = transformers.utils.logging, huggingface_hub.utils.logging
    levels = [logger.get_verbosity() for logger in loggers]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.set_verbosity(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


# What the libraries raise for a file that is missing, or half of one.
DAMAGES = OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError


def not_here(name_or_folder, error):
    why = str(error).partition("\n")[0] or type(error).__name__
    if Path(name_or_folder).is_dir():
        return ValueError(f"{name_or_folder} holds no such model: {why}")
    name = f"{str(name_or_folder)!r}"
    return ValueError(f"{name} is no folder here, and the hub does not give it: {why}")


def configuration(name_or_folder):
    """The configuration of a checkpoint, as the transformers library reads it.

    Raises ValueError where there is none, or the name cannot be had.
    """
    with quiet():
        try:
            return transformers.AutoConfig.from_pretrained(name_or_folder)
        except OSError as error:
            raise not_here(name_or_folder, error) from None


def architecture(config, known, bare=None):
    """The class that a configuration names, one of `known`.

    bare: the one where it names none; without it the encoder of its model type.
    """
    bare = bare or MODEL_MAPPING_NAMES.get(config.model_type, config.model_type)
    names = config.architectures or [bare]
    if len(names) != 1 or names[0] not in known:
        found = " and ".join(map(str, names))
        raise ValueError(f"the checkpoint is of a {found}, not of {', '.join(known)}")
    return names[0]


def require(config, **known):
    """Raise ValueError where a field has a value that is not among the `known` ones.

    A field that the configuration lacks has the first of them.
    """
    for name, values in known.items():
        found = getattr(config, name, next(iter(values)))
        if found not in values:
            has = ", ".join(map(repr, values))
            raise ValueError(f"{name} is {found!r}; the lesson's model has only {has}")


def read(kind, name_or_folder, config, optional="^$", renamed=()):
    """The tensors of a checkpoint, {name: tensor}, named as in a class of transformers.

    One file or shards, as safetensors or `.bin`, of any floating type, which becomes
    float32. A head that the class does not have is left out.

    kind: the name of the class. optional: a pattern for names that may be missing.
    renamed: {pattern: replacement} for names in the file.
    Raises ValueError, naming weights that are missing, unknown or of another shape.
    """
    with quiet():
        try:
            model, report = getattr(transformers, kind).from_pretrained(
                name_or_folder,
                config=config,
                dtype=torch.float32,
                key_mapping={r"^module\.": ""} | dict(renamed),  # of DataParallel
                ignore_mismatched_sizes=True,  # they are in the report
                output_loading_info=True,
            )
        except DAMAGES as error:
            raise not_here(name_or_folder, error) from None
    absent = report["missing_keys"]
    encoder = {name for name, _ in model.base_model.named_children()}

    def is_encoders(name):
        inside = name.removeprefix(f"{model.base_model_prefix}.")
        return inside.partition(".")[0] in encoder

    # What the library would fill with random numbers, or drop, is no such model.
    found = {
        "missing": [name for name in absent if not re.search(optional, name)],
        "unknown": [name for name in report["unexpected_keys"] if is_encoders(name)],
        "of another shape": [
            f"{name} {tuple(there)} for {tuple(here)}"
            for name, there, here in report["mismatched_keys"]
        ],
    }
    problems = [
        f"{what}: {', '.join(sorted(names))}" for what, names in found.items() if names
    ]
    if problems:
        raise ValueError(f"the weights do not fit a {kind}: {'; '.join(problems)}")
    tensors = model.state_dict()
    return {name: tensors[name] for name in tensors if name not in absent}


# ---- what it does not know


def tensors_of(name_or_folder):
    """All tensors of a checkpoint that the transformers library does not know.

    One file or shards, as safetensors or as torch saves them. Returns {name: tensor}.
    Raises ValueError where there are none, or the name cannot be had.
    """
    folder, tensors = Path(name_or_folder), {}
    for kind in KINDS:
        place = folder if folder.is_dir() else download(name_or_folder, kind)
        for file in sorted(place.glob(kind)):
            try:
                if file.suffix == ".safetensors":
                    tensors |= load_file(file)
                else:
                    tensors |= torch.load(file, map_location="cpu", weights_only=True)
            except DAMAGES as error:
                raise not_here(name_or_folder, error) from None
        if tensors:
            return tensors
    raise ValueError(f"{name_or_folder} holds no weights: {', '.join(KINDS)}")


def download(name, kind):
    try:
        with quiet():
            place = huggingface_hub.snapshot_download(str(name), allow_patterns=kind)
    except Exception as error:  # no network, no such name, not a name
        raise not_here(name, error) from None
    return Path(place)


# ---- into a model of ours


def fill(model, tensors, names=()):
    """Put `tensors`, {name: tensor}, into `model`, strictly; returns it in eval mode.

    A model on `torch.device("meta")` takes the tensors themselves, without a copy; what
    is no weight of it (a buffer that is not stored) stays there.

    names: pairs (pattern, replacement) for `re.sub`, applied to each name in order.
    Two names may become one, if the tensors are equal: tables that are tied.
    Batch norm's counters are optional: many published files lack them.
    Raises ValueError, naming every tensor that is missing, unknown or of another shape.
    """
    own = model.state_dict()
    renamed = {
        name: torch.zeros_like(value, device="cpu")
        for name, value in own.items()
        if name.endswith("num_batches_tracked")
    }
    origin = {}
    for public, tensor in tensors.items():
        name = public
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if name in origin and not torch.equal(tensor, renamed[name]):
            both = f"{origin[name]} and {public}"
            raise ValueError(f"the weights do not fit the model: {both} differ")
        renamed[name], origin[name] = tensor, public
    on_meta = any(value.is_meta for value in own.values())
    try:
        model.load_state_dict(renamed, assign=on_meta)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the model: {error}") from None
    return model.eval()


# ---- and does it compute the same?


def difference(read, kind, seed=0, **changes):
    """Largest difference between the first outputs of a library's model and of ours.

    kind: the name of a class of transformers, which gets random weights and is saved.
    read: the `from_pretrained` that reads it. changes: fields of its small
    configuration. Both read the same texts, with padding and two segments.
    """
    kind, small = getattr(transformers, kind), (97, 48, 4, 6, 96, 40, 2)
    sizes = dict(zip(SIZES, small))
    torch.manual_seed(seed)
    theirs = kind(kind.config_class(**sizes | changes)).eval()
    ids, segments = torch.randint(97, (3, 20)), torch.randint(2, (3, 20))
    mask = torch.arange(20) < torch.tensor([[20], [12], [3]])
    with TemporaryDirectory() as folder, quiet(), torch.no_grad():
        for weight in theirs.parameters():  # biases, too: zeros would hide a swap
            weight.add_(0.1 * torch.randn_like(weight))
        theirs.save_pretrained(folder)
        expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments)[0]
        return (read(folder)(ids, mask, segments) - expected).abs().max().item()
