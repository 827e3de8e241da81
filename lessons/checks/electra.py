"""What the exercises of the ELECTRA lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

import math

import torch
import torch.nn.functional as F


def is_whole(tensor):
    return not tensor.is_floating_point() and not tensor.is_complex()


def corrupt_and_label(answer):
    ids = torch.tensor([[10, 11, 12, 10, 13], [14, 15, 16, 17, 18]])
    chosen = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]]).bool()
    drawn = torch.tensor([10, 99, 14, 18])  # the first and the last are no fakes
    before, shape = ids.clone(), tuple(ids.shape)
    found = answer(ids, chosen, drawn)
    yield torch.equal(ids, before), "ids has changed: work on a copy"
    pair = isinstance(found, (tuple, list)) and len(found) == 2
    pair = pair and all(isinstance(one, torch.Tensor) for one in found)
    right = "two tensors, the corrupted text and the labels"
    yield pair, f"your function should return {right}, not {found!r}"

    corrupted, labels = found
    for name, one in (("corrupted text", corrupted), ("labels", labels)):
        right = f"should have the shape {shape}, not {tuple(one.shape)}"
        yield one.shape == ids.shape, f"the {name} {right}"
    yield is_whole(corrupted) and corrupted.dtype != torch.bool, (
        f"the corrupted text should be whole numbers, like ids, not {corrupted.dtype}: "
        "a network cannot look up such tokens"
    )
    corrupted = corrupted.long()
    kept = torch.equal(corrupted[~chosen], ids[~chosen])
    yield kept, "a token that was not chosen has changed"
    right = torch.tensor([[10, 11, 99, 10, 13], [14, 14, 16, 17, 18]])
    both = f"{right.tolist()}, not {corrupted.tolist()}"
    yield torch.equal(corrupted, right), f"the corrupted text should be {both}"

    labels, expected = labels.float(), (right != ids).float()
    yield not torch.equal(labels, chosen.float()), (
        "a token that was drawn and came out right counts as original: compare with ids"
    )
    yield not torch.equal(labels, 1 - expected), (
        "1 means replaced, 0 original; yours are the other way round"
    )
    both = f"{expected.long().tolist()}, not {labels.tolist()}"
    yield torch.equal(labels, expected), f"the labels should be {both}"
    none = torch.zeros_like(chosen), torch.tensor([], dtype=torch.long)
    corrupted, labels = answer(ids, *none)
    right = torch.equal(corrupted, ids) and not labels.any()
    yield right, "where nothing is chosen, nothing changes and every label is 0"


def discriminator_loss(answer):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 8, generator=random)
    labels = (torch.rand(3, 8, generator=random) < 0.2).long()
    found = answer(logits, labels, torch.ones(3, 8, dtype=torch.long))
    is_tensor = isinstance(found, torch.Tensor)
    other = f", not one of {tuple(found.shape)}" if is_tensor else ""
    one = "your function should return one number, a tensor without dimensions"
    yield is_tensor and found.ndim == 0, one + other

    each = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    flipped = F.binary_cross_entropy_with_logits(logits, 1 - labels.float())
    balanced = (each[labels == 0].mean() + each[labels == 1].mean()) / 2
    slips = {
        "take the mean over the tokens, not the sum": each.sum(),
        "1 means replaced: a high logit should be good where the label is 1": flipped,
        "every token has the same weight, however rare the fakes are": balanced,
    }
    for hint, slip in slips.items():
        yield not torch.isclose(found, slip), hint
    both = f"{each.mean():.4f}, yours is {found:.4f}"
    yield torch.isclose(found, each.mean()), f"without padding it should be {both}"

    mask = torch.tensor([[1] * 8, [1] * 3 + [0] * 5, [1] + [0] * 7])
    found, right = answer(logits, labels, mask), each[mask == 1].mean()
    rows = [one[real == 1].mean() for one, real in zip(each, mask)]
    slips = {
        "divide by the number of real tokens, not of all places": (each * mask).mean(),
        "average over all tokens of the batch at once, not over the means of its texts":
            torch.stack(rows).mean(),
    }
    for hint, slip in slips.items():
        yield not torch.isclose(found, slip), hint
    both = f"{right:.4f}, yours is {found:.4f}: padded places must not count"
    yield torch.isclose(found, right), f"with padding it should be {both}"
    for kind in (torch.bool, torch.float32):
        same = torch.isclose(answer(logits, labels, mask.to(kind)), right)
        yield same, f"a mask of {kind} should work, too"
    same = torch.isclose(answer(logits, labels.float(), mask), right)
    yield same, "labels of float should work like those of int"

    far, ones = torch.tensor([[200.0, -200.0]]), torch.ones(1, 2)
    found = answer(far, torch.tensor([[0, 1]]), ones)
    near = torch.isclose(found, torch.tensor(200.0), rtol=1e-3)
    yield near, f"for logits of ±200, both wrong, the loss is 200, not {found:.4g}"
    logits.requires_grad_()
    found = answer(logits, labels, mask)
    hint = "your loss carries no gradient: do not detach the logits"
    yield found.requires_grad, hint
    found.backward()
    reached = logits.grad is not None and bool((logits.grad[mask == 1] != 0).all())
    yield reached, "the loss should send a gradient to the logit of every token"


def shares(ids):
    return torch.bincount(ids.long(), minlength=4)[:4] / len(ids)


def draw(answer):
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, 2.0, -math.inf])
    logits = scores.expand(20_000, -1).clone().requires_grad_()
    before = logits.detach().clone()
    found, enabled = answer(logits, 1.0), torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    kind = type(found).__name__
    is_tensor = isinstance(found, torch.Tensor)
    yield is_tensor, f"your function should return a tensor, not {kind}"
    shape = f"the shape should be (20000,), not {tuple(found.shape)}"
    yield found.shape == (20_000,), f"one id for each row, so {shape}"
    right = is_whole(found) and not found.requires_grad
    yield right, "the ids should be whole numbers that carry no gradient"
    hint = "gradients are switched off after your function: undo what you switch"
    yield enabled, hint
    yield logits.requires_grad, (
        "the logits have lost their gradient, and the generator's own loss needs it: "
        "do not detach in place"
    )
    same = torch.equal(logits.detach(), before)
    yield same, "the logits have changed: do not work in place"
    inside = 0 <= found.min() and found.max() < 4
    yield inside, f"ids should be from 0 to {len(scores) - 1}"

    got, expected = shares(found), scores.softmax(-1)
    hint = "it gives the same token every time: draw, do not take the likeliest"
    yield len(found.unique()) > 1, hint
    yield not torch.equal(answer(logits, 1.0), found), (
        "a second call draws the very same tokens: set no seed inside, "
        "or the discriminator meets the same fakes in every step"
    )
    hint = "it drew a token of probability 0: draw by softmax(logits / temperature)"
    yield got[3] == 0, hint
    near, yours = ([round(p, 2) for p in one.tolist()] for one in (expected, got))
    hint = f"of 20,000 draws the shares should be near {near}, yours are {yours}"
    yield torch.allclose(got, expected, atol=0.02), hint
    for temperature in (0.5, 2.0):
        got = shares(answer(logits, temperature))
        expected = (scores / temperature).softmax(-1)
        same = torch.equal(logits.detach(), before)
        yield same, "the logits have changed: do not work in place"
        right = f"those of softmax(logits / {temperature})"
        hint = f"at temperature {temperature} the shares should be {right}"
        yield torch.allclose(got, expected, atol=0.02), hint

    rows = torch.tensor([[9.0, 0, 0], [0, 0, 9.0]]).repeat(500, 1)
    found = answer(rows * 10, 1.0).long()
    right = torch.equal(found, torch.tensor([0, 2]).repeat(500))
    yield right, "each row should be drawn by its own logits"
    table = torch.nn.Embedding(4, 3)
    table(answer(logits, 1.0).long()).sum().backward()
    yield logits.grad is None, "a gradient came through to the logits"
