"""What the exercises of the CTRL lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

import torch


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
