"""What the exercises of the ELECTRA lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

import math
from copy import deepcopy
from functools import partial
from numbers import Real

import torch
import torch.nn.functional as F

from lessons.albert import MaskedLM, init_weights
from lessons.electra import Discriminator, small_encoder


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
    slips = {
        "the drawn tokens were not put in": ids,
        "each hidden token has its own draw, yours all got the first":
            ids.masked_fill(chosen, 10),
        "ids[chosen] lists them row by row, so drawn does, too":
            torch.tensor([[10, 11, 14, 10, 13], [14, 99, 16, 17, 18]]),
    }
    near = [hint for hint, slip in slips.items() if torch.equal(corrupted, slip)]
    order = "drawn belongs to the places in the order of ids[chosen]"
    hint = near[0] if near else order
    both = f"{right.tolist()}, not {corrupted.tolist()}"
    yield torch.equal(corrupted, right), f"the corrupted text should be {both}: {hint}"

    labels, expected = labels.float(), (right != ids).float()
    yield not torch.equal(labels, chosen.float()), (
        "a token that was drawn and came out right counts as original: compare with ids"
    )
    yield not torch.equal(labels, 1 - expected), (
        "1 means replaced, 0 original; yours are the other way round"
    )
    hint = "1 where the corrupted text differs from ids"
    if not labels.any():
        hint = "no label is 1: did you compare the corrupted text with itself?"
    both = f"{expected.long().tolist()}, not {labels.tolist()}"
    yield torch.equal(labels, expected), f"the labels should be {both}: {hint}"
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
        "λ does not belong here, but into the sum of both losses": 50 * each.mean(),
        "it is the binary cross entropy: the minus is missing": -each.mean(),
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
    hint = "a sigmoid, then a logarithm, takes 1e-87 for 0; start from the logits"
    both = f"for logits of ±200, both wrong, the loss is 200, not {found:.4g}"
    yield near, f"{both}: {hint}"
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
        slips = {
            "divide by the temperature, do not multiply": scores * temperature,
            "yours are the same at every temperature": scores,
        }
        near = [one for one, slip in slips.items()
                if torch.allclose(got, slip.softmax(-1), atol=0.02)]
        hint = f": {near[0]}" if near else ""
        told = f"at temperature {temperature} the shares should be {right}{hint}"
        yield torch.allclose(got, expected, atol=0.02), told

    rows = torch.tensor([[9.0, 0, 0], [0, 0, 9.0]]).repeat(500, 1)
    found = answer(rows * 10, 1.0).long()
    right = torch.equal(found, torch.tensor([0, 2]).repeat(500))
    yield right, "each row should be drawn by its own logits"
    table = torch.nn.Embedding(4, 3)
    table(answer(logits, 1.0).long()).sum().backward()
    yield logits.grad is None, "a gradient came through to the logits"


def share_to_hide(answer):
    for fakes, right, expected in [
        (0.1, 0.0, 0.1),
        (0.1, 0.5, 0.2),
        (0.0525, 0.65, 0.15),
        (0.09, 0.4, 0.15),
        (0.05, 0.8, 0.25),
    ]:
        found = answer(fakes, right)
        found = found.item() if hasattr(found, "item") else found  # of torch or numpy
        kind = f"the answer should be a number, not {found!r}"
        yield isinstance(found, Real), kind
        slips = {
            fakes: "a draw that is right is no fake, so more must be hidden",
            fakes * (1 - right): "that are the fakes if `fakes` is hidden; you want to "
            "know what to hide for them",
            fakes / (right or 1): "divide by the share of draws that are wrong",
            fakes + right: "right draws are a share of the hidden, not of all tokens",
            fakes * (1 + right): "1 / (1 - right) is not 1 + right",
            100 * expected: "give a share, 0.15, not percent",
        }
        near = [hint for slip, hint in slips.items() if math.isclose(found, slip)]
        hint = near[0] if near else "of the hidden the share 1 - right becomes fakes"
        given = f"for {fakes} fakes and {right} right draws it is {expected}"
        same = math.isclose(found, expected, rel_tol=1e-6)
        yield same, f"{given}, not {found:.4g}: {hint}"
    try:
        found = answer(0.5, 0.6)
        refused = False
    except ValueError:
        refused = True
    hint = "more than all tokens would have to be hidden, so a ValueError is expected"
    yield refused, f"with 0.6 right draws 0.5 fakes are too many: {hint}"


def second_stage(answer):
    torch.manual_seed(0)
    generator = MaskedLM(small_encoder(16)).apply(partial(init_weights, std=0.5))
    for weight in generator.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    before = deepcopy(generator.state_dict())
    try:
        found, trouble = answer(generator), ""
    except AttributeError as error:
        found, trouble = None, f" ({error})"
    kind = f"it should return a Discriminator, not {type(found).__name__}{trouble}"
    hint = "it is made of an encoder, and generator.encoder is one"
    yield isinstance(found, Discriminator), f"{kind}: {hint}"

    ours, its = dict(found.encoder.named_parameters()), dict(
        generator.encoder.named_parameters()
    )
    sizes = ours.keys() == its.keys()
    sizes = sizes and all(ours[name].shape == its[name].shape for name in its)
    yield sizes, "its encoder should be of the size of the generator's"
    same = {name for name in its if torch.equal(ours[name], its[name])}
    other = sorted(its.keys() - same)
    what = f"{len(other)} of {len(its)} weights of its encoder are not the generator's"
    hint = f"as {', '.join(other[:1])}" if same else "a new encoder begins at random"
    yield not other, f"{what}: {hint}"
    theirs = {weight.data_ptr() for weight in generator.parameters()}
    weights = found.named_parameters()
    shared = [name for name, one in weights if one.data_ptr() in theirs]
    which = " and ".join(shared[:2])
    hint = "to train the one would change the other. Copy the encoder"
    what = f"{len(shared)} of its tensors are the generator's, {which}"
    yield not shared, f"{what}: {hint}"
    frozen = [name for name, one in found.named_parameters() if not one.requires_grad]
    yield not frozen, f"{len(frozen)} weights are frozen: all of it is trained"
    after = generator.state_dict()
    kept = all(torch.equal(after[name], one) for name, one in before.items())
    kept = kept and all(one.requires_grad for one in generator.parameters())
    yield kept, "the generator has changed: leave it as it is"
    own = found.dense.weight.shape == (16, 16) and found.score.weight.shape == (1, 16)
    own = own and bool(found.dense.weight.any()) and bool(found.score.weight.any())
    yield own, "its head should be the new one that a Discriminator makes for itself"


def all_tokens(answer):
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(2, 5, 7, generator=generator).requires_grad_()
    copy = torch.randn(2, 5, generator=generator).requires_grad_()
    read = torch.randint(7, (2, 5), generator=generator)
    found = answer(words, copy, read)
    kind = f"it should return a tensor, not {type(found).__name__}"
    yield isinstance(found, torch.Tensor), kind
    shape = f"a probability for every word, (2, 5, 7), not {tuple(found.shape)}"
    yield found.shape == words.shape, f"it should give {shape}"

    with torch.no_grad():
        gate, softmax = copy.sigmoid()[..., None], words.softmax(-1)
        as_read = F.one_hot(read, 7)
        right = gate * as_read + (1 - gate) * softmax
        bare = copy[..., None]
        slips = {
            "D is the probability to copy, yours is the one not to":
                (1 - gate) * as_read + gate * softmax,
            "`copy` are logits: a sigmoid makes probabilities of them":
                bare * as_read + (1 - bare) * softmax,
            "`words` are logits: a softmax makes probabilities of them":
                gate * as_read + (1 - gate) * words,
            "the softmax counts only where nothing is copied: times 1 - D":
                gate * as_read + softmax,
            "the copied word gets D alone: its own softmax counts, too":
                torch.where(as_read.bool(), gate, (1 - gate) * softmax),
            "D goes to the word that is read, not to every word":
                gate + (1 - gate) * softmax,
            "the softmax alone: where is the gate?": softmax,
            "the softmax goes over the words, the last axis":
                gate * as_read + (1 - gate) * words.softmax(1),
        }
    near = [hint for hint, slip in slips.items() if torch.allclose(found, slip)]
    total = found.sum(-1)
    if near:
        hint = near[0]
    elif not torch.allclose(total, torch.ones_like(total), atol=1e-4):
        hint = "the probabilities of all words should sum to 1"
    else:
        hint = "D for the word that is read, and 1 - D shared out by the softmax"
    yield torch.allclose(found, right, atol=1e-5), f"some probabilities are off: {hint}"
    for name, one in (("words", words), ("copy", copy)):
        reached = found.requires_grad
        if reached:
            part = torch.autograd.grad(
                found.square().sum(), one, retain_graph=True, allow_unused=True
            )[0]
            reached = part is not None and bool(part.any())
        yield reached, f"no gradient reaches `{name}`, so it would learn nothing"


def fooling_loss(answer):
    generator = torch.Generator().manual_seed(0)
    guesses = torch.randn(6, 9, generator=generator).requires_grad_()
    suspicion = torch.randn(6, generator=generator).mul_(2).requires_grad_()
    drawn = torch.tensor([3, 0, 8, 3, 5, 1])
    before = guesses.detach().clone()
    found = answer(guesses, drawn, suspicion)
    number = isinstance(found, torch.Tensor) and found.ndim == 0
    kind = f"a tensor of shape {tuple(found.shape)}" if isinstance(
        found, torch.Tensor
    ) else type(found).__name__
    yield number, f"it should return one number, a tensor, not {kind}"
    yield torch.equal(guesses.detach(), before), "the guesses have changed"
    hint = "your loss carries no gradient: the guesses may not be detached"
    yield found.requires_grad, hint
    both = torch.autograd.grad(found, [guesses, suspicion], allow_unused=True)
    yield both[0] is not None, "no gradient reaches the guesses"
    leak = both[1] is not None and bool(both[1].any())
    hint = "the reward is a number here: detach it"
    yield not leak, f"a gradient reaches the discriminator: {hint}"

    reward = F.logsigmoid(-suspicion).detach()
    above = reward - reward.mean()
    odds = guesses.softmax(-1)
    of_drawn = odds.gather(1, drawn[:, None])[:, 0]
    replaced = F.logsigmoid(suspicion).detach()
    chance = reward.exp() - reward.exp().mean()

    def slope(number):
        return torch.autograd.grad(number, guesses, retain_graph=True)[0]

    right = slope(-(above * of_drawn.log()).mean())
    slips = {
        "an optimiser makes it small, and R with it: the sign": -right,
        "the mean of the rewards, b, is not taken off":
            slope(-(reward * of_drawn.log()).mean()),
        "R is multiplied by log p, not by p": slope(-(above * of_drawn).mean()),
        "the mean over the draws, not the sum": 6 * right,
        "R should be large where the discriminator says “original”; yours is large "
        "where it says “replaced”":
            slope(-((replaced - replaced.mean()) * of_drawn.log()).mean()),
        "R is the logarithm of the probability": slope(
            -(chance * of_drawn.log()).mean()
        ),
        "that is maximum likelihood: where is the reward?":
            slope(-of_drawn.log().mean()),
        "R is the logarithm of a probability, not a logit": slope(
            (
                (suspicion.detach() - suspicion.detach().mean()) * of_drawn.log()
            ).mean()
        ),
        "p is that of what was drawn, not the largest":
            slope(-(above * odds.amax(-1).log()).mean()),
    }
    near = [hint for hint, slip in slips.items() if torch.allclose(both[0], slip)]
    hint = near[0] if near else "-(R - b) · log p(drawn), the mean over the draws"
    same = torch.allclose(both[0], right, atol=1e-6)
    yield same, f"its gradient is not the one above: {hint}"
