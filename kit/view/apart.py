"""A viewer of attention whose scores are a sum: every term, and what the sum gives."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from kit.view.figure import Figure, array, number, quantise
from kit.view.still import LINE, every, printable, width
from kit.view.style import RAMP
from kit.view.text import _tokens

# below 0 vermilion, above 0 blue
DIVERGING = [
    "#8f3a00", "#D55E00", "#f0b58a", "#f7f5f2", "#8fbfe0", "#0072B2", "#003f66"
]


class Apart(Figure):
    """The terms of a head's scores as maps side by side, and the softmax of their sum.

    Each term can be switched off.

    frame: {"tokens": [str], "terms": {name: (tokens, tokens)}, "note"};
    terms[name][i, j] is what token i gives token j, ready for the softmax over j. At
    most 48 tokens; the same one to four terms in every frame.
    """

    script = "apart.js"
    most = 48

    def __init__(self, frames, **common):
        super().__init__(frames, options={"colors": DIVERGING}, **common)

    def _pack(self, frame):
        tokens, terms = _tokens(frame["tokens"], self.most), frame["terms"]
        known = self.options.setdefault("terms", [str(name) for name in terms])
        if not 1 <= len(known) <= 4 or [str(name) for name in terms] != known:
            found = ", ".join(map(str, terms)) or "none"
            right = "one to four terms, the same in every frame"
            raise ValueError(f"Apart: {right}, not {found}")
        packed = []
        for name, scores in terms.items():
            count, scores = len(tokens), array(scores, 2, f"term {name!r}")
            if scores.shape != (count, count):
                right = f"needs shape {(count, count)} for {count} tokens"
                raise ValueError(f"term {name!r}: {right}, has {scores.shape}")
            if not np.isfinite(scores).all():
                right = "scores are finite numbers; leave padding out"
                raise ValueError(f"term {name!r}: {right} instead of masking it")
            packed.append(quantise(scores, 16))
        return {"tokens": tokens, "terms": packed}

    def _share(self, frames):
        terms = [one for frame in frames for one in frame["terms"]]
        ends = [abs(one[end]) for one in terms for end in ("lo", "hi")]
        return {"limit": number(max(ends) or 1)}

    def _draw(self, canvas, frame):
        terms = frame["terms"].items()
        scores = {printable(str(name)): array(one) for name, one in terms}
        total = sum(scores.values())
        weights = np.exp(total - total.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        tokens = [printable(token, 10, 0.95) for token in frame["tokens"]]
        points = 10 if len(tokens) < 16 else 8.5  # the size of the names
        line, names = LINE * points / 10, max(width(token, points) for token in tokens)
        across, down = (2, -(-(len(scores) + 1) // 2)) if len(scores) > 1 else (1, 2)
        side = min(max(line * len(tokens), 1.8), 3.4)
        wide, high = across * (side + 0.2) + 0.8, down * (side + 0.4) + 1.3
        canvas.set_size_inches(wide + names, high + names)
        grid = canvas.subplots(down, across, squeeze=False).flatten()
        maps, rest = grid[: len(scores) + 1], grid[len(scores) + 1 :]
        limit, scale = self.options["limit"], LinearSegmentedColormap.from_list
        look = {"cmap": scale("scores", DIVERGING, N=32), "vmin": -limit, "vmax": limit}
        for ax, (name, values) in zip(maps, scores.items()):
            shown = ax.imshow(values, **look)
            rows, columns = np.nonzero(values < -0.1 * limit)
            # Without colour both ends of the scale look alike.
            ax.scatter(columns, rows, 20, "black", marker="_", linewidths=1)
            ax.set_title(name)
        last = maps[-1].imshow(weights, cmap=scale("ramp", RAMP, N=32), vmin=0, vmax=1)
        maps[-1].set_title("weight")
        named = every(len(tokens), side / line)
        texts, none = [tokens[i] for i in named], [""] * len(named)
        for i, ax in enumerate(maps):  # names at the left and at the bottom
            first, lowest = i % across == 0, i + across >= len(maps)
            ax.set_yticks(named, texts if first else none, fontsize=points)
            ax.set_xticks(named, texts if lowest else none, fontsize=points)
            ax.tick_params(axis="x", labelrotation=90)
            ax.set_ylabel("looks" if first else "")
            ax.set_xlabel("looked at →" if lowest else "")
        for ax in rest:
            ax.set_visible(False)
        bar = {"location": "bottom", "shrink": 0.9, "fraction": 0.3 / (down * side)}
        canvas.colorbar(shown, ax=list(grid[::across]), label="score", **bar)
        right = list(grid[across - 1 :: across])
        canvas.colorbar(last, ax=right, label="weight", **bar)
