"""The exercise checks: the shown solution passes, the stub is "not yet", planted wrong answers fail with a hint that helps."""

import importlib
import re

import jupytext
import pytest
import torch.nn.functional as F
from torch import nn

from kit.exercises import verdict
from kit.notebooks import ROOT, lessons
from lessons.resnet import conv


def exercises():
    """(lesson, name of the answer, name of its check, source of the stub, source of the solution) of every exercise."""
    for lesson in lessons():
        cells = jupytext.read(ROOT / "lessons" / f"{lesson}.py", fmt="py:percent").cells
        solutions = "\n".join(c.source for c in cells if c.cell_type == "markdown" and "<summary>Solution" in c.source)
        codes = re.findall(r"```python\n(.*?)```", solutions, re.S)
        for cell in cells:
            found = re.search(r"^check\((\w+), checks\.(\w+)\)$", cell.source, re.M)
            if found and cell.cell_type == "code":
                solution = [code for code in codes if re.search(rf"^(def|class) {found[1]}\b", code, re.M)]
                yield lesson, found[1], found[2], cell.source.replace(found[0], ""), "".join(solution)


def answer(lesson, name, source):
    namespace = dict(vars(importlib.import_module(f"lessons.{lesson}")))
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


def checker(lesson, name):
    return getattr(importlib.import_module(f"lessons.checks.{lesson}"), name)


ALL = list(exercises())


@pytest.mark.parametrize(("lesson", "name", "check", "stub", "solution"), ALL, ids=[one[1] for one in ALL])
def test_solution_passes_and_stub_is_not_yet(lesson, name, check, stub, solution):
    assert verdict(answer(lesson, name, solution), checker(lesson, check)).startswith("✓")
    assert verdict(answer(lesson, name, stub), checker(lesson, check)).startswith("… not yet")


@pytest.mark.parametrize("lesson", lessons())
def test_every_lesson_has_three_exercises(lesson):
    assert sum(one[0] == lesson for one in ALL) >= 3


def count(total=lambda n: 0, stem=464, layer=lambda a, b: 9 * a * b + 2 * b, last=650):
    def parameters_of(n):
        pairs = [(16, 16)] * 2 * n + [(16, 32)] + [(32, 32)] * (2 * n - 1) + [(32, 64)] + [(64, 64)] * (2 * n - 1)
        return stem + sum(layer(a, b) for a, b in pairs) + last + total(n)
    return parameters_of


class PreActivation(nn.Module):
    """A right answer, to plant faults in."""

    def __init__(self, channels):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, channels, 3)
        self.norm2, self.conv2 = nn.BatchNorm2d(channels), conv(channels, channels, 3)

    def forward(self, x):
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class LastReLU(PreActivation):
    def forward(self, x):
        return F.relu(super().forward(x))


class NormAfter(PreActivation):
    def forward(self, x):
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class NoShortcut(PreActivation):
    def forward(self, x):
        return super().forward(x) - x


class SharedActivation(PreActivation):
    def forward(self, x):
        x = F.relu(self.norm1(x))
        return x - 1 + self.conv2(F.relu(self.norm2(self.conv1(x))))


class Bias(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)


class Unused(PreActivation):
    def forward(self, x):
        return x + self.conv2(F.relu(self.norm1(x)))


class OtherOrder(PreActivation):
    """Right: its layers are used in the right order, and defined in another."""

    def __init__(self, channels):
        super().__init__(channels)
        first = self.conv1
        del self.conv1
        self.conv1 = first


class OneNorm(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.norm2 = nn.Identity()


def zero(*names):
    def start_as_identity(model):
        for block in (block for stage in model.stages for block in stage):
            for name in names:
                nn.init.zeros_(block.get_parameter(name))
    return start_as_identity


def zero_stem(model):
    nn.init.zeros_(model.stem[0].weight)


def zero_first_stage(model):
    for block in model.stages[0]:
        nn.init.zeros_(block.norm2.weight)


@pytest.mark.parametrize(("check", "wrong", "hint"), [
    ("parameters_of", count(layer=lambda a, b: 9 * a * b, stem=432), "two parameters a channel"),
    ("parameters_of", count(layer=lambda a, b: 9 * a * b + 3 * b, stem=480), "have no bias"),
    ("parameters_of", count(total=lambda n: 2_752), "269722; option A has no parameters"),
    ("parameters_of", count(layer=lambda a, b: 9 * b * b + 2 * b), "half as many input channels"),
    ("parameters_of", count(last=640), "linear layer has a bias"),
    ("parameters_of", count(stem=0), "stem is missing"),
    ("parameters_of", lambda n: 269_722 * n // 3, "one more block in each stage"),
    ("parameters_of", lambda n: 1, "list its layers"),
    ("parameters_of", lambda n: None, "a number, not None"),
    ("pre_activation", LastReLU, "no ReLU"),
    ("pre_activation", NormAfter, "batch norm, ReLU, convolution"),
    ("pre_activation", NoShortcut, "add x untouched"),
    ("pre_activation", SharedActivation, "add x untouched"),
    ("pre_activation", Bias, "need no bias"),
    ("pre_activation", Unused, "each of its four layers once"),
    ("pre_activation", OneNorm, "2 convolutions and 1 batch norms; it needs two of each"),
    ("start_as_identity", lambda model: None, "no weight has changed"),
    ("start_as_identity", zero("norm1.weight"), "cannot learn"),
    ("start_as_identity", zero("conv1.weight"), "cannot learn"),
    ("start_as_identity", zero_stem, "the stem gives only zeros"),
    ("start_as_identity", zero_first_stage, "block 3 still changes"),
    ("start_as_identity", zero("norm2.weight", "norm2.bias", "conv2.weight"), "one in each of the 6 blocks|cannot learn"),
])
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("resnet", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_fault_free_plant_passes():
    assert verdict(PreActivation, checker("resnet", "pre_activation")).startswith("✓")
    assert verdict(OtherOrder, checker("resnet", "pre_activation")).startswith("✓")
    assert verdict(count(), checker("resnet", "parameters_of")).startswith("✓")


def test_an_answer_that_raises_is_named_with_its_line():
    line = verdict(lambda n: 1 / 0, checker("resnet", "parameters_of"))
    assert re.match(r"✗ your code stopped with ZeroDivisionError: .* \(line \d+", line)
