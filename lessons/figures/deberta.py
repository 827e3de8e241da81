"""The figures of the DeBERTa lesson: one function each, named after what it shows."""

from functools import partial
from statistics import mean, stdev

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from kit import text
from kit.programs import VOCABULARY, read, windows
from kit.table import table
from kit.view import Apart, Curves, Heatmap, Picture
from kit.view.style import ROLES
from lessons.deberta import LETTERS, OFFSETS, cloze, news, puzzle, taken_apart

BLUE, GREY, ORANGE = (ROLES[role][0] for role in ("idea", "control", "error"))
TASKS = "fixed", "reader", "sender"
LAYOUT = {"NEWLINE": "⏎", "INDENT": "→", "DEDENT": "←"}


def spelled(ids):
    """The tokens of a puzzle as one reads them, such as `c+2`."""
    names = []
    for i in ids.tolist():
        offset = OFFSETS[i // len(LETTERS)].item()
        names.append(f"{LETTERS[i % len(LETTERS)]}{offset:+d}".replace("-", "−"))
    return names


# --- the puzzles


def cells(axis, rows, colours):
    """A grid of words, {(row, place): text} below one another; colours: of its rows."""
    for (row, place), word in rows.items():
        axis.text(place, -row, word, ha="center", va="center", fontsize=10.5,
                  color=colours[row], family="monospace")


def three_puzzles():
    """One text, and below each token the answer of each puzzle."""
    drawing, axis = plt.subplots(figsize=(8.6, 2.1))
    names = "reads", *TASKS
    for row, task in enumerate(TASKS, start=1):
        random = torch.Generator().manual_seed(0)
        ids, answers = (one[0] for one in puzzle(task, 1, 14, random))
        letters = [LETTERS[i] if i >= 0 else "·" for i in answers]
        below = {(row, place): letter for place, letter in enumerate(letters)}
        cells(axis, below, dict.fromkeys([row], BLUE))
    read = {(0, place): token for place, token in enumerate(spelled(ids))}
    cells(axis, read, ["#111111"])
    for row, name in enumerate(names):
        axis.text(-0.9, -row, name, ha="right", va="center", fontsize=10.5)
    axis.set(xlim=(-2.3, 13.6), ylim=(-3.5, 0.5))
    axis.axhline(-0.5, color=GREY, lw=0.8)
    axis.axis("off")
    return Picture(
        drawing,
        caption="One text, and below each token the right answer of each puzzle; a dot "
        "where nothing is asked. Work a few out by hand: who told you where to look?",
        alt="A row of 14 tokens such as c+2, and three rows with the letters to copy.",
    )


def role(name):
    return "control" if name.startswith(("absolute", "none")) else "idea"


def follow(live, name):
    """What training is to call at each step so that `live` grows by `name`."""
    return partial(live.add, name, role=role(name))


def live_losses(steps, every=10):
    """A growing chart of runs of `steps` steps in all."""
    labels = {"x_label": "step", "y_label": "training loss"}
    return Curves.live(**labels, total=steps, every=every)


def right_answers(name, scores):
    """scores: {(positions, task): (percent right, percent right at later ones)}."""
    found = [[task, *(f"{one:.0f}" for one in scores[name, task])] for task in TASKS]
    return table(["right, %", "positions 1–24", "25–48, never trained"], found)


# --- the idea


def box(axis, x, y, wide, label, colour):
    style = "round,pad=0.02,rounding_size=0.1"
    patch = FancyBboxPatch(
        (x - wide / 2, y - 0.3), wide, 0.6, boxstyle=style, fc="white", ec=colour, lw=2
    )
    axis.add_patch(patch)
    axis.text(x, y, label, ha="center", va="center", color=colour, fontsize=11)


def join(axis, start, end, label, colour, shift=(0, 0)):
    look = {"arrowstyle": "<|-|>", "mutation_scale": 13, "color": colour}
    look["lw"] = 4 if colour == BLUE else 1.5
    axis.add_patch(FancyArrowPatch(start, end, **look))
    x, y = (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1]
    axis.text(x, y, label, ha="center", va="center", color=colour, fontsize=12,
              weight="bold", bbox={"fc": "white", "ec": "none", "pad": 1.5})


def four_parts():
    """Content and position of two tokens, and which parts meet in the score."""
    drawing, axis = plt.subplots(figsize=(7.6, 3.3))
    axis.set(xlim=(0, 10), ylim=(0, 4.4))
    axis.axis("off")
    for x, who in ((2, "token i, which looks"), (8, "token j, looked at")):
        axis.text(x, 4.1, who, ha="center", fontsize=11, style="italic")
    box(axis, 2, 3.2, 2.6, "its content $H_i$", GREY)
    box(axis, 8, 3.2, 2.6, "its content $H_j$", GREY)
    box(axis, 2, 0.8, 2.6, "i seen from j, $P_{i|j}$", BLUE)
    box(axis, 8, 0.8, 2.6, "j seen from i, $P_{j|i}$", BLUE)
    join(axis, (3.4, 3.2), (6.6, 3.2), "c2c", GREY)
    join(axis, (3.2, 2.8), (6.8, 1.2), "c2p", BLUE, shift=(-0.9, 0.4))
    join(axis, (3.2, 1.2), (6.8, 2.8), "p2c", BLUE, shift=(-0.9, -0.4))
    axis.plot([3.4, 6.6], [0.8, 0.8], ":", color=GREY, lw=1.6)
    axis.text(5, 0.8, "dropped", ha="center", va="center", color=GREY, fontsize=10,
              bbox={"fc": "white", "ec": "none", "pad": 1.5})
    return Picture(
        drawing,
        caption="Eq. 2 as a picture. Each line is a product, one part of the score. "
        "Blue and thick is new: the content of one token with the place of the other.",
        alt="Two tokens, each with a box for content and one for relative position. "
        "Lines join content with content (c2c), the content of i with the position of "
        "j (c2p), the position of i with the content of j (p2c); position with "
        "position is dropped.",
    )


def clipping(delta):
    """The rows of P that 16 tokens take for their distances, for each k."""

    def frame(k):
        return {"panels": [{"title": f"δ, k = {k}", "values": delta(16, k)}]}

    return Heatmap(
        frame,
        controls={"k": list(range(1, 9))},
        start={"k": 4},
        x_label="looked at, j",
        y_label="looks, i",
        value_label="row of P",
        caption="δ(i, j) for 16 tokens. Along a diagonal the distance is the same. "
        "With a small k, all that is far looks alike.",
        alt="A square with diagonal stripes that turn into two flat corners.",
    )


# --- did it cure the problem?

SOLVE = "c2p, reader", "p2c, sender", "both, reader", "both, sender"
FAIL = "c2p, sender", "p2c, reader", "absolute, reader", "absolute, sender"
KINDS = "none", "absolute", "c2p", "p2c", "both"
PLACES = "trained positions", "later positions"


def percent(stored, name, kind="right"):
    return [run[kind] for run in stored[name]]


def who_solves_what(stored):
    """Five kinds of positions at two puzzles, five seeds."""
    drawing, axes = plt.subplots(1, 2, figsize=(8.2, 3.1), sharey=True)
    for axis, task in zip(axes, TASKS[1:]):
        for shift, kind in zip((-0.2, 0.2), PLACES):
            for place, name in enumerate(KINDS):
                found = percent(stored, f"{name}, {task}", kind)
                colour = GREY if role(name) == "control" else BLUE
                faint = 1.0 if shift < 0 else 0.45
                axis.bar(place + shift, mean(found), 0.38, color=colour, alpha=faint)
                spots = [place + shift] * len(found)
                axis.plot(spots, found, "o", color="#111111", ms=3)
        axis.axhline(12.5, color="#111111", linestyle="--", linewidth=1.2)
        axis.set_title(f"“{task}”", fontsize=11)
        axis.set_xticks(range(len(KINDS)), KINDS)
    axes[0].set(ylabel="right, %", ylim=(0, 108))
    axes[1].text(4.65, 12.5, "guessing", fontsize=10, va="center")
    return Picture(
        drawing,
        caption="Means and each of five seeds. Dark bars: positions 1 to 24, as in "
        "training. Pale bars: positions 25 to 48, never trained.",
        alt="Two bar charts. Reader: c2p and both at 100, p2c below 40. Sender: p2c "
        "and both at 100, c2p below 45. Absolute positions lie in between at trained "
        "positions and near 12.5 at later ones.",
    )


def rates_and_time(stored):
    """Percent right at trained positions for other rates and for more steps."""
    rows = []
    for name in KINDS:
        for task in TASKS[1:]:
            cells = []
            for rate in (0.0025, 0.005, 0.01, 0.02):
                for run in stored.get(f"{name}, {task}, rate {rate}", [None]):
                    cells.append(f"{run['trained positions']:.0f}" if run else "–")
            longer = stored.get(f"{name}, {task}, 1500 steps")
            cells += ["–", "–"] if longer is None else [
                f"{mean(run[kind] for run in longer):.0f}" for kind in PLACES
            ]
            rows.append([f"{name}, {task}", *cells])
    head = ["right, %", "rate 0.0025", "0.005, used", "0.01", "0.02",
            "five times the steps", "the same, 25–48"]
    return table(head, rows)


def solvers_apart(encoders):
    """The head of each network that solves a puzzle, on texts of it.

    encoders: {task: Deberta of one layer and one head}.
    """

    def frame(task, text):
        random = torch.Generator().manual_seed(0)
        ids, _ = puzzle(task, 3, 12, random)
        ids = ids[text - 1 : text]
        terms = taken_apart(encoders[task], ids)
        return {"tokens": spelled(ids[0]), "terms": terms}

    return Apart(
        frame,
        controls={"task": list(TASKS[1:]) + ["fixed"], "text": [1, 2, 3]},
        caption="Blue adds to a score, vermilion (−) takes away. For “reader” switch "
        "c2p off, for “sender” p2c: the weights lose their places.",
        alt="Four square maps: content to content, content to position, position to "
        "content, and the weights after the softmax.",
    )


# --- the mask decoder


def directions():
    """A window of news with directions over some words, for both clozes."""
    tokenizer, corpus = news()
    drawing, axes = plt.subplots(1, 2, figsize=(8.6, 2.9), width_ratios=(4, 8))
    for axis, kind, wide in zip(axes, ("column", "quarter"), (4, 8)):
        random = torch.Generator().manual_seed(2)
        ids, answers = cloze(kind, corpus.heldout[7:8], random)
        for i, (piece, answer) in enumerate(zip(ids[0].tolist(), answers[0].tolist())):
            asked = answer >= 0
            word = tokenizer.id_to_token(answer if asked else piece)
            place, row = i % wide, i // wide
            axis.text(place, -row, word, ha="center", va="center",
                      fontsize=9.5, color=BLUE if asked else "#111111",
                      weight="bold" if asked else "normal")
        axis.set(xlim=(-0.6, wide - 0.4), ylim=(-7.6, 0.6), title=kind)
        axis.axis("off")
    return Picture(
        drawing,
        caption="One window of 32 pieces of news, twice. Bold: a mask stands there, "
        "and this is to be filled in, the column (place modulo 4) or the quarter.",
        alt="Left, four columns of pieces of words, a direction for each column; "
        "right, four rows, a direction for each row.",
    )


CLOZES = {
    "none": "none", "both": "c2p + p2c", "both, 1500 steps": "1,500\nsteps",
    "decoder without positions": "decoder,\ntable 0", "decoder": "mask\ndecoder",
    "absolute": "absolute,\ninput",
}


def columns_and_quarters(stored):
    """Both clozes, four kinds of positions, five seeds."""
    look = {"figsize": (9, 3), "sharey": True, "width_ratios": (6, 4)}
    drawing, axes = plt.subplots(1, 2, **look)
    titles = {"column": "which column? (place mod 4)", "quarter": "which quarter?"}
    for axis, (kind, title) in zip(axes, titles.items()):
        measured = [name for name in CLOZES if f"{kind}, {name}" in stored]
        for place, name in enumerate(measured):
            found = percent(stored, f"{kind}, {name}")
            colour = GREY if role(name) == "control" else BLUE
            axis.bar(place, mean(found), 0.62, color=colour, alpha=0.8)
            axis.plot([place] * len(found), found, "o", color="#111111", ms=3)
            axis.text(place, max(found) + 3, f"{mean(found):.0f}", ha="center")
        axis.axhline(25, color="#111111", linestyle="--", linewidth=1.2)
        axis.set_title(title, fontsize=11)
        labels = [CLOZES[name] for name in measured]
        axis.set_xticks(range(len(measured)), labels, fontsize=9)
    axes[0].set(ylabel="right, %", ylim=(0, 115))
    return Picture(
        drawing,
        caption="Means and each seed; dashed: guessing. All with 300 steps but one. "
        "Table 0: the decoder without positions, the second pass alone.",
        alt="Two bar charts. Column: none, c2p + p2c and the decoder with a table of 0 "
        "at 25 to 40, mask decoder and absolute at 100. Quarter: none at 25, the three "
        "others near 100.",
    )


# --- on text

LINES = {  # positions: name, colour, marker and line
    "none": ("none", "#A8A8A8", "s:"),
    "absolute": ("absolute", GREY, "s-"),
    "c2p": ("c2p", BLUE, "o--"),
    "p2c": ("p2c", BLUE, "o:"),
    "both": ("both", BLUE, "o-"),
    "decoder": ("both + decoder", "#56B4E9", "^-."),
}


def curves_on_text(stored):
    """Held-out loss as training goes on, six kinds of positions, two schedules."""
    drawing, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), sharey=True)
    for axis, steps in zip(axes, (400, 2400)):
        places = [steps * i // 8 for i in range(1, 9)]
        for kind, (name, colour, line) in LINES.items():
            runs = stored[f"text: {kind}, {steps} steps"]
            rows = [[run[f"after {place}"] for run in runs] for place in places]
            means = [mean(row) for row in rows]
            axis.plot(places, means, line, color=colour, label=name, ms=5)
            low, high = [min(row) for row in rows], [max(row) for row in rows]
            axis.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
        axis.set_title(f"{steps:,} steps", fontsize=11)
        axis.set_xlabel("step")
        axis.set_xlim(0, steps * 1.02)
    axes[0].set_ylabel("held-out loss, 32 tokens")
    axes[1].legend(fontsize=10, ncols=2, handlelength=3.5)
    return Picture(
        drawing,
        caption="New programs, as training goes on; each panel has its own schedule "
        "and rates. Means of three seeds, bands from the lowest to the highest.",
        alt="Left: absolute and none stay high, the four relative lines fall early and "
        "lie on one another. Right: absolute comes down late and ends a little above "
        "the four relative lines.",
    )


def last_losses(stored):
    """The losses at the end, at two lengths, as a table."""
    rows = []
    for kind, (name, _, _) in LINES.items():
        cells = []
        for steps in (400, 2400):
            for measure in (f"after {steps}", "64 tokens"):
                cells.append(summary(stored[f"text: {kind}, {steps} steps"], measure))
        rows.append([name, *cells])
    head = ["held-out loss", "400 steps, 32 tokens", "64 tokens",
            "2,400 steps, 32 tokens", "64 tokens"]
    return table(head, rows)


def summary(runs, measure):
    found = [run[measure] for run in runs]
    return f"{mean(found):.2f} ± {stdev(found):.2f}"


def loss_by_position(losses):
    """losses: {positions: the loss of each eight positions}."""
    series = []
    for name, values in losses.items():
        places = [8 * i + 4.5 for i in range(len(values))]
        series.append({"name": name, "x": places, "y": values, "role": role(name)})
    return Curves(
        {"series": series},
        x_label="position of the hidden token",
        y_label="held-out loss",
        y_range=(0, 6),
        caption="Loss by position in texts of 64 tokens, after 400 steps on texts of "
        "32.",
        alt="The relative curve is flat over all 64 positions; the absolute one rises "
        "beyond 32.",
    )


# --- what the paper found

SCORES = {  # Tables 1, 2 and 3
    "GLUE, average\n(Table 1, large)": {
        "BERT": 84.05, "RoBERTa": 88.82, "XLNet": 89.15, "ELECTRA": 89.46,
        "DeBERTa": 90.0,
    },
    "SQuAD 2.0, F1\n(Table 2, large)": {"RoBERTa": 89.4, "DeBERTa": 90.7},
    "RACE\n(Table 2, large)": {"RoBERTa": 83.2, "DeBERTa": 86.8},
    "MNLI\n(Table 3, base)": {"RoBERTa": 87.6, "DeBERTa": 88.8},
    "SQuAD 2.0, F1\n(Table 3, base)": {"RoBERTa": 83.7, "DeBERTa": 86.2},
}


def against_others():
    """Tables 1 to 3: DeBERTa against others after fine-tuning."""
    wide = [len(found) for found in SCORES.values()]
    drawing, axes = plt.subplots(
        1, len(SCORES), figsize=(9.4, 3.4), width_ratios=[1.6 + n for n in wide]
    )
    for axis, (title, found) in zip(axes, SCORES.items()):
        digits = 2 if "GLUE" in title else 1
        for place, (name, score) in enumerate(found.items()):
            axis.plot(place, score, "o", color=BLUE if name == "DeBERTa" else GREY)
            label = f"{score:.{digits}f}"
            axis.text(place, score + 0.5, label, ha="center", fontsize=9.5)
        axis.set_title(title, fontsize=9.5)
        axis.set(xlim=(-0.6, len(found) - 0.4), ylim=(82, 92.5))
        axis.set_xticks(range(len(found)), found.keys())
        axis.tick_params(axis="x", rotation=50, labelsize=9.5)
        axis.tick_params(axis="y", labelleft=axis is axes[0])
    return Picture(
        drawing,
        caption="Scores on development sets.",
        alt="Five panels of dots. In each the blue dot of DeBERTa is the highest: GLUE "
        "90.00 against 89.46 of ELECTRA and 88.82 of RoBERTa; RACE 86.8 against 83.2.",
    )


TABLE_4 = {  # MNLI, SQuAD 2.0 (F1), RACE
    "DeBERTa base": (86.3, 82.5, 71.7),
    "− EMD": (86.1, 81.3, 70.3),
    "− c2p": (85.9, 81.3, 69.3),
    "− p2c": (86.0, 80.8, 69.6),
    "− EMD, c2p": (85.8, 80.3, 68.1),
    "− EMD, p2c": (85.8, 80.2, 68.5),
    "RoBERTa": (84.9, 79.5, 66.8),
}


def parts_taken_away():
    """Table 4: what each removal costs."""
    whole, rest = TABLE_4["DeBERTa base"], list(TABLE_4)[1:]
    drawing, axes = plt.subplots(1, 3, figsize=(8.6, 3), sharey=True)
    for i, (axis, task) in enumerate(zip(axes, ("MNLI", "SQuAD 2.0", "RACE"))):
        best = whole[i]
        lost = [best - TABLE_4[name][i] for name in rest]
        colours = [GREY if name == "RoBERTa" else BLUE for name in rest]
        axis.barh(rest, lost, color=colours, height=0.62)
        for place, value in enumerate(lost):
            axis.text(value, place, f" {value:.1f}", va="center", fontsize=10)
        axis.set_title(f"{task} ({best:g})", fontsize=11)
        axis.set_xlim(0, max(lost) * 1.25)
        axis.set_xlabel("points lost")
    axes[0].invert_yaxis()
    return Picture(
        drawing,
        caption="Table 4, base: points below the whole DeBERTa, whose score stands in "
        "brackets. EMD is the enhanced mask decoder. RoBERTa is the authors' own, "
        "trained alike. The axes differ.",
        alt="Three bar charts of points lost. Each single removal costs something, two "
        "together more, RoBERTa most: 1.4 on MNLI, 3.0 on SQuAD 2.0, 4.9 on RACE.",
    )


def shifted(lengths, moved):
    """How far predictions move with the length of a shift: {"random", "uphill"}."""
    roles = {"random": "control", "uphill": "idea"}
    return Curves(
        {"series": [
            {"name": name, "x": lengths, "y": values, "role": roles[name]}
            for name, values in moved.items()
        ]},
        x_label="length of the shift (a normalised word vector has length 8)",
        y_label="change of the predictions",
        caption="How far the predictions of our network move: the Kullback-Leibler "
        "divergence, mean of the tokens. Uphill: along the gradient, one step.",
        alt="Two rising curves; the uphill one rises several times as steeply.",
    )


# --- look inside

OWN = [
    "return (a + b) * (a - b)",
    "for i in range(len(items)): self.items[i] = None",
    "if name not in self.names: raise ValueError(name)",
]


def python_apart(encoder):
    """Any head of an encoder of programs, on lines of Python and on the reader's."""

    def frame(program, layer, head):
        tokens, ids = read(program)
        tokens, ids = tokens[:24], ids[:, :24]
        terms = taken_apart(encoder, ids, layer, head)
        return {"tokens": [LAYOUT.get(one, one) for one in tokens], "terms": terms}

    figure = Apart(
        frame,
        controls={"program": OWN, "layer": [1, 2], "head": [1, 2, 3, 4]},
        start={"layer": 2},
        caption="One head taken apart: blue adds to a score, vermilion (−) takes away. "
        "With a kernel, write a line of Python yourself.",
        alt="Four square maps of the tokens of a line of Python: c2c, c2p, p2c and the "
        "weights after the softmax.",
    )
    return figure.widget(write={"program": 300})


def liked_distances(encoder, likes, short_sighted):
    """What the average token, and a chosen one, gives to each distance."""
    vocabulary, _ = text.python_tokens(VOCABULARY)
    ids = windows().test[::20][:200]
    with torch.no_grad():
        states, table_ = encoder.states(ids), encoder.positions.weight
    most = len(table_) // 2

    def frame(token, term, layer, head, k):
        attention, x = encoder.layers[layer - 1].attention, states[layer - 1]
        chosen = ids == vocabulary.index(token)
        series, ends = [], []
        for name, here in (("all tokens", ids >= 0), (token, chosen)):
            whole, cut = (
                likes(attention, x[here], short_sighted(table_, limit), term)[head - 1]
                for limit in (most, k)
            )
            # Rows of P go by i − j; a reader's neighbour stands at j − i.
            places = torch.arange(-most, most)
            if term == "c2p":
                places = -places
            line = {"name": name, "x": places.sort().values}
            line["y"] = cut[places.argsort()]
            line["role"] = "control" if name == "all tokens" else "idea"
            series.append(line)
            ends += [whole.min().item(), whole.max().item()]
        where = {"c2p": "the other token", "p2c": "the token that looks"}[term]
        label = f"where {where} stands"
        limits = min(ends) - 0.2, max(ends) + 0.2  # of the whole: the same for all k
        return {"series": series, "y_range": limits, "x_label": label}

    figure = Curves(
        frame,
        controls={"token": ["(", "NEWLINE", ".", "="], "term": ["c2p", "p2c"],
                  "layer": [1, 2], "head": [1, 2, 3, 4], "k": [1, 2, 4, 8, 16]},
        start={"layer": 2, "k": 16},
        x_label="where the other token stands",
        y_label="score",
        caption="What a token gives to each distance; below 0 is to its left. Move k.",
        alt="Two curves over the distance, high near zero for some heads; for a "
        "smaller k they are flat beyond k.",
    )
    more = [")", "INDENT", ",", ":", "self", "return", "if", "STRING"]
    tokens = ["(", "NEWLINE", ".", "=", *more]
    return figure.widget(controls={"token": tokens})
