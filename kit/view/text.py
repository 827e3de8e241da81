"""Viewers of text: where attention looks, and sentences whose tokens carry values."""

from html import escape

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from kit.view.figure import Figure, array, quantise, role_of
from kit.view.still import LINE, every, printable
from kit.view.style import RAMP, ROLES


def _tokens(tokens, most):
    """`tokens` as a list, or ValueError unless it is one of 1 to `most` strings."""
    tokens = tokens if isinstance(tokens, str) else list(tokens)
    if not isinstance(tokens, str) and 1 <= len(tokens) <= most:
        if all(isinstance(token, str) for token in tokens):
            return tokens
    what = repr(tokens)
    if isinstance(tokens, list) and tokens:
        what = f"{len(tokens)} tokens"
    raise ValueError(f"tokens: needs a list of 1 to {most} strings, not {what}")


def _first(bad, names):
    """Where an array of booleans is first true, counted from 1 as in the picture."""
    places = zip(names, np.argwhere(bad)[0], strict=True)
    return ", ".join(f"{name} {place + 1}" for name, place in places)


def _shares(values, what):
    """One value per token, each in 0…1, with 3 significant digits."""
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        found = f"{values[bad][0]:.4g} ({_first(bad, ['token'])})"
        raise ValueError(f"{what}: each in 0…1, not {found}")
    return [float(f"{value:.3g}") for value in values]


class Attention(Figure):
    """Where the heads of a transformer look: all as small maps, one token by token.

    frame: {"tokens": [str], "attention": (layers, heads, tokens, tokens), "note"};
    attention[..., i, j] is the weight with which token i looks at token j, so rows sum
    to 1. At most 256 tokens; beyond 22 (16 on a phone) the detail is running text.
    picked: the (layer, head) open at first, counted from 1 as in the picture.
    """

    script = "attention.js"
    most = 256

    def __init__(self, frames, *, picked=(1, 1), **common):
        super().__init__(frames, options={"picked": list(picked)}, **common)

    def _pack(self, frame):
        tokens = _tokens(frame["tokens"], self.most)
        weights = array(frame["attention"], 4, "attention")
        count = len(tokens)
        if weights.shape[2:] != (count, count):
            right = f"(layers, heads, {count}, {count}) for {count} tokens"
            raise ValueError(f"attention: needs shape {right}, has {weights.shape}")
        bad = ~(weights >= 0) | np.isinf(weights)
        if bad.any():
            where = _first(bad, ["layer", "head", "from", "to"])
            found = f"{weights[bad][0]} ({where})"
            raise ValueError(f"attention: weights are 0 or more, not {found}")
        sums = weights.sum(-1)
        bad = abs(sums - 1) > 0.02  # half precision rounds
        if bad.any():
            where = _first(bad, ["layer", "head", "token"])
            found = f"{sums[bad][0]:.3g} ({where})"
            raise ValueError(
                f"attention: rows sum to 1, not {found}; give it after softmax"
            )
        layers, heads = weights.shape[:2]
        layer, head = self.options["picked"]
        if not (1 <= layer <= layers and 1 <= head <= heads):
            right = f"(layer, head) of {layers} layers and {heads} heads"
            raise ValueError(f"picked=({layer}, {head}) is not {right}")
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
        """A small map of each head; of a long sentence the largest weight of blocks."""
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
        extent = (0, right, bottom, 0)
        look = {"norm": PowerNorm(0.5, 0, 1), "cmap": few, "extent": extent}
        axes = canvas.subplots()
        shown = axes.imshow(grid, **look)
        corner = ((head - 1) * step - gap / 2, (layer - 1) * step - gap / 2)
        ring = {"fill": False, "edgecolor": ROLES["selected"][0], "linewidth": 2.5}
        axes.add_patch(Rectangle(corner, step, step, **ring))
        axes.set(xlim=(-gap, right), ylim=(bottom, -gap), xlabel="head", ylabel="layer")
        sides = (axes.xaxis, heads, wide), (axes.yaxis, layers, high)
        for axis, count, length in sides:
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
        blue = ROLES["idea"][0]
        steps = [Path.MOVETO, *[Path.CURVE4] * 3]
        for i, j in np.argwhere(weights > 0.1):
            way = Path([(0, i), (0.5, i), (0.5, j), (1, j)], steps)
            look = {"alpha": weights[i, j], "linewidth": 0.6 + 2 * weights[i, j]}
            axes.add_patch(PathPatch(way, fill=False, edgecolor=blue, **look))
        for i, token in enumerate(tokens):
            axes.text(-0.04, i, token, ha="right", va="center", fontsize=10)
            axes.text(1.04, i, token, ha="left", va="center", fontsize=10)
        axes.set(xlim=(0, 1), ylim=(len(tokens) - 0.5, -0.5))
        axes.axis("off")


class Tokens(Figure):
    """Sentences as strips of tokens, coloured by a value each.

    Strips of equal length are read together.

    frame: {"rows": [{"title", "tokens": [str], "values": one in 0…1 per token, or None,
    "marks": a word or "" per token, "notes": a text or "" per token, "role", "name":
    what the read-out calls a row with a long title}], "note"}. marks are underlined,
    each word in its own way, four words at most; notes are read out with the token.
    tight: no gaps, for tokens that carry their own spaces and line ends.
    """

    script = "tokens.js"
    most = 1000

    def __init__(self, frames, *, value_label=None, tight=False, **common):
        options = {"value_label": value_label, "tight": bool(tight)}
        super().__init__(frames, options=options, **common)

    def _pack(self, frame):
        if not frame["rows"]:
            raise ValueError("Tokens: a frame needs at least one row")
        rows = [self._row(**row) for row in frame["rows"]]
        words = self._words([{"rows": rows}])
        if len(words) > 4:
            found = ", ".join(words)
            raise ValueError(f"marks: at most four different words, not {found}")
        if self.options["value_label"] is None and any("values" in row for row in rows):
            raise ValueError(
                "Tokens: values need value_label=..., which says what they are, "
                'such as "probability of replaced"'
            )
        return {"rows": rows}

    def _row(
        self, title, tokens, values=None, marks=None, notes=None, role=None, name=None
    ):
        row = {"title": str(title), "tokens": _tokens(tokens, self.most)}
        row |= role_of(role)
        if name is not None:
            row["name"] = str(name)
        for name, texts in (("marks", marks), ("notes", notes)):
            if texts is not None:
                row[name] = ["" if text is None else str(text) for text in texts]
        if values is not None:
            what = f"values of {title!r}"
            row["values"] = _shares(array(values, 1, what), what)
        for name in ("values", "marks", "notes"):
            count = len(row["tokens"])
            if name in row and len(row[name]) != count:
                found = f"{count} tokens and {len(row[name])} {name}"
                raise ValueError(f"Tokens: {title!r} has {found}")
        return row

    @staticmethod
    def _words(frames):
        rows = [row for frame in frames for row in frame["rows"]]
        marks = [mark for row in rows for mark in row.get("marks", [])]
        return list(dict.fromkeys(mark for mark in marks if mark))

    def _share(self, frames):
        return {"marks": self._words(frames)}

    def _still(self, frame):  # as text, which any font can show
        tight = self.options["tight"]

        def one(row, i):
            value = row["values"][i] if "values" in row else 0
            mark = row["marks"][i] if "marks" in row else ""
            text, shade = f"<bdi>{escape(row['tokens'][i])}</bdi>", ""
            if mark:
                text = f"<u>{text}</u>"
            if value:
                color = ROLES[row.get("role", "idea")][0]
                rgb = ",".join(str(int(color[k : k + 2], 16)) for k in (1, 3, 5))
                shade = f' style="background:rgba({rgb},{value / 2:.2f})"'
            said = [f"{value:.2f}"] * (value > 0) + [escape(mark)] * bool(mark)
            told = f" <sub>{', '.join(said)}</sub>" if said and not tight else ""
            return f"<span{shade}>{text}</span>{told}"

        paragraphs = []
        for row in self._checked(frame)["rows"]:
            spans = [one(row, i) for i in range(len(row["tokens"]))]
            text = ("" if tight else " ").join(spans)
            paragraphs.append(f"<p><b>{escape(row['title'])}</b> {text}</p>")
        return "".join(paragraphs)
