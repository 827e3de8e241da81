"""Tokens per second of the CTRL lesson's `generate` and of transformers'.

Both with the same weights and tokens: ``python bench/ctrl.py``.
"""

import statistics
import tempfile
import time

import torch
from transformers import CTRLConfig, CTRLLMHeadModel

from lessons.ctrl import generate, greedy
from lessons.published.ctrl import from_pretrained

NEW, ROUNDS = 64, 5


def seconds(run):
    start = time.perf_counter()
    with torch.no_grad():
        result = run()
    return time.perf_counter() - start, result


def compare(batch, **sizes):
    """Median seconds of `NEW` greedy tokens after eight, by turns: (ours, theirs)."""
    torch.manual_seed(0)
    theirs = CTRLLMHeadModel(CTRLConfig(n_positions=8 + NEW, **sizes)).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = from_pretrained(folder)
    # From 1: 0 would be taken for padding.
    ids = torch.randint(1, sizes["vocab_size"], (batch, 8))
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    runs = [
        lambda: generate(ours, ids, NEW, greedy)[0],
        lambda: theirs.generate(ids, **options),
    ]
    times = [[], []]
    for turn in range(ROUNDS + 1):
        found = [seconds(run) for run in runs]
        assert torch.equal(found[0][1], found[1][1]), "the two wrote different tokens"
        if turn:  # the first warms up
            for one, (taken, _) in zip(times, found):
                one.append(taken)
    return tuple(map(statistics.median, times))


def main():
    torch.set_num_threads(1)
    small = dict(vocab_size=2053, n_embd=96, dff=384, n_layer=2, n_head=4)
    wide = dict(vocab_size=8000, n_embd=512, dff=2048, n_layer=6, n_head=8)
    head = f"{'network':<28} {'batch':>5} {'ours, tokens/s':>15}"
    print(f"{head} {'transformers':>13} {'ratio':>6}")
    for name, sizes in (("the lesson's, d = 96", small), ("6 layers, d = 512", wide)):
        for batch in (1, 5):
            ours, theirs = compare(batch, **sizes)
            speeds = f"{batch * NEW / ours:>15,.0f} {batch * NEW / theirs:>13,.0f}"
            print(f"{name:<28} {batch:>5} {speeds} {theirs / ours:>6.2f}")


if __name__ == "__main__":
    main()
