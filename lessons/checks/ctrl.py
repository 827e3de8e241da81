"""What the exercises of the CTRL lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

import math

import torch

from lessons.ctrl import (
    SMALL,
    START,
    TOKEN,
    VOCABULARY,
    Config,
    Ctrl,
    new_memory,
    read_on,
)


def tensor_of_shape(found, shape, what):
    """Pairs (holds, hint): a tensor, and of this shape."""
    kind = type(found).__name__
    is_tensor = isinstance(found, torch.Tensor)
    yield is_tensor, f"your function should return a tensor, not {kind}"
    both = f"{tuple(shape)}, not {tuple(found.shape)}"
    yield found.shape == shape, f"the shape should be that of {what}, {both}"


def causal_weights(answer):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 6, 6, generator=generator)
    found = answer(scores.clone())
    yield from tensor_of_shape(found, scores.shape, "the scores")
    found = found.float()
    yield not found.isnan().any(), (
        "there are NaNs: is some row of scores −∞ everywhere? Each token sees itself"
    )
    yield (found.triu(1).abs() < 1e-6).all(), (
        "some token looks ahead: weights above the diagonal should be 0"
    )
    sums = found.sum(-1)
    yield torch.allclose(sums, torch.ones_like(sums), atol=1e-4), (
        "the weights of each token should sum to 1: mask the scores before the "
        "softmax, and take it over the last axis"
    )
    yield (found.diagonal(dim1=-2, dim2=-1) > 0).all(), (
        "every token looks at itself, too: the diagonal is not masked"
    )
    yield torch.allclose(found, right_weights(scores), atol=1e-4), (
        "the weights should be the softmax of the scores that may be seen, unchanged"
    )
    for new, total in ((1, 5), (2, 5), (4, 5), (1, 1)):
        scores = torch.randn(2, 3, new, total, generator=generator)
        found, expected = answer(scores.clone()).float(), right_weights(scores)
        what = f"with {total - new} tokens in the memory and {new} new"
        both = f"{tuple(expected.shape)}, not {tuple(found.shape)}"
        yield found.shape == expected.shape, f"{what} the shape should be {both}"
        yield torch.allclose(found, expected, atol=1e-4), (
            f"{what}, new token 1 sees {total - new + 1} of {total} tokens: the "
            "diagonal ends in the lower right corner"
        )
    large = torch.full((1, 1, 3, 3), -1e4)
    found = answer(large.clone()).float()
    yield torch.allclose(found, right_weights(large), atol=1e-4), (
        "scores of −10,000 everywhere should give equal weights to what may be seen: "
        "mask by −∞, or a far smaller number"
    )


def right_weights(scores):
    new, total = scores.shape[-2:]
    seen = torch.ones(new, total, dtype=torch.bool).tril(total - new)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


PENALTIES = [  # generated, θ, temperature, hint
    ([0], 1.5, 1.0, "token 0 was generated: divide its logit by θ"),
    ([0, 4], 1.5, 1.0, "two tokens were generated: each logit is divided by θ"),
    ([0, 0, 0], 1.5, 1.0, "a token generated three times is penalised once"),
    ([2], 1.5, 1.0, "a negative logit is divided, too, in the paper's formula, which "
                    "makes the token likelier"),
    ([0, 2], 1.3, 0.7, "temperature and penalty together: x / (T · θ)"),
    ([1, 3, 1], 0.8, 1.4, "θ below 1 rewards, by the same formula"),
]


def next_probabilities(answer):
    logits = torch.tensor([3.0, 1.5, -2.0, 0.5, 2.5])
    found = answer(logits.clone(), [], 1.5, 1.0)
    yield from tensor_of_shape(found, logits.shape, "the logits")
    total = found.sum().item()
    yield abs(total - 1) < 1e-4, (
        f"probabilities should sum to 1, yours to {total:.3f}: a softmax comes last"
    )
    yield torch.allclose(found.float(), logits.softmax(0), atol=1e-4), (
        "with nothing generated, the penalty touches no token"
    )
    halved = answer(logits.clone(), [], 1.0, 0.5).float()
    yield torch.allclose(halved, (logits / 0.5).softmax(0), atol=1e-4), (
        "divide all logits by the temperature"
    )
    for generated, theta, temperature, hint in PENALTIES:
        divided = logits.clone()
        divided[list(set(generated))] /= theta
        right = (divided / temperature).softmax(0)
        found = answer(logits.clone(), list(generated), theta, temperature).float()
        where = f"generated {generated}, θ = {theta}, T = {temperature}"
        yours, ours = (
            ", ".join(f"{p:.3f}" for p in one.tolist()) for one in (found, right)
        )
        yield torch.allclose(found, right, atol=1e-4), (
            f"{where}: {hint}; yours gives {yours}, right is {ours}"
        )


def attributed(answer):
    generator = torch.Generator().manual_seed(0)
    log_p, even = -3 * torch.rand(4, 6, generator=generator), torch.full((4,), 0.25)
    found = answer(log_p.clone(), even.clone())
    yield from tensor_of_shape(found, even.shape, "the prior, one number for each code")
    found = found.float()
    total = found.sum().item()
    yield (found > -1e-6).all() and abs(total - 1) < 1e-4, (
        f"probabilities are 0 or more and sum to 1, yours to {total:.3g}"
    )
    slips = {
        "add the log-probabilities of all tokens; a mean makes the verdict too mild":
            log_p.mean(1).softmax(0),
        "a text's probability is the product of its tokens', so its logarithm is their "
        "sum": log_p.exp().sum(1) / log_p.exp().sum(),
        "all tokens count, not the last alone": log_p[:, -1].softmax(0),
    }
    for hint, slip in slips.items():
        yield not torch.allclose(found, slip, atol=1e-4), hint
    yield torch.allclose(found, log_p.sum(1).softmax(0), atol=1e-4), (
        "with equal priors it should be the softmax, over the codes, of the summed "
        "log-probabilities"
    )
    skewed = torch.tensor([0.7, 0.1, 0.15, 0.05])
    right = (log_p.sum(1) + skewed.log()).softmax(0)
    found = answer(log_p.clone(), skewed.clone()).float()
    yield torch.allclose(found, right, atol=1e-4), (
        "the prior multiplies the probability of the text, so its logarithm is added, "
        "before all is divided by the sum"
    )
    long = torch.cat([log_p, torch.full((4, 3000), -5.0)], dim=1)
    found = answer(long.clone(), skewed.clone()).float()
    hint = "it is too small for a float, so stay with logarithms until the end"
    yield found.isfinite().all(), f"a text of 3,000 tokens gives NaN: {hint}"
    yield torch.allclose(found, right, atol=1e-2), (
        f"3,000 more tokens that all codes like alike should change nothing: {hint}"
    )
    none = torch.tensor([0.5, 0.5, 0.0, 0.0])
    found = answer(log_p.clone(), none).float()
    yield found.isfinite().all() and (found[2:] == 0).all(), (
        "a code with prior 0 should get 0"
    )


# ---- the assignment


def probabilities(found):
    """One pair (holds, hint): no NaN, none below 0, and they sum to 1."""
    sums = found.sum(-1)
    fine = (found.isfinite() & (found > -1e-6)).all() and torch.allclose(
        sums, torch.ones_like(sums), atol=1e-4
    )
    yield fine, "probabilities are 0 or more and sum to 1: divide by the sum at the end"


def no_slip(found, right, slips, atol=1e-4):
    """Pairs (holds, hint): `found` is none of the wrong answers, {hint: answer}."""
    for hint, slip in slips.items():
        slipped = torch.allclose(found, slip.float(), atol=atol)
        yield torch.allclose(found, right, atol=atol) or not slipped, hint


def from_perplexities(answer):
    readme = torch.tensor([28.96, 29.22, 36.16])
    found = answer(readme.clone(), 1)
    yield from tensor_of_shape(found, readme.shape, "the perplexities")
    found = found.float()
    yield from probabilities(found)
    right = (1 / readme) / (1 / readme).sum()
    yield from no_slip(found, right, {
        "a low perplexity is a likely text: mind the sign": readme / readme.sum(),
        "the logarithm of the perplexity is the mean −log p; yours is no logarithm":
            (-readme).softmax(0),
        "the logarithm of a perplexity is a natural one, as it is made by exp":
            (-readme.log2()).softmax(0),
    })
    yield torch.allclose(found, right, atol=1e-4), (
        "for a text of one token the perplexity is 1 / p, so the verdicts are as "
        "1 / perplexity"
    )
    found, right = answer(readme.clone(), 12).float(), (-12 * readme.log()).softmax(0)
    yield from no_slip(found, right, {
        "twelve tokens make the verdict surer than one: the mean times their number is "
        "the sum": (-readme.log()).softmax(0),
        "the number of tokens multiplies the logarithm; it is not divided by it":
            (-readme.log() / 12).softmax(0),
    })
    yield torch.allclose(found, right, atol=1e-4), (
        "p(text | code) is the product over 12 tokens: perplexity to the power of −12"
    )
    found, right = answer(readme.clone(), 3000).float(), torch.tensor([1.0, 0, 0])
    yield found.isfinite().all() and torch.allclose(found, right, atol=1e-3), (
        "for 3,000 tokens the power is too small for a float: stay with logarithms "
        "until the softmax"
    )


def steady(answer):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.5, 3.0, -2.0, 1.0]])
    seen = torch.tensor([[True, False, False, True], [False, True, False, False]])

    def right(logits, seen, theta):
        log_p = logits.log_softmax(-1)
        return torch.where(seen, theta * log_p, log_p).softmax(-1)

    given, marked = logits.clone(), seen.clone()
    found = answer(given, marked, 1.0)
    yield from tensor_of_shape(found, logits.shape, "the logits")
    yield torch.equal(given, logits) and torch.equal(marked, seen), (
        "the logits or `seen` were changed: work on a copy"
    )
    yield from probabilities(found.float())
    yield torch.allclose(found.float(), logits.softmax(-1), atol=1e-4), (
        "with θ = 1 nothing is penalised: it should be the softmax of the logits"
    )
    given = logits.clone()
    found, expected = answer(given, seen.clone(), 1.5).float(), right(logits, seen, 1.5)
    yield torch.equal(given, logits), "the logits were changed: work on a copy"
    yield from probabilities(found)
    log_p = logits.log_softmax(-1)
    yield from no_slip(found, expected, {
        "a log-probability is negative: divided by θ it comes nearer to 0, and the "
        "token gets likelier": torch.where(seen, log_p / 1.5, log_p).softmax(-1),
        "these are the logits, divided as in the paper; take log-probabilities":
            torch.where(seen, logits / 1.5, logits).softmax(-1),
        "these are the logits, multiplied; take log-probabilities":
            torch.where(seen, logits * 1.5, logits).softmax(-1),
        "what is penalised are the seen tokens, not the others":
            torch.where(seen, log_p, 1.5 * log_p).softmax(-1),
        "all tokens pay here; only the seen ones should": (1.5 * log_p).softmax(-1),
        "p to the power of θ, not p divided by θ":
            torch.where(seen, log_p - math.log(1.5), log_p).softmax(-1),
    })
    shifted = answer(logits - 5, seen.clone(), 1.5).float()
    yield torch.allclose(shifted, found, atol=1e-4), (
        "shifted by −5 the logits give other probabilities: take log_softmax before "
        "the penalty, not after it"
    )
    yield torch.allclose(found, expected, atol=1e-4), (
        "seen tokens get p to the power of θ, the others keep p, then all are divided "
        "by their sum"
    )
    wide = torch.tensor([[0.0, -200.0, -math.inf, -300.0, -math.inf]])
    marked = torch.tensor([[False, False, True, True, False]])
    found = answer(wide.clone(), marked.clone(), 1.5).float()
    yield found.isfinite().all(), (
        "a logit of −∞, or a very small one, gives NaN: 0 · −∞ is none"
    )
    yield torch.allclose(found, right(wide, marked, 1.5), atol=1e-4), (
        "a logit of −∞ has probability 0, penalised or not"
    )
    sure = torch.tensor([[0.0, -200.0, -201.0]])
    found = answer(sure.clone(), torch.tensor([[True, False, False]]), 300.0).float()
    yield found.isfinite().all() and found[0, 0] > 0.999, (
        "a token with p = 1 keeps it, whatever θ: 1 to any power is 1"
    )


def without_a_code(answer):
    torch.manual_seed(0)
    model = Ctrl(SMALL).eval()
    codes = torch.tensor(list(TOKEN.values()))
    every = torch.randint(VOCABULARY, (5,))

    def parts(ids):
        """log p of what was read `(codes, n)`, and of the next `(codes, vocab)`."""
        behind = torch.cat([codes[:, None], ids.expand(len(codes), -1)], dim=1)
        with torch.no_grad():
            log_p = model(behind).log_softmax(-1)
        return log_p[:, :-1].gather(2, behind[:, 1:, None])[..., 0], log_p[:, -1]

    def ask(ids):
        found = answer(model, ids.clone())
        return found.detach().float() if isinstance(found, torch.Tensor) else found

    found = ask(every)
    yield from tensor_of_shape(found, (SMALL.vocab_size,), "the vocabulary")
    yield from probabilities(found)
    read, after = parts(every)
    weights = read.sum(1).softmax(0)
    right = weights @ after.exp()
    with torch.no_grad():
        start = torch.cat([torch.tensor([START]), every])[None]
        plain = model(start)[0, -1].softmax(0)
        bare = model(every[None])[0, -1].softmax(0)
    yield from no_slip(found, right, {
        "the codes are weighed alike: the text so far should tell how likely each is":
            after.exp().mean(0),
        "only the likeliest code is used; all count, by p(code | text)":
            after[weights.argmax()].exp(),
        "mix probabilities, not their logarithms":
            (weights @ after).softmax(0),
        "add the log-probabilities of all tokens read; their mean is too mild":
            read.mean(1).softmax(0) @ after.exp(),
        "all tokens so far tell the code, not the last alone":
            read[:, -1].softmax(0) @ after.exp(),
        "all tokens so far tell the code, the first one, too":
            read[:, 1:].sum(1).softmax(0) @ after.exp(),
        "START is not a code: put each code of TOKEN in front": plain,
        "no code stands in front of the text: put each code of TOKEN there": bare,
    }, atol=1e-6)
    yield torch.allclose(found, right, atol=1e-6), (
        "p(code | text) comes from the tokens read, each predicted at the place before "
        "it; the next token's p from the last place"
    )
    none = torch.zeros(0, dtype=torch.long)
    found, right = ask(none), parts(none)[1].exp().mean(0)
    yield found.shape == right.shape and torch.allclose(found, right, atol=1e-6), (
        "before any text all codes are as likely: their mean"
    )
    many = torch.randint(VOCABULARY, (60,))
    read, after = parts(many)
    found = ask(many)
    yield found.isfinite().all() and torch.allclose(
        found, read.sum(1).softmax(0) @ after.exp(), atol=1e-6
    ), (
        "for 60 tokens the product is too small for a float: add logarithms, then a "
        "softmax over the codes"
    )


def written_on(model, ids, length, kept, coded=True):
    """The right answer of `write_on`, or one that keeps other tokens or no code."""
    room, memory, new = model.config.n_positions, new_memory(model, len(ids)), ids
    with torch.no_grad():
        for _ in range(length):
            if memory[0][0].shape[2] + new.shape[1] > room:
                memory, new = new_memory(model, len(ids)), ids[:, -kept:]
                if coded:
                    new = torch.cat([ids[:, :1], new], dim=1)
            new = read_on(model, new, memory)[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, new], dim=1)
    return ids


def write_on(answer):
    torch.manual_seed(0)
    config = Config(
        vocab_size=60, n_positions=12, n_embd=24, dff=96, n_layer=2, n_head=2,
        dropout=0.0, initializer_range=1.0,
    )
    model = Ctrl(config).eval()
    with torch.no_grad():                       # or each token would predict itself
        model.word.weight.mul_(0.2)
        model.position.mul_(3)
    ids, work = torch.randint(60, (8, 4)), []
    model.layers[0].attention_norm.register_forward_hook(
        lambda module, given, found: work.append(found.shape[1])
    )
    found = answer(model, ids.clone(), 5)
    yield from tensor_of_shape(found, (8, 9), "code, prompt and new tokens")
    yield torch.equal(found[:, :4], ids), "the code and the prompt come first, as given"
    right = written_on(model, ids, 5, 6)
    yield torch.equal(found, right), (
        "within the window it should be the likeliest token each time, by the logits "
        "at the last place, behind all that was read"
    )
    full = written_on(model, ids, 9, 6)
    yield torch.equal(answer(model, ids.clone(), 9), full), (
        "all 12 places can be used: a new memory begins when a token no longer fits"
    )
    work.clear()
    found = answer(model, ids.clone(), 30)
    spent = sum(work)
    right = written_on(model, ids, 30, 6)
    yield found.shape == right.shape, "30 new tokens were asked for, after 4"
    slips = {
        "a new memory must begin with the code, too":
            written_on(model, ids, 30, 6, coded=False),
        "a new memory begins with the last n_positions // 2 tokens besides the code; "
        "yours counts the code among them": written_on(model, ids, 30, 5),
        "a new memory begins with half a window, n_positions // 2 tokens, not with all "
        "that fits": written_on(model, ids, 30, 11),
        "a new memory reads the last tokens again, not the newest one alone":
            written_on(model, ids, 30, 1),
    }
    for hint, slip in slips.items():
        yield not torch.equal(found, slip), hint
    yield torch.equal(found, right), (
        "past the window other tokens come: a new memory reads the code, then the last "
        "6 of all tokens, the newest among them"
    )
    # 12 tokens in the first memory, 7 and 5 more in each later one
    work.clear()
    written_on(model, ids, 30, 6)
    yield spent <= sum(work), (
        f"{spent} tokens were read where {sum(work)} do: give `read_on` the new token "
        "only, and keep the memory"
    )
    yield torch.equal(answer(model, ids.clone(), 0), ids), (
        "with length 0 nothing is added"
    )
