"""What a screen reader hears of each viewer, and that keys alone are enough.

Names and roles are those of Chromium's accessibility tree.
"""

import pytest
from matplotlib import pyplot as plt

from kit.view import (
    Apart,
    Attention,
    Curves,
    Heatmap,
    Layers,
    Network,
    Picture,
    Predict,
    Spot,
    Tokens,
)

CONTROLS = {"depth": [8, 56], "norm": [True, False]}
EVEN = [[0.5, 0.5], [0.5, 0.5]]


def words(kind):
    return {"caption": f"What to see in {kind}.", "alt": f"What {kind} shows."}


def by_depth(depth, norm):
    series = [{"name": "plain", "values": [depth, 2]}]
    series.append({"name": "ResNet", "values": [1, 3]})
    return {"series": series, "note": f"depth {depth}"}


def network():
    maps = [[[1.0, 2.0]], [[3.0, 4.0]]]
    nodes = [
        {"id": "x", "kind": "input", "shape": "1×2", "maps": maps},
        {"id": "H", "kind": "conv", "shape": "1×2", "text": "a convolution"},
    ]
    return Network({"nodes": nodes, "shortcuts": []}, **words("a network"))


def figures():
    """One of each viewer, by the kind that its texts name."""
    lines = [{"name": "loss", "x": [1, 2], "y": [3, 4]}]
    panels = [{"title": "plain", "values": [[1, 2], [3, 4]]}]
    axes = {"x_label": "step", "y_label": "layer", "value_label": "norm"}
    rows = [{"title": "reads", "tokens": ["the", "cat"]}]
    rows.append({"title": "judges", "tokens": ["the", "cat"], "values": [0, 0.5]})
    quiz = {"tokens": ["the", "dog"], "originals": ["the", "cat"], "values": [0, 0.9]}
    heads = {"tokens": ["the", "cat"], "attention": [[EVEN, EVEN]]}
    drawing, _ = plt.subplots(figsize=(1, 1))
    asked = Predict("Which is lower?", ["plain", "ResNet"], name="heard")
    return [
        Layers(by_depth, controls=CONTROLS, y_label="norm", **words("layers")),
        Curves({"series": lines}, x_label="step", y_label="loss", **words("curves")),
        Heatmap({"panels": panels}, cursor="step", **axes, **words("a heatmap")),
        network(),
        Attention(heads, **words("attention")),
        Tokens({"rows": rows}, value_label="probability", **words("tokens")),
        Apart({"tokens": ["the", "cat"], "terms": {"c2c": EVEN}}, **words("terms")),
        Spot(quiz, judge="the judge", **words("a quiz")),
        Picture(drawing, **words("a picture")),
        asked,
        asked.reveal(0, "It is the plain one."),
    ]


@pytest.fixture(scope="module")
def every():
    return figures()


def heard(page):
    """(role, name) of everything in the accessibility tree."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    told = [one for one in nodes if not one["ignored"]]
    return [(one["role"]["value"], one["name"].get("value", "")) for one in told]


def test_captions_alternatives_and_controls_are_heard(open_page, every):
    page = open_page().show(*every)
    tree = heard(page)
    text = " ".join(name for role, name in tree if role == "StaticText")
    boards = [name for role, name in tree if role == "application"]
    for figure in every:
        assert figure.caption in text
    assert sorted(boards) == sorted([
        "What layers shows.", "What curves shows.", "What a heatmap shows.",
        "one column as a curve: norm along layer", "2 feature maps of x",
        "What attention shows.", "the map of the chosen head",
        "the chosen head, token by token", "What tokens shows.", "What terms shows.",
    ])
    for named in [
        ("radiogroup", "What a network shows."), ("group", "What a quiz shows."),
        ("image", "What a picture shows."), ("slider", "depth"), ("group", "norm"),
        ("radio", "on"), ("slider", "step"), ("radio", "x, 1×2"), ("button", "dog"),
        ("checkbox", "c2c"), ("group", "Which is lower?"), ("radio", "plain"),
        ("button", "Show the answer"),
    ]:
        assert named in tree, named
    for slider, value in zip(page.get_by_role("slider").all(), ("8", "1")):
        assert slider.get_attribute("aria-valuetext") == value


# viewer: what is said after two steps to the right on each board that has the keys
SAID = {
    "layers": ["layer 2, plain 2, ResNet 3"],
    "curves": ["step 2, loss 4"],
    "a heatmap": ["layer 1, step 2, plain 2", "layer 2, step 1, plain 3"],
    "a network": ["a convolution"],
    "attention": [
        "layer 1, head 2: on average a token looks at, itself 0.50, the token before "
        "0.50",
        "layer 1, head 2: “the” looks at, “cat” 0.50",
        "layer 1, head 2: “the” is looked at by, “the” 0.50, “cat” 0.50",
    ],
    "tokens": ["token 2, reads: “cat”, judges: “cat” 0.50"],
    "terms": [
        "“the” looks at “cat”, 1 to the right, i − j = −1, c2c +0.50, weight 0.50",
    ],
}


def plain(text):
    """Without the signs that keep a token from turning the line around."""
    return text.replace("\u2068", "").replace("\u2069", "")


def test_keys_alone_read_every_figure_out(open_page, every):
    page = open_page().show(*every)
    figures = {one.alt: page.locator("figure").nth(i) for i, one in enumerate(every)}
    for kind, expected in SAID.items():
        figure = figures[f"What {kind} shows."]
        said = figure.locator(".pcc-said")
        boards = figure.locator(".pcc-stage [tabindex='0']")
        for i, text in enumerate(expected):
            boards.nth(i).focus()
            for _ in range(2):
                page.keyboard.press("ArrowRight")
            assert plain(said.text_content()) == text, kind
        for _ in range(3):  # from board to board, and on: Tab is not caught
            page.keyboard.press("Tab")
        assert not figure.evaluate("f => f.contains(document.activeElement)"), kind
    page.get_by_label("depth").press("End")
    said = figures["What layers shows."].locator(".pcc-said")
    assert said.text_content() == "depth 56, norm on, depth 56"
    assert page.get_by_label("depth").get_attribute("aria-valuetext") == "56"


def test_a_quiz_by_keys_alone(open_page, every):
    page = open_page().show(*every[7:8])
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert ("status", "") in heard(page)
    assert page.get_by_role("button", name="dog", pressed=True).count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "You found 1 of 1" in page.get_by_role("status").first.inner_text()
    page.keyboard.press("End")
    said = plain(page.locator(".pcc-said").text_content())
    assert said == (
        "token 2, “dog” instead of “cat”, you: replaced, the judge: 0.90, picked"
    )
