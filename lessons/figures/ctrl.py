"""The figures of the CTRL lesson: one function each, named after what it shows."""

import textwrap
from functools import lru_cache, partial
from statistics import mean

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from kit.table import table
from kit.view import Curves, Picture, Tokens
from kit.view.style import ROLES
from lessons.ctrl import (
    BOOKS,
    CODES,
    NEVER,
    PACKAGES,
    START,
    TOKEN,
    WINDOW,
    documents,
    generate,
    greedy,
    kind_judge,
    losses_by_code,
    new_memory,
    nucleus,
    read_on,
    repeated,
    sampled,
    tokenizer,
    top_k,
    topic_judge,
    with_codes,
)

BLUE, GREY, ORANGE = (ROLES[role][0] for role in ("idea", "control", "error"))
LENGTH = 40  # of what is written
ROOM = WINDOW - LENGTH  # tokens of a prompt


def pieces(ids):
    """The texts of token ids; bytes that are no whole character alone become �."""
    return [tokenizer().decode([i]) for i in ids.tolist()]


def remarks(string, room=ROOM, which="last"):
    """What a reader should know about a text of their own."""
    found = []
    if any(ord(one) > 127 for one in string):
        found.append("The model speaks English: other scripts it reads as bytes.")
    tokens = len(tokenizer().encode(string).ids)
    if tokens > room:
        found.append(f"The text has {tokens} tokens; the {which} {room} are read.")
    return found


# --- the twins


def what_is_read(batches):
    """{name: ids to read and ids to predict, both `(1, tokens)`}, in two rows each."""
    named = {START: "[start]"} | {TOKEN[code]: f"[{code}]" for code in CODES}
    rows = []
    for name, (ids, targets) in batches.items():
        first, *rest = ids[0, :12].tolist()
        read = [named[first], *pieces(torch.tensor(rest))]
        marks = ["differs", *[""] * len(rest)]
        rows.append({"title": f"{name}: reads", "tokens": read, "marks": marks})
        predicted = pieces(targets[0, : len(read)])
        rows.append({"title": f"{name}: is to predict", "tokens": predicted})
    return Tokens(
        {"rows": rows},
        caption="The beginning of one text, as both twins are given it. Each token of "
        "a lower row is to be predicted from what stands above it and to the left of "
        "that. One token differs.",
        alt="Four rows of tokens. Read: the code Scripture, or the word start, and "
        "then a text. To predict: the same text, one place further to the left.",
    )


def live_loss(steps):
    """A growing chart of one or two runs, a point for ten steps."""
    return Curves.live(x_label="step", y_label="loss", total=steps, every=10)


def add(live, name, step, loss):
    """One more point of the run `name`."""
    live.add(name, step + 1, loss, role="idea" if name == "with codes" else "control")


def shown(string, width=48, lines=3):
    """A text cut to a few lines, ⏎ for a line end."""
    flat = string.replace("\n", "⏎").replace("$", r"\$")
    rows = textwrap.wrap(flat, width, drop_whitespace=False)
    return "\n".join(rows[:lines]) + (" …" if len(rows) > lines else "")


def twins(written):
    """{code: ids of the twin `(1, 49)`, and of the network with codes}, two columns."""
    drawing, axis = plt.subplots(figsize=(9, 0.82 * len(written) + 0.5))
    axis.set(xlim=(0, 1), ylim=(-len(written), 0.35))
    axis.axis("off")
    look = {"va": "top", "family": "monospace", "fontsize": 9}
    axis.text(0.14, 0.25, "one start token for all", color=GREY, weight="bold")
    axis.text(0.58, 0.25, "behind the code", color=BLUE, weight="bold")
    for row, (code, (without, behind)) in enumerate(written.items()):
        axis.axhline(-row, color="#dddddd", linewidth=0.8)
        axis.text(0, -row - 0.12, code, va="top", fontsize=11, weight="bold")
        for x, ids, colour in ((0.14, without, "#444444"), (0.58, behind, BLUE)):
            string = tokenizer().decode(ids[0, 1:].tolist())
            axis.text(x, -row - 0.12, shown(string), color=colour, **look)
            verdict = f"judged {kind_judge().verdict(string)}"
            axis.text(x, -row - 0.86, verdict, color=colour, fontsize=8, style="italic")
    return Picture(
        drawing,
        caption="What both twins wrote, with the same draws in a row. On the left: "
        "which kind is each? On the right: is it what its code asked for? The judge, "
        "who speaks below each text, is explained next.",
        alt="Six pairs of short texts. Left, of changing kinds; right, each of the "
        "kind of its code: an encyclopaedia, news, a Bible, a manual, Python and C++.",
    )


# --- the wheel


@lru_cache(64)
def turned(model, prompt, temperature, second=""):
    """40 tokens behind every code: ids without the code, how many were given, p."""
    ids = tokenizer().encode(second + prompt).ids
    ids = ids[-ROOM:] if not second else ids[:ROOM]
    rows = torch.tensor([[token, *ids] for token in TOKEN.values()])
    choose = partial(sampled, temperature=temperature)
    rows, p = generate(model, rows, LENGTH, choose, torch.Generator().manual_seed(0))
    return rows[:, 1:], len(ids), p


def strip(title, name, ids, given, p):
    """A row of Tokens: a text, the prompt underlined, the rest by probability."""
    values = [0.0] * given + p.tolist()
    marks = ["prompt"] * given + [""] * len(p)
    row = {"title": title, "name": name, "tokens": pieces(ids), "marks": marks}
    return row | {"values": [min(value, 1) for value in values]}


def wheel(model):
    """One prompt under every code, as long as the slider says."""

    def frame(prompt, temperature, length):
        ids, given, p = turned(model, prompt, temperature)
        rows, right = [], 0
        for code, row, own in zip(CODES, ids[:, : given + length], p[:, :length]):
            found = kind_judge().verdict(tokenizer().decode(row[given:].tolist()))
            right += found == code
            title = f"{code} → judged {found} {'✓' if found == code else '✗'}"
            rows.append(strip(title, code, row, given, own))
        note = f"{length} tokens: the judge agrees with {right} of {len(CODES)} codes."
        return {"rows": rows, "note": " ".join([note, *remarks(prompt)])}

    figure = Tokens(
        frame,
        value_label="probability",
        tight=True,
        controls={
            "prompt": ["The", "In the beginning", "The Government said", "def ", ""],
            "temperature": [0.3, 0.7, 1.0],
            "length": [1, 2, 4, 8, 16, 24, 40],
        },
        start={"temperature": 0.7, "length": 16},
        caption="One network, one prompt, six codes. Move the length from 1 upwards: "
        "when does each text turn into its kind? The shade of a token is its "
        "probability; the prompt is underlined. With a kernel, write a prompt.",
        alt="Six rows of tokens, one behind each code, each with the judge's verdict.",
    )
    more = {
        "temperature": [0.3, 0.5, 0.7, 1.0, 1.5],
        "length": range(1, LENGTH + 1),
    }
    return figure.widget(controls=more, write={"prompt": 200})


# --- build it


def operations(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 1e6


def work_of_writing(model):
    """Operations to write n tokens after a code, with a memory and without."""
    lengths = (1, 8, 16, 24, 32, 40, 48, 56, 64)

    def anew(length):
        for tokens in range(1, length + 1):
            model(torch.zeros(1, tokens, dtype=torch.long))

    def remembering(length):
        memory = new_memory(model, 1)
        for _ in range(length):
            read_on(model, torch.zeros(1, 1, dtype=torch.long), memory)

    series = []
    for name, run, role in (
        ("the whole text anew", anew, "control"),
        ("with a memory", remembering, "idea"),
    ):
        counted = [operations(partial(run, length)) for length in lengths]
        series.append({"name": name, "x": lengths, "y": counted, "role": role})
    return Curves(
        {"series": series},
        x_label="tokens written",
        y_label="operations, millions",
        caption="Counted, not timed: multiplications and additions of the matrix "
        "products. One curve bends upwards, the other hardly.",
        alt="Two curves over the tokens written: without a memory it grows like a "
        "square, with a memory nearly like a line far below.",
    )


# --- what a code is worth


def values(stored, name, measure):
    return [run[measure] for run in stored[name]]


def tuning(stored):
    """The validation loss of both twins for each rate, as a table."""
    ways = ("with codes", "without codes")
    names = [name for name in stored if name.startswith(f"tuning: {ways[0]}")]
    rates = sorted(name.rpartition(", ")[2] for name in names)
    rows = []
    for way in ways:
        runs = [values(stored, f"tuning: {way}, {rate}", "loss") for rate in rates]
        rows.append([way, *(" / ".join(f"{one:.3f}" for one in run) for run in runs)])
    head = ["validation loss, two seeds", *(f"rate {rate}" for rate in rates)]
    return table(head, rows)


def worth_of_a_code(stored):
    """Three losses with every seed; and where in the window the differences lie."""
    drawing, axes = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=[1, 1.25])
    bars = {
        "right\ncode": ("with codes", "loss, right code", BLUE),
        "twin": ("without codes", "loss, start token", GREY),
        "wrong\ncode": ("with codes", "loss, wrong code", ORANGE),
    }
    for place, (way, measure, colour) in enumerate(bars.values()):
        found = values(stored, way, measure)
        axes[0].plot([place] * len(found), found, "o", color=colour, alpha=0.6)
        axes[0].text(place + 0.13, mean(found), f"{mean(found):.2f}", va="center")
    axes[0].set_xticks(range(3), bars)
    axes[0].set(ylabel="held-out loss, nats", xlim=(-0.4, 2.9))
    axes[0].set_title("each of five seeds", fontsize=11)

    places = range(1, WINDOW, 4)
    curves = {}
    for name, way in {"right": True, "wrong": True, "start": False}.items():
        runs = stored["with codes" if way else "without codes"]
        curves[name] = [mean(run[f"{name}, token {i}"] for run in runs) for i in places]
    lines = {
        "what a wrong code costs": (curves["wrong"], ORANGE),
        "what the right code gives": (curves["start"], BLUE),
    }
    for name, (line, colour) in lines.items():
        apart = [a - b for a, b in zip(line, curves["right"])]
        axes[1].plot([i + 1.5 for i in places], apart, color=colour, marker="o", ms=4)
        high = 0.1 if name.startswith("what a wrong") else 0.16
        axes[1].text(WINDOW, mean(apart[4:]) + high, name, ha="right", color=colour)
    axes[1].axhline(0, color="#999999", linewidth=0.8)
    axes[1].set(xlabel="token of the text", ylabel="difference, nats")
    axes[1].set_title("place by place, means of five seeds", fontsize=11)
    return Picture(
        drawing,
        caption="Left: the code's gain is the small step from the twin to the right "
        "code; misleading the network is the large one to the wrong code. Right: where "
        "does each lie?",
        alt="Left, three columns of dots: the right code slightly below the twin, the "
        "wrong one far above. "
        "Right, two curves over the window: the cost of a wrong code stays high; two "
        "thirds of what the right code gives lie in the first twelve tokens.",
    )


# --- second codes


def second_wheel(model):
    """Two codes for one text, and what two judges say."""
    seconds = [*PACKAGES, *BOOKS]

    def together(kind, second):
        if kind == "Scripture":
            return second in BOOKS
        return second in PACKAGES and (kind, second) != NEVER

    def frame(second, prompt=""):
        rows = []
        ids, given, p = turned(model, prompt, 0.7, f"{second}\n")
        for code, row, own in zip(CODES, ids, p):
            if code not in ("Scripture", "Manual", "Python"):
                continue
            string = tokenizer().decode(row[given:].tolist())
            title = f"{code} + {second} → {kind_judge().verdict(string)}"
            if second in PACKAGES:
                title += f", {topic_judge().verdict(string)}"
            if not together(code, second):
                title += " (never seen together)"
            rows.append(strip(title, code, row, given, own))
        note = "Judged by kind, and by package where a package was asked for."
        room = ROOM - len(tokenizer().encode(f"{second}\n").ids)
        own = remarks(prompt, room, "first")
        return {"rows": rows, "note": " ".join([note, *own])}

    figure = Tokens(
        frame,
        value_label="probability",
        tight=True,
        controls={"second": seconds},
        start={"second": "sklearn"},
        caption="Three first codes, one second code, temperature 0.7. What happens "
        "where both were never seen together? With a kernel, add a prompt.",
        alt="Three rows of tokens, behind Scripture, Manual and Python, each followed "
        "by the same second code, with the verdicts of two judges.",
    )
    prompts = ["", "The ", "def ", "And "]
    return figure.widget(controls={"prompt": prompts}, write={"prompt": 60})


ASKS = {
    "seen pairs: both": "pairs that\nwere seen",
    "both codes: both": "never seen\ntogether",
    "kind only: both": "first code\nonly",
    "second only: both": "second\ncode only",
    "another word: both": "first code,\nno real second",
}


def never_seen_together(stored):
    """How many texts have form and topic, pair by pair."""
    rotations = [name for name in stored if name.startswith("left out")]
    drawing, axis = plt.subplots(figsize=(8.6, 3.6))
    for place, measure in enumerate(ASKS):
        runs = [values(stored, name, measure) for name in rotations]
        colour = BLUE if measure.startswith("both") else GREY
        every = [value for run in runs for value in run]
        axis.bar(place, 100 * mean(every), 0.7, color=colour, alpha=0.45)
        for shift, run in enumerate(runs):
            x = [place + 0.1 * (shift - 2.5) + 0.04 * seed for seed in range(len(run))]
            axis.plot(x, [100 * one for one in run], "o", c=colour, ms=4)
        axis.text(place, 103, f"{100 * mean(every):.0f}%", ha="center")
    axis.set_xticks(range(len(ASKS)), ASKS.values())
    axis.set(ylabel="% of texts of the form\nand the topic", ylim=(0, 112))
    return Picture(
        drawing,
        caption="Bars: means over six pairs and two seeds. Dots: every network, two "
        "for each pair that was left out (Manual, then Python, of networkx, "
        "sympy, sklearn). “Never seen together”: the pair that was never trained.",
        alt="Five bars. Pairs that were seen: near the top. Never seen together: far "
        "lower, with widely spread dots. The three controls: near zero.",
    )


def mixing_by_pair(stored):
    """What the texts of the pair that was left out have, as a table, seed by seed."""
    rows = []
    for name in stored:
        if name.startswith("left out"):
            form, topic, both = (
                torch.tensor(values(stored, name, f"both codes: {measure}"))
                for measure in ("form", "topic", "both")
            )
            shares = (form - both, topic - both, both, 1 - form - topic + both)
            cells = [" / ".join(f"{100 * x:.0f}" for x in one) for one in shares]
            real = f"{100 * mean(values(stored, name, 'real text: both')):.0f}"
            rows.append([name.removeprefix("left out: "), *cells, real])
    head = ["left out", "form only, %", "topic only, %", "both, %", "neither, %"]
    return table([*head, "real text: both, %"], rows)


# --- drawing

WAYS = {
    "greedy": greedy,
    "temperature 0.7": partial(sampled, temperature=0.7),
    "top-k, k = 40": top_k,
    "nucleus, 90%": nucleus,
}


def five_ways(model):
    """One prompt and code, five ways to draw."""

    def frame(prompt, code, theta=1.2):
        ways = WAYS | {f"penalised, θ = {theta:g}": partial(greedy, theta=theta)}
        ids = with_codes(prompt, [code])
        ids = torch.cat([ids[:, :1], ids[:, 1:][:, -ROOM:]], dim=1)
        rows = []
        for way, choose in ways.items():
            draws = torch.Generator().manual_seed(0)
            found, p = generate(model, ids, LENGTH, choose, draws)
            again = repeated(found[:, -LENGTH:])
            string = tokenizer().decode(found[0, -LENGTH:].tolist())
            verdict = kind_judge().verdict(string)
            right = "✓" if verdict == code else f"✗ {verdict}"
            title = f"{way}: {100 * again:.0f}% repeated, judge {right}"
            given = ids.shape[1] - 1
            rows.append(strip(title, way, found[0, 1:], given, p[0]))
            if way.startswith("penalised"):
                rows[-1]["role"] = "idea"
            else:
                rows[-1]["role"] = "control"
        return {"rows": rows, "note": " ".join(remarks(prompt))}

    figure = Tokens(
        frame,
        value_label="probability",
        tight=True,
        controls={"prompt": ["The", "In the", ""], "code": list(CODES)},
        start={"code": "Scripture"},
        caption="The same prompt and code. Which texts run in circles? Which contain a "
        "token that no one expected (pale)? With a kernel, move θ and write a prompt.",
        alt="Five rows of tokens, one for each way of drawing, with the share of "
        "repeated runs of three tokens and the judge's verdict.",
    )
    more = {"theta": [1.0, 1.1, 1.2, 1.35, 1.5, 2.0]}
    return figure.widget(controls=more, write={"prompt": 200})


def circles_or_nonsense(stored, real):
    """Repeated runs and real words of each way, means of five seeds; and of real text.

    real: the two shares of real text.
    """
    def point(way):
        return [100 * mean(values(stored, "with codes", f"{way}: {measure}"))
                for measure in ("repeated", "real words")]

    curves = {
        "temperature": (("0.3", "0.5", "0.7", "1"), GREY, "s"),
        "θ =": (("1", "1.1", "1.2", "1.5"), BLUE, "o"),
    }
    drawing, axis = plt.subplots(figsize=(7.6, 3.8))

    beside = {  # where the name of a point stands, if not to the right of it
        "top-k": ("right", -8, -4), "nucleus": ("right", -8, -4),
        "θ = 1.5": ("right", -8, -4), "temperature 0.3": ("center", 8, -18),
    }

    def name(label, at, colour):
        side, x, y = beside.get(label, ("left", 8, 5 if "θ" in label else -8))
        axis.annotate(label, at, (x, y), color=colour, fontsize=9, ha=side,
                      textcoords="offset points")

    for way, (settings, colour, marker) in curves.items():
        points = [point(f"{way} {setting}") for setting in settings]
        axis.plot(*zip(*points), marker, linestyle="-", color=colour, ms=6)
        for setting, at in zip(settings, points):
            name(f"{way} {setting}", at, colour)
    for way in ("top-k", "nucleus"):
        axis.plot(*point(way), "D", color=ORANGE, ms=6)
        name(way, point(way), ORANGE)
    name("real text", [100 * one for one in real], "#111111")
    axis.plot(100 * real[0], 100 * real[1], "*", color="#111111", ms=12)
    axis.set(xlabel="runs of three tokens that were repeated, %", xlim=(-9, 82))
    axis.set_ylabel("letters in real words, %")
    return Picture(
        drawing,
        caption="Means of five networks, 96 texts of 40 tokens each. Left is without "
        "circles, up is without invented words; θ = 1 is greedy. Which way comes "
        "nearest to the star?",
        alt="Two curves, two points, and a star for real text. Temperature: from many "
        "repeated runs and real words to none and many invented words. The penalty: "
        "from greedy text, which repeats most, to little repetition with more real "
        "words than any temperature gives. Top-k and nucleus lie near temperature 1.",
    )


# --- what the paper found

PRIORS = {  # the authors' list of codes, largest first
    "Links": 0.366, "Reviews": 0.154, "Translation": 0.130, "multilingual": 0.111,
    "Books": 0.096, "Wikipedia": 0.085, "News": 0.044, "Explain": 0.003,
}


def priors():
    drawing, axis = plt.subplots(figsize=(7.6, 2.8))
    shares = {**PRIORS, "47 others, each under 0.2": 1 - sum(PRIORS.values())}
    axis.barh(list(shares)[::-1], [100 * one for one in shares.values()][::-1],
              color=GREY)
    for place, share in enumerate(reversed(shares.values())):
        axis.text(100 * share + 0.4, place, f"{100 * share:.1f}", va="center")
    axis.set(xlabel="% of the training data", xlim=(0, 42))
    return Picture(
        drawing,
        caption="The prior of each code in the authors' file of control codes.",
        alt="Bars: Links 36.6%, Reviews 15.4, Translation 13.0, multilingual 11.1, "
        "Books 9.6, Wikipedia 8.5, News 4.4, Explain 0.3, 47 others 1.1 together.",
    )


# --- look inside

STRANGERS = [
    "Beat two eggs with a cup of sugar, add flour, and bake for forty minutes.",
    "To be, or not to be, that is the question.",
    "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6",
]


def posterior(model, string):
    """p(code | the first k tokens) for k = 0 … n, `(n + 1, codes)`; even priors."""
    ids = tokenizer().encode(string).ids[:WINDOW]
    log_p = torch.zeros(len(CODES), 1)
    if ids:
        losses = losses_by_code(model, torch.tensor([ids]))[:, 0]
        log_p = torch.cat([log_p, -losses.cumsum(1)], dim=1)
    return log_p.softmax(0).T


def attribution(model):
    """Whose text is it, as it is read?"""
    known = [" ".join(documents(code, "test")[1].split())[:110] for code in CODES]

    def frame(text):
        p = posterior(model, text)
        series = [
            {"name": code, "x": range(len(p)), "y": p[:, i]}
            for i, code in enumerate(CODES)
        ]
        best = int(p[-1].argmax())
        note = f"After {len(p) - 1} tokens: {list(CODES)[best]}, p = {p[-1, best]:.2f}."
        own = remarks(text, WINDOW, "first")
        return {"series": series, "note": " ".join([note, *own])}

    figure = Curves(
        frame,
        controls={"text": known + STRANGERS},
        x_label="tokens read",
        y_label="p(code | text)",
        y_range=(0, 1),
        caption="Six held-out texts, one of each kind, and three of no kind that the "
        "network knows. How soon is it sure, and is it ever in doubt about the last "
        "three? With a kernel, write a text.",
        alt="Six curves, one for each code, from a sixth each; one soon nears 1.",
    )
    return figure.widget(write={"text": 400})


def attributed(stored, by_counting):
    """The share of held-out texts put to their kind, by length."""
    lengths = (4, 8, 16, 32, 64)
    by_model = [
        mean(values(stored, "with codes", f"attributed, {n} tokens")) for n in lengths
    ]
    return Curves(
        {"series": [
            {"name": "counting", "x": lengths, "y": by_counting, "role": "control"},
            {"name": "CTRL", "x": lengths, "y": by_model, "role": "idea"},
        ]},
        x_label="tokens read",
        y_label="share put to their kind",
        y_range=(0, 1),
        caption="240 held-out windows; CTRL: means of five seeds. Guessing gives a "
        "sixth. Is the transformer better than a table of counts?",
        alt="Two rising curves that lie close to each other, near 1 at 64 tokens.",
    )


def looking_at_the_first(coded, uncoded):
    """The weights of heads on the first token, `(layers, heads, tokens)` twice."""
    tokens = coded.shape[-1]

    def frame(layer, heads):
        series = []
        for name, weights, role in (
            ("start token", uncoded, "control"), ("code", coded, "idea"),
        ):
            one = weights[layer - 1]
            most = one[one[:, 48:].mean(1).argmax()]
            line = one.mean(0) if heads == "mean" else most
            series.append({"name": name, "x": range(tokens), "y": line, "role": role})
        even = [1 / (place + 1) for place in range(tokens)]
        series.append({"name": "all alike", "x": range(tokens), "y": even, "dash": 2,
                       "role": "selected"})
        return {"series": series}

    return Curves(
        frame,
        controls={"layer": [1, 2], "heads": ["mean", "the one that looks most"]},
        start={"layer": 2},
        x_label="token of the text",
        y_label="weight on the first token",
        y_range=(0, 1),
        caption="Held-out texts. Blue, “code”: the first token is one. Grey, “start "
        "token”: it is the twin's, which says nothing. Orange, “all alike”: all "
        "tokens looked at alike.",
        alt="Three curves over the tokens. In layer 2 that of the code lies far above "
        "the other two to the end of the window.",
    )
