"""Published checkpoints: a folder with `config.json` and `model.safetensors`."""

import dataclasses
import json
import math
import re
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded; the message names the file or tensor and the reason."""


class Config(dict):
    """A configuration in which asking for a key that is not there raises CheckpointError."""

    def __missing__(self, key):
        raise CheckpointError(f"config.json lacks {key!r}")


def read(folder):
    """The Config and the tensors (dict of name to tensor) in a checkpoint folder."""
    if not isinstance(folder, (str, PathLike)):
        raise CheckpointError(f"a checkpoint is given as the path of its folder, not as {folder!r}")
    config_path, weights_path = Path(folder) / "config.json", Path(folder) / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; a checkpoint is a folder on this machine with config.json and model.safetensors")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{config_path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{config_path} should hold a JSON object, not a {type(config).__name__}")
    try:
        return Config(config), load_file(weights_path)
    except SafetensorError as error:
        raise CheckpointError(f"{weights_path} is truncated or not a safetensors file: {error}") from None


def architecture(config, known):
    """The name of the network in a timm configuration; CheckpointError where it is not among the `known` ones."""
    name = config["architecture"]
    if name not in known:
        raise CheckpointError(f"config.json names {name!r}; this lesson reads {', '.join(known)}")
    return name


def model_type(config, known):
    """The `model_type` of a configuration; CheckpointError where it is not among the `known` ones."""
    if config["model_type"] not in known:
        found = f"config.json sets model_type to {config['model_type']!r}"
        raise CheckpointError(f"{found}; this lesson reads {' and '.join(map(repr, known))}")
    return config["model_type"]


def require(config, readable):
    """Raise CheckpointError where a key of `config` has a value that is not among the `readable` ones, {key: [default, …]}."""
    for key, values in readable.items():
        if config.get(key, values[0]) not in values:
            raise CheckpointError(f"config.json sets {key} to {config[key]!r}; this lesson reads {', '.join(map(repr, values))}")


def head(config, known, default=None):
    """Of {name: class} the class that `architectures` names, or `default`; CheckpointError where it does not name one of them."""
    names = (config.get("architectures") or [default]) if default else config["architectures"]
    if not isinstance(names, list) or len(names) != 1 or names[0] not in list(known):
        raise CheckpointError(f"config.json sets architectures to {names!r}; this lesson reads a list of one of {', '.join(known)}")
    return known[names[0]]


def variant(variants, name, changes):
    """The configuration `name` of `variants`, {name: dataclass}, with `changes`; ValueError for an unknown name or field."""
    if name not in list(variants):
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(variants)}")
    known = [field.name for field in dataclasses.fields(variants[name])]
    if unknown := changes.keys() - set(known):
        raise ValueError(f"a Config has no {min(unknown)!r}; it has {', '.join(known)}")
    return dataclasses.replace(variants[name], **changes)


def check_fields(config, may_be_zero=()):
    """Raise ValueError for the first field of a dataclass that is not of its type, or is a number that is not above 0 (or 0)."""
    for field in dataclasses.fields(config):
        value, number = getattr(config, field.name), field.type in (int, float)
        right = isinstance(value, (int, float) if field.type is float else field.type)
        zero = field.name in may_be_zero and value == 0
        if not right or (number and (isinstance(value, bool) or not (zero or 0 < value < math.inf))):
            whole, least = "whole " if field.type is int else "", "from 0 on" if field.name in may_be_zero else "above 0"
            wanted = f"a {whole}number {least}" if number else f"of type {getattr(field.type, '__name__', field.type)}"
            raise ValueError(f"{field.name} should be {wanted}, not {value!r}")


def whole(config, key, default):
    """The whole number that a configuration has under `key`, or `default`; CheckpointError for anything else."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CheckpointError(f"config.json sets {key} to {value!r}; this lesson reads a whole number")
    return value


def num_labels(config):
    """How many labels a configuration lists in `id2label`; one that lists none has two."""
    labels = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    if not isinstance(labels, dict) or not labels:
        raise CheckpointError(f"config.json sets id2label to {labels!r}; this lesson reads an object with a name for each label")
    return len(labels)


@contextmanager
def describing(what):
    """Build a model from a configuration in this block: sizes that are no sizes raise CheckpointError, "… describes no `what`"."""
    try:
        yield
    except CheckpointError:
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"config.json describes no {what}: {error}") from None


def load(model, tensors, replacements):
    """Put `tensors` into `model`, each under its public name changed by `replacements`, and return the model in eval mode.

    replacements: pairs (pattern, replacement) for `re.sub`, applied in order.
    Raises CheckpointError for a tensor that is missing, unknown, of another shape or type, or not finite, naming the first of each kind.
    `num_batches_tracked` counters are optional: many published files lack them.
    """
    public_names = {}
    for name in tensors:
        own_name = name
        for pattern, replacement in replacements:
            own_name = re.sub(pattern, replacement, own_name)
        if own_name in public_names:
            raise CheckpointError(f"the checkpoint has one tensor twice, as {public_names[own_name]!r} and as {name!r}")
        public_names[own_name] = name
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in public_names and name not in counters]
    unknown = [public_names[name] for name in public_names if name not in own]
    wrong = [name for name in own if name in public_names and tensors[public_names[name]].shape != own[name].shape]
    problems = []
    if missing:
        problems.append(f"lacks {len(missing)} of the model's {len(own)} tensors, first {missing[0]!r}")
    if unknown:
        problems.append(f"has {len(unknown)} tensors that the model does not know, first {unknown[0]!r}")
    if wrong:
        name = wrong[0]
        found, wanted = tuple(tensors[public_names[name]].shape), tuple(own[name].shape)
        where = f"first {public_names[name]!r}: {found}, the configuration asks for {wanted}"
        problems.append(f"has {len(wrong)} tensors of another shape, {where}")
    shared = {public_names[name]: own[name] for name in own if name in public_names}
    other = [name for name, tensor in shared.items() if tensors[name].is_floating_point() != tensor.is_floating_point()]
    if other:
        problems.append(f"has {len(other)} tensors of another type, first {other[0]!r}: {tensors[other[0]].dtype}")
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        problems.append(f"has {len(broken)} tensors with a value that is not finite, first {broken[0]!r}")
    if problems:
        raise CheckpointError("the checkpoint " + "; it ".join(problems))
    model.load_state_dict({name: tensors[public] for name, public in public_names.items()}, strict=False)
    return model.eval()
