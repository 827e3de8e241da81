"""Viewers of text: where the heads of a transformer look, and sentences whose tokens carry a value each."""

from html import escape

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from kit.view.figure import Figure, array, quantise, role_of
from kit.view.still import LINE, every, printable
from kit.view.style import RAMP, ROLES


def _tokens(tokens, most):
    tokens = tokens if isinstance(tokens, str) else list(tokens)
    if isinstance(tokens, str) or not 1 <= len(tokens) <= most or not all(isinstance(token, str) for token in tokens):
        what = f"{len(tokens)} tokens" if isinstance(tokens, list) and tokens else repr(tokens)
        raise ValueError(f"tokens: needs a list of 1 to {most} strings, not {what}")
    return tokens


def _first(bad, names):
    """Where an array of booleans is first true, counted from 1 as in the picture."""
    return ", ".join(f"{name} {place + 1}" for name, place in zip(names, np.argwhere(bad)[0], strict=True))


class Attention(Figure):
    """Where the heads of a transformer look: all of them as small maps, one in detail, token by token.

    frame: {"tokens": [str], "attention": (layers, heads, tokens, tokens), "note"}; attention[..., i, j] is the weight with which
    token i looks at token j, so rows sum to 1. At most 256 tokens; beyond 22 (16 on a phone) the detail is running text.
    picked: the (layer, head) open at first, counted from 1 as in the picture.
    """

    script = "attention.js"
    most = 256

    def __init__(self, frames, *, picked=(1, 1), **common):
        super().__init__(frames, options={"picked": list(picked)}, **common)

    def _pack(self, frame):
        tokens, weights = _tokens(frame["tokens"], self.most), array(frame["attention"], 4, "attention")
        count = len(tokens)
        if weights.shape[2:] != (count, count):
            raise ValueError(f"attention: needs shape (layers, heads, {count}, {count}) for {count} tokens, has {weights.shape}")
        bad = ~(weights >= 0) | np.isinf(weights)
        if bad.any():
            raise ValueError(f"attention: weights are 0 or more, not {weights[bad][0]} ({_first(bad, ['layer', 'head', 'from', 'to'])})")
        sums = weights.sum(-1)
        bad = abs(sums - 1) > 0.02  # half precision rounds
        if bad.any():
            where = _first(bad, ["layer", "head", "token"])
            raise ValueError(f"attention: rows sum to 1, not {sums[bad][0]:.3g} ({where}); give it after softmax")
        layer, head = self.options["picked"]
        if not (1 <= layer <= weights.shape[0] and 1 <= head <= weights.shape[1]):
            raise ValueError(f"picked=({layer}, {head}) is not (layer, head) of {weights.shape[0]} layers and {weights.shape[1]} heads")
        return {"tokens": tokens, "attention": quantise(weights, 8)}

    def _draw(self, canvas, frame):
        weights = array(frame["attention"])
        tokens = [printable(token, 14, 0.95) for token in frame["tokens"]]
        (layers, heads), (layer, head) = weights.shape[:2], self.options["picked"]
        listed = len(tokens) <= 32
        high = 1.1 + min(max((3.6 if listed else 5.8) * layers / heads, 0.8), 6)
        canvas.set_size_inches(7.2, max(high, 0.6 + LINE * len(tokens) * listed))
        ratios = [1.5, 1] if listed else [1]
        parts = canvas.subfigures(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
        self._heads(parts[0], weights, 3.3 if listed else 5, high - 1.1)
        if listed:
            axes = parts[1].subplots()
            self._pairs(axes, weights[layer - 1, head - 1], tokens)
            look = {"fontsize": 10, "fontweight": "normal", "loc": "center"}
            axes.set_title(f"layer {layer}, head {head}", **look)

    def _heads(self, canvas, weights, wide, high):
        """A small map of each head; of a long sentence the greatest weight of each block."""
        cut = np.arange(0, weights.shape[2], -(-weights.shape[2] // 24))
        for axis in (2, 3):
            weights = np.maximum.reduceat(weights, cut, axis=axis)
        (layers, heads, side), (layer, head) = weights.shape[:3], self.options["picked"]
        gap = 1 + side // 10
        step, right, bottom = side + gap, heads * (side + gap), layers * (side + gap)
        room = ((0, 0), (0, 0), (0, gap), (0, gap))
        grid = np.pad(weights, room, constant_values=np.nan).transpose(0, 2, 1, 3)
        grid = np.ma.masked_invalid(grid.reshape(bottom, right))
        few = LinearSegmentedColormap.from_list("ramp", RAMP, N=16)  # for a small file
        look = {"norm": PowerNorm(0.5, 0, 1), "cmap": few, "extent": (0, right, bottom, 0)}
        axes = canvas.subplots()
        shown = axes.imshow(grid, **look)
        corner = ((head - 1) * step - gap / 2, (layer - 1) * step - gap / 2)
        ring = {"fill": False, "edgecolor": ROLES["selected"][0], "linewidth": 2.5}
        axes.add_patch(Rectangle(corner, step, step, **ring))
        axes.set(xlim=(-gap, right), ylim=(bottom, -gap), xlabel="head", ylabel="layer")
        for axis, count, length in ((axes.xaxis, heads, wide), (axes.yaxis, layers, high)):
            named = every(count, length / 0.24, names_from_1=True)
            places = [i * step + side / 2 for i in named]
            axis.set_ticks(places, [str(i + 1) for i in named])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = {"ticks": [0, 0.1, 0.5, 1], "location": "bottom", "shrink": 0.7}
        canvas.colorbar(shown, ax=axes, label="weight", **bar)

    @staticmethod
    def _pairs(axes, weights, tokens):
        """The sentence twice, a line from each token to those that it looks at most."""
        steps = [Path.MOVETO, *[Path.CURVE4] * 3]
        for i, j in np.argwhere(weights > 0.1):
            way = Path([(0, i), (0.5, i), (0.5, j), (1, j)], steps)
            look = {"alpha": weights[i, j], "linewidth": 0.6 + 2 * weights[i, j]}
            axes.add_patch(PathPatch(way, fill=False, edgecolor=ROLES["idea"][0], **look))
        for i, token in enumerate(tokens):
            axes.text(-0.04, i, token, ha="right", va="center", fontsize=10)
            axes.text(1.04, i, token, ha="left", va="center", fontsize=10)
        axes.set(xlim=(0, 1), ylim=(len(tokens) - 0.5, -0.5))
        axes.axis("off")


class Tokens(Figure):
    """Sentences as strips of tokens, coloured by a value each; strips of equal length are read together.

    frame: {"rows": [{"title", "tokens": [str], "values": one in 0…1 per token, or None, "marks": a word or "" per token,
    "notes": a text or "" per token, "role", "name": what the read-out calls a row with a long title}], "note"}. marks are underlined,
    each word in its own way, four words at most; notes are read out with the token. tight: no gaps, for tokens that carry their own
    spaces and line ends.
    """

    script = "tokens.js"
    most = 1000

    def __init__(self, frames, *, value_label=None, tight=False, **common):
        super().__init__(frames, options={"value_label": value_label, "tight": bool(tight)}, **common)

    def _pack(self, frame):
        if not frame["rows"]:
            raise ValueError("Tokens: a frame needs at least one row")
        rows = [self._row(**row) for row in frame["rows"]]
        if len(self._words([{"rows": rows}])) > 4:
            raise ValueError(f"marks: at most four different words, not {', '.join(self._words([{'rows': rows}]))}")
        if self.options["value_label"] is None and any("values" in row for row in rows):
            raise ValueError('Tokens: values need value_label=..., which says what they are, such as "probability of replaced"')
        return {"rows": rows}

    def _row(self, title, tokens, values=None, marks=None, notes=None, role=None, name=None):
        row = {"title": str(title), "tokens": _tokens(tokens, self.most), **role_of(role), **({} if name is None else {"name": str(name)})}
        for name, texts in (("marks", marks), ("notes", notes)):
            if texts is not None:
                row[name] = ["" if text is None else str(text) for text in texts]
        if values is not None:
            values = array(values, 1, f"values of {title!r}")
            bad = ~((values >= 0) & (values <= 1))
            if bad.any():
                raise ValueError(f"values of {title!r}: each in 0…1, not {values[bad][0]:.4g} ({_first(bad, ['token'])})")
            row["values"] = [float(f"{value:.3g}") for value in values]
        for name in ("values", "marks", "notes"):
            if name in row and len(row[name]) != len(row["tokens"]):
                raise ValueError(f"Tokens: {title!r} has {len(row['tokens'])} tokens and {len(row[name])} {name}")
        return row

    @staticmethod
    def _words(frames):
        return list(dict.fromkeys(word for frame in frames for row in frame["rows"] for word in row.get("marks", []) if word))

    def _share(self, frames):
        return {"marks": self._words(frames)}

    def _still(self, frame):  # as text, which any font can show
        def one(row, i):
            value, mark = row["values"][i] if "values" in row else 0, row["marks"][i] if "marks" in row else ""
            text = f"<bdi>{escape(row['tokens'][i])}</bdi>"
            color = tuple(int(ROLES[row.get("role", "idea")][0][k : k + 2], 16) for k in (1, 3, 5))
            shade = f' style="background:rgba({",".join(map(str, color))},{value / 2:.2f})"' if value else ""
            said = ", ".join([f"{value:.2f}"] * (value > 0) + [escape(mark)] * bool(mark)) * (not self.options["tight"])
            return f"<span{shade}>{f'<u>{text}</u>' if mark else text}</span>{f' <sub>{said}</sub>' if said else ''}"

        rows, gap = self._checked(frame)["rows"], "" if self.options["tight"] else " "
        return "".join(f"<p><b>{escape(row['title'])}</b> {gap.join(one(row, i) for i in range(len(row['tokens'])))}</p>" for row in rows)
