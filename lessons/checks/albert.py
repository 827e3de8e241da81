"""What the exercises of the ALBERT lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

from numbers import Real

import torch
import torch.nn.functional as F

from kit.probe import parameters
from lessons.albert import build


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
            f"{yours}, which has {count(found):,}: too many. "
            "Did you count maps, biases, pooler?"
        )
        yield count(found + 64) > budget, (
            f"{yours}, but {found + 64} with {count(found + 64):,} fits, too"
        )


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
        return [i for i, one in enumerate(answer(list(words), place, n)) if one]

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
