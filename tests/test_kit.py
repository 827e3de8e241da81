"""The shared plumbing that no other file covers: claims, training, data, probes."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from kit import claims, train
from kit.data import Split, digits, minibatches, mnist
from kit.exercises import verdict
from kit.probe import Norms, activations, gradient_norms, multiply_adds, parameters
from kit.table import as_printed, table


@pytest.fixture(autouse=True)
def no_claims(monkeypatch):
    monkeypatch.setattr(claims, "_verified", {})


def test_a_claim_that_holds_is_printed_and_remembered_once(capsys):
    for _ in range(2):  # a cell run twice
        claims.claim("water is wet", torch.tensor(True), "ours")
    assert capsys.readouterr().out == 2 * "✓ water is wet (ours)\n"
    assert claims.recap().data == "- ✓ water is wet *(ours)*"


def test_a_claim_that_fails_stops_the_cell_and_leaves_the_recap(capsys):
    claims.claim("water is wet", True, "ours")
    with pytest.raises(AssertionError, match="contradicts the claim: water is wet"):
        claims.claim("water is wet", False, "ours")
    assert claims.recap().data == ""


def test_the_seed_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("LESSON_SEED", "3")
    assert train.seed() == 3
    first = torch.rand(1)
    train.seed()
    assert torch.rand(1) == first
    monkeypatch.delenv("LESSON_SEED")
    assert train.seed() == 0
    assert torch.rand(1) != first


WRONG = ["", "-1", "1.5", "two", "²", "2147483648", "18446744073709551616", "9" * 5000]


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_seed_is_named(monkeypatch, text):
    monkeypatch.setenv("LESSON_SEED", text)
    right = f"a whole number from 0 to 2147483647, not '{text}'"
    with pytest.raises(ValueError, match=f"LESSON_SEED should be {right}"):
        train.seed()


def test_the_largest_seed_seeds_everything(monkeypatch):
    monkeypatch.setenv("LESSON_SEED", str(train.LARGEST_SEED))
    assert train.seed() == train.LARGEST_SEED
    first = random.random(), np.random.rand(), torch.rand(1)
    train.seed()
    assert (random.random(), np.random.rand(), torch.rand(1)) == first


def test_fit_follows_sgd_and_its_schedule_step_by_step():
    """One weight, loss w·x: the gradient is x, so each step's weight is known."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1], gamma=0.1)
    seen = []

    def loss(output, target):
        return output.mean()

    def on_step(step, loss):
        seen.append((step, loss, model.weight.grad.item(), model.weight.item()))

    batches = [(torch.full((1, 1), 2.0), torch.zeros(1))] * 2
    losses = train.fit(model, batches, loss, optimizer, schedule, on_step)
    assert losses.tolist() == [2.0, 0.0]
    assert seen == [(0, 2.0, 2.0, 1.0), (1, 0.0, 2.0, 0.0)]
    assert model.weight.item() == pytest.approx(-0.1)


def test_digits_are_standardised_and_always_split_alike():
    train_set, test_set = digits()
    assert train_set.images.shape == (1400, 1, 8, 8)
    assert test_set.images.shape == (397, 1, 8, 8)
    assert abs(train_set.images.mean()) < 1e-5
    assert abs(train_set.images.std() - 1) < 1e-3
    assert set(test_set.labels.tolist()) == set(range(10))
    torch.manual_seed(1)
    assert torch.equal(digits()[0].images, train_set.images)


def test_minibatches_pass_over_every_image_in_a_seeded_order():
    split, _ = digits()
    batches = minibatches(split, 64, epochs=2, seed=0)
    assert len(batches) == 2 * (1400 // 64)
    assert all(len(labels) == 64 for _, labels in batches)
    again, other = minibatches(split, 64, 2, seed=0), minibatches(split, 64, 2, seed=1)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again))
    assert not torch.equal(batches[0][1], other[0][1])
    assert not torch.equal(batches[0][1], batches[21][1])


def test_probes_give_what_torch_computes_and_leave_no_hooks():
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 2, 3, bias=False)
    model = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(5, 1, 4, 4)
    with activations(model, ["0", "1"]) as seen:
        output = model(x)
    assert torch.equal(seen["1"][0], seen["0"][1])
    assert torch.equal(seen["1"][1], seen["0"][1].relu())
    assert not any(module._forward_hooks for module in model.modules())
    output.square().sum().backward()
    norm = convolution.weight.grad.norm().item()
    assert gradient_norms(model) == {"0": pytest.approx(norm)}
    assert parameters(model) == 18 + 24 + 3
    assert multiply_adds(model, 1, 1, 4, 4) == 2 * 9 * 4 + 8 * 3
    assert model.training


def test_probes_name_what_is_wrong():
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="no submodule 'conv'; there are 0"):
        with activations(model, ["conv"]):
            pass
    with pytest.raises(ValueError, match="call loss.backward"):
        gradient_norms(model)


def test_table_escapes_bars_and_sets_numbers_flush_right():
    text = table(["name", "count"], [["a|b", "1,000"], ["c", 2]]).data
    head = ["| name | count |", "| :-- | --: |"]
    assert text.splitlines() == [*head, r"| a\|b | 1,000 |", "| c | 2 |"]


@pytest.mark.parametrize(("answer", "line"), [
    (lambda: 2, "✓ 2 checks passed"),
    (lambda: 3, "✗ it should be even"),
    (lambda: -2, "✗ it should be positive"),
    (lambda: int("x"), "✗ your code stopped with ValueError"),
])
def test_a_verdict_shows_the_first_hint(answer, line):
    def checker(answer):
        yield answer() % 2 == 0, "it should be even"
        yield answer() > 0, "it should be positive"

    assert verdict(answer, checker).startswith(line)


@pytest.mark.parametrize(
    ("printed", "line"),
    [("0.27", "0.27 ✓"), ("0.3", "0.3 ✓"), ("0.28", "0.27 ✗"), ("1", "0 ✗")],
)
def test_a_count_is_rounded_as_the_paper_prints_it(printed, line):
    assert as_printed(269_722, 1e6, printed) == line


def test_error_counts_wrong_answers_and_leaves_the_mode():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Dropout(0.9))
    model[1].weight.data = torch.eye(2)
    images = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]]).reshape(4, 1, 1, 2)
    split = Split(images, torch.tensor([0, 1, 1, 0]))
    assert train.error(model, split) == 25
    assert model.training


def test_mnist_is_averaged_standardised_and_always_split_alike():
    train_set, test_set = mnist()
    assert train_set.images.shape == (2000, 1, 14, 14)
    assert test_set.images.shape == (3000, 1, 14, 14)
    assert abs(train_set.images.mean()) < 1e-5
    assert abs(train_set.images.std() - 1) < 1e-3
    counts = train_set.labels.bincount() + test_set.labels.bincount()
    assert counts.tolist() == [500] * 10
    large, _ = mnist(size=28)
    small = large.images.reshape(2000, 1, 14, 2, 14, 2).mean((3, 5))
    small = (small - small.mean()) / small.std()
    assert torch.allclose(small, train_set.images, atol=1e-4)
    for size in (15, 0, -14):
        with pytest.raises(ValueError, match=f"should divide 28, not {size}"):
            mnist(size=size)
    for train_size in (0, 5000, -1):
        why = f"5,000 images on either side, not {train_size}"
        with pytest.raises(ValueError, match=why):
            mnist(train_size)


def test_norms_keep_a_column_for_each_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3), nn.Flatten(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [model[i].weight.norm().item() for i in (0, 1)]
    batches = [(torch.randn(4, 1, 5, 5), torch.zeros(4, 3))] * 3
    norms = Norms(model)
    train.fit(model, batches, nn.functional.mse_loss, optimizer, on_step=norms)
    assert norms.gradients.shape == norms.weights.shape == (2, 3)
    assert norms.weights[:, 0].tolist() == pytest.approx(before)
    assert (norms.gradients > 0).all() and not norms.gradients.requires_grad
    last = model[1].weight.grad.norm().item()
    assert norms.gradients[1, 2].item() == pytest.approx(last)
