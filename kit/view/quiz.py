"""A quiz on a text: which tokens were replaced?"""

from html import escape

from kit.view.figure import Figure, array
from kit.view.text import _shares, _tokens


class Spot(Figure):
    r"""The reader picks the tokens that look replaced, commits, and sees the truth.

    Beside it stand a judge's probabilities, and both scores.

    frame: {"tokens": [str], "originals": [str], "values": the judge's probability of
    "replaced" per token, in 0…1, "note"}; a token was replaced where it is not the
    original. After a token that is a line end, "\n", a new line begins.
    judge: who gave the values, such as "the discriminator"; it gets as many picks as
    the reader took (one for each replaced token, if none) and takes those of the
    highest probability.
    """

    script = "quiz.js"
    most = 200

    def __init__(self, frames, *, judge, **common):
        options = {"judge": self._sentence("judge", judge)}
        super().__init__(frames, options=options, **common)

    def _pack(self, frame):
        tokens = _tokens(frame["tokens"], self.most)
        originals = _tokens(frame["originals"], self.most)
        values = array(frame["values"], 1)
        if not len(tokens) == len(originals) == len(values):
            found = f"{len(tokens)} tokens, {len(originals)} originals"
            raise ValueError(f"Spot: {found} and {len(values)} values")
        values = _shares(values, "values")
        return {"tokens": tokens, "originals": originals, "values": values}

    def _still(self, frame):  # the question, and the answer under a fold
        frame = self._checked(frame)
        judge, changed = escape(self.options["judge"]), []
        columns = frame["tokens"], frame["originals"], frame["values"]
        for new, old, value in zip(*columns):
            if new != old:
                text = f"{escape(new)} instead of {escape(old)} ({judge}: {value:.2f})"
                changed.append(f"<li>{text}</li>")
        text = " ".join(f"<bdi>{escape(token)}</bdi>" for token in frame["tokens"])
        return (
            f"<p>{text}</p><details><summary>Which tokens were replaced?</summary>"
            f"<ul>{''.join(changed)}</ul></details>"
        )
