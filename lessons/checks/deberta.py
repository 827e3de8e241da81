"""What the exercises of the DeBERTa lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

from numbers import Integral

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lessons.deberta import log_buckets


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
