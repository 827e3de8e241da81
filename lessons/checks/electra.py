"""What the exercises of the ELECTRA lesson are tested for: pairs (holds, hint), easiest first."""

import math

import torch
import torch.nn.functional as F


def corrupt_and_label(answer):
    ids = torch.tensor([[10, 11, 12, 10, 13], [14, 15, 16, 17, 18]])
    chosen = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]]).bool()
    drawn, before = torch.tensor([10, 99, 14, 18]), ids.clone()     # the first and the last are what stood there
    found = answer(ids, chosen, drawn)
    yield torch.equal(ids, before), "ids has changed: work on a copy"
    pair = isinstance(found, (tuple, list)) and len(found) == 2 and all(isinstance(one, torch.Tensor) for one in found)
    yield pair, f"your function should return two tensors, the corrupted text and the labels, not {found!r}"
    corrupted, labels = found
    for name, one in (("corrupted text", corrupted), ("labels", labels)):
        yield one.shape == ids.shape, f"the {name} should have the shape {tuple(ids.shape)}, not {tuple(one.shape)}"
    whole = not corrupted.is_floating_point() and not corrupted.is_complex() and corrupted.dtype != torch.bool
    yield whole, f"the corrupted text should be whole numbers, like ids, not {corrupted.dtype}: a network cannot look up such tokens"
    corrupted = corrupted.long()
    yield torch.equal(corrupted[~chosen], ids[~chosen]), "a token that was not chosen has changed"
    right = torch.tensor([[10, 11, 99, 10, 13], [14, 14, 16, 17, 18]])
    yield torch.equal(corrupted, right), f"the corrupted text should be {right.tolist()}, not {corrupted.tolist()}"
    labels, expected = labels.float(), (right != ids).float()
    yield not torch.equal(labels, chosen.float()), "a token that was drawn and came out right counts as original: compare with ids"
    yield not torch.equal(labels, 1 - expected), "1 means replaced, 0 original; yours are the other way round"
    yield torch.equal(labels, expected), f"the labels should be {expected.long().tolist()}, not {labels.tolist()}"
    nothing = answer(ids, torch.zeros_like(chosen), torch.tensor([], dtype=torch.long))
    yield torch.equal(nothing[0], ids) and not nothing[1].any(), "where nothing is chosen, nothing changes and every label is 0"


def discriminator_loss(answer):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 8, generator=generator), (torch.rand(3, 8, generator=generator) < 0.2).long()
    everything = torch.ones(3, 8, dtype=torch.long)
    found = answer(logits, labels, everything)
    ok = isinstance(found, torch.Tensor) and found.ndim == 0
    yield ok, "your function should return one number, a tensor without dimensions" + (f", not one of {tuple(found.shape)}"
                                                                                      if isinstance(found, torch.Tensor) else "")
    each = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    flipped = F.binary_cross_entropy_with_logits(logits, 1 - labels.float())
    yield not torch.isclose(found, each.sum()), "take the mean over the tokens, not the sum"
    yield not torch.isclose(found, flipped), "1 means replaced: a high logit should be good where the label is 1"
    balanced = (each[labels == 0].mean() + each[labels == 1].mean()) / 2
    yield not torch.isclose(found, balanced), "every token has the same weight, however rare the fakes are"
    yield torch.isclose(found, each.mean()), f"without padding it should be {each.mean():.4f}, yours is {found:.4f}"
    mask = torch.tensor([[1] * 8, [1] * 3 + [0] * 5, [1] + [0] * 7])
    found, right = answer(logits, labels, mask), each[mask == 1].mean()
    yield not torch.isclose(found, (each * mask).mean()), "divide by the number of real tokens, not of all places"
    rows = torch.stack([one[real == 1].mean() for one, real in zip(each, mask)]).mean()
    yield not torch.isclose(found, rows), "average over all tokens of the batch at once, not over the means of its texts"
    yield torch.isclose(found, right), f"with padding it should be {right:.4f}, yours is {found:.4f}: padded places must not count"
    for kind in (torch.bool, torch.float32):
        yield torch.isclose(answer(logits, labels, mask.to(kind)), right), f"a mask of {kind} should work, too"
    yield torch.isclose(answer(logits, labels.float(), mask), right), "labels of float should work like those of int"
    far = torch.tensor([[200.0, -200.0]])
    found = answer(far, torch.tensor([[0, 1]]), torch.ones(1, 2))
    yield torch.isclose(found, torch.tensor(200.0), rtol=1e-3), f"for logits of ±200, both wrong, the loss is 200, not {found:.4g}"
    logits.requires_grad_()
    found = answer(logits, labels, mask)
    yield found.requires_grad, "your loss carries no gradient: do not detach the logits"
    found.backward()
    reached = logits.grad is not None and bool((logits.grad[mask == 1] != 0).all())
    yield reached, "the loss should send a gradient to the logit of every token"


def draw(answer):
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, 2.0, -math.inf])
    logits = scores.expand(20_000, -1).clone().requires_grad_()
    before = logits.detach().clone()
    found, enabled = answer(logits, 1.0), torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == (20_000,), f"one id for each row, so the shape should be (20000,), not {tuple(found.shape)}"
    whole = not found.is_floating_point() and not found.is_complex()
    yield whole and not found.requires_grad, "the ids should be whole numbers that carry no gradient"
    yield enabled, "gradients are switched off after your function: undo what you switch"
    yield logits.requires_grad, "the logits have lost their gradient, and the generator's own loss needs it: do not detach in place"
    yield torch.equal(logits.detach(), before), "the logits have changed: do not work in place"
    yield 0 <= found.min() and found.max() < 4, f"ids should be from 0 to {len(scores) - 1}"

    def shares(ids):
        return torch.bincount(ids.long(), minlength=4)[:4] / len(ids)

    got, expected = shares(found), scores.softmax(-1)
    yield len(found.unique()) > 1, "it gives the same token every time: draw, do not take the likeliest"
    again = not torch.equal(answer(logits, 1.0), found)
    yield again, "a second call draws the very same tokens: set no seed inside, or the discriminator meets the same fakes in every step"
    yield got[3] == 0, "it drew a token of probability 0: draw by softmax(logits / temperature)"
    near, yours = ([round(p, 2) for p in one.tolist()] for one in (expected, got))
    hint = f"of 20,000 draws the shares should be near {near}, yours are {yours}"
    yield torch.allclose(got, expected, atol=0.02), hint
    for temperature in (0.5, 2.0):
        got, expected = shares(answer(logits, temperature)), (scores / temperature).softmax(-1)
        yield torch.equal(logits.detach(), before), "the logits have changed: do not work in place"
        hint = f"at temperature {temperature} the shares should be those of softmax(logits / {temperature})"
        yield torch.allclose(got, expected, atol=0.02), hint
    rows = answer(torch.tensor([[9.0, 0, 0], [0, 0, 9.0]]).repeat(500, 1) * 10, 1.0)
    yield torch.equal(rows.long(), torch.tensor([0, 2]).repeat(500)), "each row should be drawn by its own logits"
    table = torch.nn.Embedding(4, 3)
    table(answer(logits, 1.0).long()).sum().backward()
    yield logits.grad is None, "a gradient came through to the logits"
