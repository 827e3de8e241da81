"""Published weights: from the name of a repository or a folder into a lesson's model."""

import re
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

KINDS = ["*.safetensors", "pytorch_model*.bin", "*.pth"]  # the first that is there


def tensors_of(name_or_folder):
    """All tensors of a checkpoint that the transformers library does not know.

    One file or shards, as safetensors or as torch saves them. Returns {name: tensor}.
    Raises ValueError where there are none, or the name cannot be had.
    """
    folder, tensors = Path(name_or_folder), {}
    for kind in KINDS:
        if not folder.is_dir():
            place = download(name_or_folder, kind)
        else:
            place = folder
        for file in sorted(place.glob(kind)):
            safe = file.suffix == ".safetensors"
            tensors |= load_file(file) if safe else torch.load(file, weights_only=True)
        if tensors:
            return tensors
    raise ValueError(f"{name_or_folder} holds no weights: {', '.join(KINDS)}")


def download(name, kind):
    try:
        return Path(snapshot_download(str(name), allow_patterns=kind))
    except Exception as error:  # no network, no such name, not a name
        why = str(error).partition("\n")[0]
        message = f"{name!r} is no folder here, and the hub does not give it: {why}"
        raise ValueError(message) from None


def fill(model, tensors, names=()):
    """Put `tensors`, {name: tensor}, into `model`, strictly; returns it in eval mode.

    names: pairs (pattern, replacement) for `re.sub`, applied to each name in order.
    Batch norm's counters are optional: many published files lack them.
    Raises ValueError, naming every tensor that is missing, unknown or of another shape.
    """
    counters = {
        name: value
        for name, value in model.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    try:
        model.load_state_dict(counters | renamed)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the model: {error}") from None
    return model.eval()
