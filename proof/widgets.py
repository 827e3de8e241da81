"""How fast the figures answer: ``python -m proof.widgets``.

Two measurements, stored in ``notebooks/proof/widgets.md``. In Chromium, on the pages of
the built book: the pointer visits every figure, and keys move every control. In Python:
each live figure is asked for the dearest setting that its controls offer.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from functools import partial
from pathlib import Path

import jupytext
import torch
from tqdm import tqdm

from kit import files
from kit.commands import in_one_line
from kit.notebooks import ROOT, lessons
from proof.machine import made_with

PAGE = ROOT / "notebooks" / "proof" / "widgets.md"
POINTER, CONTROL, KERNEL = 16, 150, 600  # the limits, in milliseconds
BEGINNING = 64  # characters of a caption that name a figure in the table

# ---- in the browser

DRAWN = """[...document.querySelectorAll('.pcc-live')].every(
    live => live.childElementCount)"""
# Resolves once the frame that the last event led to is painted.
PAINTED = """() => new Promise(done => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done();
    port2.postMessage(0);
}))"""
# From here on `happened` tells whether anything in a figure changed.
WATCH = """figure => {
    const note = () => { window.happened = true; };
    const what = { subtree: true, childList: true, attributes: true };
    new MutationObserver(note).observe(figure, { ...what, characterData: true });
    for (const name of ["input", "change"]) figure.addEventListener(name, note);
}"""
HAPPENED = "() => { const was = window.happened; window.happened = false; return was; }"
# Places to point at: six rows of six all over the picture, and the middle of up to
# twenty tokens or feature maps; without those that are out of the window.
PLACES = """figure => {
    const stage = figure.querySelector(".pcc-stage"), places = [];
    stage.scrollIntoView({ block: "center" });
    const add = (box, x, y) => {
        const place = [box.left + box.width * x, box.top + box.height * y];
        if (stage.contains(document.elementFromPoint(...place))) places.push(place);
    };
    for (let row = 0; row < 6; row++) for (let column = 0; column < 6; column++)
        add(stage.getBoundingClientRect(), (column + 0.5) / 6, (row + 0.5) / 6);
    const marks = [...stage.querySelectorAll(".pcc-token, .pcc-board > canvas")];
    for (let i = 0; i < marks.length; i += Math.ceil(marks.length / 20))
        add(marks[i].getBoundingClientRect(), 0.5, 0.5);
    return places;
}"""
CONTROLS = """.pcc-controls :is(input[type=range], select), .pcc-live fieldset,
    .pcc-stage [role=radio][tabindex='0']"""


class Watch:
    """A page whose main thread's processor time is read: script, style, layout, paint.

    Waiting for the screen's next frame takes none of it.
    """

    def __init__(self, page):
        self.page, self.events = page, 0
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent(self):
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    def answer(self, act):
        """Milliseconds from an event to its painted frame; None if nothing changed."""
        self.page.evaluate(HAPPENED)
        before = self.spent()
        act()
        self.page.evaluate(PAINTED)
        spent, self.events = 1000 * (self.spent() - before), self.events + 1
        return spent if self.page.evaluate(HAPPENED) else None


def pointer(watch, figure):
    """What pointing costs, at each place of a figure that shows something.

    Every place is visited three times; the middle counts, since now and then the
    browser collects its garbage.
    """
    places = figure.evaluate(PLACES)
    move = watch.page.mouse.move
    rounds = [[watch.answer(partial(move, *one)) for one in places] for _ in range(3)]
    return [statistics.median(one) for one in zip(*rounds) if None not in one]


def keys_for(control):
    """The element of a control that has the keys, and keys that move it."""
    if control.locator("input[type=checkbox]").count():
        return control.locator("input").first, ["Space"] * 12
    if control.locator("input").count():
        chosen = control.locator("input:checked")
        first = control.locator("input").first
        return chosen if chosen.count() else first, ["ArrowRight"] * 12
    stops = control.evaluate("c => c.type === 'range' ? +c.max + 1 : c.length ?? 7")
    way = min(stops - 1, 6)
    there_and_back = ["ArrowLeft"] * way + ["ArrowRight"] * way
    return control, there_and_back * max(2, 6 // max(1, way))


def controls(watch, figure):
    """What keys on the controls cost, when all sliders have been moved to their end."""
    found, every = [], figure.locator(CONTROLS).all()
    for control in every:
        if control.get_attribute("type") == "range":
            control.press("End")
    for control in every:
        target, keys = keys_for(control)
        target.focus()
        for key in keys:
            found.append(watch.answer(partial(watch.page.keyboard.press, key)))
    commit = figure.get_by_role("button", name="Commit", disabled=False)
    if commit.count():  # a quiz has something to point at once it is answered
        found.append(watch.answer(partial(commit.press, "Enter")))
    return [one for one in found if one is not None]


def in_page(watch, name):
    """[(caption, milliseconds of pointing, milliseconds of controls)] of a page."""
    watch.page.wait_for_function(DRAWN)
    watch.page.wait_for_timeout(500)
    found = []
    for figure in tqdm(watch.page.locator("main figure").all(), desc=name):
        caption, moved, pointed = figure.locator("figcaption").text_content(), [], []
        if figure.locator(".pcc-live").count():  # else it is a still picture
            figure.evaluate(WATCH)
            moved = controls(watch, figure)
            pointed = pointer(watch, figure)
        found.append((caption, pointed, moved))
    return found


def processors(browser):
    """Seconds of the processor that all processes of a browser have had."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(one["cpuTime"] for one in found)


def in_browser(folder, names):
    """({lesson: its rows}, the browser, milliseconds of all its processes an event)."""
    from playwright.sync_api import sync_playwright  # only tests need it otherwise

    known = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path = next((place for place in known if place), None)
    found, spent = {}, 0
    with sync_playwright() as playwright:
        options = {"executable_path": path, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.context.set_offline(True)
        watch = Watch(page)
        for name in names:
            page.goto((Path(folder) / f"{name}.html").as_uri())
            before = processors(browser)
            found[name] = in_page(watch, name)
            spent += processors(browser) - before
        version = f"Chromium {browser.version}"
        browser.close()
    return found, version, 1000 * spent / watch.events


def build(folder):
    """The book, built into a folder."""
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    here = {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT)}
    command = ["mdbook", "build", "--dest-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env=os.environ | here, check=True)


# ---- with a kernel

# The live figures of each lesson. Their networks are untrained, which changes no time.


def resnet():
    from kit.data import digits
    from kit.probe import gradient_norms
    from lessons import resnet as lesson
    from lessons.figures import resnet as figures

    known = vars(lesson) | {"train_set": digits()[0], "gradient_norms": gradient_norms}
    known["SEED"] = 0
    for cell in jupytext.read(ROOT / "lessons" / "resnet.py").cells:
        if "def first_gradients(" in cell.source:  # it is defined in a demo
            exec(cell.source, known)
    blocks = lesson.PlainBlock, lesson.BasicBlock
    return [figures.gradients_before_training(known["first_gradients"], *blocks)]


def densenet():
    from lessons.densenet import cifar_net
    from lessons.figures import densenet as figures

    def network(growth_rate, compression):
        with torch.device("meta"):
            return cifar_net(40, growth_rate, compression=compression)

    return [figures.what_each_layer_reads(network)]


def albert():
    from lessons import albert as lesson
    from lessons.figures import albert as figures
    from lessons.published.albert import read_minilm

    minilm, tokenizer = read_minilm()
    maps = partial(lesson.attention_maps, minilm)
    heads = figures.heads(maps, tokenizer, ["The animal was too tired."])
    return [figures.budget(lesson.bill, lesson.work), heads]


def electra():
    from lessons.electra import small_electra
    from lessons.figures import electra as figures

    model = small_electra()
    return [figures.quiz(model), figures.suspicion({0: model})]


def deberta():
    from lessons import deberta as lesson
    from lessons.figures import deberta as figures

    encoder = lesson.text_model("both", 0).encoder
    known = lesson.likes, lesson.short_sighted
    return [figures.python_apart(encoder), figures.liked_distances(encoder, *known)]


def ctrl():
    from lessons.ctrl import SMALL, Ctrl
    from lessons.figures import ctrl as figures

    model = Ctrl(SMALL)
    kinds = figures.wheel, figures.second_wheel, figures.five_ways, figures.attribution
    return [figure(model) for figure in kinds]


LIVE = {one.__name__: one for one in (resnet, densenet, albert, electra, deberta, ctrl)}


def dearest(widget):
    """The settings of a live figure that ask for most, as a page asks for them.

    Sliders are at their end; a text is as long as it may be, of the shortest tokens;
    choices are all at their first value, then all at their last.
    """
    for first in (True, False):
        ask = []
        for control in widget.data["controls"]:
            if "write" in control:
                ask.append(("a+" * control["write"])[: control["write"]])
            else:
                last = len(control["labels"]) - 1
                ask.append(0 if first and not control["slider"] else last)
        yield ask


def asked(widget):
    """(processor seconds of the kernel, the setting) for the dearest setting."""
    def send(answer):
        if "problem" in answer:
            raise RuntimeError(f"{widget.still!r}: {answer['problem']}")
        json.dumps(answer)

    widget.send, found = send, []
    for ask in dearest(widget):
        told = []
        for control, one in zip(widget.data["controls"], ask):
            text = isinstance(one, str)
            value = f"{len(one)} characters" if text else control["labels"][one]
            told.append(f"{control['name']}: {value}")
        begun = time.process_time()
        widget._msg_callbacks(widget, {"ask": ask}, [])
        found.append((time.process_time() - begun, ", ".join(told)))
    return max(found)


# ---- the page

TITLE = """# How fast the figures answer

`python -m proof.widgets` measures them anew; made on {made_with}, {browser}.

## On the page

The built book in Chromium, offline, in a window of 1366 × 768.
The pointer visited up to 56 places of every figure, three times, and the middle of the three counts: now and then, once in some hundred moves, the browser collects its garbage, which takes 5 to 30 ms.
Keys moved every control, at least twelve times where it has a second value, all sliders beginning at their end.
Of these only what changed something in the figure is in the table.

Times are milliseconds of the processor that the page's main thread took, from the event to the frame that was painted: event, script, style, layout and painting, and about 1 ms of being measured.
The wait for the screen's next frame is not in them.
All processes of the browser together, with those that turn the painting into pixels, took {processes:.0f} ms an event.

A pointer has to be answered in {pointer} ms, a control in {control} ms.
A dash stands where there is nothing to point at, or no control.
"""  # noqa: E501
KERNEL_TITLE = """## With a kernel

In JupyterLab a live figure asks Python for settings that the page lacks.
Each was asked for the dearest setting that its controls offer, which it had not computed before: sliders at their end, a text as long as it may be.
Times are milliseconds of the processor, on one thread; {kernel} are allowed.

| Lesson | Figure | Setting | Time |
|---|---|---|--:|
"""  # noqa: E501


def beginning(caption):
    """Of a caption what names the figure in the table."""
    short = textwrap.shorten(caption, BEGINNING, placeholder=" …")
    return short.replace("|", "\\|")


def two(times):
    """Median and worst, as two cells."""
    if not times:
        return "– | –"
    return f"{statistics.median(times):.1f} | {max(times):.1f}"


def page(pages, browser, processes, kernel):
    """The stored page: pages as `in_browser` has them, kernel rows as the table's."""
    made = {"made_with": made_with("playwright"), "browser": browser}
    limits = {"pointer": POINTER, "control": CONTROL, "processes": processes}
    lines = [
        TITLE.format(**made, **limits),
        "| Lesson | Figure | Pointer: median | worst | Control: median | worst |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for lesson, rows in pages.items():
        for caption, pointed, moved in rows:
            cells = beginning(caption), two(pointed), two(moved)
            lines.append(f"| {lesson} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + KERNEL_TITLE.format(kernel=KERNEL) + kernel


def stored(text):
    """The cells of the rows of both tables of a stored page."""
    parts = text.split("\n## ")[1:]
    tables = [re.findall(r"^\| (.+) \|$", part, re.M)[1:] for part in parts]
    return [[re.split(r" \| ", row) for row in table] for table in tables]


@in_one_line()
def main(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m proof.widgets",
        description="Measure how fast the figures answer, on the page and by a kernel.",
    )
    parser.add_argument("--site", type=Path, help="the built book (default: build it)")
    site = parser.parse_args(args).site
    torch.set_num_threads(1)
    kernel, slow = "", False
    for lesson, make in LIVE.items():
        for widget in make():
            seconds, setting = asked(widget)
            slow |= 1000 * seconds > KERNEL
            name = beginning(widget.still.caption)
            kernel += f"| {lesson} | {name} | {setting} | {1000 * seconds:.0f} |\n"
    with tempfile.TemporaryDirectory(prefix="widgets-") as folder:
        if not site:
            build(folder)
        pages, browser, processes = in_browser(site or folder, lessons())
    text = page(pages, browser, processes, kernel)
    files.store(PAGE, text)
    print(text)
    for figures in pages.values():
        for _, pointed, moved in figures:
            slow |= max(pointed, default=0) > POINTER or max(moved, default=0) > CONTROL
    return slow


if __name__ == "__main__":
    sys.exit(main())
