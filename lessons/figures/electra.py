"""The figures of the ELECTRA lesson: one function each, named after what it shows."""

import math
from statistics import mean, stdev

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from kit import text
from kit.programs import (
    ERRORS,
    LENGTH,
    ROLES,
    VOCABULARY,
    passages,
    read,
    role_windows,
    spoil,
    windows,
)
from kit.table import table
from kit.view import Curves, Heatmap, Picture, Spot, Tokens
from kit.view.style import ROLES as COLOURS
from lessons.electra import choose

BLUE, GREY, ORANGE = (COLOURS[role][0] for role in ("idea", "control", "error"))
LAYOUT = {"NEWLINE": "⏎", "INDENT": "→", "DEDENT": "←"}


def names(ids):
    """The tokens of `ids` `(n)`, with signs for line ends and indentation."""
    vocabulary, _ = text.python_tokens(VOCABULARY)
    return [LAYOUT.get(vocabulary[i], vocabulary[i]) for i in ids]


def example():
    """Ids `(1, n)` of some whole lines of a program."""
    return torch.tensor([max(passages(), key=lambda ids: len(set(ids)))])


# --- the problem and the idea


def where_the_loss_teaches(masked, at_output, at_input):
    """The gradient of an MLM's loss at each token `(1, n, hidden)`, twice."""
    rows = []
    for title, gradient in (
        ("gradient at the output of the last layer", at_output),
        ("gradient at the input of the first layer", at_input),
    ):
        norms = gradient[0].norm(dim=-1)
        row = {"title": title, "tokens": names(masked[0]), "role": "control"}
        # The root, so that the weakest do not look like none at all.
        rows.append(row | {"values": (norms / norms.max()).sqrt()})
    return Tokens(
        {"rows": rows},
        value_label="root of the gradient's norm, as a share of the row's largest",
        caption="Above: only the hidden tokens are asked for, so only their outputs "
        "are taught. Below: all are read, so attention carries some of it everywhere.",
        alt="The tokens of a program twice. Above, only the masked ones are shaded; "
        "below, all are.",
    )


def box(axis, x, y, wide, high, label, colour):
    style = "round,pad=0.02,rounding_size=0.12"
    patch = FancyBboxPatch(
        (x - wide / 2, y - high / 2), wide, high, boxstyle=style, fc="white",
        ec=colour, lw=2.2,
    )
    axis.add_patch(patch)
    axis.text(x, y, label, ha="center", va="center", color=colour, fontsize=11.5)


def arrow(axis, start, end, colour="#333333", **look):
    style = {"arrowstyle": "-|>", "mutation_scale": 14, "lw": 1.6} | look
    axis.add_patch(FancyArrowPatch(start, end, color=colour, **style))


def two_networks():
    """Text, mask, generator, draw, discriminator, a mark for each token (Figure 2)."""
    columns = {
        0.6: ("the text", ["the", "chef", "cooked", "the", "meal"]),
        2.2: ("some hidden", ["[MASK]", "chef", "[MASK]", "the", "meal"]),
        5.6: ("drawn", ["the", "chef", "ate", "the", "meal"]),
        9.0: ("replaced?", ["no", "no", "yes", "no", "no"]),
    }
    drawing, axis = plt.subplots(figsize=(8.6, 4))
    axis.set(xlim=(0, 9.6), ylim=(-2.2, 5.9))
    axis.axis("off")
    for x, (title, words) in columns.items():
        axis.text(x, 5.3, title, ha="center", fontsize=11, style="italic")
        for row, word in enumerate(words):
            loud = word in ("[MASK]", "ate", "yes")
            drawn = title == "drawn" and row == 0
            axis.text(
                x, 4.4 - row, word, ha="center", va="center", fontsize=12,
                color=ORANGE if loud else "#111111",
                weight="bold" if loud or drawn else "normal",
            )
    box(axis, 3.9, 2, 1.35, 5.4, "generator\n(small MLM)", GREY)
    box(axis, 7.3, 2, 1.5, 5.4, "discriminator", BLUE)
    for start, end in ((1.1, 1.6), (2.8, 3.15), (4.65, 5.1), (6.1, 6.5), (8.1, 8.6)):
        arrow(axis, (start, 2.4), (end, 2.4))
    box(axis, 5.6, -1.7, 4.9, 0.75, "shared: tables of words and positions", "#333333")
    for x in (3.9, 7.3):
        arrow(axis, (x, -1.3), (x, -0.75))
    arrow(axis, (6.52, -0.35), (4.62, -0.35), ORANGE, linestyle="--")
    axis.text(5.57, -0.35, "✕", color=ORANGE, fontsize=17, ha="center", va="center")
    axis.text(5.57, -0.98, "no gradient", color=ORANGE, fontsize=10, ha="center")
    return Picture(
        drawing,
        caption="ELECTRA on the sentence of the paper's Figure 2. The generator drew "
        "“the” and “ate”; only one of them is a fake. The discriminator answers for "
        "all five tokens. Its loss cannot pass the draw; it reaches the generator "
        "through the shared tables only.",
        alt="From left to right: the chef cooked the meal; two words masked; the "
        "generator; the chef ate the meal; the discriminator; no, no, yes, no, no. "
        "Below both networks their shared tables. The arrow back from discriminator "
        "to generator is crossed out.",
    )


# --- training


def live_loss(way, steps):
    """A growing chart of one run, a point for ten steps."""
    label = "loss, λ included" if way == "ELECTRA" else "loss"
    return Curves.live(x_label="step", y_label=label, total=steps, every=10)


def detective_at_work(losses):
    """losses: {step: (the discriminator's loss, that of knowing the share only)}."""
    steps = list(losses)
    lines = zip(("discriminator", "knows the share only"), ("idea", "control"))
    series = [
        {"name": name, "x": steps, "y": [losses[step][i] for step in steps],
         "role": role}
        for i, (name, role) in enumerate(lines)
    ]
    return Curves(
        {"series": series},
        x_label="step",
        y_label="loss per token",
        y_range=(0, 0.8),
        caption="The discriminator on new programs. “Knows the share only” falls as "
        "the generator gets better and fewer of its words are fakes. The discriminator "
        "starts above it and ends below: then it knows more than their number.",
        alt="Two falling curves; the discriminator's ends well below the other.",
    )


def quiz(model):
    """Find the fakes of a trained Electra in whole lines of programs."""
    programs = [ids for ids in passages() if len(set(ids)) > 15]

    @torch.no_grad()
    def frame(program):
        ids = torch.tensor([programs[program - 1]])
        with torch.random.fork_rng():
            torch.manual_seed(program)
            chosen = choose(ids)
            corrupted, _ = model.corrupt(ids, chosen)
        suspicion = model.discriminator(corrupted)[0].sigmoid()
        fakes = (corrupted != ids).sum().item()
        return {
            "tokens": in_lines(corrupted[0]),
            "originals": in_lines(ids[0]),
            "values": suspicion,
            "note": f"{chosen.sum()} of {ids.shape[1]} tokens were drawn anew, "
            f"and {fakes} became another",
        }

    figure = Spot(
        frame,
        judge="the discriminator",
        controls={"program": range(1, 9)},
        caption="Which tokens were replaced? Click, commit, compare. The discriminator "
        "picks as many tokens as you do, its most suspected. It misses some: try "
        "several programs.",
        alt="A few lines of a program; some tokens were replaced.",
    )
    return figure.widget(controls={"program": range(1, len(programs) + 1)})


def in_lines(ids):
    """`names`, with line ends that a Spot breaks its lines at."""
    return ["\n" if name == "⏎" else name for name in names(ids)]


# --- the two tasks


def errors():
    """One window as written, and with each kind of error."""
    window = next(
        one for one in windows().test if 1 not in one and len(one.unique()) > 20
    )

    def frame(error):
        spoiled = spoil(window, error, torch.Generator().manual_seed(0))
        shown = {"title": error, "tokens": names(spoiled), "role": "idea"}
        if error in ERRORS[:2]:  # by the others, all that follows has moved
            marks = ["changed" if a != b else "" for a, b in zip(window, spoiled)]
            shown["marks"] = marks
        return {"rows": [{"title": "as written", "tokens": names(window[:31])}, shown]}

    return Tokens(
        frame,
        controls={"error": list(ERRORS)},
        caption="31 tokens of a program, and the same with an error. Could you tell?",
        alt="Two strips of tokens; in the second, some are not where they were.",
    )


def roles_of_names():
    """A window with many roles."""
    labels = role_windows().test
    known = windows().test != 1
    variety = [len(set(row[here].tolist())) for row, here in zip(labels, known)]
    best = max(range(len(labels)), key=lambda i: variety[i] + known[i].sum() / LENGTH)
    notes = ["" if i < 0 else ROLES[i] for i in labels[best]]
    row = {"title": "32 tokens", "tokens": names(windows().test[best]), "notes": notes}
    return Tokens(
        {"rows": [row | {"values": (labels[best] >= 0).float()}]},
        value_label="is a name",
        caption=f"Every shaded token has one of {len(ROLES)} roles, which Python's own "
        "parser tells; point at it. A rare name is [UNK]: its role must come from "
        "around it.",
        alt="A window of 32 tokens of Python with the names shaded.",
    )


TITLES = {
    "judging": "is it as written?",
    "roles": "roles of names",
}


def two_tasks(judging, roles):
    """{encoder: percent right} of the two tasks, for one seed."""
    drawing, axes = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
    for axis, title, scores in zip(axes, TITLES.values(), (judging, roles)):
        bars = {way: scores[way] for way in ("MLM", "ELECTRA")}
        axis.bar(bars.keys(), bars.values(), color=[GREY, BLUE], width=0.6)
        for place, score in enumerate(bars.values()):
            axis.text(place, score + 1, f"{score:.0f}", ha="center", fontsize=11)
        untrained_line(axis.axhline, scores["untrained"])
        axis.set_title(title, fontsize=11)
        axis.set_xlim(-0.6, 2.2)
        axis.text(1.45, scores["untrained"] + 1, "untrained", fontsize=10)
    axes[0].set(ylabel="% right", ylim=(0, 100))
    return Picture(
        drawing,
        caption="One seed. Pre-trained at equal work, then fine-tuned. Which one is "
        "ahead? Dashed: the same encoder without pre-training.",
        alt="Two bar charts with two bars each. Judging: ELECTRA far above MLM, which "
        "is above untrained. Roles: both far above untrained.",
    )


def untrained_line(draw, value):
    draw(value, color="#111111", linestyle="--", linewidth=1.4)


# --- the study

WAYS = (
    "MLM",
    "Replace MLM",
    "All-Tokens MLM",
    "ELECTRA 15%",
    "ELECTRA random 15%",
    "unigram generator",
    "ELECTRA",
)
EVERYWHERE = ("All-Tokens MLM", "unigram generator", "ELECTRA")
TABLE_5 = {
    "MLM": 82.2,
    "Replace MLM": 82.4,
    "All-Tokens MLM": 84.3,
    "ELECTRA 15%": 82.4,
    "ELECTRA": 85.0,
}


def scores(stored, name, measure="judging"):
    return [run[measure] for run in stored[name]]


def all_ways(stored):
    """Table 5 of the paper, and the study's two tasks."""
    drawing, axes = plt.subplots(1, 3, figsize=(9, 3.7), sharey=True)
    places = {way: len(WAYS) - 1 - i for i, way in enumerate(WAYS)}
    for way, score in TABLE_5.items():
        colour = BLUE if way == "ELECTRA" else GREY
        axes[0].barh(places[way], score, color=colour, height=0.6)
        axes[0].text(score + 0.1, places[way], f"{score}", va="center", fontsize=10)
    for way in set(WAYS) - set(TABLE_5):
        axes[0].text(80.1, places[way], "not in Table 5", va="center", fontsize=9)
    for axis, task in zip(axes[1:], TITLES):
        for way, place in places.items():
            found = scores(stored, way, task)
            colour = BLUE if way == "ELECTRA" else GREY
            axis.barh(place, mean(found), color=colour, height=0.6, alpha=0.75)
            axis.plot(found, [place] * len(found), "o", c="#111111", ms=3)
            look = {"ha": "right", "va": "center", "fontsize": 10}
            axis.text(100, place, f"{mean(found):.1f}", **look)
        untrained_line(axis.axvline, mean(scores(stored, "untrained", task)))
    axes[0].set(yticks=list(places.values()), yticklabels=list(places))
    axes[0].set_xlim(80, 86)
    axes[1].set_xlim(40, 100)
    axes[2].set_xlim(40, 100)
    titles = ("the paper: GLUE (Table 5)", *TITLES.values())
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("average score" if axis is axes[0] else "% right")
    return Picture(
        drawing,
        caption="Equal work. Ours: means and each of five "
        "seeds on test windows; dashed: no pre-training. The axes do not begin at 0.",
        alt="Three bar charts of seven ways to pre-train. In the paper ELECTRA is "
        "first; at judging the unigram generator and ELECTRA lead; at the roles of "
        "names MLM is first.",
    )


def tuned_rates(stored):
    """The rates of pre-training in the grid, as they are written."""
    return [name.split(", ")[1] for name in stored if "tuning: ELECTRA," in name]


def tuning(stored):
    """Judging on validation windows for each rate of pre-training, as a table."""
    rates = tuned_rates(stored)
    rows = []
    for way in WAYS:
        cells = []
        for rate in rates:
            (run,) = stored[f"tuning: {way}, {rate}"]
            best = max(value for key, value in run.items() if "judging" in key)
            cells.append(f"{best:.1f}")
        first = stored[way][0]
        used = first["judging: rate"], first["judging: rate of fine-tuning"]
        rows.append([way, *cells, " / ".join(f"{rate:g}" for rate in used)])
    return table(["judging, validation, %", *rates, "used"], rows)


def number_of_answers(stored):
    """Judging by the answers of a step and of all steps, as a table."""
    usual = stored["ELECTRA"][0]
    steps, rate = round(usual["steps"]), usual["judging: rate"]
    lowest, longer = tuned_rates(stored)[0], round(steps * 16 / 3)
    of_3, at_random = "ELECTRA, batches of 3", "ELECTRA random 15%"
    rows = [
        ["all", 16, steps, rate, "ELECTRA"],
        ["all", 3, steps, rate, of_3],
        ["all", 3, longer, rate, f"{of_3}, as many texts"],
        ["all", 3, longer, lowest, f"{of_3}, as many texts, lowest rate"],
        ["a random 15%", 16, steps, rate, f"{at_random}, rates of ELECTRA"],
        ["a random 15%", 107, steps, rate, f"{at_random}, batches of 107"],
    ]
    cells = []
    for asked, batch, steps, rate, name in rows:
        answers = batch * (LENGTH if asked == "all" else math.ceil(0.15 * LENGTH))
        total = f"{steps * answers:,}"
        before = [asked, str(batch), f"{steps:,}", str(rate), str(answers), total]
        cells.append([*before, summary(stored, name)])
    head = ["asked about", "windows", "steps", "rate", "answers a step", "in all"]
    return table([*head, "judging, %"], cells)


def summary(stored, name):
    found = scores(stored, name)
    return f"{mean(found):.1f} ± {stdev(found):.1f}"


def ten_seeds(of_mlm, of_electra):
    """Judging, a pair of dots for each seed."""
    drawing, axis = plt.subplots(figsize=(7.6, 3))
    seeds = range(len(of_mlm))
    axis.vlines(seeds, of_mlm, of_electra, "#999999", lw=1.4, zorder=1)
    for way, found, colour, mark in (("MLM", of_mlm, GREY, "s"),
                                     ("ELECTRA", of_electra, BLUE, "o")):
        axis.plot(seeds, found, mark, color=colour, label=way, ms=7)
    axis.set(xticks=seeds, xlabel="seed", ylabel="judged rightly, %")
    axis.legend(ncols=2, loc="lower left", fontsize=10)
    lead = of_electra - of_mlm
    return Picture(
        drawing,
        caption="Judging with ten seeds: the five above and five more. On average "
        f"ELECTRA leads by {lead.mean():.0f} points. The axis does not begin at 0.",
        alt="A pair of marks for each of ten seeds. ELECTRA is ahead with "
        f"{int((lead > 0).sum())} of them.",
    )


def judging_by_labels(stored):
    """Does the lead hold with other numbers of labels?"""
    labels, series = {300: ", 300 labels", 1000: "", 4000: ", 4000 labels"}, []
    for way, role in (("MLM", "control"), ("ELECTRA", "idea")):
        runs = [scores(stored, way + more) for more in labels.values()]
        for name, value in (("lowest", min), ("mean", mean), ("highest", max)):
            dash = 0 if name == "mean" else 2
            line = {"x": list(labels), "y": [value(run) for run in runs], "dash": dash}
            series.append(line | {"name": f"{way}, {name}", "role": role})
    return Curves(
        {"series": series},
        x_label="labelled windows",
        y_label="judged rightly, %",
        y_range=(45, 95),
        caption="Judging after learning from more or fewer labelled windows: 200 steps "
        "for 300 and 1,000 of them, 400 for 4,000. Dotted: the lowest and the highest "
        "of five seeds.",
        alt="ELECTRA's line lies above MLM's; they come close at 4,000 labels.",
    )


def judging_by_error(stored):
    """What is found, by kind of window."""
    kinds = ("as written", *ERRORS)
    drawing, axis = plt.subplots(figsize=(7.6, 3))
    for offset, (way, colour) in enumerate({"MLM": GREY, "ELECTRA": BLUE}.items()):
        found = [mean(scores(stored, way, kind)) for kind in kinds]
        places = [i + 0.38 * (offset - 0.5) for i in range(len(kinds))]
        look = {"color": colour, "label": way, "edgecolor": "white", "linewidth": 0}
        axis.bar(places, found, 0.36, hatch="///" * offset, **look)
    for place, kind in enumerate(kinds):
        value = mean(scores(stored, "untrained", kind))
        axis.hlines(value, place - 0.4, place + 0.4, "#111111", "--", lw=1.4)
    axis.set_xticks(range(len(kinds)), [kind.replace(" ", "\n", 1) for kind in kinds])
    axis.set(ylim=(0, 110), ylabel="judged rightly, %")
    axis.legend(ncols=2, loc="upper right", fontsize=10)
    return Picture(
        drawing,
        caption="By kind of window, with 1,000 labels; means of five seeds. Dashed: no "
        "pre-training.",
        alt="ELECTRA's bars are higher for windows as written and for each kind of "
        "error; swapped neighbours are found best, exchanged halves hardly.",
    )


def other_settings(stored):
    """Judging with one thing changed, as a table of means and standard deviations."""
    settings = {
        "as above": ("MLM", "ELECTRA"),
        "fine-tuned for 400 steps, not 200": ("MLM, 400 steps", "ELECTRA, 400 steps"),
        "the head sees the mean of the states only": ("MLM, mean", "ELECTRA, mean"),
        "40% hidden instead of 15%": ("MLM, 40% hidden", None),
        "no number for each distance": (None, "ELECTRA, no distances"),
    }
    rows = []
    for what, names_of in settings.items():
        cells = [summary(stored, name) if name else "–" for name in names_of]
        rows.append([what, *cells])
    return table(["judging, %", "MLM", "ELECTRA"], rows)


# --- what the paper found

GLUE = {  # training FLOPs, average on the GLUE development sets: Tables 1 and 2
    "ELECTRA": {
        "Small": [(1.4e18 * share, score) for share, score in (
            (0.0625, 74.1), (0.125, 76.0), (0.25, 77.7), (0.5, 79.0), (1, 79.9))],
        "Base": [(6.4e19, 85.1)],
        "Large": [(7.1e20, 89.0), (3.1e21, 89.5)],
    },
    "others": {
        "BERT-Small": [(1.4e18, 75.1)],
        "GPT": [(4.0e19, 78.8)],
        "BERT-Base": [(6.4e19, 82.2)],
        "BERT-Large": [(1.9e20, 84.0)],
        "RoBERTa": [(6.4e20, 87.9), (3.2e21, 88.9)],
        "XLNet": [(3.9e21, 89.1)],
    },
}


def glue_against_work():
    """Tables 1 and 2 in one picture, as in the paper's Figure 1."""
    drawing, axis = plt.subplots(figsize=(8, 4))
    # All else of the others stands below right.
    places = {"XLNet": ("left", (8, -2)), "RoBERTa": ("right", (0, -22))}
    for colour, (family, models) in zip((BLUE, GREY), GLUE.items()):
        for name, points in models.items():
            work, found = zip(*points)
            marker = "o" if family == "ELECTRA" else "s"
            axis.plot(work, found, color=colour, marker=marker, linewidth=1.6)
            label = f"ELECTRA-{name}" if family == "ELECTRA" else name
            above, below = ("right", (-6, 8)), ("left", (6, -14))
            usual = above if family == "ELECTRA" else below
            side, shift = places.get(name, usual)
            axis.annotate(
                label, points[-1], shift, textcoords="offset points", ha=side,
                color=colour, fontsize=10,
            )
    axis.set(
        xscale="log", xlabel="operations of the whole pre-training",
        ylabel="average on GLUE", ylim=(72, 92), xlim=(6e16, 2.5e22),
    )
    return Picture(
        drawing,
        caption="Tables 1 and 2: development sets of GLUE. The five points of "
        "ELECTRA-Small are 1/16, 1/8, 1/4, 1/2 and all of its training.",
        alt="Score against work. At each amount of work the blue points of ELECTRA lie "
        "above the grey points of BERT, GPT, RoBERTa and XLNet.",
    )


# --- look inside

OWN = [
    "def area(self): return self.width * self.height",
    "for key, value in sorted(items): print(key)",
    "if not isinstance(name, str): raise TypeError(name)",
]


def suspicion(snapshots):
    """What the discriminator suspects in a program, as training goes on.

    snapshots: {step: Electra}. The generator is the last one's.
    """
    last = snapshots[max(snapshots)]

    @torch.no_grad()
    def frame(step, program, hidden=0.15):
        tokens, ids = read(program)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            chosen = choose(ids, hidden)
            corrupted, _ = last.corrupt(ids, chosen)
        masked, drawn, marks = [], [], []
        for i, (token, new) in enumerate(zip(tokens, names(corrupted[0]))):
            shown, here = LAYOUT.get(token, token), chosen[0, i]
            masked.append("[MASK]" if here else shown)
            drawn.append(new if here else shown)
            same = "drawn, and right" if here else ""
            marks.append("replaced" if corrupted[0, i] != ids[0, i] else same)
        values = snapshots[step].discriminator(corrupted)[0].sigmoid()
        note = f"the darkest: probability {values.max():.2f}"
        return {"note": note, "rows": [
            {"title": "the generator reads", "tokens": masked, "role": "control"},
            {"title": f"the discriminator after {step} steps", "tokens": drawn,
             "marks": marks, "values": values / values.max(), "role": "idea",
             "notes": ["read as [UNK], never drawn" if i == 1 else "" for i in ids[0]]},
        ]}

    figure = Tokens(
        frame,
        controls={"step": list(snapshots), "program": OWN},
        start={"step": max(snapshots), "program": OWN[0]},
        value_label="probability of “replaced”, as a share of the largest here",
        caption="Move the step from 0 to the end, and compare the programs: sometimes "
        "a fake stands out, sometimes it is missed and an original is suspected. With "
        "a kernel, write a line of Python yourself, and hide more of it.",
        alt="Two rows of tokens: a program with some masked, and the same filled by "
        "the generator, shaded by suspicion.",
    )
    more = {"hidden": [0.05, 0.15, 0.3, 0.5]}
    return figure.widget(controls=more, write={"program": 300})


def distances(encoder, reach=8):
    """The learned numbers of each head for distances up to `reach`."""
    rows, values = [], []
    for number, layer in enumerate(encoder.layers, 1):
        learned = 100 * layer.attention.distance.detach()
        middle = learned.shape[1] // 2
        near = learned[:, middle - reach : middle + reach + 1]
        values.append(near - near.mean(1, keepdim=True))
        rows += [f"{number}.{head + 1}" for head in range(len(near))]
    columns = [f"{place:+d}" if place else "0" for place in range(-reach, reach + 1)]
    return Heatmap(
        {"panels": [{"title": "discriminator", "values": torch.cat(values)}],
         "rows": rows, "columns": columns},
        x_label="where the token looked at stands",
        y_label="layer.head",
        value_label="added to the score",
        caption="What was learned for each distance (less the mean of the row); all "
        "were 0 at first. −1 is the token before. Most heads prefer a token near by; "
        "which one differs from head to head.",
        alt="A matrix of heads by distances, with a few bright cells near the middle.",
    )
