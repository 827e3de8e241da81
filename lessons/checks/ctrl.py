"""What the exercises of the CTRL lesson are tested for: pairs (holds, hint), easiest first."""

import torch


def causal_weights(answer):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 6, 6, generator=generator)
    found = answer(scores.clone())
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == scores.shape, f"the shape should be that of the scores, {tuple(scores.shape)}, not {tuple(found.shape)}"
    found = found.float()
    yield not found.isnan().any(), "there are NaNs: is some row of scores −∞ everywhere? Each token sees at least itself"
    yield (found.triu(1).abs() < 1e-6).all(), "some token looks ahead: weights above the diagonal should be 0"
    sums = found.sum(-1)
    hint = "the weights of each token should sum to 1: mask the scores before the softmax, and take it over the last axis"
    yield torch.allclose(sums, torch.ones_like(sums), atol=1e-4), hint
    yield (found.diagonal(dim1=-2, dim2=-1) > 0).all(), "every token looks at itself, too: the diagonal is not masked"
    expected = right_weights(scores)
    yield torch.allclose(found, expected, atol=1e-4), "the weights should be the softmax of the scores that may be seen, unchanged"
    for new, total in ((1, 5), (2, 5), (4, 5), (1, 1)):
        scores = torch.randn(2, 3, new, total, generator=generator)
        found, expected = answer(scores.clone()).float(), right_weights(scores)
        what = f"with {total - new} tokens in the cache and {new} new"
        yield found.shape == expected.shape, f"{what} the shape should be {tuple(expected.shape)}, not {tuple(found.shape)}"
        hint = f"{what}, new token 1 sees {total - new + 1} of {total} tokens: the diagonal ends in the lower right corner"
        yield torch.allclose(found, expected, atol=1e-4), hint
    large = torch.full((1, 1, 3, 3), -1e4)
    hint = "scores of −10,000 everywhere should give equal weights to what may be seen: mask by −∞, not by a number"
    yield torch.allclose(answer(large.clone()).float(), right_weights(large), atol=1e-4), hint


def right_weights(scores):
    new, total = scores.shape[-2:]
    return scores.masked_fill(~torch.ones(new, total, dtype=torch.bool).tril(total - new), -torch.inf).softmax(-1)


def next_probabilities(answer):
    logits = torch.tensor([3.0, 1.5, -2.0, 0.5, 2.5])
    found = answer(logits.clone(), [], 1.5, 1.0)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == logits.shape, f"the shape should be that of the logits, {tuple(logits.shape)}, not {tuple(found.shape)}"
    yield abs(found.sum().item() - 1) < 1e-4, f"probabilities should sum to 1, yours to {found.sum().item():.3f}: a softmax comes last"
    yield torch.allclose(found.float(), logits.softmax(0), atol=1e-4), "with nothing generated, the penalty touches no token"
    halved = answer(logits.clone(), [], 1.0, 0.5).float()
    yield torch.allclose(halved, (logits / 0.5).softmax(0), atol=1e-4), "divide all logits by the temperature"
    cases = [
        ([0], 1.5, 1.0, "token 0 was generated: divide its logit by θ"),
        ([0, 4], 1.5, 1.0, "two tokens were generated: each logit is divided by θ"),
        ([0, 0, 0], 1.5, 1.0, "a token generated three times is penalised once"),
        ([2], 1.5, 1.0, "a negative logit is divided, too, in the paper's formula, which makes the token likelier"),
        ([0, 2], 1.3, 0.7, "temperature and penalty together: x / (T · θ)"),
        ([1, 3, 1], 0.8, 1.4, "θ below 1 rewards, by the same formula"),
    ]
    for generated, theta, temperature, hint in cases:
        divided = logits.clone()
        divided[list(set(generated))] /= theta
        found, right = answer(logits.clone(), list(generated), theta, temperature).float(), (divided / temperature).softmax(0)
        where = f"generated {generated}, θ = {theta}, T = {temperature}: "
        yours, ours = (", ".join(f"{p:.3f}" for p in one.tolist()) for one in (found, right))
        yield torch.allclose(found, right, atol=1e-4), f"{where}{hint}; yours gives {yours}, right is {ours}"


def attributed(answer):
    generator = torch.Generator().manual_seed(0)
    log_p, even = -3 * torch.rand(4, 6, generator=generator), torch.full((4,), 0.25)
    found = answer(log_p.clone(), even.clone())
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield found.shape == even.shape, f"there should be one number for each of the 4 codes, not a shape of {tuple(found.shape)}"
    found = found.float()
    proper = (found > -1e-6).all() and abs(found.sum().item() - 1) < 1e-4
    yield proper, f"probabilities are 0 or more and sum to 1, yours to {found.sum().item():.3g}"
    right = log_p.sum(1).softmax(0)
    wrong = {log_p.mean(1).softmax(0): "add the log-probabilities of all tokens; their mean makes the verdict too mild",
             log_p.exp().sum(1) / log_p.exp().sum(): "a text's probability is the product of its tokens', so its logarithm is their sum",
             log_p[:, -1].softmax(0): "all tokens count, not the last alone"}
    for other, hint in wrong.items():
        yield not torch.allclose(found, other, atol=1e-4), hint
    hint = "with equal priors it should be the softmax, over the codes, of the summed log-probabilities"
    yield torch.allclose(found, right, atol=1e-4), hint
    skewed = torch.tensor([0.7, 0.1, 0.15, 0.05])
    right = (log_p.sum(1) + skewed.log()).softmax(0)
    hint = "the prior multiplies the probability of the text, so its logarithm is added, before all is divided by the sum"
    yield torch.allclose(answer(log_p.clone(), skewed.clone()).float(), right, atol=1e-4), hint
    long = torch.cat([log_p, torch.full((4, 3000), -5.0)], dim=1)
    found = answer(long.clone(), skewed.clone()).float()
    hint = "its probability is too small for a float, so stay with logarithms until the end"
    yield found.isfinite().all(), f"a text of 3,000 tokens gives NaN: {hint}"
    yield torch.allclose(found, right, atol=1e-2), f"3,000 more tokens that all codes like alike should change nothing: {hint}"
    none = torch.tensor([0.5, 0.5, 0.0, 0.0])
    found = answer(log_p.clone(), none).float()
    yield found.isfinite().all() and (found[2:] < 1e-6).all(), "a code with prior 0 should get 0"
