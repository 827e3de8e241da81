import base64
import re
import time
import unicodedata
from functools import cache

import numpy as np
import pytest
import torch
from support import ADDRESS, data_of, unpacked, work

from kit.view import Attention, Tokens

HOSTILE = "<script>alert(1)</script>"
ODD = [HOSTILE, "</script>", "한국어", "##는", "שלום", "مرحبا", "😀", "a\nb", " ", ""]
ODD += ["\u202eevil", "a" * 200]
TEXT = {"caption": "What to see.", "alt": "What is drawn."}
TALK = {
    "chosen": "the chosen head, token by token",
    "map": "the map of the chosen head",
}
SAT = {"sentence": ["the cat sat"]}


def weights(tokens, layers=2, heads=3, seed=0):
    noise = np.random.default_rng(seed)
    noise = noise.dirichlet(np.full(tokens, 0.3), size=(layers, heads, tokens))
    # a head that looks at the token before
    noise[0, 1] = np.eye(tokens)[np.maximum(np.arange(tokens) - 1, 0)]
    return noise


def look(sentence="the cat sat", layers=2, heads=3):
    """A frame as a model makes it: here, words and noise."""
    if "burst" in sentence:
        raise RuntimeError("the model\nburst")
    tokens = ["[CLS]", *sentence.split(), "[SEP]"]
    noise = weights(len(tokens), layers, heads)
    return {"tokens": tokens, "attention": torch.from_numpy(noise)}


def big(sentence):
    return look(sentence, 6, 12)


def attention(**options):
    sentences = ["the cat sat", "a boat on the bank of the river"]
    return Attention(look, controls={"sentence": sentences}, **TEXT | options)


def strips(step=0):
    tokens = ["[CLS]", "the", "chef", "cooked", "<b>", "[SEP]"]
    masked = {"title": "MLM", "tokens": tokens, "role": "control"}
    masked |= {"values": [0, 0, 0, 1, 0, 0], "marks": ["", "", "", "masked", "", ""]}
    replaced = {"title": "RTD", "tokens": tokens}
    replaced["values"] = torch.linspace(0, 1, 6) * (step > 0)
    replaced["marks"] = ["", "", "sampled, same", "replaced", "", ""]
    replaced["notes"] = ["", "", "", "was: ate", "", ""]
    return {"rows": [masked, replaced], "note": f"after {step} steps"}


def tokens():
    label = "probability of “replaced”"
    return Tokens(strips, controls={"step": [0, 100]}, value_label=label, **TEXT)


def odd():
    row = {"title": HOSTILE, "tokens": ODD, "values": np.linspace(0, 1, len(ODD))}
    heads = Attention({"tokens": ODD, "attention": weights(len(ODD))}, **TEXT)
    return heads, Tokens({"rows": [row]}, value_label="p", **TEXT)


def plain(text):
    # isolates are not seen
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


# -- Python


def test_weights_survive_packing():
    frame = look()
    packed = attention().frames["the cat sat",]["attention"]
    assert packed["shape"] == [2, 3, 5, 5] and packed["bits"] == 8
    codes = np.frombuffer(base64.b64decode(packed["data"]), np.uint8)
    codes = codes.reshape(packed["shape"])
    back = packed["lo"] + codes / 254 * (packed["hi"] - packed["lo"])
    assert np.abs(back - frame["attention"].numpy()).max() < 0.005


def test_size_on_the_page():
    # 20 tokens with the two at the ends
    words = "the cat sat on the mat and the dog ran to the river bank with a ball"
    sentences = [f"{words} {i}" for i in range(5)]
    figure = Attention(big, controls={"sentence": sentences}, **TEXT)
    assert len(figure.frames[(sentences[0],)]["tokens"]) in (19, 20)
    assert len(figure.html.encode()) < 320_000
    assert len(tokens().html.encode()) < 60_000


def test_stored_text_is_stable_and_self_contained():
    for make in (attention, tokens):
        html = make().html
        assert html == make().html
        assert not re.search(rf"\n\s*\n|{ADDRESS}", unpacked(html))
    for figure in odd():
        assert figure.html.count("<script") == 2 and figure.html.count("</script>") == 2


def test_what_stands_in_where_scripts_are_stripped():
    assert '<img alt="What is drawn." src="data:image/png' in attention().html
    fallback = re.search(r'pcc-fallback">(.*?)</div>', tokens().html, re.S).group(1)
    # a misspelt tag would swallow the page below
    tags = {"p", "b", "span", "bdi", "u", "sub"}
    assert set(re.findall(r"</?(\w+)", fallback)) == tags
    shade = r'<span style="background:rgba\(\d+,\d+,\d+,0\.\d\d\)"><'
    assert re.search(shade, fallback)
    assert "<b>RTD</b>" in fallback and "<u><bdi>cooked</bdi></u>" in fallback
    assert "1.00, masked" in fallback and "<bdi>&lt;b&gt;</bdi>" in fallback


ROW = {"title": "RTD", "tokens": ["a", "b"]}
EVEN = np.full((1, 1, 2, 2), 0.5)

def head(attention, tokens=("a", "b"), **options):
    frame = {"tokens": tokens, "attention": attention}
    return lambda: Attention(frame, **TEXT, **options)


def strip(**row):
    return lambda: Tokens({"rows": [ROW | row]}, value_label="p", **TEXT)

def as_data():
    return Attention({"the cat sat": look()}, controls=SAT, **TEXT)


@pytest.mark.parametrize(
    "make, message",
    [
        (head(np.full((2, 2), 0.5)), r"needs 4 dimensions, has shape \(2, 2\)"),
        (
            head(np.full((1, 1, 3, 3), 1 / 3)),
            r"attention: needs shape \(layers, heads, 2, 2\) for 2 tokens, "
            r"has \(1, 1, 3, 3\)",
        ),
        (
            head([[[[0.5, 0.5], [0.5, 0.4]]]]),
            r"sum to 1, not 0.9 \(layer 1, head 1, token 2\); give it after softmax",
        ),
        (
            head([[[[0.5, 0.5], [np.nan, 1]]]]),
            r"0 or more, not nan \(layer 1, head 1, from 2, to 1\)",
        ),
        (
            head([[[[1.5, -0.5], [0, 1]]]]),
            r"0 or more, not -0.5 \(layer 1, head 1, from 1, to 2\)",
        ),
        (head([[[[np.inf, 0], [0, 1]]]]), "0 or more, not inf"),
        (
            head(EVEN, picked=(0, 1)),
            r"picked=\(0, 1\) is not \(layer, head\) of 1 layers and 1 heads",
        ),
        (head(EVEN, "ab"), "list of 1 to 256 strings, not 'ab'"),
        (head(EVEN, [1, 2]), "list of 1 to 256 strings"),
        (
            head(weights(257), ["a"] * 257),
            "list of 1 to 256 strings, not 257 tokens",
        ),
        (lambda: Attention({"tokens": []}, **TEXT), r"not \[\]"),
        (lambda: Attention({"tokens": ["a"]}, **TEXT), "not a frame .*attention"),
        (lambda: Tokens({"rows": []}, **TEXT), "at least one row"),
        (
            lambda: Tokens({"rows": [ROW | {"values": [0, 1]}]}, **TEXT),
            "values need value_label",
        ),
        (strip(values=[0, 1.5]), r"values of 'RTD': each in 0…1, not 1.5 \(token 2\)"),
        (strip(values=[0, np.nan]), r"'RTD': each in 0…1, not nan \(token 2\)"),
        (strip(values=[0.5]), "'RTD' has 2 tokens and 1 values"),
        (strip(marks=["masked"]), "'RTD' has 2 tokens and 1 marks"),
        (strip(notes=["was: a"]), "'RTD' has 2 tokens and 1 notes"),
        (strip(role="best"), "no role 'best'"),
        (
            strip(tokens=list("abcde"), marks=list("abcde")),
            "at most four different words, not a, b, c, d, e",
        ),
        (
            lambda: attention().widget(write={"text": 10}),
            "'text' must be a control whose values are strings",
        ),
        (
            lambda: tokens().widget(write={"step": 10}),
            "'step' must be a control whose values are strings",
        ),
        (
            lambda: as_data().widget(write={"sentence": 9}),
            "frames given as a function",
        ),
        (
            lambda: attention().widget(write={"sentence": 0}),
            "most characters that may be typed, 1 or more, not 0",
        ),
    ],
)
def test_bad_input_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- the reader's own text, in the kernel


class Kernel:
    """A live widget whose answers are caught."""

    def __init__(self, widget, monkeypatch):
        self.widget, self.sent = widget, []

        def send(_, message):
            self.sent.append(message)

        monkeypatch.setattr(type(widget), "send", send)

    def ask(self, *values):
        self.widget._handle_custom_msg({"ask": list(values)}, [])
        return self.sent[-1]


def test_typed_text_is_computed_cut_and_forgotten(monkeypatch):
    seen = []

    def compute(sentence):
        seen.append(sentence)
        return look(sentence)

    figure = Attention(compute, controls=SAT, **TEXT)
    kernel = Kernel(figure.widget(write={"sentence": 12}), monkeypatch)
    assert kernel.widget.data["controls"][0]["write"] == 12
    assert "write" not in data_of(figure)["controls"][0]
    read = kernel.ask("my own words and more")["frame"]["tokens"]
    assert read == ["[CLS]", "my", "own", "words", "[SEP]"]
    # kept
    assert kernel.ask("my own words")["frame"]["tokens"]
    assert seen.count("my own words") == 1
    for i in range(9):
        kernel.ask(f"text {i}")
    kernel.ask("my own words")
    assert seen.count("my own words") == 2  # but not for ever
    kernel.ask(0)
    assert seen.count("the cat sat") == 1


def test_a_failure_is_told_and_not_kept(monkeypatch):
    broken = [True]

    def compute(sentence):
        if broken[0] and sentence == "mine":
            raise RuntimeError("the model\nburst")
        return look(sentence)

    figure = Attention(compute, controls=SAT, **TEXT)
    kernel = Kernel(figure.widget(write={"sentence": 99}), monkeypatch)
    assert kernel.ask("mine")["problem"] == "RuntimeError: the model burst"
    broken[0] = False
    assert "mine" in kernel.ask("mine")["frame"]["tokens"]


def test_text_only_where_it_may_be_typed(monkeypatch):
    kernel = Kernel(attention().widget(), monkeypatch)
    assert "problem" in kernel.ask("mine") and "frame" in kernel.ask(1)


def test_the_kernel_answers_fast(monkeypatch):
    figure = Attention(big, controls=SAT, **TEXT)
    kernel = Kernel(figure.widget(write={"sentence": 999}), monkeypatch)
    made, times = big("word " * 98), []
    figure.compute = lambda sentence: made
    for i in range(5):
        start = time.process_time()
        kernel.ask(f"{i}")
        times.append(time.process_time() - start)
    assert sorted(times)[2] < 0.1  # 100 tokens, all but the function itself


# -- in Chromium


@cache
def gallery():
    words = [f"piece{i}" for i in range(100)]
    many = {"tokens": words, "attention": weights(100, 6, 12)}
    long = Attention(many, picked=(6, 12), caption="Long.", alt="Long.")
    heads = {"tokens": ["a", "b"], "attention": weights(2, 12, 16)}
    wide = Attention(heads, caption="Wide.", alt="Wide.")
    strange, shaded = odd()
    return [attention(picked=(2, 3)), strange, long, wide, tokens(), shaded]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_are_alive_and_accessible(open_page, grave, scheme):
    page = open_page(color_scheme=scheme).show(*gallery())
    assert page.locator(".pcc-fallback:visible").count() == 0
    for board in page.get_by_label(TALK["chosen"]).all():  # with tokens shaded
        board.press("ArrowDown")
        board.press("Enter")
    assert grave(page) == []


@pytest.mark.parametrize("width", [360, 700, 1400])
def test_it_fits_and_no_labels_collide(open_page, width):
    page = open_page(viewport={"width": width, "height": 900}).show(*gallery())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    problems = page.evaluate("""() => {
        const touch = (p, q) =>
            p.left < q.right - 1 && q.left < p.right - 1 &&
            p.top < q.bottom - 3 && q.top < p.bottom - 3;
        const problems = [];
        for (const stage of document.querySelectorAll(".pcc-stage")) {
            const texts = [...stage.querySelectorAll("text, bdi")];
            const boxes = texts.map((node) => node.getBoundingClientRect());
            texts.forEach((node, i) => {
                for (let j = i + 1; j < texts.length; j++)
                    if (touch(boxes[i], boxes[j]))
                        problems.push(`${node.textContent} | ${texts[j].textContent}`);
            });
        }
        return problems;
    }""")
    assert problems == []


def seen(page):
    """What the read-out shows, in one line."""
    return plain(page.locator(".pcc-read").inner_text()).replace("\n", "")


def said(page):
    """What a screen reader is told."""
    return plain(page.locator(".pcc-said").inner_text())


def painting(page):
    """The map of the chosen head, as an address of its picture."""
    canvas = page.get_by_label(TALK["map"]).locator("canvas")
    return canvas.evaluate("canvas => canvas.toDataURL()")


def test_heads_are_picked_by_keys_and_pointer(open_page):
    page = open_page().show(attention(picked=(2, 3)))
    board, readout = page.get_by_label(TEXT["alt"]), page.locator(".pcc-read")
    assert "layer 2, head 3: on average" in readout.inner_text()
    before = painting(page)
    board.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    told = "layer 1, head 2: on average a token looks at"
    text = re.sub(r"\s+", " ", readout.inner_text())
    assert f"{told} the token before 1.00" in text
    assert f"{told}, the token before 1.00" in page.locator(".pcc-said").inner_text()
    assert painting(page) != before
    assert page.get_by_text("layer 1, head 2", exact=True).is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # the edge holds
    assert "layer 1, head 1:" in readout.inner_text()
    box = board.bounding_box()
    board.hover(position={"x": box["width"] - 3, "y": 3})
    assert "layer 1, head 3:" in readout.inner_text()  # looked at,
    page.mouse.move(1, 1)
    assert "layer 1, head 1:" in readout.inner_text()  # not picked
    board.click(position={"x": box["width"] - 3, "y": box["height"] - 3})
    page.mouse.move(1, 1)
    assert "layer 2, head 3:" in readout.inner_text()


def test_a_token_tells_where_it_looks(open_page):
    page = open_page().show(attention(picked=(1, 2)))
    board, readout = page.get_by_label(TALK["chosen"]), page.locator(".pcc-read")
    chips = board.locator(".pcc-token")
    assert chips.count() == 10
    chips.nth(2).hover()
    assert "“cat” looks at“the” 1.00" in seen(page)
    chips.nth(5 + 1).hover()  # the other side
    assert "“the” is looked at by“cat” 1.00" in seen(page)
    chips.nth(2).click()
    page.mouse.move(1, 1)
    assert "“cat” looks at" in plain(readout.inner_text())  # kept
    chips.nth(5 + 3).hover()
    assert "“cat” looks at“sat” 0.00" in seen(page)  # one pair
    board.press("Escape")
    page.mouse.move(1, 1)
    assert "on average" in readout.inner_text()
    board.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter", "ArrowUp"):
        page.keyboard.press(key)
    assert "“cat” looks at, “the” 1.00" in said(page)
    assert board.locator(".pcc-at").count() == 2
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert "“cat” is looked at by, “sat” 1.00" in said(page)


def test_the_map_reads_pairs(open_page):
    page = open_page().show(attention(picked=(1, 2)))
    board = page.get_by_label(TALK["map"])
    side = board.bounding_box()["width"]
    board.hover(position={"x": 0.3 * side, "y": 0.5 * side})
    assert "“cat” looks at“the” 1.00" in seen(page)
    page.mouse.move(1, 1)
    board.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert "“cat” looks at, “the” 1.00" in said(page)


def test_another_sentence_keeps_the_head(open_page):
    page = open_page().show(attention(picked=(1, 2)))
    page.get_by_role("radio").nth(1).check()
    assert "boat" in page.get_by_label(TALK["chosen"]).inner_text()
    assert "layer 1, head 2:" in page.locator(".pcc-read").inner_text()


def test_long_sentences_become_running_text(open_page):
    page = open_page().show(gallery()[2])
    board = page.get_by_label(TALK["chosen"])
    assert board.locator("svg").count() == 0
    assert board.locator(".pcc-token").count() == 100
    shade = "node => getComputedStyle(node).backgroundColor"
    before = board.locator("bdi").nth(1).evaluate(shade)
    strongest = int(weights(100, 6, 12)[5, 11, 7].argmax())
    board.locator(".pcc-token").nth(7).click()
    assert f"“piece7” looks at“piece{strongest}”" in seen(page)
    shaded = board.locator("bdi").nth(strongest).evaluate(shade)
    assert shaded != before
    board.locator(".pcc-token").nth(strongest).hover()
    assert board.locator(".pcc-at").count() == 2


def test_strips_are_read_together(open_page):
    page = open_page().show(tokens())
    readout = page.locator(".pcc-read")
    assert page.locator(".pcc-note").inner_text() == "after 0 steps"
    page.get_by_label("step").press("ArrowRight")
    page.locator(".pcc-token").nth(3).hover()
    text = plain(readout.inner_text()).replace("\n", " ")
    assert "token 4" in text and "MLM: “cooked” (masked) 1.00" in text
    assert "RTD: “cooked” (replaced, was: ate) 0.60" in text
    line = "nodes => nodes.map((node) => getComputedStyle(node).borderBottomStyle)"
    lines = page.locator("[data-row='1'] .pcc-token").evaluate_all(line)
    assert lines == ["none", "none", "dashed", "dotted", "none", "none"]
    page.mouse.move(1, 1)
    board = page.get_by_label(TEXT["alt"])
    board.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert "token 3" in page.locator(".pcc-said").inner_text()
    assert "sampled, same" in page.locator(".pcc-said").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".pcc-at").count() == 0


def test_tight_tokens_read_as_running_text(open_page):
    row = {"title": "one", "tokens": ["run", "ning", " text"]}
    row |= {"values": [0.2, 0.5, 1], "marks": ["prompt", "", ""]}
    frame = {"rows": [row]}
    figure = Tokens(frame, tight=True, value_label="probability", **TEXT)
    page = open_page().show(figure, Tokens(frame, value_label="probability", **TEXT))
    gaps = """nodes => {
        const boxes = nodes.map((node) =>
            node.querySelector("bdi").getBoundingClientRect());
        return boxes.slice(1).map((box, i) => box.left - boxes[i].right); }"""
    tight, loose = page.locator("figure").nth(0), page.locator("figure").nth(1)
    assert max(tight.locator(".pcc-token").evaluate_all(gaps)) < 1
    assert min(loose.locator(".pcc-token").evaluate_all(gaps)) > 2
    assert "running text" in re.sub("<[^>]*>", "", figure._fallback())


def test_markup_in_tokens_stays_text(open_page):
    page = open_page().show(*gallery())  # a dialog or an error would fail the test
    page.locator(".pcc-token").filter(has_text=HOSTILE).first.hover()
    assert page.locator(".pcc-live script, bdi b").count() == 0
    assert HOSTILE[:23] in plain(page.locator(".pcc-read").nth(1).inner_text())
    chips = page.locator("figure").nth(5).locator(".pcc-token")
    lefts = "nodes => nodes.map((node) => node.getBoundingClientRect().left)"
    order = chips.evaluate_all(lefts)
    # right-to-left words do not turn the line around
    assert order[:7] == sorted(order[:7])


@pytest.mark.parametrize("number", [0, 2, 3, 4])
def test_hover_is_fast(open_page, number):
    page = open_page().show(gallery()[number])
    areas = page.locator("[role=application]").count()
    assert areas == (1 if number == 4 else 3)
    for area in range(areas):
        milliseconds = work(
            page,
            """(area) => {
            const node = document.querySelectorAll("[role=application]")[area];
            const box = node.getBoundingClientRect();
            for (let i = 0; i < 40; i++) {
                const at = {
                    bubbles: true,
                    clientX: box.left + box.width * (0.1 + i / 50),
                    clientY: box.top + box.height * (0.1 + i / 50),
                };
                const token = node.querySelectorAll(".pcc-token")[i] ?? node;
                token.dispatchEvent(new PointerEvent("pointermove", at));
                node.getBoundingClientRect();
            } }""",
            area,
        )
        assert milliseconds / 40 < 16


# -- the text box, with the kernel behind it


@pytest.fixture
def live(open_page, monkeypatch):
    """live(figure, write=…) -> (page, the widget's element, what was asked).

    The page's questions go to the real widget.
    """

    def make(figure, **options):
        kernel, asked = Kernel(figure.widget(**options), monkeypatch), []
        opened = open_page(apart=True)  # a function that is exposed stays
        page = opened.show(tokens())

        def answer(message):
            asked.append(message["ask"])
            return kernel.ask(*message["ask"])

        page.expose_function("kernel", answer)
        send = """async (message) => {
            window.waiting = true;
            heard["msg:custom"](await kernel(message));
            window.waiting = false; }"""
        return page, opened.render(kernel.widget, send), asked

    return make


def settle(page):
    page.wait_for_function("!window.waiting")


def test_typing_asks_the_kernel(live):
    page, figure, asked = live(attention(), write={"sentence": 40})
    box = figure.get_by_label("your own sentence")
    choice = figure.get_by_label("sentence", exact=True)
    board = figure.get_by_label(TALK["chosen"])
    box.press_sequentially("my own dog", delay=5)
    # after a pause, without Enter
    page.wait_for_function("document.querySelector('#live').innerText.includes('dog')")
    assert asked == [["my own dog"]] and "dog" in board.inner_text()
    assert choice.evaluate("node => node.selectedOptions[0].textContent") == "your own"
    choice.select_option(index=1)
    assert "boat" in board.inner_text()
    choice.select_option(label="your own")
    assert "dog" in board.inner_text() and asked == [["my own dog"]]  # kept
    box.fill("the end")
    box.press("Enter")
    page.wait_for_function("document.querySelector('#live').innerText.includes('end')")
    assert box.input_value() == "the end" and len(asked) == 2


def test_awkward_text(live):
    page, figure, asked = live(attention(), write={"sentence": 300})
    box = figure.get_by_label("your own sentence")
    board = figure.get_by_label(TALK["chosen"])

    def write(text):
        box.fill(text)
        box.press("Enter")
        settle(page)

    write("   ")
    assert not asked and "Nothing typed yet" in figure.inner_text()
    assert "cat" in board.inner_text()
    write("word " * 1000)
    assert "Only the first 300 of 5000 characters are used" in figure.inner_text()
    assert len(asked[-1][0]) == 300
    assert board.locator(".pcc-token").count() == 62
    for text in (HOSTILE, "한국어 문장", "שלום עולם", "😀 👩‍👩‍👧 🇰🇷", "\u202eevil"):
        write(text)
        assert plain(text.split()[0]) in plain(board.inner_text())
        assert figure.locator("script").count() == 0
        assert figure.locator(".pcc-problem").inner_text() == ""
    write("x" * 299 + "😀😀")
    assert asked[-1][0].endswith("x😀")  # no half characters


def test_a_failure_keeps_the_picture_and_can_be_tried_again(live):
    broken = [True]

    def compute(sentence):
        if broken[0] and sentence == "mine":
            raise RuntimeError("the model\nburst")
        return look(sentence)

    made = Attention(compute, controls=SAT, **TEXT)
    page, figure, asked = live(made, write={"sentence": 99})
    box = figure.get_by_label("your own sentence")
    board = figure.get_by_label(TALK["chosen"])
    box.fill("mine")
    box.press("Enter")
    settle(page)
    problem = figure.locator(".pcc-problem")
    assert problem.inner_text() == "RuntimeError: the model burst"
    assert "cat" in board.inner_text()
    broken[0] = False
    box.press("Enter")
    settle(page)
    assert "mine" in board.inner_text()
    assert not problem.inner_text() and len(asked) == 2


def test_nothing_is_sent_while_a_syllable_is_composed(live):
    page, figure, asked = live(attention(), write={"sentence": 99})
    box = figure.get_by_label("your own sentence")
    box.evaluate("""(box) => {
        const enter = { key: "Enter", isComposing: true, bubbles: true };
        box.value = "하";
        box.dispatchEvent(new InputEvent("input", { isComposing: true }));
        box.dispatchEvent(new KeyboardEvent("keydown", enter));
    }""")
    page.wait_for_timeout(900)
    assert asked == []
    box.evaluate("(box) => box.dispatchEvent(new CompositionEvent('compositionend'))")
    page.wait_for_function("document.querySelector('#live').innerText.includes('하')")
    assert asked == [["하"]]


def test_a_box_on_the_page_is_accessible(live, grave):
    page, _, _ = live(attention(), write={"sentence": 99})
    assert grave(page, "#live") == []
