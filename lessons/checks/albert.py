"""What the exercises of the ALBERT lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

import math
from copy import deepcopy
from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from kit.probe import parameters
from lessons.albert import Config, build, new_layer


def masked_attention(answer):
    generator = torch.Generator().manual_seed(0)

    def ask(mask, d=8, key_of_padding=1.0, low=0.0):
        """(found, right, mask) for fresh queries, keys and values of size d.

        low: takes the scores of real keys far below 0.
        """
        mask = torch.tensor(mask)
        # 4 heads, 5 tokens
        query, key, value = torch.randn(3, len(mask), 4, 5, d, generator=generator)
        real = mask[:, None, :, None] == 1
        key = torch.where(real, key - low, key_of_padding * key)
        query = query + (low > 0)
        seen = mask[:, None, None, :].bool()
        right = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        found = answer(query.clone(), key.clone(), value.clone(), mask.clone())
        if isinstance(found, torch.Tensor) and found.is_floating_point():
            found = found.to(right.dtype)
        return found, right, mask

    def real(x, mask):  # what comes out at padding is nobody's business
        return x.transpose(1, 2)[mask == 1]

    def same(found, right, mask, atol=1e-5):
        return torch.allclose(real(found, mask), real(right, mask), atol=atol)

    found, right, mask = ask([[1] * 5] * 2)
    kind = f"your function should return a tensor, not {type(found).__name__}"
    yield isinstance(found, torch.Tensor), kind
    shapes = f"that of the values, {tuple(right.shape)}, not {tuple(found.shape)}"
    yield found.shape == right.shape, f"the shape should be {shapes}"
    yield same(found, right, mask), (
        "without padding it is softmax(QKᵀ/√d) V: "
        "look at the division by √d and the axis of the softmax"
    )
    yield same(*ask([[1] * 5] * 2, d=2)), (
        "for d = 2 it is wrong: d is the last size of the queries, whatever it is"
    )
    found, right, mask = ask([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    yield not real(found, mask).isnan().any(), (
        "there are NaNs: is some row of scores −∞ everywhere? "
        "The mask is 0 at padding only"
    )
    yield same(found[:1], right[:1], mask[:1]), (
        "the first text has no padding, yet its result changed with the second's mask"
    )
    yield same(found, right, mask), (
        "for the padded text the weights of the three real tokens should sum to 1: "
        "mask the scores of padded keys, before the softmax"
    )
    yield same(*ask([[0, 1, 1, 0, 1]])), (
        "with padding at the start and in the middle it is wrong: "
        "a 0 may stand anywhere"
    )
    found, right, mask = ask([[1, 1, 1, 0, 0]], key_of_padding=100)
    yield not real(found, mask).isnan().any(), (
        "a long key of padding makes NaNs: you divide by a sum that is 0; "
        "mask before the softmax"
    )
    yield same(found, right, mask), (
        "a long key at a padded place still gets weight: its score should be −∞, "
        "or nearly"
    )
    # Large scores round coarsely.
    yield same(*ask([[1, 1, 1, 0, 0]], low=100.0), atol=1e-2), (
        "when the scores of real keys are −300, padding gets weight: "
        "its score should be −∞, or nearly"
    )


def widest(answer):
    def count(H):
        sizes = {"hidden_size": H, "intermediate_size": 4 * H, "num_attention_heads": 1}
        with torch.device("meta"):
            return parameters(build("albert-base", **sizes)) + H * H + H  # the pooler

    def asked(budget):
        found = answer(budget)
        return found.item() if hasattr(found, "item") else found  # of torch or numpy

    exact = count(1024)
    found = asked(exact)
    kind = f"your function should return a number, not {found!r}"
    yield isinstance(found, Real), kind
    yield found > 0 and found % 64 == 0, f"H should be a multiple of 64, not {found}"
    yield found != 960, (
        f"H = 1024 has exactly {exact:,} parameters, and a budget of {exact:,} allows "
        "it; yours returns 960"
    )
    for budget in (exact, exact - 1, 58_724_864, 334_607_360):
        found = int(asked(budget))
        yours = f"for {budget:,} yours returns {found}"
        yield 0 < found < 10**6, f"{yours}: in that range there is no answer"
        yield count(found) <= budget, (
            f"{yours}, which has {count(found):,}: too many. {left_out(asked, exact)}"
        )
        yield count(found + 64) > budget, (
            f"{yours}, but {found + 64} with {count(found + 64):,} fits, too. "
            "A table has E = 128 columns, and all layers have one layer's weights"
        )


def left_out(asked, exact, H=1024):
    """Which part of the network `asked` seems not to count, as a hint.

    exact: the count for H. Whoever forgets n parameters finds that H fits `exact - n`.
    """
    parts = {
        "the feed-forward network has": 8 * H * H + 5 * H,
        "the attention has": 4 * (H * H + H),
        "the tables have": (30_000 + 512 + 2) * 128,
        "the pooler has": H * H + H,
        "the map from E to H has": 128 * H + H,
        "the tables of positions and segments have": (512 + 2) * 128,
        "the biases and normalisations of the layer have": 13 * H,
    }
    for part, number in parts.items():  # the largest first
        if asked(exact - number) >= H:
            return f"Your count lacks about as much as {part}"
    return "Did you count all matrices, biases and normalisations, and the pooler?"


def hidden_pieces(answer):
    line = "[CLS] the al ##pha ##bet is an old in ##vention . [SEP] it stays [SEP]"
    pieces = line.split()
    cases = [
        (1, 1, [1], "one word of one piece"),
        (2, 1, [2, 3, 4], "a word of three pieces is hidden whole"),
        (4, 1, [2, 3, 4], "a place inside a word hides all of it, its beginning, too"),
        (1, 2, [1, 2, 3, 4], "n counts words, not pieces"),
        (5, 3, [5, 6, 7], "three words of one piece each"),
        (7, 2, [7, 8, 9], "the last word of the run is hidden to its end"),
        (8, 3, [8, 9, 10], "the run ends before [SEP], and does not go on behind it"),
        (13, 3, [13], "the last word before [SEP] is hidden alone"),
        (11, 2, [], "a place at a special token hides nothing"),
        (0, 1, [], "a place at [CLS] hides nothing"),
    ]

    def shown(words, place, n):
        try:
            found = answer(list(words), place, n)
        except IndexError:
            return "a piece behind the last (an IndexError)"
        return [i for i, one in enumerate(found) if one]

    for place, n, right, hint in cases:
        found = answer(list(pieces), place, n)
        found = found.tolist() if hasattr(found, "tolist") else found
        a_list = isinstance(found, (list, tuple))
        words = a_list and any(isinstance(one, str) for one in found)
        yield a_list and not words and len(found) == len(pieces), (
            f"your function should return a list of {len(pieces)} bool, "
            f"one for each piece, not {found!r}"
        )
        hidden = [i for i, one in enumerate(found) if one]
        yield hidden == right, (
            f"place {place} ({pieces[place]}), n = {n}: "
            f"yours hides {hidden}, right is {right}; {hint}"
        )
    for place, n, right in ((2, 5, [1, 2]), (0, 1, [0])):
        hidden = shown(["a", "b", "##c"], place, n)
        yield hidden == right, (
            f"a text may end without [SEP]: of a b ##c, place {place}, n = {n}, "
            f"yours hides {hidden}, right is {right}"
        )
    yield shown(["[", "x", "]", "=", "1"], 0, 3) == [0, 1, 2], (
        "a bracket alone is an ordinary piece: "
        "special tokens have a name between theirs, as in [SEP]"
    )


def mean_run(answer):
    harmonic = {n: sum(1 / k for k in range(1, n + 1)) for n in (1, 3, 2, 10)}
    for longest, total in harmonic.items():
        found, right = answer(longest), longest / total
        found = found.item() if hasattr(found, "item") else found  # of torch or numpy
        kind = f"the answer should be a number, not {found!r}"
        yield isinstance(found, Real), kind
        slips = {
            (longest + 1) / 2: "the lengths are not equally frequent: p(n) goes as 1/n",
            longest: "the p(n) must sum to 1: divide by the sum of all 1/n",
            (2 * longest + 1) / 3: "short runs are the frequent ones: 1/n, not n",
            total: "the mean is the sum of n · p(n), not that of the 1/n",
            1 / total: "the mean is the sum of n · p(n); yours is p(1)",
        }
        near = [hint for slip, hint in slips.items() if math.isclose(found, slip)]
        hint = near[0] if near else "it is the sum of n · p(n) for n = 1 … N"
        both = f"for N = {longest} it is {right:.3f}, not {found:.3f}"
        yield math.isclose(found, right, rel_tol=1e-4), f"{both}: {hint}"


TINY = Config(
    vocab_size=20, hidden_size=8, num_hidden_layers=6, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=8,
)


def pattern(layers):
    """Numbers that are equal where layers have the very same weights: [0, 0, 1 …]."""
    weights = [tuple(map(id, layer.parameters())) for layer in layers]
    first = list(dict.fromkeys(weights))
    return [first.index(one) for one in weights]


def in_groups(answer):
    for groups in (2, 3, 1, 6):
        found = answer(TINY, groups)
        is_list = isinstance(found, (list, tuple, nn.ModuleList))
        found = list(found) if is_list else found
        modules = is_list and all(isinstance(one, nn.Module) for one in found)
        what = f"{len(found)} items" if is_list else type(found).__name__
        yield modules, f"it should return a list of layers, not {what}"
        hint = "a layer that is used three times is in the list three times"
        yield len(found) == 6, f"6 layers run, your list has {len(found)}: {hint}"
        x = torch.zeros(1, 3, TINY.hidden_size)
        same = all(layer(x).shape == x.shape for layer in found)
        yield same, "a layer should give the shape that it reads: use new_layer(config)"

        size = 6 // groups
        right, shared = [i // size for i in range(6)], pattern(found)
        equal = {tuple(next(one.parameters()).flatten().tolist()) for one in found}
        slips = [
            (len(equal) < len(set(shared)), "a copy has weights of its own: put the "
             "same object into the list"),
            (shared == [i % groups for i in range(6)], "a group is of neighbours, the "
             "first places have the first layer"),
            (shared == [i // groups for i in range(6)], "`groups` says how many groups "
             "there are, not how large one is"),
            (len(set(shared)) == 1, "each group has a layer of its own"),
            (len(set(shared)) == 6, "within a group the layers share their weights"),
        ]
        hints = [hint for slip, hint in slips if slip]
        hint = hints[0] if hints else "the groups are of one size"
        both = f"6 places in {groups} groups have the layers {right}, yours {shared}"
        yield shared == right, f"{both}: {hint}"
    try:
        answer(TINY, 4)
        refused = False
    except ValueError:
        refused = True
    yield refused, "6 layers make no 4 groups of equal size: a ValueError is expected"


def squares(one, other):
    return (one - other).square().sum().item()


def product(svd, part, scale=None):
    """U diag(scale) Vᵀ of these singular vectors; None: with the singular values."""
    scale = svd.S if scale is None else scale
    return (svd.U[:, part] * scale[part]) @ svd.Vh[part]


def factorised(answer):
    generator = torch.Generator().manual_seed(0)
    for V, H, E in ((12, 7, 3), (5, 9, 2)):
        table = torch.randn(V, H, generator=generator) + 0.5
        before = table.clone()
        found = answer(table, E)
        pair = isinstance(found, (tuple, list)) and len(found) == 2
        pair = pair and all(isinstance(one, torch.Tensor) for one in found)
        kind = type(found).__name__
        yield pair, f"it should return two matrices, words and widen, not {kind}"
        yield torch.equal(table, before), "the table has changed: leave it as it is"
        words, widen = (one.detach() for one in found)
        for name, one, right in (("words", words, (V, E)), ("widen", widen, (E, H))):
            shape = tuple(one.shape)
            hint = ": transpose it" if shape == right[::-1] else ""
            yield shape == right, f"{name} should be {right}, yours is {shape}{hint}"

        svd, mean = torch.linalg.svd(table, full_matrices=False), table.mean(0)
        centred = torch.linalg.svd(table - mean, full_matrices=False)
        first, last = slice(E), slice(-E, None)
        columns, rows = table.clone(), table.clone()
        columns[:, E:], rows[E:] = 0, 0
        slips = {
            "the singular values are missing":
                product(svd, first, torch.ones_like(svd.S)),
            "the singular values go into one of the two, not into both":
                product(svd, first, svd.S**2),
            "of the singular values only the roots are there":
                product(svd, first, svd.S.sqrt()),
            "keep the largest singular values, yours are the smallest":
                product(svd, last),
            "to cut off columns is not the best: use all H": columns,
            "to cut off rows is not the best: use all V": rows,
            "do not take off the mean: nobody adds it again": product(centred, first),
        }
        yours = words @ widen
        near = [hint for hint, slip in slips.items() if squares(yours, slip) < 1e-4]
        hint = near[0] if near else "look for the singular value decomposition"
        best, off = squares(product(svd, first), table), squares(yours, table)
        both = f"the sum of squared differences can be {best:.2f}, yours is {off:.2f}"
        yield off < 1.001 * best, f"{both}: {hint}"


class Stored:
    """Counts the numbers that wait for a backward pass, and their most at once."""

    def __init__(self):
        self.now = self.most = 0
        stored = self

        class Kept:
            def __init__(self, tensor):
                self.tensor = tensor
                stored.now += tensor.numel()
                stored.most = max(stored.most, stored.now)

            def __del__(self):
                stored.now -= self.tensor.numel()

        kinds = Kept, lambda kept: kept.tensor
        self.hooks = torch.autograd.graph.saved_tensors_hooks(*kinds)

    def __enter__(self):
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


def shared_gradient(answer):
    torch.manual_seed(0)
    layer, x = new_layer(TINY), torch.randn(2, 5, TINY.hidden_size)
    weights, wanted = list(layer.parameters()), torch.randn(x.shape)

    def loss_of(y):
        return (y * wanted).sum() + y.pow(3).mean()

    def parts(uses):
        """The gradient of each use, the first first."""
        copies, y = [deepcopy(layer) for _ in range(uses)], x
        for copy in copies:
            y = copy(y)
        loss_of(y).backward()
        return [[one.grad for one in copy.parameters()] for copy in copies]

    def same(found, right):
        pairs = zip(found, right)
        return all(torch.allclose(one, other, atol=1e-4) for one, other in pairs)

    of_uses = {uses: parts(uses) for uses in (1, 2, 6)}
    with Stored() as one_use:
        loss = loss_of(layer(x.clone().requires_grad_()))
    del loss
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    before = [weight.detach().clone() for weight in weights], x.clone()

    for uses, each in of_uses.items():
        with Stored() as stored:
            found = answer(layer, x, uses, loss_of)
        whole = isinstance(found, (list, tuple)) and len(found) == len(weights)
        whole = whole and all(isinstance(one, torch.Tensor) for one in found)
        length = f"a list of {len(found)}" if isinstance(found, (list, tuple)) else (
            type(found).__name__
        )
        yield whole, f"it should return a list of {len(weights)} tensors, not {length}"
        shapes = all(one.shape == weight.shape for one, weight in zip(found, weights))
        yield shapes, "each gradient should have the shape of its parameter"
        found = [one.detach() for one in found]
        kept = all(torch.equal(one, old) for one, old in zip(weights, before[0]))
        yield kept, "the layer's weights have changed: nothing is trained here"
        grads = all(one.grad is not None and (one.grad == 1).all() for one in weights)
        hint = "use torch.autograd.grad, not backward"
        yield grads, f"the layer's .grad has changed: {hint}"
        untouched = torch.equal(x, before[1]) and not x.requires_grad and x.grad is None
        yield untouched, "x has changed: work on x.detach().requires_grad_()"

        right = [sum(one) for one in zip(*each)]
        slips = {
            "the gradient is the sum over the uses, not their mean":
                [one / uses for one in right],
            "yours is the part of the last use alone: add those of the earlier ones":
                each[-1],
            "yours is the part of the first use alone: add those of the others":
                each[0],
            "the last use is missing": [one - new for one, new in zip(right, each[-1])],
            "the first use is missing": [one - new for one, new in zip(right, each[0])],
            "the gradients that lay in .grad before were added": [g + 1 for g in right],
        }
        hint = "each use gets what flows back from the next one"
        if uses > 1:
            near = [slip for slip, value in slips.items() if same(found, value)]
            hint = near[0] if near else hint
        times = "once" if uses == 1 else f"{uses} times"
        told = f"for a layer used {times} the gradient is wrong: {hint}"
        yield same(found, right), told
        share = stored.most / one_use.most
        yield share < 1.5, (
            f"the gradient is right, but {share:.0f} times as much is stored as one "
            "use needs: compute the inputs under no_grad, then each use by itself again"
        )
