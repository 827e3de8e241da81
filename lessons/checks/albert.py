"""What the exercises of the ALBERT lesson are tested for: pairs (holds, hint), easiest first."""

from dataclasses import replace
from numbers import Real

import torch
import torch.nn.functional as F

from lessons.albert import VARIANTS, Albert


def masked_attention(answer):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=generator)     # batch 2, 4 heads, 5 tokens, d = 8
    everything = torch.ones(2, 5, dtype=torch.long)
    found = answer(query, key, value, everything)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == value.shape, f"the shape should be that of the values, {tuple(value.shape)}, not {tuple(found.shape)}"
    expected = F.scaled_dot_product_attention(query, key, value)
    unscaled = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    yield not torch.allclose(found, unscaled, atol=1e-5), "divide the scores by √d, or the softmax is too sharp"
    yield torch.allclose(found, expected, atol=1e-5), "without padding it should be softmax(QKᵀ/√d) V: look at the axis of the softmax"
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = answer(query, key, value, mask)
    yield not found.isnan().any(), "there are NaNs: is some row of scores −∞ everywhere? The mask speaks of keys, not of queries"
    alone = F.scaled_dot_product_attention(query[:1], key[:1], value[:1])
    yield torch.allclose(found[:1], alone, atol=1e-5), "the first text has no padding, yet its result changed with the second one's mask"
    cut = F.scaled_dot_product_attention(query[1:], key[1:, :, :3], value[1:, :, :3])
    hint = "for the padded text the weights of the three real tokens should sum to 1: mask the scores, before the softmax"
    yield torch.allclose(found[1:], cut, atol=1e-5), hint
    noisy = torch.where(mask[:, None, :, None] == 1, key, 1e4)
    yield torch.allclose(answer(query, noisy, value, mask), found, atol=1e-5), "a very large key at a padded place still changes the result"
    yield torch.allclose(answer(query, key, value, mask.bool()), found), "a mask of bool should work like one of 0 and 1"


def widest(answer):
    def count(hidden_size):
        config = replace(VARIANTS["albert-base"], hidden_size=hidden_size, intermediate_size=4 * hidden_size, num_attention_heads=1)
        with torch.device("meta"):
            return sum(weight.numel() for weight in Albert(config).parameters())

    exact = count(1024)
    found = answer(exact)
    yield isinstance(found, Real), f"your function should return a number, not {found!r}"
    yield found % 64 == 0, f"H should be a multiple of 64, not {found}"
    yield found != 960, f"H = 1024 has exactly {exact:,} parameters, and a budget of {exact:,} allows it; yours returns 960"
    for budget in (exact, exact - 1, 58_724_864, 334_607_360):
        found = answer(budget)
        fits, next_fits = count(found) <= budget, count(found + 64) <= budget
        yield fits, f"for {budget:,} yours returns {found}, which has {count(found):,}: too many. Did you count maps, biases, pooler?"
        yield not next_fits, f"for {budget:,} yours returns {found}, but {found + 64} with {count(found + 64):,} fits, too"


def hidden_pieces(answer):
    pieces = "[CLS] the al ##pha ##bet is an old in ##vention . [SEP]".split()
    cases = [
        (1, 1, [1], "one word of one piece"),
        (2, 1, [2, 3, 4], "a word of three pieces is hidden whole"),
        (4, 1, [2, 3, 4], "a place inside a word hides the whole word, its beginning included"),
        (1, 2, [1, 2, 3, 4], "n counts words, not pieces"),
        (5, 3, [5, 6, 7], "three words of one piece each"),
        (7, 2, [7, 8, 9], "the last word of the run is hidden to its end"),
        (8, 3, [8, 9, 10], "the run ends before [SEP]"),
        (11, 2, [], "a place at a special token hides nothing"),
        (0, 1, [], "a place at [CLS] hides nothing"),
    ]
    for place, n, right, hint in cases:
        found = answer(list(pieces), place, n)
        ok = isinstance(found, (list, tuple)) and len(found) == len(pieces)
        yield ok, f"your function should return a list of {len(pieces)} bool, one for each piece, not {found!r}"
        shown = [i for i, one in enumerate(found) if one]
        yield shown == right, f"place {place} ({pieces[place]}), n = {n}: yours hides {shown}, right is {right}; {hint}"
    brackets = ["[", "x", "]", "=", "1"]
    shown = [i for i, one in enumerate(answer(brackets, 0, 3)) if one]
    yield shown == [0, 1, 2], "a bracket alone is an ordinary piece: special tokens have a name between theirs, as in [SEP]"
