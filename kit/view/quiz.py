"""A quiz on a text: which tokens were replaced?"""

from html import escape

from kit.view.figure import Figure, array
from kit.view.text import _first, _tokens


class Spot(Figure):
    """The reader picks the tokens that look replaced, commits, and then sees the truth, a judge's probabilities, and both scores.

    frame: {"tokens": [str], "originals": [str], "values": the judge's probability of "replaced" per token, in 0…1, "note"};
    a token was replaced where it is not the original. judge: who gave the values, such as "the discriminator"; it gets as many picks
    as the reader took (one for each replaced token, if none) and takes those of the highest probability.
    """

    script = "quiz.js"
    most = 200

    def __init__(self, frames, *, judge, **common):
        super().__init__(frames, options={"judge": self._sentence("judge", judge)}, **common)

    def _pack(self, frame):
        tokens, originals = (_tokens(frame[name], self.most) for name in ("tokens", "originals"))
        values = array(frame["values"], 1)
        if not len(tokens) == len(originals) == len(values):
            raise ValueError(f"Spot: {len(tokens)} tokens, {len(originals)} originals and {len(values)} values")
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            raise ValueError(f"values: each in 0…1, not {values[bad][0]:.4g} ({_first(bad, ['token'])})")
        return {"tokens": tokens, "originals": originals, "values": [float(f"{value:.3g}") for value in values]}

    def _still(self, frame):  # the question, and the answer under a fold
        frame = self._checked(frame)
        changed = [f"<li>{escape(new)} instead of {escape(old)} ({escape(self.options['judge'])}: {value:.2f})</li>"
                   for new, old, value in zip(frame["tokens"], frame["originals"], frame["values"]) if new != old]
        text = " ".join(f"<bdi>{escape(token)}</bdi>" for token in frame["tokens"])
        return f"<p>{text}</p><details><summary>Which tokens were replaced?</summary><ul>{''.join(changed)}</ul></details>"
