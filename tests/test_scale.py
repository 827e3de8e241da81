"""Training at any size: two processes as one, and what goes wrong on the way.

Two processes are compared with one that accumulates two parts: the global batch, the
parts that batch norm sees, dropout and masks are then the same.
"""

import csv
import dataclasses
import importlib
import itertools
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support import full_disk

from kit import given
from kit.given import new_tokenizer
from kit.processes import Refused, processes
from kit.recipes import falling, rising
from kit.scale import Curve, Options, places, run
from kit.small_run import small_run, stored
from lessons import albert
from lessons.scale import costs
from lessons.scale.__main__ import NAMES, main, note, parser, wishes
from lessons.scale.albert import Lamb, spans
from lessons.scale.albert import pair as segments_of
from lessons.scale.ctrl import coded
from lessons.scale.deberta import masked

ROOT = Path(__file__).parent.parent

# What all scripts begin with. COPY is another edition of the project, for process 1.
BEGIN = """
import os, resource, signal, sys
if os.environ.get("RANK") == "1":
    sys.path.insert(0, os.environ["COPY"])
from kit import checkpoint, scale
last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)
what, when, *arguments = sys.argv[1:]
"""

# The command as the user runs it, with a blow at a step or in a checkpoint.
STRUCK = """
import runpy

def blow(kind):
    if kind == "kill" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "interrupt":  # which a shell's background process would not hear
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
    if kind == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

def at_a_step(self, step, *rest, add=scale.Curve.add):
    if what != "kill in a save" and step == int(when):
        blow(what)
    add(self, step, *rest)

def in_a_save(folder, checksums=checkpoint.checksums):
    if what == "kill in a save" and folder.name == f"step-{int(when):08}.partial":
        blow("kill")
    return checksums(folder)

scale.Curve.add, checkpoint.checksums = at_a_step, in_a_save
sys.argv = ["lessons.scale", *arguments]
runpy.run_module("lessons.scale", run_name="__main__")
"""

# Several commands, one after the other, in the same processes; and what they refused.
SERIES = """
import torch
from contextlib import nullcontext
from kit.processes import Refused
import lessons.scale.__main__ as command

rank, spread = os.environ["RANK"], scale.spread

def counted(*arguments):
    module = spread(*arguments)
    here = [getattr(p, "to_local", lambda p=p: p)() for p in module.parameters()]
    share = sum(map(torch.numel, here)) / sum(map(torch.numel, module.parameters()))
    print(f"process {rank} has {share:.1f} of the weights")
    return module

scale.spread = counted
with command.processes() as device:
    command.processes = lambda: nullcontext(device)
    for line in open(what):
        try:
            command.main(line.format(rank=rank).split())
            sys.stdout.flush()
        except Refused as error:
            print(f"process {rank}: {error}", flush=True)
os._exit(0)  # see the end of lessons/scale/__main__.py
"""


def start(script, folder, *arguments, processes=1, copy=ROOT):
    """The finished process of a script, or of torchrun with two of them."""
    path = folder / "script.py"
    path.write_text(BEGIN + script)
    launch = [sys.executable]
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        launch += [*torchrun, str(processes)]
    paths = {"PYTHONPATH": str(ROOT), "COPY": str(copy), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launch, path, *map(str, arguments)],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=280,
    )


def losses(out):
    with (out / "curve.csv").open() as file:
        return torch.tensor([float(row["loss"]) for row in csv.DictReader(file)])


def alike(one, other, tolerance):
    """Two curves, relative to their first loss."""
    assert len(one) == len(other) > 0
    return (one - other).abs().max() <= tolerance * one[0].abs()


def command(name, out, more="", batch=8, steps=20):
    """The words of a small run that saves after every eighth step."""
    sizes = f"--small --batch {batch} --steps {steps} --save-every 8"
    return f"{name} {sizes} --out {out} {more}".split()


TEXTS = {"albert": 8, "electra": 20, "deberta": 8, "ctrl": 8}  # steps


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the command has it for small networks; also the same sums everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs of one process with two parts, without a fault: a folder of folders."""
    folder = tmp_path_factory.mktemp("alone")
    main(command("resnet", folder / "resnet", "--accumulate 2", steps=12))
    for name, steps in TEXTS.items():
        main(command(name, folder / name, "--accumulate 2", steps=steps))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same runs by two processes, those of text sharded; and what was printed."""
    folder = tmp_path_factory.mktemp("pair")
    for rank in range(2):  # each has other texts
        (folder / f"texts{rank}").mkdir()
        (folder / f"texts{rank}" / "a.txt").write_text(f"Here is text {rank}.")
    lines = [command("resnet", folder / "resnet", steps=12)]
    for name, steps in TEXTS.items():
        lines += [command(name, folder / name, "--shard", steps=steps)]
    data = f"{folder}/texts{{rank}}"
    lines += [f"albert --data {data} --out {folder}/refused".split()]
    (folder / "commands").write_text("\n".join(" ".join(line) for line in lines))
    done = start(SERIES, folder, folder / "commands", 0, processes=2)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_two_processes_train_as_one(alone, pair):
    """Batch norm is per part: on a processor torch cannot join those of processes."""
    one, two = losses(alone / "resnet"), losses(pair[0] / "resnet")
    assert one.std() > 0.1  # it moves
    assert alike(one, two, 1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_two_processes_that_share_out_the_weights_train_as_one(name, alone, pair):
    """FSDP2 adds in another order, and an optimizer makes more of it with every step.

    DeBERTa's mask decoder runs one sharded layer twice, ALBERT shares one, and ELECTRA
    shares tables between two networks.
    """
    one, two = losses(alone / name), losses(pair[0] / name)
    assert alike(one[:8], two[:8], 1e-5)
    assert alike(one, two, 1e-2)


def test_each_of_two_sharded_processes_has_half_of_the_weights(pair):
    for rank in range(2):
        shares = re.findall(rf"process {rank} has (\S+) of the weights", pair[1])
        assert shares == ["1.0", *["0.5"] * len(TEXTS)]


def test_processes_with_other_data_are_refused(pair):
    folder, printed = pair
    assert printed.count("all processes need the same data") == 2
    assert not (folder / "refused").exists()


def test_processes_with_other_code_are_refused(tmp_path):
    copy = tmp_path / "copy"
    for part in ("kit", "lessons"):
        shutil.copytree(ROOT / part, copy / part)
    with (copy / "lessons/electra.py").open("a") as file:
        file.write("# another edition\n")
    words = command("electra", tmp_path / "out")
    done = start(STRUCK, tmp_path, "none", -1, *words, processes=2, copy=copy)
    assert done.returncode != 0
    assert done.stderr.count("error: all processes need the same code") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_killed_twice_goes_on_as_if_it_were_not(alone, tmp_path, capsys):
    """kill -9 of one of two processes in the middle of a run; then, of one process that
    goes on with two parts, in the middle of a checkpoint.
    """
    words = command("electra", tmp_path / "out")
    killed = start(STRUCK, tmp_path, "kill", 13, *words, processes=2)
    assert killed.returncode != 0
    assert [one.name for one in (tmp_path / "out").glob("step-*")] == ["step-00000008"]
    words += ["--accumulate", "2"]
    killed = start(STRUCK, tmp_path, "kill in a save", 16, *words)
    assert killed.returncode == -signal.SIGKILL
    assert "goes on from step-00000008" in killed.stderr
    assert (tmp_path / "out/step-00000016.partial").is_dir()

    main(words)
    told = capsys.readouterr().err
    assert "step-00000016.partial is half written: passed over" in told
    assert "goes on from step-00000008" in told
    same_run(tmp_path / "out", alone / "electra")


def same_run(one, other):
    """The same curve and the same trained model, to the last digit."""
    assert (one / "curve.csv").read_bytes() == (other / "curve.csv").read_bytes()
    results = [json.loads((out / "result.json").read_text()) for out in (one, other)]
    assert results[0]["held-out loss"] == results[1]["held-out loss"]
    newest = [path.name for path in sorted(one.glob("step-*"))]
    assert newest == ["step-00000016", "step-00000020"]


def flip(folder):
    path = folder / "__0_0.distcp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FLAWS = {
    "one bit": (flip, "damaged (__0_0.distcp)"),
    "no metadata": (lambda one: (one / ".metadata").unlink(), "damaged (.metadata)"),
    "no hashes": (lambda one: (one / "whole.json").unlink(), "half written"),
    "half of the hashes": (
        lambda one: os.truncate(one / "whole.json", 60),
        "half written",
    ),
}


@pytest.mark.parametrize("kind", FLAWS)
def test_a_damaged_checkpoint_is_passed_over(kind, alone, tmp_path, capsys):
    damage, told = FLAWS[kind]
    out = tmp_path / "out"
    shutil.copytree(alone / "electra", out)
    damage(out / "step-00000020")
    (out / "result.json").unlink()
    main(command("electra", out, "--accumulate 2"))
    lines = capsys.readouterr().err.splitlines()
    assert f"step-00000020 is {told}: passed over" in lines
    assert "goes on from step-00000016" in lines
    same_run(out, alone / "electra")


def test_without_a_whole_checkpoint_a_run_begins_anew(alone, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(alone / "electra", out)
    for folder in out.glob("step-*"):
        flip(folder)
    main(command("electra", out, "--accumulate 2"))
    assert capsys.readouterr().err.count(": passed over") == 2
    same_run(out, alone / "electra")


def test_what_two_sharded_processes_stored_one_whole_process_goes_on_with(
    alone, pair, tmp_path, capsys
):
    out = tmp_path / "out"
    shutil.copytree(pair[0] / "electra", out)
    shutil.rmtree(out / "step-00000020")
    main(command("electra", out, "--accumulate 2"))
    assert "goes on from step-00000016" in capsys.readouterr().err
    before, sharded = losses(alone / "electra"), losses(pair[0] / "electra")
    assert alike(sharded, losses(out), 1e-4)
    assert alike(before, losses(out), 1e-2)


def test_a_full_disk_ends_with_the_last_checkpoint_intact(alone, tmp_path):
    """No file may grow beyond 200 kB from step 10 on: the next checkpoint would."""
    words = command("electra", tmp_path / "out", "--accumulate 2")
    done = start(STRUCK, tmp_path, "full disk", 10, *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: the checkpoint of step 16 could not be written ([Errno 27] File too "
        "large); step-00000008 is intact: make room, then run this again"
    )
    assert [one.name for one in (tmp_path / "out").glob("step-*")] == ["step-00000008"]
    main(words)
    same_run(tmp_path / "out", alone / "electra")


def test_an_interrupt_is_one_line(tmp_path):
    done = start(
        STRUCK, tmp_path, "interrupt", 5, *command("electra", tmp_path / "out")
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    right = "stopped: the same command goes on from the last checkpoint"
    assert done.stderr.splitlines()[-1] == right


def test_a_folder_of_another_run_is_refused(alone, tmp_path):
    shutil.copytree(alone / "electra", tmp_path / "out")
    with pytest.raises(Refused, match="of a run with parts 2, now it is 1"):
        main(command("electra", tmp_path / "out"))
    with pytest.raises(
        Refused, match="of a run with name 'electra', now it is 'resnet'"
    ):
        main(command("resnet", tmp_path / "out", "--accumulate 2"))
    (tmp_path / "out/run.json").unlink()
    with pytest.raises(Refused, match="checkpoints of no known run"):
        main(command("electra", tmp_path / "out", "--accumulate 2"))


def test_a_run_that_is_over_only_tells_its_result(alone, tmp_path, capsys):
    shutil.copytree(alone / "electra", tmp_path / "out")
    main(command("electra", tmp_path / "out", "--accumulate 2"))
    same_run(tmp_path / "out", alone / "electra")
    assert "samples per second" not in capsys.readouterr().out
    assert "samples per second" in (tmp_path / "out/result.json").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_small_form_of_each_recipe_learns(name, tmp_path, capsys):
    main(command(name, tmp_path, batch=16, steps=40))
    found = losses(tmp_path)
    assert found[-10:].mean() < 0.95 * found[:5].mean()
    assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_small_run_is_what_the_recipe_does(name, tmp_path):
    _, wish = wishes(f"{name} --small --out {tmp_path}".split())
    recipe = importlib.import_module(f"lessons.scale.{name}").recipe
    with processes() as device:
        begin = partial(lambda wish: dataclasses.replace(recipe(wish), steps=3), wish)
        run(device, begin, Options(out=tmp_path))
    kept = torch.tensor(stored(name)["losses"][:3])
    assert alike(kept, losses(tmp_path), 1e-3), (
        f"the recipe changed: python -m kit.small_run {name}"
    )


def test_the_picture_of_a_small_run_has_its_losses():
    kept, picture = stored("resnet"), small_run("resnet")
    (line,) = picture.frames[()]["series"]
    assert line["x"][-1] == len(kept["losses"]) == 10 * len(line["y"])
    assert line["y"][0] == pytest.approx(sum(kept["losses"][:10]) / 10, rel=1e-3)
    ((what, value),) = kept["result"].items()
    assert f"{value:.3g} ({what})" in picture.frames[()]["note"]


def commands():
    """(file, name, words) of every command that a reader is given."""
    for path in [ROOT / "README.md", *sorted((ROOT / "lessons").glob("*.py"))]:
        text = re.sub(r" \\\n#? *", " ", path.read_text("utf-8"))  # one line each
        found = re.findall(r"-m lessons\.scale (.+?)(?:  +#|`|$)", text, re.M)
        yield from ((path.name, shlex.split(line)) for line in found)


def test_the_commands_that_a_reader_is_given_are_understood():
    told = [(file, words) for file, words in commands() if words[0] in NAMES]
    assert {f"{name}.py" for name in NAMES} <= {file for file, _ in told}
    for _, words in told:
        wish = parser().parse_args(words)
        recipes = importlib.import_module(f"lessons.scale.{wish.name}")
        assert (wish.variant or recipes.DEFAULT) in recipes.VARIANTS


@pytest.mark.parametrize("name", ["resnet", *TEXTS])
def test_bfloat16_is_near(name, alone, tmp_path):
    main(command(name, tmp_path, "--bf16 --accumulate 2", steps=1))
    half, full = losses(tmp_path), losses(alone / name)[:1]
    assert not torch.equal(half, full)
    assert alike(full, half, 0.02)


# ---- data that the user gives


def wrong_words(capsys, *words):
    """What the command says to words that do not fit together."""
    with pytest.raises(SystemExit):
        main([str(word) for word in words])
    return capsys.readouterr().err.splitlines()[-1]


def test_words_that_do_not_fit_are_told(tmp_path, capsys, monkeypatch):
    out = ["--out", tmp_path / "data/out"]
    assert "either --data FOLDER, or --small" in wrong_words(capsys, "ctrl", *out)
    words = ["ctrl", "--data", tmp_path / "data", *out]
    assert "lies in the folder of the data" in wrong_words(capsys, *words)
    words = ["ctrl", "--small", "--variant", "ctrl-512", *out]
    assert "--small has a model" in wrong_words(capsys, *words)
    monkeypatch.setenv("LESSON_SEED", "x")
    words = ["ctrl", "--small", *out]
    assert "LESSON_SEED should be" in wrong_words(capsys, *words)
    words = ["ctrl", "--data", tmp_path, "--variant", "x", "--out", tmp_path.parent]
    assert "there is no x: ctrl-256, ctrl-512" in wrong_words(capsys, *words)


def test_a_batch_that_has_no_equal_parts_is_refused(tmp_path):
    with pytest.raises(Refused, match="a batch of 8 cannot be cut into 3 parts"):
        main(command("ctrl", tmp_path, "--accumulate 3"))
    assert not (tmp_path / "run.json").exists()  # the folder is free for another try


def cifar(folder, binary, count=20):
    """CIFAR-10 of random images, in one of its two forms."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in given.PARTS:
        rows = random.integers(0, 256, (count, 3073), np.uint8)
        rows[:, 0] %= 10
        if binary:
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            content = {b"labels": rows[:, 0].tolist(), b"data": rows[:, 1:]}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setattr(given, "IMAGES", 20)


def test_both_forms_of_cifar10_are_read_alike(tmp_path, few_images):
    one = given.cifar10(cifar(tmp_path / "one", binary=True))
    (tmp_path / "two").mkdir()
    cifar(tmp_path / "two/cifar-10-batches-py", binary=False)
    two = given.cifar10(tmp_path / "two")
    for found, expected in zip(one, two):
        assert all(torch.equal(a, b) for a, b in zip(found, expected))
    (images, labels), (_, test_labels) = one
    assert images.shape == (100, 3, 32, 32) and images.dtype == torch.uint8
    assert len(labels) == 100 and len(test_labels) == 20


def test_a_folder_without_cifar10_says_what_is_missing(tmp_path, few_images):
    right = "test_batch.bin.*https://www.cs.toronto.edu/~kriz/cifar.html"
    with pytest.raises(Refused, match=right):
        given.cifar10(tmp_path)
    folder = cifar(tmp_path / "cut", binary=True)
    os.truncate(folder / "data_batch_2.bin", 3073 * 19)
    with pytest.raises(Refused, match="data_batch_2.bin is damaged"):
        given.cifar10(folder)
    folder = cifar(tmp_path / "evil", binary=False)
    (folder / "data_batch_3").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(Refused, match="data_batch_3 is damaged .it names posix.getcwd"):
        given.cifar10(folder)


@pytest.mark.parametrize(
    "name, variant", [("resnet", "resnet110"), ("densenet", "densenet40_k12")]
)
def test_the_recipes_for_cifar10_run(name, variant, tmp_path, few_images):
    data = cifar(tmp_path / "data", binary=True)
    words = f"{name} --variant {variant} --data {data} --out {tmp_path / 'out'}"
    main([*words.split(), "--steps", "2", "--batch", "10"])
    assert losses(tmp_path / "out").isfinite().all()
    first_rate = (tmp_path / "out/curve.csv").read_text().splitlines()[1].split(",")[2]
    assert first_rate == ("0.01" if variant == "resnet110" else "0.1")


def imagenet(folder):
    """Eight random images in the layout of ImageNet, with two classes."""
    random = np.random.default_rng(0)
    for part, kind, size in itertools.product(("train", "val"), "ab", range(2)):
        (folder / part / kind).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (300 - 90 * size, 240, 3), np.uint8)
        Image.fromarray(pixels).save(folder / part / kind / f"{size}.JPEG")
    return folder


def test_the_recipe_for_imagenet_runs(tmp_path):
    data, out = imagenet(tmp_path / "data"), tmp_path / "out"
    words = f"resnet --variant resnet18 --data {data} --out {out} --batch 2 --steps 1"
    main(words.split())
    assert losses(out).isfinite().all()


@pytest.mark.parametrize(
    "name, variant", [("resnet", "resnet18"), ("densenet", "densenet121")]
)
def test_images_of_any_size_become_squares(name, variant, tmp_path):
    recipes = importlib.import_module(f"lessons.scale.{name}")
    wish = {"variant": variant, "data": imagenet(tmp_path), "small": False}
    wish |= {"steps": 1, "batch": 2}
    found = recipes.recipe(SimpleNamespace(**wish))
    assert len(found.data) == len(found.heldout) == 4
    for number, part in itertools.product(range(20), (found.data, found.heldout)):
        random = torch.Generator().manual_seed(number)
        row = part.example(number % 4, random)
        assert row["images"].shape == (3, 224, 224) and row["labels"] == number % 4 // 2
    assert torch.equal(part.example(3, None)["images"], row["images"])  # as it is


def test_a_folder_without_images_says_what_it_should_hold(tmp_path):
    with pytest.raises(Refused, match="a folder for each class with its images"):
        given.ImageFolder(tmp_path, None)


def test_what_is_drawn_for_an_image_hangs_on_its_seed_alone():
    def draw(seed):
        random = torch.Generator().manual_seed(seed)
        return given.mirrored(given.shifted(image, 2, random), random)

    image = torch.arange(1.0, 65).reshape(1, 8, 8)
    assert torch.equal(draw(3), draw(3))
    seen = {tuple(draw(seed).flatten().tolist()) for seed in range(500)}
    assert len(seen) == 5 * 5 * 2  # all places, and their mirror images


WORDS = "the cat sat on a mat while dogs ran far from home and birds sang".split()


def texts(folder, kinds=("",)):
    """Five texts of each kind, of random words."""
    random = np.random.default_rng(0)
    for kind, number in itertools.product(kinds, range(5)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        words = " ".join(random.choice(WORDS, 400))
        (folder / kind / f"{number}.txt").write_text(words)
    return folder


@pytest.mark.parametrize("limit", ["tokens.bin", "tokenizer.json"])
def test_a_full_disk_leaves_no_half_text(tmp_path, limit):
    data, out, whole = texts(tmp_path / "data"), tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        folder.mkdir()
    given.write_text(data, whole, "bpe", 500, None)
    size = (whole / limit).stat().st_size - 1  # the tokenizer is larger
    with full_disk(size), pytest.raises(OSError, match="File too large"):
        given.write_text(data, out, "bpe", 500, None)
    assert list(out.iterdir()) == []


def test_a_full_disk_leaves_the_curve_and_the_result(tmp_path):
    curve = "step,loss,rate\n" + "0,1.5,0.1\n" * 100
    for name, content in [("curve.csv", curve), ("result.json", '{"loss": 1.5}')]:
        (tmp_path / name).write_text(content)
    with full_disk(10):
        with pytest.raises(OSError, match="too large: '.*curve.csv'"):
            Curve.keep(SimpleNamespace(path=tmp_path / "curve.csv"), 50)
        with pytest.raises(OSError, match="too large: '.*result.json'"):
            note(tmp_path / "result.json", {"loss": 1.0})
    assert (tmp_path / "curve.csv").read_text() == curve
    assert (tmp_path / "result.json").read_text() == '{"loss": 1.5}'
    assert len(list(tmp_path.iterdir())) == 2


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY |= {"intermediate_size": 16, "max_position_embeddings": 32}
SIZES = {
    "albert": {"albert-base": TINY},
    "electra": {
        "electra-small-discriminator": TINY | {"embedding_size": 16},
        "electra-small-generator": TINY | {"embedding_size": 16},
    },
    "deberta": {"deberta-base": TINY},
    "ctrl": {"ctrl-256": dict(n_embd=16, dff=16, n_layer=2, n_head=2, n_positions=32)},
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_recipes_for_text_run_and_go_on(name, tmp_path, monkeypatch, capsys):
    """On a folder of texts, with a tokenizer that is trained on it, or given."""
    lesson = importlib.import_module(f"lessons.{name}")
    for variant, sizes in SIZES[name].items():
        small = dataclasses.replace(lesson.VARIANTS[variant], **sizes)
        monkeypatch.setitem(lesson.VARIANTS, variant, small)
    data = texts(tmp_path / "data", ("Books", "News") if name == "ctrl" else ("",))
    words = f"{name} --data {data} --batch 4 --steps 2 --out {tmp_path / 'out'}".split()
    main(words)
    assert (tmp_path / "out/tokens.bin").stat().st_size > 4 * 1000
    shutil.rmtree(tmp_path / "out/step-00000002")
    curve = (tmp_path / "out/curve.csv").read_bytes()
    main(words)
    assert "goes on from step-00000001" in capsys.readouterr().err
    assert (tmp_path / "out/curve.csv").read_bytes() == curve

    words[-1] = str(tmp_path / "other")
    main([*words, "--tokenizer", str(tmp_path / "out")])
    assert (tmp_path / "other/curve.csv").read_bytes() == curve


def test_ctrl_reads_the_code_of_the_folder_before_each_piece(tmp_path):
    data = texts(tmp_path / "data", ("Books", "News"))
    with processes():
        found, tokenizer = given.read_text(data, tmp_path, "bpe", 400)
    assert found.names == ["Books", "News"]
    tokens = [tokenizer.token_to_id(name) for name in found.names]
    pieces = given.Pieces(found, 16, partial(coded, tokens))
    half = len(pieces) // 2
    rows = [pieces.example(index, None) for index in (0, half - 1, half, -1)]
    assert [row["ids"][0].item() for row in rows] == [tokens[i] for i in (0, 0, 1, 1)]
    assert torch.equal(rows[0]["ids"][1:], rows[0]["targets"][:-1])
    first = (data / "Books/0.txt").read_text()
    assert first.startswith(tokenizer.decode(rows[0]["targets"].tolist()))


def test_ctrl_without_codes_is_refused(tmp_path):
    data = texts(tmp_path / "data")
    with pytest.raises(Refused, match="the name of its control code"):
        main(f"ctrl --data {data} --out {tmp_path / 'out'}".split())


def test_folders_without_text_say_what_they_should_hold(tmp_path):
    with pytest.raises(Refused, match="there is no folder"):
        main(f"albert --data {tmp_path / 'none'} --out {tmp_path / 'out'}".split())
    (tmp_path / "data").mkdir()
    with pytest.raises(Refused, match="text files .* or a Hugging Face dataset"):
        main(f"albert --data {tmp_path / 'data'} --out {tmp_path / 'out'}".split())


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path):
    other = new_tokenizer("wordpiece", 60, ["some words"])
    content = json.loads(other.to_str())
    content["model"]["vocab"] |= {"[CLS]": 3, "[SEP]": 2}
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    words = f"electra --data {texts(tmp_path / 'data')} --out {tmp_path / 'out'}"
    with pytest.raises(Refused, match=r"begin with \[PAD\], \[UNK\], \[CLS\]"):
        main([*words.split(), "--tokenizer", str(tmp_path)])


def test_a_hugging_face_dataset_on_disk(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/state.json").write_text("{}")
    if find_spec("datasets") is None:
        with pytest.raises(Refused, match="pip install datasets"):
            list(given.documents(tmp_path / "data"))
        return
    from datasets import Dataset

    rows = {"text": ["one", "two"], "kind": ["A", "B"]}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "data")
    assert list(given.documents(tmp_path / "data")) == [("A", "one"), ("B", "two")]


def test_logs_for_tensorboard(tmp_path):
    words = command("ctrl", tmp_path / "out", "--tensorboard", steps=2)
    if find_spec("tensorboard") is None:
        with pytest.raises(Refused, match="pip install tensorboard"):
            main(words)
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    main(words)
    events = EventAccumulator(str(tmp_path / "out/tensorboard"))
    events.Reload()
    logged = [event.value for event in events.Scalars("loss")]
    assert torch.allclose(torch.tensor(logged), losses(tmp_path / "out"))


# ---- what the recipes add to the lessons


def test_spans_hide_the_share_in_runs_and_no_special_token():
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (4000,), generator=random)
    ids[::10] = 1
    chosen = spans(ids, 0.15, random)
    assert chosen.sum() == round(0.15 * 3600) and not chosen[ids == 1].any()
    alone = torch.rand(4000, generator=random) < 0.15
    together = [(one[1:] & one[:-1]).float().mean() for one in (chosen, alone)]
    assert together[0] > 1.5 * together[1]


def restored(row):
    """What was hidden is put back."""
    return torch.where(row["answers"] >= 0, row["answers"], row["read"]).tolist()


def test_albert_reads_a_piece_in_order_or_swapped():
    ids, seen = torch.arange(10, 40), set()
    for number in range(40):
        row = segments_of(50, ids, 0, torch.Generator().manual_seed(number))
        found = restored(row)
        assert (found[0], found[-1]) == (2, 3) and found.count(3) == 2  # [CLS], [SEP]
        cut = found.index(3)
        one, two = found[1:cut], found[cut + 1 : -1]
        swapped = row["swapped"].item()
        assert (two + one if swapped else one + two) == ids.tolist()
        assert row["segments"].tolist() == [0] * (cut + 1) + [1] * (len(two) + 1)
        seen.add((swapped, cut))
    assert len(seen) > 20 and {swapped for swapped, _ in seen} == {0, 1}


def test_deberta_hides_15_percent_of_a_piece():
    ids = torch.arange(10, 210)
    row = masked(300, ids, 0, torch.Generator().manual_seed(0))
    assert restored(row) == [2, *ids.tolist(), 3]
    assert (row["answers"] >= 0).sum() == 30
    hidden = (row["read"][row["answers"] >= 0] == 4).float().mean()
    assert 0.5 < hidden < 1  # 80% become [MASK]


def test_lamb_steps_as_far_as_the_weights_are_long():
    """Algorithm 2 of arXiv:1904.00962, by hand for the first step."""
    torch.manual_seed(0)
    weights, gradient = torch.randn(5, 3), torch.randn(5, 3)
    parameter = torch.nn.Parameter(weights.clone())
    optimizer = Lamb([parameter], lr=0.1, weight_decay=0.01)
    parameter.grad = gradient.clone()
    optimizer.step()
    mean, square = 0.1 * gradient, 0.001 * gradient**2
    step = mean / (square.sqrt() + 1e-6) + 0.01 * weights
    expected = weights - 0.1 * step * weights.norm() / step.norm()
    assert torch.allclose(parameter.detach(), expected, atol=1e-6)


def test_rates():
    """The papers' figures: §4.2 of ResNet, the schedule of BERT's code."""
    rate = falling(0.1, [32_000, 48_000])
    found = [rate(step) for step in (0, 31_999, 32_000, 48_000)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.001])
    rate = rising(2e-4, 10_000, 1_000_000)
    found = [rate(step) for step in (0, 4_999, 9_999, 500_000, 999_999)]
    assert found == pytest.approx([2e-8, 1e-4, 1.9800e-4, 1e-4, 2e-10], rel=1e-3)
    assert rising(0.05, 25_000)(700_000) == 0.05


def test_each_sample_comes_once_in_an_epoch():
    positions = range(3 * 7)
    found = [index for index, _ in places(7, 0, positions)]
    epochs = [found[:7], found[7:14], found[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


# ---- the page


def test_the_page_has_what_the_program_counts(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--costs"])
    page = (ROOT / "notebooks/scale.md").read_text("utf-8")
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page


def test_the_counts_are_the_lesson_s():
    config = albert.VARIANTS["albert-base"]
    encoder = 2 * sum(albert.work(128, 768, 12, 512).values())
    words = 2 * 77 * (768 * 128 + 128 * 30_000)  # 15% of 512 tokens
    label = 2 * (768 * 768 + 768 * 2)
    counted, forward = costs.of_albert(config)
    assert forward == encoder + words + label
    assert counted == 11_683_584 + 768 * 128 + 128 + 2 * 128 + 30_000 + 768 * 2 + 2
