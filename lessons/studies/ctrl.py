"""CTRL: with codes and without; and two codes that were never seen together.

The rate of both twins is chosen on two seeds, which are left out of the results, and
on validation windows. What was measured there is stored, too, and the choice is
computed from it.
"""

from functools import partial
from statistics import mean

import torch

from kit import study
from lessons.ctrl import (
    CODES,
    PAIRS,
    SMALL,
    START,
    TOKEN,
    Ctrl,
    fit,
    form_judge,
    generate,
    greedy,
    kind_judge,
    losses_by_code,
    mixed,
    nucleus,
    obeyed,
    probes,
    real_words,
    repeated,
    right_and_wrong,
    sampled,
    titled,
    token_losses,
    tokenizer,
    top_k,
    topic_judge,
    twin_batches,
    verdicts,
    weight_on_first,
    with_codes,
)

STEPS = 350
RATES = (0.02, 0.05, 0.07, 0.1, 0.2)
TWINS = {"with codes": True, "without codes": False}

# --- ways of drawing

DRAWN = {
    **{f"temperature {t}": partial(sampled, temperature=t) for t in (0.3, 0.5, 0.7, 1)},
    "top-k": top_k,
    "nucleus": nucleus,
    **{f"θ = {theta}": partial(greedy, theta=theta) for theta in (1, 1.1, 1.2, 1.5)},
}


@torch.no_grad()
def measured(model, choose, seed):
    """What 96 texts of 40 tokens are like, of every code and behind four prompts."""
    wished, texts, p = [code for code in CODES for _ in range(4)], [], []
    for number, prompt in enumerate(["", "The", "In the", "He"]):
        draws = torch.Generator().manual_seed(seed + number)
        ids, own = generate(model, with_codes(prompt, wished), 40, choose, draws)
        texts.append(ids[:, -40:])
        p.append(own)
    texts, wished = torch.cat(texts), 4 * wished
    right = [a == b for a, b in zip(verdicts(kind_judge(), texts), wished)]
    return {
        "repeated": repeated(texts),
        "real words": real_words(texts, wished),
        "judged right": sum(right) / len(right),
        "mean p": torch.cat(p).mean().item(),
    }


def drawing(model, seed):
    """What texts are like, for each way of drawing."""
    found = {}
    for way, choose in DRAWN.items():
        shares = measured(model, choose, seed)
        found |= {f"{way}: {name}": share for name, share in shares.items()}
    return found


# --- the twins


def trained(way, rate, seed, losses=None):
    """One of the twins; the losses of its steps go into a list."""
    torch.manual_seed(seed)

    def keep(step, loss):
        if losses is not None:
            losses.append(loss)

    batches = twin_batches(STEPS, seed, TWINS[way])
    return fit(Ctrl(SMALL), batches, STEPS, rate, keep)


def tuning(way, rate, seed):
    """The loss on the validation windows, behind the right code or behind START."""
    model = trained(way, rate, seed)
    rows, kinds = probes("validation")
    if not TWINS[way]:
        return {"loss": token_losses(model, rows, START).mean()}
    right, _ = right_and_wrong(losses_by_code(model, rows), kinds)
    return {"loss": right.mean()}


def tuned(way):
    """The best of RATES, by the mean over the seeds of the tuning."""
    stored = study.read("ctrl")

    def loss(rate):
        return mean(run["loss"] for run in stored[f"tuning: {way}, {rate}"])

    return min(RATES, key=loss)


def by_place(name, losses, size=4):
    """Means over some tokens each, {name and places: loss}."""
    means = losses.mean(0).view(-1, size).mean(1).tolist()
    return {f"{name}, token {i * size + 1}": loss for i, loss in enumerate(means)}


def studied(way, seed):
    """Losses on the test windows, how many texts obey, where the heads look.

    With codes also what different ways of drawing give.
    """
    steps = []
    model = trained(way, tuned(way), seed, steps)
    rows, kinds = probes()
    first = torch.full_like(kinds, START)
    if TWINS[way]:
        first = torch.tensor(list(TOKEN.values()))[kinds]
        losses = losses_by_code(model, rows)
        right, wrong = right_and_wrong(losses, kinds)
        found = {"loss, right code": right.mean(), "loss, wrong code": wrong.mean()}
        found |= by_place("right", right) | by_place("wrong", wrong)
        for tokens in (4, 8, 16, 32, 64):
            hits = losses[..., :tokens].sum(-1).argmin(0) == kinds
            found[f"attributed, {tokens} tokens"] = hits.float().mean()
        found |= drawing(model, seed)
    else:
        start = token_losses(model, rows, START)
        found = {"loss, start token": start.mean()} | by_place("start", start)
    looks = weight_on_first(model, torch.cat([first[:, None], rows], dim=1))
    return found | {
        "obeyed": obeyed(model, seed, 40, TWINS[way]),
        "weight on the first token": looks[..., 48:].mean(),
        "loss of the first 20 steps": mean(steps[:20]),
    }


# --- two codes that were never seen together

def parts_without(left):
    """Five pairs: with both codes, with the kind only, with the second code only."""
    parts = []
    for form, package in PAIRS:
        if (form, package) != left:
            both, plain = (titled(form, package, shown) for shown in (True, False))
            parts += [(TOKEN[form], both, 3), (TOKEN[form], plain, 1), (START, both, 1)]
    return parts


def written(model, first, second, seed, count=40):
    """Texts of 40 tokens `(count, 40)` behind a token and a second code, if any."""
    head = tokenizer().encode(f"{second}\n").ids if second else []
    ids = torch.tensor([[first, *head]]).expand(count, -1)
    random = torch.Generator().manual_seed(seed)
    ids, _ = generate(model, ids, 40, partial(sampled, temperature=0.7), random)
    return ids[:, -40:]


def judged(rows, form, package):
    """The shares of texts of this form, of this package, and of both."""
    forms = [one == form for one in verdicts(form_judge(), rows)]
    topics = [one == package for one in verdicts(topic_judge(), rows)]
    both = [a and b for a, b in zip(forms, topics)]
    return {"form": mean(forms), "topic": mean(topics), "both": mean(both)}


def left_out(left, seed):
    """Train without one pair, ask for it, and for it with one of the codes missing."""
    form, package = left
    torch.manual_seed(seed)
    steps = []
    model = fit(
        Ctrl(SMALL), mixed(parts_without(left), STEPS, seed), STEPS, 0.05,
        lambda step, loss: steps.append(loss),
    )
    asks = {
        "both codes": (TOKEN[form], package),
        "kind only": (TOKEN[form], None),
        "second only": (START, package),
        "another word": (TOKEN[form], "weather"),
    }
    found = {}
    for ask, (first, second) in asks.items():
        shares = judged(written(model, first, second, seed), form, package)
        found |= {f"{ask}: {name}": share for name, share in shares.items()}
    seen = [pair for pair in PAIRS if pair != left]
    rows = [written(model, TOKEN[one], other, seed, 8) for one, other in seen]
    shares = [judged(row, *pair)["both"] for row, pair in zip(rows, seen)]
    real = titled(form, package, shown=False, part="heldout")
    real = judged(real[:: max(1, len(real) // 40)][:40, :40], form, package)
    return found | {
        "seen pairs: both": mean(shares),
        "real text: both": real["both"],
        "loss of the first 20 steps": mean(steps[:20]),
    }


STUDY = {
    f"tuning: {way}, {rate}": partial(tuning, way, rate)
    for way in TWINS
    for rate in RATES
}
SEEDS = dict.fromkeys(STUDY, range(100, 102))
results = {way: partial(studied, way) for way in TWINS}
SEEDS |= dict.fromkeys(results, range(5))
rotations = {f"left out: {a}, {b}": partial(left_out, (a, b)) for a, b in PAIRS}
SEEDS |= dict.fromkeys(rotations, range(2))
STUDY |= results | rotations
