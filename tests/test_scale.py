"""Training at any size: two processes as one, and what goes wrong on the way.

Two processes are compared with one that accumulates two parts: the global batch, the
parts that batch norm sees, dropout and masks are then the same.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kit.processes import Refused
from lessons.scale.__main__ import NAMES, main

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
    if kind == "interrupt":
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
from contextlib import nullcontext
from kit.processes import Refused
import lessons.scale.__main__ as command

rank = os.environ["RANK"]
with command.processes() as device:
    command.processes = lambda: nullcontext(device)
    for line in open(what):
        try:
            command.main(line.format(rank=rank).split())
        except Refused as error:
            print(f"process {rank}: {error}", flush=True)
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
        timeout=120,
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


TEXTS = {"albert": 10, "electra": 10, "deberta": 10, "ctrl": 20}  # steps


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
    main(command("resnet", folder / "resnet", "--accumulate 2"))
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
    lines = [command("resnet", folder / "resnet")]
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
    assert one[-5:].mean() < one[:5].mean()
    assert alike(one, two, 1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_two_processes_that_share_out_the_weights_train_as_one(name, alone, pair):
    """FSDP2 adds in another order, and an optimizer makes more of it with every step.

    DeBERTa's mask decoder runs one sharded layer twice, ALBERT shares one, and ELECTRA
    shares tables between two networks.
    """
    one, two = losses(alone / name), losses(pair[0] / name)
    assert alike(one[:10], two[:10], 1e-5)
    assert alike(one, two, 1e-2)


def test_processes_with_other_data_are_refused(pair):
    folder, printed = pair
    lines = [line for line in printed.splitlines() if line.startswith("process")]
    assert len(lines) == 2
    assert all("all processes need the same data" in line for line in lines)
    assert not (folder / "refused").exists()


def test_processes_with_other_code_are_refused(tmp_path):
    copy = tmp_path / "copy"
    for part in ("kit", "lessons"):
        shutil.copytree(ROOT / part, copy / part)
    with (copy / "lessons/ctrl.py").open("a") as file:
        file.write("# another edition\n")
    words = command("ctrl", tmp_path / "out")
    done = start(STRUCK, tmp_path, "none", -1, *words, processes=2, copy=copy)
    assert done.returncode != 0
    assert done.stderr.count("error: all processes need the same code") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_killed_twice_goes_on_as_if_it_were_not(alone, tmp_path, capsys):
    """kill -9 of one of two processes: in the middle of a step, then of a checkpoint.

    One process that accumulates two parts finishes what the two began.
    """
    words = command("ctrl", tmp_path / "out")
    killed = start(STRUCK, tmp_path, "kill", 13, *words, processes=2)
    assert killed.returncode != 0
    assert [one.name for one in (tmp_path / "out").glob("step-*")] == ["step-00000008"]
    killed = start(STRUCK, tmp_path, "kill in a save", 16, *words, processes=2)
    assert killed.returncode != 0
    assert "goes on from step-00000008" in killed.stderr
    assert (tmp_path / "out/step-00000016.partial").is_dir()

    main([*words, "--accumulate", "2"])
    told = capsys.readouterr().err
    assert "step-00000016.partial is half written: passed over" in told
    assert "goes on from step-00000008" in told
    same_run(tmp_path / "out", alone / "ctrl")


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
    shutil.copytree(alone / "ctrl", out)
    damage(out / "step-00000020")
    (out / "result.json").unlink()
    main(command("ctrl", out, "--accumulate 2"))
    lines = capsys.readouterr().err.splitlines()
    assert f"step-00000020 is {told}: passed over" in lines
    assert "goes on from step-00000016" in lines
    same_run(out, alone / "ctrl")


def test_a_full_disk_ends_with_the_last_checkpoint_intact(alone, tmp_path):
    """No file may grow beyond 200 kB from step 10 on: the next checkpoint would."""
    words = command("ctrl", tmp_path / "out", "--accumulate 2")
    done = start(STRUCK, tmp_path, "full disk", 10, *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: the checkpoint of step 16 could not be written ([Errno 27] File too "
        "large); step-00000008 is intact: make room, then run this again"
    )
    assert [one.name for one in (tmp_path / "out").glob("step-*")] == ["step-00000008"]
    main(words)
    same_run(tmp_path / "out", alone / "ctrl")


def test_an_interrupt_is_one_line(tmp_path):
    done = start(STRUCK, tmp_path, "interrupt", 5, *command("ctrl", tmp_path / "out"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    right = "stopped: the same command goes on from the last checkpoint"
    assert done.stderr.splitlines()[-1] == right


def test_a_folder_of_another_run_is_refused(alone, tmp_path):
    shutil.copytree(alone / "ctrl", tmp_path / "out")
    with pytest.raises(Refused, match="of a run with parts 2, now it is 1"):
        main(command("ctrl", tmp_path / "out"))
    with pytest.raises(Refused, match="of a run with name 'ctrl', now it is 'resnet'"):
        main(command("resnet", tmp_path / "out", "--accumulate 2"))
    (tmp_path / "out/run.json").unlink()
    with pytest.raises(Refused, match="checkpoints of no known run"):
        main(command("ctrl", tmp_path / "out", "--accumulate 2"))


def test_a_run_that_is_over_only_tells_its_result(alone, tmp_path, capsys):
    shutil.copytree(alone / "ctrl", tmp_path / "out")
    main(command("ctrl", tmp_path / "out", "--accumulate 2"))
    same_run(tmp_path / "out", alone / "ctrl")
    assert "samples per second" not in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_the_small_form_of_each_recipe_learns(name, tmp_path, capsys):
    main([name, "--small", "--steps", "60", "--out", str(tmp_path)])
    found = losses(tmp_path)
    assert found[-10:].mean() < 0.85 * found[:5].mean()
    assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near(name, tmp_path):
    main(command(name, tmp_path / "half", "--bf16 --accumulate 2", steps=2))
    main(command(name, tmp_path / "full", "--accumulate 2", steps=2))
    half, full = losses(tmp_path / "half"), losses(tmp_path / "full")
    assert not torch.equal(half, full)
    assert alike(full[:1], half[:1], 0.02)
