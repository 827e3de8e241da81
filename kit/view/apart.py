"""A viewer of attention whose scores are a sum: every term as a map, and the weights that their sum gives."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from kit.view.figure import Figure, array, number, quantise
from kit.view.style import RAMP
from kit.view.text import _tokens

DIVERGING = ["#8f3a00", "#D55E00", "#f0b58a", "#f7f5f2", "#8fbfe0", "#0072B2", "#003f66"]  # below 0 vermilion, above 0 blue


class Apart(Figure):
    """The terms of a head's scores as maps side by side, and the softmax of their sum; each term can be switched off.

    frame: {"tokens": [str], "terms": {name: (tokens, tokens)}, "note"}; terms[name][i, j] is what token i gives token j, ready
    for the softmax over j. At most 48 tokens; the same one to four terms in every frame.
    """

    script = "apart.js"
    most = 48

    def __init__(self, frames, **common):
        super().__init__(frames, options={"colors": DIVERGING}, **common)

    def _pack(self, frame):
        tokens, terms = _tokens(frame["tokens"], self.most), frame["terms"]
        known = self.options.setdefault("terms", [str(name) for name in terms])
        if not 1 <= len(known) <= 4 or [str(name) for name in terms] != known:
            raise ValueError(f"Apart: one to four terms, the same in every frame, not {', '.join(map(str, terms)) or 'none'}")
        packed = []
        for name, scores in terms.items():
            scores = array(scores, 2, f"term {name!r}")
            if scores.shape != (len(tokens),) * 2:
                raise ValueError(f"term {name!r}: needs shape {(len(tokens),) * 2} for {len(tokens)} tokens, has {scores.shape}")
            if not np.isfinite(scores).all():
                raise ValueError(f"term {name!r}: scores are finite numbers; leave padding out instead of masking it")
            packed.append(quantise(scores, 16))
        return {"tokens": tokens, "terms": packed}

    def _share(self, frames):
        return {"limit": number(max(abs(one[end]) for frame in frames for one in frame["terms"] for end in ("lo", "hi")) or 1)}

    def _draw(self, canvas, frame):
        scores = {str(name): array(one) for name, one in frame["terms"].items()}
        total = sum(scores.values())
        weights = np.exp(total - total.max(-1, keepdims=True))
        limit, tokens = self.options["limit"], frame["tokens"]
        canvas.set_size_inches(7.2, 2.9)
        axes = canvas.subplots(1, len(scores) + 1)
        diverging, ramp = (LinearSegmentedColormap.from_list("scores", colors, N=32) for colors in (DIVERGING, RAMP))
        for ax, (name, values) in zip(axes, scores.items()):
            shown = ax.imshow(values, cmap=diverging, vmin=-limit, vmax=limit)
            ax.set_title(name)
        canvas.colorbar(shown, ax=list(axes[:-1]), label="score", location="bottom", shrink=0.5)
        last = axes[-1].imshow(weights / weights.sum(-1, keepdims=True), cmap=ramp, vmin=0, vmax=1)
        axes[-1].set_title("weight")
        canvas.colorbar(last, ax=axes[-1], label="weight", location="bottom")
        for ax in axes:
            ax.set(xticks=[], yticks=[], xlabel="looked at →")
        names = [token[:8] if token.isascii() and token.isprintable() else "·" for token in tokens]  # matplotlib's font has no other
        axes[0].set_yticks(range(len(tokens)), [name.replace("$", r"\$") for name in names] if len(tokens) <= 16 else [""] * len(tokens))
        axes[0].set_ylabel("looks")
