"""What the exercises of the DeBERTa lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

from numbers import Integral

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lessons.deberta import (
    OFFSETS,
    c2p_scores,
    delta,
    log_buckets,
    p2c_scores,
    puzzle,
)


def delta_of(answer):
    queries, keys = torch.tensor([5, 6]), torch.arange(7)
    before = queries.clone(), keys.clone()
    found = answer(queries, keys, 4)
    kind = type(found).__name__
    yield isinstance(found, torch.Tensor), (
        f"your function should return a tensor, not {kind}"
    )
    yield found.shape == (2, 7), (
        f"two queries and seven keys make the shape (2, 7), not {tuple(found.shape)}"
    )
    whole = not found.is_floating_point() and found.dtype != torch.bool
    yield whole, f"rows of a table are whole numbers, not {found.dtype}"
    yield all(map(torch.equal, before, (queries, keys))), (
        "the positions have changed: read them, do not write to them"
    )

    def told(query, others, k=4):
        return answer(torch.tensor([query]), torch.tensor(others), k)[0].tolist()

    near = told(5, [4, 5, 6])
    yield near != [3, 4, 5], (
        "δ grows with i − j, queries minus keys; yours grows the other way"
    )
    yield near == [5, 4, 3], (
        f"for i − j = 1, 0, −1 and k = 4 it should be 5, 4, 3 (i − j + k), not {near}"
    )
    far = told(100, [0, 96, 97])
    yield far[0] != 8, "the table has 2k rows, 0 to 2k − 1: 2k is one too many"
    yield far == [7, 7, 7], (
        "for i − j = 100, 4, 3 and k = 4 it should be 7 = 2k − 1 each time, "
        f"not {far}"
    )
    far = told(0, [100, 4, 3])
    yield far == [0, 0, 1], (
        f"for i − j = −100, −4, −3 and k = 4 it should be 0, 0, 1, not {far}"
    )
    for k in (1, 2, 9):
        expected = [
            [max(0, min(i - j + k, 2 * k - 1)) for j in range(12)] for i in (3, 0, 11)
        ]
        found = answer(torch.tensor([3, 0, 11]), torch.arange(12), k).tolist()
        yield found == expected, (
            f"for queries 3, 0, 11, keys 0 to 11 and k = {k} it is not Eq. 3: "
            "is k used everywhere, are positions taken as given?"
        )
    far = told(1000, [0, 999, 1000], 512)
    yield far == [1023, 513, 512], (
        f"for i − j = 1000, 1, 0 and k = 512 it should be 1023, 513, 512, not {far}"
    )


class Largest(TorchDispatchMode):
    """Remembers the most elements that a tensor had room for while it is active."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                room = one.untyped_storage().nbytes() // one.element_size()
                self.elements = max(self.elements, room)
        return result


def text_of(n, k, d, heads, batch, random):
    """Keys, position queries and δ for a text of n tokens."""
    key = torch.randn(batch, heads, n, d, generator=random)
    rows = torch.randn(heads, 2 * k, d, generator=random)
    place = torch.arange(n)
    return key, rows, (place[:, None] - place + k).clamp(0, 2 * k - 1)


def p2c_as_printed(answer):
    random = torch.Generator().manual_seed(0)
    key, rows, index = text_of(7, 4, 5, 3, 2, random)
    before = key.clone(), rows.clone(), index.clone()
    found = answer(key, rows, index)
    kind = type(found).__name__
    yield isinstance(found, torch.Tensor), (
        f"your function should return a tensor, not {kind}"
    )
    yield found.shape == (2, 3, 7, 7), (
        f"(batch, heads, n, n) is (2, 3, 7, 7) here, not {tuple(found.shape)}"
    )
    yield all(map(torch.equal, before, (key, rows, index))), (
        "the inputs have changed: read them, do not write to them"
    )

    def product(which, table):  # entry (i, j): the key of i or of j, a row of its own
        return torch.einsum(f"bh{which}d,hijd->bhij", key, rows[:, table])

    def same(one, other):
        return torch.allclose(one.to(key.dtype), other, atol=1e-4)

    right = product("j", index.T)
    yield not same(found, product("j", index)), (
        "this takes δ(i, j), as released code does; Eq. 4 has δ(j, i)"
    )
    yield not same(found, right.transpose(-2, -1)), (
        "rows and columns are exchanged: entry (i, j) belongs to key j"
    )
    yield not same(found, product("i", index.T)), (
        "this takes the vector of token i, as c2p does; p2c takes the key of token j"
    )
    for terms in (1, 2, 3):
        yield not same(found * (terms * 5) ** 0.5, right), (
            "leave the scale away: the score should be unscaled"
        )
    yield same(found, right), (
        "it should be key[..., j, :] · position_query[..., δ(j, i), :] for each pair; "
        "compare with loops"
    )
    free = torch.randint(8, (7, 7), generator=random)
    yield same(answer(key, rows, free), product("j", free.T)), (
        "use the index that is given: with another one it is not right"
    )
    n, d = 40, 64
    with Largest() as largest:
        answer(*text_of(n, n, d, 1, 1, random))
    yield largest.elements < n * n * d, (
        f"right, but a tensor of {largest.elements:,} numbers arose for n = {n}, "
        f"d = {d}: multiply with all 2k rows first, then gather"
    )


def alike(answer):
    def right(distance, buckets=256, longest=512):
        everything = torch.arange(-longest + 1, longest)
        bucket = log_buckets(everything, buckets, longest)
        own = log_buckets(torch.tensor([distance]), buckets, longest)
        return everything[bucket == own].tolist()

    cases = [(distance, 8, 64) for distance in (3, 0, -3, 10, -20, 60)]
    cases += [(distance, 256, 512) for distance in (100, 400, -511)]
    for case in cases:
        distance, buckets, longest = case
        found, expected = answer(*case), right(*case)
        found = found.tolist() if isinstance(found, torch.Tensor) else found
        listed = isinstance(found, (list, tuple, range))
        listed = listed and all(isinstance(one, Integral) for one in found)
        yield listed, (
            f"your function should return a list of whole numbers, not {found!r}"
        )
        what = f"for distance {distance}, {buckets} buckets and longest = {longest}"
        yield distance in found, f"{what}: the distance itself is missing"
        yield all(one * distance >= 0 for one in found), (
            f"{what} there are distances of the other sign; "
            "left and right have buckets of their own"
        )
        yield sorted(set(found)) == expected, (
            f"{what}: yours are {len(found)} distances, {min(found)} to {max(found)}; "
            f"right are {len(expected)}, {expected[0]} to {expected[-1]}"
        )
        yield list(found) == expected, f"{what}: in rising order, each once"
    yield list(answer(400)) == right(400), (
        "without further arguments buckets is 256 and longest 512"
    )


def rows_used(answer):
    for n, k in ((3, 8), (1, 8), (40, 8), (8, 8), (9, 8), (10, 8), (3, 2), (512, 512)):
        found, right = answer(n, k), min(2 * n - 1, 2 * k)
        if getattr(found, "ndim", None) == 0:               # of torch or numpy
            found = found.item()
        kind = f"the answer should be a whole number, not {found!r}"
        yield isinstance(found, Integral), kind
        slips = {
            2 * k: "not all rows are used: a short text has no large distances",
            n * n: "that counts pairs; all pairs of one distance share a row",
            n: "a distance has a sign: left and right have rows of their own",
            2 * n: "distance 0 is there once: from −n + 1 to n − 1 it is one less",
            2 * n - 2: "a token is a pair with itself: distance 0 has a row, too",
            2 * n + 1: "n tokens are at most n − 1 apart",
            2 * n - 1: "far distances are cut off and share a row: at most 2k rows",
            2 * k - 1: "row 0 and row 2k − 1 are both used if the text is long enough",
            2 * k + 1: "from −k to k are 2k + 1 distances, but k shares k − 1's row",
        }
        hint = slips.get(found, "count the different values of δ")
        both = f"{n} tokens and k = {k} use {right} rows, not {found}"
        yield found == right, f"{both}: {hint}"


def p2p_scores(answer):
    random = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, 8, 5, generator=random)      # 3 heads, k = 4, d = 5
    before = query.clone(), key.clone()
    found = answer(query, key, 7)
    kind = type(found).__name__
    yield isinstance(found, torch.Tensor), (
        f"your function should return a tensor, not {kind}"
    )
    yield found.shape == (3, 7, 7), (
        f"(heads, n, n) is (3, 7, 7) here, not {tuple(found.shape)}"
    )
    yield all(map(torch.equal, before, (query, key))), (
        "the inputs have changed: read them, do not write to them"
    )

    def product(rows, columns):
        return torch.einsum("hijd,hijd->hij", query[:, rows], key[:, columns])

    def same(other, scale=1.0):
        return torch.allclose(scale * found.to(other.dtype), other, atol=1e-4)

    index = delta(7, 4)
    yield not same(product(index, index)), (
        "both rows are δ(i, j) in yours: the query's is δ(j, i), i as seen from j"
    )
    yield not same(product(index, index.T)), (
        "the two δ are exchanged: δ(j, i) is the query's row, δ(i, j) the key's"
    )
    yield not same(product(index.T, index.T)), (
        "both rows are δ(j, i) in yours: the key's is δ(i, j), j as seen from i"
    )
    right = product(index.T, index)
    for terms in (1, 2, 3, 4):
        yield not same(right, (terms * 5) ** 0.5), (
            "leave the scale away: the score should be unscaled"
        )
    yield same(right), (
        "it should be position_query[:, δ(j, i)] · position_key[:, δ(i, j)] for each "
        "pair; compare with loops"
    )
    for n in (1, 20):
        index = delta(n, 4)
        found = answer(query, key, n)
        yield found.shape == (3, n, n) and same(product(index.T, index)), (
            f"for n = {n} and k = 4 it is not right: distances are cut off at k, "
            "and k is half the number of rows"
        )
    n, d = 40, 64
    with Largest() as largest:
        answer(*torch.randn(2, 1, 2 * 16, d, generator=random), n)
    yield largest.elements < n * n * d, (
        f"right, but a tensor of {largest.elements:,} numbers arose for n = {n}, "
        f"d = {d}: multiply all rows with all rows first"
    )


def WithDifference(answer):
    torch.manual_seed(0)
    table = nn.Embedding(11, 4)
    start = table.weight.detach().clone()
    module, ids = answer(table), torch.tensor([[1, 2, 2], [5, 0, 1]])
    yield isinstance(module, nn.Module), "it should be a module: class …(nn.Module)"
    found = module(ids)
    kind = type(found).__name__
    yield isinstance(found, torch.Tensor), (
        f"it should give a tensor of vectors, not {kind}"
    )
    yield found.shape == (2, 3, 4), (
        f"ids (2, 3) and vectors of 4 make the shape (2, 3, 4), not "
        f"{tuple(found.shape)}"
    )
    yield not torch.equal(found, torch.zeros_like(found)), (
        "the vectors are all 0: the generator's table is missing in the sum"
    )
    yield torch.equal(found, start[ids]), (
        "at the start it should give the generator's vectors: E_Δ starts at 0"
    )
    weights = list(module.parameters())
    yield all(one is not table.weight for one in weights), (
        "the generator's table is among the parameters of your module: an optimiser "
        "would train it; hide it from nn.Module, in a list for example"
    )
    shapes = [tuple(one.shape) for one in weights]
    yield bool(shapes), (
        "your module has no parameter: E_Δ should be an nn.Parameter, or lie in an "
        "nn.Embedding"
    )
    yield shapes == [(11, 4)], (
        f"its only parameter should be E_Δ, of the shape (11, 4), not {shapes}"
    )
    yield table.weight.requires_grad, (
        "the generator's table cannot learn any more: stop the gradient in your sum, "
        "not at the table itself"
    )
    yield found.requires_grad, (
        "no gradient gets to E_Δ: stop only that of the generator's table"
    )
    (module(ids) * torch.arange(4.0)).sum().backward()
    yield table.weight.grad is None or not table.weight.grad.any(), (
        "the discriminator's loss pulls at the generator's table: detach it"
    )
    gradient, asked = weights[0].grad, torch.zeros(11, 4)
    asked.index_add_(0, ids.flatten(), torch.arange(4.0).expand(6, 4))
    yield gradient is not None and torch.allclose(gradient, asked), (
        "the gradient of E_Δ is not right: is row `id` of E_Δ added for each id?"
    )
    with torch.no_grad():
        table.weight.add_(1)
    yield torch.allclose(module(ids), start[ids] + 1), (
        "the generator's table has changed, your vectors have not followed: "
        "keep no copy, read the table anew each time"
    )
    with torch.no_grad():
        weights[0][2] += 3
    expected = start + 1
    expected[2] += 3
    yield torch.allclose(module(ids), expected[ids]), (
        "a changed E_Δ should change the vectors by as much: the two are added"
    )
    table(ids).sum().backward()
    yield table.weight.grad is not None and table.weight.grad.any(), (
        "the generator's own loss should still train its table"
    )


def by_hand(answer):
    scores_of = {"reader": c2p_scores, "sender": p2c_scores}
    names = {
        "reader": "queries and position keys",
        "sender": "keys and position queries",
    }
    for task, k, length in (
        ("reader", 8, 24), ("sender", 8, 24), ("reader", 5, 48), ("sender", 5, 48),
        ("reader", 20, 9), ("sender", 20, 9),
    ):
        where = f"“{task}”, k = {k}, texts of {length}"
        found = answer(task, k)
        pair = isinstance(found, (tuple, list)) and len(found) == 2
        pair = pair and all(isinstance(one, torch.Tensor) for one in found)
        yield pair, f"{where}: return two tensors, {names[task]}"
        content, position = (one.detach().float() for one in found)
        shapes = tuple(content.shape), tuple(position.shape)
        good = [len(one) for one in shapes] == [2, 2]
        good = good and (shapes[0][0], shapes[1][0]) == (48, 2 * k)
        yield good and shapes[0][1] == shapes[1][1], (
            f"{where}: the tables should be (48, d) and ({2 * k}, d) with the same d, "
            f"not {shapes[0]} and {shapes[1]}"
        )
        ids, _ = puzzle(task, 20, length, torch.Generator().manual_seed(k))
        scores = scores_of[task](content[ids], position, delta(length, k))
        weights = scores.softmax(-1)                    # (texts, tokens, tokens)
        yield not weights.isnan().any(), f"{where}: some weights are NaN"
        right = pointed(task, ids)
        asked = right.sum(-1) == 1
        share = (weights * right).sum(-1)[asked]
        turned = pointed(task, ids, -1)
        away = (weights * turned).sum(-1)[asked & (turned.sum(-1) == 1)]
        yield share.mean() > 0.5 or away.mean() < 0.5, (
            f"{where}: the other side is looked at: δ grows with i − j, and the reader "
            "at i looks at j = i + offset, the sender at j is looked at from "
            "i = j + offset"
        )
        best = (weights * right).sum(-1).eq(weights.amax(-1))[asked]
        yield not best.all() or share.min() > 0.99, (
            f"{where}: the right place has the most weight, but at worst only "
            f"{share.min():.0%}: larger numbers make the softmax sharper"
        )
        yield share.min() > 0.99, (
            f"{where}: {(share > 0.99).float().mean():.0%} of the tokens look at the "
            "right place; the offset of a token is OFFSETS[id // 8], and i − j has "
            "row i − j + k"
        )
    for task in scores_of:
        try:
            answer(task, 4)
            refused = False
        except ValueError:
            refused = True
        yield refused, (
            f"“{task}”, k = 4: a distance of 3 has row 2k − 1, which all that is "
            "further to the left share: a ValueError is expected"
        )


def pointed(task, ids, sign=1):
    """1 where row i is to look, by the offsets of `ids` `(texts, n)`: `(texts, n, n)`.

    sign: −1 turns all offsets round.
    """
    place = torch.arange(ids.shape[1])
    target = place + sign * OFFSETS[ids // 8]
    looks = (target[:, :, None] == place).float()       # (texts, from, to)
    return looks if task == "reader" else looks.transpose(-2, -1)
