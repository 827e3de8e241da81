"""Published weights: what the library does not know, strictness, and quiet."""

import importlib
import json

import pytest
import torch
from safetensors.torch import save_file
from support import configure, edit, reference, rewrite
from torch import nn

from kit import weights


def tensors():
    return {"a.weight": torch.randn(3, 2), "b": torch.arange(4)}


def equal(found, expected):
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)


# ---- what the transformers library does not know


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "net.pth"])
def test_tensors_of_one_file(tmp_path, file):
    expected = tensors()
    store = save_file if file.endswith("safetensors") else torch.save
    store(expected, tmp_path / file)
    assert equal(weights.tensors_of(tmp_path), expected)
    assert equal(weights.tensors_of(str(tmp_path)), expected)


def test_tensors_of_shards(tmp_path):
    expected = tensors()
    for number, name in enumerate(expected):
        save_file({name: expected[name]}, tmp_path / f"model-{number}.safetensors")
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert equal(weights.tensors_of(tmp_path), expected)  # the first kind only


def test_a_folder_without_weights_is_told(tmp_path):
    with pytest.raises(ValueError, match="holds no weights: .*safetensors"):
        weights.tensors_of(tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("size", [0, 5, 1000, -9])
def test_half_a_file_is_told(tmp_path, kind, size):
    reference("BertModel", tmp_path, **TINY)
    if kind == "bin":
        rewrite(tmp_path, kind="bin")
    (path,) = tmp_path.glob(f"*.{kind}")
    path.write_bytes(path.read_bytes()[:size])
    config = weights.configuration(tmp_path)
    for read in (
        lambda: weights.tensors_of(tmp_path),
        lambda: weights.read("BertModel", tmp_path, config),
    ):
        with pytest.raises(ValueError, match=f"{tmp_path} holds no such model: ."):
            read()


@pytest.mark.parametrize("get", [weights.tensors_of, weights.configuration])
@pytest.mark.parametrize("name", ["no-one/nothing", "no such name", "/no/folder"])
def test_a_name_that_cannot_be_had_is_told(monkeypatch, capfd, get, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=f"'{name}' is no folder here, and the hub"):
        get(name)
    assert capfd.readouterr() == ("", "")


# ---- what it knows

TINY = dict(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=1,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)


def test_reading_is_quiet_and_leaves_the_libraries_as_they_were(tmp_path, capfd):
    from transformers.utils import logging

    reference("BertForPreTraining", tmp_path, **TINY)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    config = weights.configuration(tmp_path)
    found = weights.read("BertModel", tmp_path, config)  # the library reports the heads
    assert "encoder.layer.0.output.dense.bias" in found
    assert capfd.readouterr() == ("", "")
    assert before == (logging.get_verbosity(), logging.is_progress_bar_enabled())


def test_what_may_be_missing_is_left_out(tmp_path):
    reference("BertForMaskedLM", tmp_path, **TINY)  # has no pooler
    config = weights.configuration(tmp_path)
    pooler = r"missing: pooler\.dense\.bias, pooler\.dense\.weight$"
    with pytest.raises(ValueError, match=pooler):
        weights.read("BertModel", tmp_path, config)
    found = weights.read("BertModel", tmp_path, config, optional="pooler")
    assert found and not any("pooler" in name for name in found)


def test_a_folder_without_a_configuration_or_without_weights_is_told(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}.* in its config.json"):
        weights.configuration(tmp_path)
    reference("BertModel", tmp_path, **TINY)
    (tmp_path / "model.safetensors").unlink()
    config = weights.configuration(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} holds no such model: .*no file"):
        weights.read("BertModel", tmp_path, config)


def test_a_model_of_another_kind_is_told(tmp_path):
    reference("BertModel", tmp_path, **TINY)
    for changes in ({}, {"architectures": None}):
        configure(tmp_path, **changes)
        config = weights.configuration(tmp_path)
        with pytest.raises(ValueError, match="is of a BertModel, not of AlbertModel"):
            weights.architecture(config, ["AlbertModel"])
    configure(tmp_path, architectures=["AlbertModel", "AlbertForMaskedLM"])
    config = weights.configuration(tmp_path)
    with pytest.raises(ValueError, match="is of a AlbertModel and AlbertForMaskedLM"):
        weights.architecture(config, ["AlbertModel"])
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 97}))
    with pytest.raises(ValueError, match="model_type"):
        weights.configuration(tmp_path)


# ---- into a model of ours


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.norm = nn.Embedding(5, 3), nn.BatchNorm1d(3)


NAMES = [(r"^(in|out)\.", "words."), (r"^bn\.", "norm.")]


def published():
    table = torch.randn(5, 3)
    norm = {name: torch.rand(3) for name in ("weight", "bias", "running_mean")}
    norm["running_var"] = torch.rand(3)
    return {"in.weight": table, "out.weight": table.clone()} | {
        f"bn.{name}": value for name, value in norm.items()
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fill_puts_every_tensor_under_its_name(device):
    expected = published()
    with torch.device(device):
        model = Tied().train()
    assert weights.fill(model, expected, NAMES) is model and not model.training
    assert torch.equal(model.words.weight, expected["in.weight"])
    assert torch.equal(model.norm.running_var, expected["bn.running_var"])
    assert model.norm.num_batches_tracked == 0
    taken = model.norm.bias.data_ptr() == expected["bn.bias"].data_ptr()
    assert taken == (device == "meta")


def test_fill_names_all_that_does_not_fit():
    given = published()
    del given["bn.bias"]
    given |= {"bn.weight": torch.rand(4), "head.weight": torch.rand(2)}
    with pytest.raises(ValueError, match="^the weights do not fit the model") as error:
        weights.fill(Tied(), given, NAMES)
    for name in ("norm.bias", "norm.weight", "head.weight"):
        assert name in str(error.value)


def test_tables_that_the_model_ties_must_be_equal():
    given = published()
    given["out.weight"] += 1
    with pytest.raises(ValueError, match="in.weight and out.weight differ"):
        weights.fill(Tied(), given, NAMES)


def test_tables_of_two_shapes_are_not_equal():
    given = published() | {"out.weight": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match="in.weight and out.weight differ"):
        weights.fill(Tied(), given, NAMES)


# ---- in every lesson

LESSONS = ["resnet", "densenet", "albert", "electra", "deberta", "ctrl"]


def from_pretrained(lesson, name_or_folder):
    published = importlib.import_module(f"lessons.published.{lesson}")
    return published.from_pretrained(name_or_folder)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_tells_of_a_name_that_cannot_be_had(monkeypatch, lesson):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="'no-one/nothing' is no folder here, and the"):
        from_pretrained(lesson, "no-one/nothing")


@pytest.mark.parametrize(
    ("lesson", "kind", "table"),
    [
        ("albert", "Albert", "predictions.decoder.weight"),
        ("albert", "Bert", "cls.predictions.decoder.weight"),
        ("electra", "Electra", "generator_lm_head.weight"),
        ("deberta", "Deberta", "cls.predictions.decoder.weight"),
    ],
)
def test_an_output_table_of_its_own_is_named(tmp_path, lesson, kind, table):
    relative = dict(relative_attention=True, pos_att_type=["c2p", "p2c"])
    relative["position_biased_input"] = False
    sizes = TINY | (relative if lesson == "deberta" else {})
    theirs = reference(f"{kind}ForMaskedLM", tmp_path, **sizes)
    width = theirs.get_input_embeddings().weight.shape
    edit(tmp_path, lambda tensors: tensors.update({table: torch.zeros(width)}))
    with pytest.raises(ValueError, match=f"{table} differ"):
        from_pretrained(lesson, tmp_path)
