"""What the exercises of the DeBERTa lesson are tested for: pairs (holds, hint), easiest first."""

from numbers import Integral

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lessons.deberta import log_buckets


def delta_of(answer):
    queries, keys = torch.tensor([5, 6]), torch.arange(7)
    before = queries.clone(), keys.clone()
    found = answer(queries, keys, 4)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == (2, 7), f"two queries and seven keys make the shape (2, 7), not {tuple(found.shape)}"
    yield not found.is_floating_point() and found.dtype != torch.bool, f"rows of a table are whole numbers, not {found.dtype}"
    yield all(map(torch.equal, before, (queries, keys))), "the positions have changed: read them, do not write to them"
    inner = answer(torch.tensor([5]), torch.tensor([4, 5, 6]), 4)[0].tolist()
    yield inner != [3, 4, 5], "δ grows with i − j, queries minus keys; yours grows the other way"
    yield inner == [5, 4, 3], f"for i − j = 1, 0, −1 and k = 4 it should be 5, 4, 3 (i − j + k), yours is {', '.join(map(str, inner))}"
    far = answer(torch.tensor([100]), torch.tensor([0, 96, 97]), 4)[0].tolist()
    yield far[0] != 8, "the table has 2k rows, 0 to 2k − 1: 2k is one too many"
    yield far == [7, 7, 7], f"for i − j = 100, 4, 3 and k = 4 it should be 7 = 2k − 1 each time, yours is {', '.join(map(str, far))}"
    far = answer(torch.tensor([0]), torch.tensor([100, 4, 3]), 4)[0].tolist()
    yield far == [0, 0, 1], f"for i − j = −100, −4, −3 and k = 4 it should be 0, 0, 1, yours is {', '.join(map(str, far))}"
    for k in (1, 2, 9):
        expected = [[0 if i - j <= -k else 2 * k - 1 if i - j >= k else i - j + k for j in range(12)] for i in (3, 0, 11)]
        right = answer(torch.tensor([3, 0, 11]), torch.arange(12), k).tolist() == expected
        yield right, f"for queries 3, 0, 11, keys 0 to 11 and k = {k} it is not Eq. 3: is k used everywhere, are positions taken as given?"
    far = answer(torch.tensor([1000]), torch.tensor([0, 999, 1000]), 512)[0].tolist()
    yield far == [1023, 513, 512], f"for i − j = 1000, 1, 0 and k = 512 it should be 1023, 513, 512, yours is {', '.join(map(str, far))}"


class Largest(TorchDispatchMode):
    """Remembers the largest number of elements that a tensor had room for while it is active."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.untyped_storage().nbytes() // one.element_size())
        return result


def p2c_scores(answer):
    generator = torch.Generator().manual_seed(0)
    batch, heads, n, d, k = 2, 3, 7, 5, 4
    key, rows = torch.randn(batch, heads, n, d, generator=generator), torch.randn(heads, 2 * k, d, generator=generator)
    index = (torch.arange(n)[:, None] - torch.arange(n) + k).clamp(0, 2 * k - 1)
    before = key.clone(), rows.clone(), index.clone()
    found = answer(key, rows, index)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == (batch, heads, n, n), f"(batch, heads, n, n) is {(batch, heads, n, n)} here, not {tuple(found.shape)}"
    yield all(map(torch.equal, before, (key, rows, index))), "the inputs have changed: read them, do not write to them"
    found, right = found.to(key.dtype), torch.einsum("bhjd,hijd->bhij", key, rows[:, index])
    mirrored = torch.einsum("bhjd,hijd->bhij", key, rows[:, index.T])
    turned, of_reader = right.transpose(-2, -1), torch.einsum("bhid,hijd->bhij", key, rows[:, index])
    yield not torch.allclose(found, mirrored, atol=1e-4), "this is δ(j, i), as in Eq. 4; released code takes δ(i, j)"
    yield not torch.allclose(found, turned, atol=1e-4), "rows and columns are exchanged: entry (i, j) belongs to key j"
    yield not torch.allclose(found, of_reader, atol=1e-4), "this takes the vector of token i, as c2p does; p2c takes the key of token j"
    for terms in (1, 2, 3):
        yield not torch.allclose(found * (terms * d) ** 0.5, right, atol=1e-4), "leave the scale away: the score should be unscaled"
    hint = "it should be key[..., j, :] · position_query[..., δ(i, j), :] for each pair; compare with the loops"
    yield torch.allclose(found, right, atol=1e-4), hint
    free = torch.randint(2 * k, (n, n), generator=generator)
    expected = torch.einsum("bhjd,hijd->bhij", key, rows[:, free])
    yield torch.allclose(answer(key, rows, free), expected, atol=1e-4), "use the index that is given: with another one it is not right"
    n, d, k = 40, 64, 40
    key, rows = torch.randn(1, 1, n, d, generator=generator), torch.randn(1, 2 * k, d, generator=generator)
    index = (torch.arange(n)[:, None] - torch.arange(n) + k).clamp(0, 2 * k - 1)
    with Largest() as largest:
        answer(key, rows, index)
    hint = f"right, but a tensor of {largest.elements:,} numbers arose for n = {n}, d = {d}: multiply with all 2k rows first, then gather"
    yield largest.elements < n * n * d, hint


def alike(answer):
    def right(distance, buckets, longest):
        everything = torch.arange(-longest + 1, longest)
        bucket = log_buckets(everything, buckets, longest)
        return everything[bucket == log_buckets(torch.tensor([distance]), buckets, longest)].tolist()

    cases = [(distance, 8, 64) for distance in (3, 0, -3, 10, -20, 60)] + [(distance, 256, 512) for distance in (100, 400, -511)]
    for case in cases:
        distance, buckets, longest = case
        found, expected = answer(distance, buckets, longest), right(*case)
        found = found.tolist() if isinstance(found, torch.Tensor) else found
        listed = isinstance(found, (list, tuple, range)) and all(isinstance(one, Integral) for one in found)
        yield listed, f"your function should return a list of whole numbers, not {found!r}"
        what = f"for distance {distance}, {buckets} buckets and longest = {longest}"
        yield distance in found, f"{what}: the distance itself is missing"
        hint = "left and right have buckets of their own"
        yield all(one * distance >= 0 for one in found), f"{what} there are distances of the other sign; {hint}"
        hint = f"yours are {len(found)} distances, {min(found)} to {max(found)}; right are {len(expected)}, {expected[0]} to {expected[-1]}"
        yield sorted(set(found)) == expected, f"{what}: {hint}"
        yield list(found) == expected, f"{what}: in rising order, each once"
    yield list(answer(400)) == right(400, 256, 512), "without further arguments buckets is 256 and longest 512"
