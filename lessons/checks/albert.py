"""What the exercises of the ALBERT lesson are tested for: pairs (holds, hint), easiest first."""

from dataclasses import replace
from numbers import Real

import torch
import torch.nn.functional as F

from lessons.albert import VARIANTS, Albert


def masked_attention(answer):
    generator = torch.Generator().manual_seed(0)

    def ask(mask, d=8, key_of_padding=1.0, low=0.0):
        """(found, right, mask) for fresh queries, keys and values of size d; `low` takes the scores of real keys far below 0."""
        mask = torch.tensor(mask)
        query, key, value = torch.randn(3, len(mask), 4, 5, d, generator=generator)      # 4 heads, 5 tokens
        key = torch.where(mask[:, None, :, None] == 1, key - low, key_of_padding * key)
        query = query + (low > 0)
        right = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :].bool())
        found = answer(query.clone(), key.clone(), value.clone(), mask.clone())
        return found.to(right.dtype) if isinstance(found, torch.Tensor) and found.is_floating_point() else found, right, mask

    def real(x, mask):                                      # what comes out at padding is nobody's business
        return x.transpose(1, 2)[mask == 1]

    def same(found, right, mask, atol=1e-5):
        return torch.allclose(real(found, mask), real(right, mask), atol=atol)

    found, right, mask = ask([[1] * 5] * 2)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == right.shape, f"the shape should be that of the values, {tuple(right.shape)}, not {tuple(found.shape)}"
    yield same(found, right, mask), "without padding it is softmax(QKᵀ/√d) V: look at the division by √d and the axis of the softmax"
    yield same(*ask([[1] * 5] * 2, d=2)), "for d = 2 it is wrong: d is the last size of the queries, whatever it is"
    found, right, mask = ask([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    yield not real(found, mask).isnan().any(), "there are NaNs: is some row of scores −∞ everywhere? The mask is 0 at padding only"
    yield same(found[:1], right[:1], mask[:1]), "the first text has no padding, yet its result changed with the second one's mask"
    hint = "for the padded text the weights of the three real tokens should sum to 1: mask the scores of padded keys, before the softmax"
    yield same(found, right, mask), hint
    yield same(*ask([[0, 1, 1, 0, 1]])), "with padding at the start and in the middle it is wrong: a 0 may stand anywhere"
    found, right, mask = ask([[1, 1, 1, 0, 0]], key_of_padding=100)
    yield not real(found, mask).isnan().any(), "a long key of padding makes NaNs: you divide by a sum that is 0; mask before the softmax"
    yield same(found, right, mask), "a long key at a padded place still gets weight: its score should be −∞, or nearly"
    hint = "when the scores of real keys are −300, padding gets weight: its score should be −∞, or nearly"
    yield same(*ask([[1, 1, 1, 0, 0]], low=100.0), atol=1e-2), hint         # large scores round coarsely


def widest(answer):
    def count(hidden_size):
        config = replace(VARIANTS["albert-base"], hidden_size=hidden_size, intermediate_size=4 * hidden_size, num_attention_heads=1)
        with torch.device("meta"):
            return sum(weight.numel() for weight in Albert(config).parameters())

    def asked(budget):
        found = answer(budget)
        return found.item() if hasattr(found, "item") else found        # a number out of torch or numpy

    exact = count(1024)
    found = asked(exact)
    yield isinstance(found, Real), f"your function should return a number, not {found!r}"
    yield found > 0 and found % 64 == 0, f"H should be a multiple of 64, not {found}"
    yield found != 960, f"H = 1024 has exactly {exact:,} parameters, and a budget of {exact:,} allows it; yours returns 960"
    for budget in (exact, exact - 1, 58_724_864, 334_607_360):
        found = int(asked(budget))
        yield 0 < found < 10**6, f"for {budget:,} yours returns {found:,}: in that range there is no answer"
        yours = f"for {budget:,} yours returns {found}"
        yield count(found) <= budget, f"{yours}, which has {count(found):,}: too many. Did you count maps, biases, pooler?"
        yield count(found + 64) > budget, f"{yours}, but {found + 64} with {count(found + 64):,} fits, too"


def hidden_pieces(answer):
    pieces = "[CLS] the al ##pha ##bet is an old in ##vention . [SEP] it stays [SEP]".split()
    cases = [
        (1, 1, [1], "one word of one piece"),
        (2, 1, [2, 3, 4], "a word of three pieces is hidden whole"),
        (4, 1, [2, 3, 4], "a place inside a word hides the whole word, its beginning included"),
        (1, 2, [1, 2, 3, 4], "n counts words, not pieces"),
        (5, 3, [5, 6, 7], "three words of one piece each"),
        (7, 2, [7, 8, 9], "the last word of the run is hidden to its end"),
        (8, 3, [8, 9, 10], "the run ends before [SEP], and does not go on behind it"),
        (13, 3, [13], "the last word before [SEP] is hidden alone"),
        (11, 2, [], "a place at a special token hides nothing"),
        (0, 1, [], "a place at [CLS] hides nothing"),
    ]
    for place, n, right, hint in cases:
        found = answer(list(pieces), place, n)
        found = found.tolist() if hasattr(found, "tolist") else found
        wanted = f"your function should return a list of {len(pieces)} bool, one for each piece, not {found!r}"
        right_type = isinstance(found, (list, tuple)) and not any(isinstance(one, str) for one in found)
        yield right_type and len(found) == len(pieces), wanted
        shown = [i for i, one in enumerate(found) if one]
        yield shown == right, f"place {place} ({pieces[place]}), n = {n}: yours hides {shown}, right is {right}; {hint}"
    for place, n, right in ((2, 5, [1, 2]), (0, 1, [0])):
        shown = [i for i, one in enumerate(answer(["a", "b", "##c"], place, n)) if one]
        yield shown == right, f"a text may end without [SEP]: of a b ##c, place {place}, n = {n}, yours hides {shown}, right is {right}"
    brackets = ["[", "x", "]", "=", "1"]
    shown = [i for i, one in enumerate(answer(brackets, 0, 3)) if one]
    yield shown == [0, 1, 2], "a bracket alone is an ordinary piece: special tokens have a name between theirs, as in [SEP]"
