"""The figures of the ALBERT lesson: one function each, named after what it shows."""

from functools import partial
from statistics import mean, stdev

import matplotlib.pyplot as plt
import torch

from kit.table import table
from kit.view import Attention, Curves, Layers, Picture, Tokens
from kit.view.style import ROLES

BLUE, GREY = ROLES["idea"][0], ROLES["control"][0]


def role(name):
    return "idea" if name == "shared" else "control"


def seeds(runs):
    return f"{len(runs)} seeds"


def spread(values, digits=3):
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


# --- the bill

SHOWN = {"parameters": "parameters, millions", "multiply-adds": "multiply-adds, 10⁹"}


def budget(bill, work):
    """The parameters, or the work, of an encoder with each idea and with both.

    bill, work: as `bill(V, E, H, different layers)` and `work(E, H, layers)`, by part.
    """

    def frame(show, H, E, layers, V=30_000):
        ideas = {"neither": (H, layers), f"E = {E}": (E, layers)}
        ideas |= {"shared": (H, 1), "both": (E, 1)}
        parts = {}
        for name, (columns, different) in ideas.items():
            if show == "parameters":
                parts[name] = bill(V, columns, H, different)
            else:
                parts[name] = work(columns, H, layers)
        unit = 1e6 if show == "parameters" else 1e9
        series = [
            {"name": part, "values": [parts[name][part] / unit for name in ideas]}
            for part in parts["neither"]
        ]
        totals = [sum(parts[name].values()) / unit for name in ideas]
        factor = totals[0] / totals[-1]
        change = f"{totals[0]:,.4g} become {totals[-1]:,.4g}"
        note = f"{SHOWN[show]}: {change}, a factor of {factor:.2f}"
        return {"series": series, "labels": list(ideas), "note": note}

    figure = Layers(
        frame,
        kind="stacked",
        y_range="frame",
        controls={
            "show": list(SHOWN),
            "H": [768, 1024, 2048, 4096],
            "E": [64, 128, 256],
            "layers": [12, 24],
        },
        start={"H": 1024, "E": 128, "layers": 24},
        x_label="which ideas",
        y_label="millions of parameters, or 10⁹ multiply-adds",
        caption="Where the parameters are: BERT-large at first. Which idea saves more? "
        "Does that hang on H? Then show the multiply-adds of a text of 512 tokens.",
        alt="Four stacked bars: neither idea, a narrow table, shared layers, both. "
        "Sharing takes away nearly all of the layers' part; of the multiply-adds none.",
    )
    more = {"layers": range(1, 49), "E": [16, 32, 64, 128, 256, 512]}
    return figure.widget(controls=more | {"V": [1000, 8000, 30_000, 120_000]})


# --- Python as text


def named(vocabulary, ids):
    return [vocabulary[i] for i in ids]


def readable(windows):
    """Windows in which no token is unknown and few come twice."""
    known = [one for one in windows if 1 not in one and len(set(one.tolist())) > 11]
    return known[::20]


def three_windows(vocabulary, windows):
    rows = [
        {"title": f"held-out window {i + 1}", "tokens": named(vocabulary, one)}
        for i, one in enumerate(readable(windows)[:3])
    ]
    return Tokens(
        {"rows": rows},
        caption="Three texts of 16 tokens. Every string is STRING; line ends and "
        "indentation are tokens, too.",
        alt="Three windows of sixteen tokens of Python.",
    )


def fill_in(model, vocabulary, windows):
    """One token of a window hidden: what a MaskedLM answers there."""
    shown = readable(windows)[:6]

    def frame(window, position):
        hidden = shown[window - 1].clone()
        answer = vocabulary[hidden[position]]
        hidden[position] = 4
        marks = ["hidden" if i == position else "" for i in range(16)]
        with torch.no_grad():
            best = model(hidden[None])[0, position].softmax(-1).topk(5)
        guesses = named(vocabulary, best.indices)
        return {"rows": [
            {"title": "it reads", "tokens": named(vocabulary, hidden), "marks": marks},
            {"title": "it guesses", "tokens": guesses, "values": best.values},
            {"title": "right is", "tokens": [answer]},
        ]}

    return Tokens(
        frame,
        controls={"window": range(1, 7), "position": range(16)},
        start={"position": 5},
        value_label="probability",
        caption="New programs. Move the hidden position: which places are easy?",
        alt="A window of 16 tokens of Python with one hidden, and five guesses.",
    )


# --- training


def follow(live, name):
    """What `fit` is to call at each step so that `live` grows by the loss of `name`."""
    return partial(live.add, name, role=role(name))


def live_losses(steps, earlier=None, what="training loss"):
    """A growing chart of a run of `steps` steps, one point for 20.

    earlier: {name: loss of every step} of runs that are over.
    """
    earlier = earlier or {}
    total = (1 + len(earlier)) * steps
    live = Curves.live(x_label="step", y_label=what, total=total, every=20)
    for name, losses in earlier.items():
        for step, loss in enumerate(losses):
            follow(live, name)(step, loss)
    return live


# --- sharing

SHARED = {
    "none": "nothing",
    "attention": "attention",
    "ffn": "feed-forward",
    "all": "everything",
}
TABLE_4 = {  # mean score at E = 768 and at E = 128
    "none": (82.3, 81.6),
    "attention": (81.6, 81.7),
    "ffn": (79.5, 80.2),
    "all": (79.8, 80.1),
}


def what_is_shared(stored):
    rows = []
    for share, name in SHARED.items():
        runs = stored[f"H = 32, {share} shared"]
        losses = [run["held-out loss"] for run in runs]
        count = f"{runs[0]['parameters']:,.0f}"
        rows.append([name, count, spread(losses), *TABLE_4[share]])
    headers = ["shared", "parameters", f"held-out loss, {seeds(runs)}"]
    paper = ["Table 4: score at E = 768", "at E = 128"]
    return table([*headers, *paper], rows)


def the_bet(stored):
    """Held-out loss against parameters and against work, of several widths."""
    drawing, axes = plt.subplots(1, 2, figsize=(8.6, 3.3), sharey=True)
    nets = {"none": (32, 48), "all": (32, 72)}
    for axis, against in zip(axes, ("parameters", "multiply-adds")):
        for share, widths in nets.items():
            kind = "idea" if share == "all" else "control"
            colour, _, marker = ROLES[kind]
            runs = [stored[f"H = {width}, {share} shared"] for width in widths]
            losses = [[run["held-out loss"] for run in one] for one in runs]
            unit = 1e3 if against == "parameters" else 1e6
            x = [one[0][against] / unit for one in runs]
            y = [mean(one) for one in losses]
            bars = [stdev(one) for one in losses]
            named = {"all": "everything shared", "none": "nothing shared"}[share]
            look = {"c": colour, "marker": marker, "capsize": 3, "label": named}
            axis.errorbar(x, y, bars, **look)
            for place, height, width in zip(x, y, widths):
                offset = {72: (-9, -16), 48: (9, 5)}.get(width, (9, 11))
                axis.annotate(
                    f"H = {width}", (place, height), offset, color=colour, fontsize=10,
                    textcoords="offset points", ha="right" if width == 72 else "left",
                )
        axis.margins(x=0.22, y=0.18)
    axes[0].set_xlabel("parameters, thousands")
    axes[1].set_xlabel("multiply-adds of a window, millions")
    axes[0].set_ylabel("held-out loss")
    axes[0].set_title("what it stores")
    axes[1].set_title("what it computes")
    axes[1].legend(loc="upper right", fontsize=10)
    return Picture(
        drawing,
        caption="Lower is better; bars are standard deviations over five seeds. "
        "Compare H = 72 with the unshared H = 32, left and right.",
        alt="Two charts of held-out loss. Against parameters the line of the shared "
        "networks comes down to that of the others; against multiply-adds it lies far "
        "to the right of it.",
    )


# --- the narrow table


def narrow_tables(stored):
    rows = []
    for name in ("E = 128", "E = 128, with the map", "E = 64", "E = 32", "E = 16"):
        runs = stored[name]
        losses = [run["held-out loss"] for run in runs]
        right = mean(run["percent right"] for run in runs)
        count = f"{runs[0]['parameters']:,.0f}"
        rows.append([name, count, spread(losses), f"{right:.1f}%"])
    rows[0][0] = "E = H = 128"
    headers = ["table", "parameters", f"held-out loss, {seeds(runs)}", "right"]
    return table(headers, rows)


# --- pairs of lines


def two_questions(vocabulary, pairs, wrong):
    """Three pairs of lines, and the wrong pairs of both questions beside them."""
    chosen = [i for i, pair in enumerate(pairs) if not any(1 in line for line in pair)]

    def frame(example):
        i = chosen[100 * example]
        kinds = {
            "they follow each other": pairs[i],
            "NSP: no, another line": wrong["NSP"][i],
            "SOP: no, swapped": wrong["SOP"][i],
        }
        rows = []
        for title, (first, second) in kinds.items():
            tokens = ["[CLS]", *named(vocabulary, first), "[SEP]"]
            tokens += [*named(vocabulary, second), "[SEP]"]
            marks = ["second segment"] * len(tokens)
            marks[: len(first) + 2] = [""] * (len(first) + 2)
            rows.append({"title": title, "tokens": tokens, "marks": marks})
        return {"rows": rows}

    return Tokens(
        frame,
        controls={"example": [1, 2, 3, 4, 5]},
        caption="Which of the two wrong pairs could you tell without knowing Python?",
        alt="Two consecutive lines of a program; the first with a line from elsewhere; "
        "and the two swapped.",
    )


TABLE_5 = {
    ("NSP", "NSP"): 90.5,
    ("NSP", "SOP"): 52.0,
    ("SOP", "NSP"): 78.9,
    ("SOP", "SOP"): 86.5,
}


def cross_test(stored):
    rows = []
    for (learned, asked), printed in TABLE_5.items():
        runs = stored[f"trained on {learned}"]
        right = [run[asked] for run in runs]
        rows.append([learned, asked, f"{spread(right, 1)}%", f"{printed}%"])
    headers = ["trained on", "asked", f"right, {seeds(runs)}", "Table 5"]
    return table(headers, rows)


# --- what the paper found

TABLE_2 = {  # millions of parameters, mean score, speed of training
    "BERT-base": (108, 82.3, 4.7),
    "BERT-large": (334, 85.2, 1.0),
    "ALBERT-base": (12, 80.1, 5.6),
    "ALBERT-large": (18, 82.4, 1.7),
    "ALBERT-xlarge": (60, 85.5, 0.6),
    "ALBERT-xxlarge": (235, 88.7, 0.3),
}
TABLE_3 = {  # mean score for E = 64, 128, 256, 768
    "nothing shared": (81.3, 81.7, 81.8, 82.3),
    "all shared": (79.0, 80.1, 79.6, 79.8),
}


def one_change_at_a_time():
    """Tables 3, 4 and 5, side by side."""
    drawing, axes = plt.subplots(1, 3, figsize=(8.6, 3.2))
    for name, scores in TABLE_3.items():
        colour, marker = (BLUE, "o") if name == "all shared" else (GREY, "s")
        axes[0].plot(range(4), scores, c=colour, marker=marker)
        axes[0].annotate(name, (3, scores[-1]), (0, 8), textcoords="offset points",
                         ha="right", color=colour)
    axes[0].set_xticks(range(4), ["64", "128", "256", "768"])
    axes[0].set_xlabel("E")
    axes[0].set_ylabel("mean score")
    axes[0].set_title("table (Table 3)", fontsize=11)
    names = ["nothing", "attention", "feed-\nforward", "all"]
    for number, E in enumerate((768, 128)):
        scores = [both[number] for both in TABLE_4.values()]
        axes[1].plot(range(4), scores, c=BLUE, marker="os"[number],
                     ls=("-", "--")[number], label=f"E = {E}")
    axes[1].set_xticks(range(4), names, fontsize=9)
    axes[1].legend(frameon=False, fontsize=10)
    axes[1].set_title("what is shared (Table 4)", fontsize=11)
    tasks = {"none": 79.0, "NSP": 79.2, "SOP": 80.1}
    for place, (colour, marker) in enumerate([(GREY, "s"), (GREY, "s"), (BLUE, "o")]):
        axes[2].plot(place, list(tasks.values())[place], c=colour, marker=marker)
    axes[2].set_xticks(range(3), tasks)
    axes[2].margins(x=0.3)
    axes[2].set_title("second task (Table 5)", fontsize=11)
    for axis in axes:
        axis.set_ylim(78.5, 83.2)
    return Picture(
        drawing,
        caption="Networks of ALBERT-base's size, 125,000 steps. In the third panel "
        "everything is shared and E = 128. (Unshared at E = 128 is 81.7 in Table 3 and "
        "81.6 in Table 4.)",
        alt="Scores against E: unshared rise slightly, shared are best at 128. By what "
        "is shared: nothing and attention high, feed-forward and all low. By second "
        "task: none 79.0, NSP 79.2, SOP 80.1.",
    )


def score_size_speed():
    """Table 2: the mean score against parameters and against speed."""
    drawing, axes = plt.subplots(1, 2, figsize=(8.6, 3.3), sharey=True)
    for axis, column in zip(axes, (0, 2)):
        for family, colour, marker in (("BERT", GREY, "s"), ("ALBERT", BLUE, "o")):
            own = {n: one for n, one in TABLE_2.items() if n.startswith(f"{family}-")}
            x = [one[column] for one in own.values()]
            y = [one[1] for one in own.values()]
            axis.plot(x, y, c=colour, marker=marker, label=family)
            for name, place, height in zip(own, x, y):
                size = name.split("-")[1]
                left = place > 200 if column == 0 else family == "ALBERT"
                side = (-7, "right") if left and size != "xxlarge" else (7, "left")
                if column == 0 and size == "xxlarge":
                    side = (-7, "right")
                axis.annotate(
                    size, (place, height), (side[0], -4), ha=side[1],
                    textcoords="offset points", color=colour,
                )
        axis.set_xscale("log")
        axis.minorticks_off()
    axes[0].set_xticks([12, 18, 60, 108, 235, 334],
                       ["12", "18", "60", "108", "235", " 334"], fontsize=9)
    axes[0].set_xlabel("parameters, millions, as printed")
    axes[0].set_ylabel("mean score")
    axes[1].set_xticks([0.3, 0.6, 1, 1.7, 5], ["0.3", "0.6", "1", "1.7", "5"])
    axes[1].set_xlabel("speed of training (BERT-large: 1)")
    axes[0].legend(loc="upper left", fontsize=10)
    axes[1].margins(x=0.12)
    return Picture(
        drawing,
        caption="Table 2, after 125,000 steps each. Left ALBERT is far ahead; right, "
        "what it takes.",
        alt="Against parameters ALBERT's line lies above BERT's: xxlarge has 88.7 with "
        "235 million, BERT-large 85.2 with 334. Against speed BERT's line lies above "
        "ALBERT's, which goes on to slower and better networks.",
    )


# --- look inside


def inside(snapshots):
    """Distance, angle and gradient of each layer, every 100 steps of training.

    snapshots: {network: [(distances, angles, gradient norms)]}.
    """
    kinds = ["distance", "angle, degrees", "gradient"]
    steps = [100 * i for i in range(len(snapshots["shared"]))]

    def frame(measure, step):
        kind = kinds.index(measure)
        rows = {name: [one[kind] for one in seen] for name, seen in snapshots.items()}
        highest = max(max(one) for seen in rows.values() for one in seen)
        series = [
            {"name": name, "values": seen[step // 100], "role": role(name)}
            for name, seen in rows.items()
        ]
        return {"series": series, "y_range": (0, 1.05 * float(highest))}

    return Layers(
        frame,
        kind="line",
        controls={"measure": kinds, "step": steps},
        start={"step": steps[-1]},
        x_label="layer",
        y_label="distance, degrees or norm, as chosen",
        caption="How far each layer moves a token, by which angle, and how long its "
        "gradient is; means over held-out windows. Step 0 is before any training.",
        alt="Two lines over six layers. The shared network's falls smoothly, but not "
        "to 0; BERT's goes up and down.",
    )


def looked_up(maps_of, tokenizer, sentence):
    """A frame for `kit.view.Attention`: what every head does with a sentence.

    maps_of: ids `(1, tokens)` to maps `(layers, heads, tokens, tokens)`.
    """
    encoding = tokenizer.encode(sentence)
    notes = ["[UNK] is what the model has no pieces for"] * ("[UNK]" in encoding.tokens)
    if encoding.overflowing:
        notes.append(f"only the first {len(encoding.ids)} pieces are shown")
    maps = maps_of(torch.tensor([encoding.ids]))
    return {"tokens": encoding.tokens, "attention": maps, "note": "; ".join(notes)}


def heads(maps_of, tokenizer, sentences):
    figure = Attention(
        partial(looked_up, maps_of, tokenizer),
        controls={"sentence": sentences},
        picked=(4, 2),
        caption="All 72 heads of MiniLM: rows look, columns are looked at. Pick a "
        "head, then point at a token. Head 3 of layer 1 looks at the token before; "
        "find one that looks at the token after.",
        alt="A grid of 6 by 12 small maps of attention, and the tokens of the sentence "
        "twice with lines between them.",
    )
    return figure.widget(write={"sentence": 300})
