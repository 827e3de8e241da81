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
        whole, tokens = (
            array(frame["attention"]),
            [printable(token, 14, 0.95) for token in frame["tokens"]],
        )
        cut = np.arange(
            0, len(tokens), -(-len(tokens) // 24)
        )  # of a long sentence the greatest weight of each block
        weights = np.maximum.reduceat(
            np.maximum.reduceat(whole, cut, axis=2), cut, axis=3
        )
        (layers, heads, side), (layer, head) = weights.shape[:3], self.options["picked"]
        gap, listed = 1 + side // 10, len(tokens) <= 32
        step, spaced = (
            side + gap,
            np.pad(
                weights, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan
            ),
        )
        grid_high = 1.1 + min(max((3.6 if listed else 5.8) * layers / heads, 0.8), 6)
        canvas.set_size_inches(7.2, max(grid_high, 0.6 + LINE * len(tokens) * listed))
        left, *right = canvas.subfigures(
            1, 1 + listed, squeeze=False, width_ratios=[1.5, 1][: 1 + listed]
        )[0]
        axes = left.subplots()
        ramp = LinearSegmentedColormap.from_list(
            "ramp", RAMP, N=16
        )  # few colours make a small file
        grid = np.ma.masked_invalid(
            spaced.transpose(0, 2, 1, 3).reshape(layers * step, heads * step)
        )
        shown = axes.imshow(
            grid,
            norm=PowerNorm(0.5, 0, 1),
            cmap=ramp,
            extent=(0, heads * step, layers * step, 0),
        )
        corner = ((head - 1) * step - gap / 2, (layer - 1) * step - gap / 2)
        axes.add_patch(
            Rectangle(
                corner,
                step,
                step,
                fill=False,
                edgecolor=ROLES["selected"][0],
                linewidth=2.5,
            )
        )
        axes.set(
            xlim=(-gap, heads * step),
            ylim=(layers * step, -gap),
            xlabel="head",
            ylabel="layer",
        )
        for axis, count, inches in (
            (axes.xaxis, heads, 3.3 if listed else 5),
            (axes.yaxis, layers, grid_high - 1.1),
        ):
            named = every(count, inches / 0.24, names_from_1=True)
            axis.set_ticks(
                [i * step + side / 2 for i in named], [str(i + 1) for i in named]
            )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        left.colorbar(
            shown,
            ax=axes,
            label="weight",
            ticks=[0, 0.1, 0.5, 1],
            location="bottom",
            shrink=0.7,
        )
        for part in right:
            ax = part.subplots()
            self._pairs(ax, whole[layer - 1, head - 1], tokens)
            ax.set_title(
                f"layer {layer}, head {head}",
                fontsize=10,
                fontweight="normal",
                loc="center",
            )

    @staticmethod
    def _pairs(axes, weights, tokens):
        """The sentence twice, a line from each token to those that it looks at most."""
        for i, j in np.argwhere(weights > 0.1):
            way = Path(
                [(0, i), (0.5, i), (0.5, j), (1, j)], [Path.MOVETO, *3 * [Path.CURVE4]]
            )
            look = {
                "edgecolor": ROLES["idea"][0],
                "alpha": weights[i, j],
                "linewidth": 0.6 + 2 * weights[i, j],
            }
            axes.add_patch(PathPatch(way, fill=False, **look))
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
