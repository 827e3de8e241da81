"""What the papers' runs cost, counted: ``python -m lessons.scale --costs``."""

from dataclasses import replace
from functools import cache, partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from kit.probe import multiply_adds, parameters
from lessons import albert, ctrl, deberta, densenet, electra, resnet
from lessons.scale import electra as electra_recipe
from lessons.scale.densenet import ON_CIFAR, ON_IMAGENET

PEAK, SHARE = 989e12, 0.4  # operations a second; which share of it a run gets


def operations(run):
    """Operations of `run()` on the meta device; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


@cache
def of_images(lesson, name, size):
    """(parameters, operations of one image's forward pass)."""
    with torch.device("meta"):
        model = lesson.build(name)
        return parameters(model), 2 * multiply_adds(model, 1, 3, size, size)


def hidden_words(model, states):
    """The words of the 15% of the tokens that are hidden, of `(1, tokens, hidden)`."""
    return model.words(states[:, : round(0.15 * states.shape[1])])


@cache
def of_albert(config):
    with torch.device("meta"):
        model = albert.PreTraining(albert.albert(config))
        ids = torch.zeros(1, config.max_position_embeddings, dtype=torch.long)

        def forward():
            states = model.encoder(ids)
            return hidden_words(model, states), model.label(states)

        return parameters(model), operations(forward)


@cache
def of_electra(name, length):
    with torch.device("meta"):
        discriminator = electra.build(f"{name}-discriminator")
        generator = electra.build(f"{name}-generator")
        model = electra.Electra(discriminator, generator)
        ids = torch.zeros(1, length, dtype=torch.long)

        def forward():
            hidden_words(model.generator, model.generator.encoder(ids))
            return model.discriminator(ids)

        return parameters(model), operations(forward)


@cache
def of_deberta(config):
    with torch.device("meta"):
        model = albert.MaskedLM(deberta.MaskDecoder(config))
        ids = torch.zeros(1, config.max_position_embeddings, dtype=torch.long)
        return parameters(model), operations(
            lambda: hidden_words(model, model.encoder(ids))
        )


@cache
def of_ctrl(config):
    with torch.device("meta"):
        model = ctrl.Ctrl(config)
        ids = torch.zeros(1, config.n_positions, dtype=torch.long)
        return parameters(model), operations(lambda: model(ids))


# Of each: what counts it, and how many samples the paper trains on, with its section.
RUNS = (
    {
        "ResNet-110, CIFAR-10": (
            partial(of_images, resnet, "resnet110", 32),
            64_000 * 128,  # §4.2
        ),
        "ResNet-152, ImageNet": (
            partial(of_images, resnet, "resnet152", 224),
            600_000 * 256,  # §3.4, at most
        ),
        "DenseNet-BC-190, k = 40, CIFAR-10": (
            partial(of_images, densenet, "densenet_bc190_k40", 32),
            300 * ON_CIFAR,  # §4.2
        ),
        "DenseNet-264, ImageNet": (
            partial(of_images, densenet, "densenet264", 224),
            90 * ON_IMAGENET,  # §4.2
        ),
        "ALBERT-base": (
            partial(of_albert, albert.VARIANTS["albert-base"]),
            125_000 * 4096,  # §4.1
        ),
        "ALBERT-xxlarge": (
            partial(of_albert, albert.VARIANTS["albert-xxlarge"]),
            125_000 * 4096,  # §4.1
        ),
    }
    | {
        name.replace("electra", "ELECTRA"): (
            partial(of_electra, name, figures.length),
            figures.steps * figures.batch,  # Table 6
        )
        for name, figures in electra_recipe.VARIANTS.items()
    }
    | {
        "DeBERTa-base": (
            partial(of_deberta, deberta.VARIANTS["deberta-base"]),
            1_000_000 * 2048,  # Table 8
        ),
        "DeBERTa-large": (
            partial(of_deberta, deberta.VARIANTS["deberta-large"]),
            1_000_000 * 2048,  # Table 8
        ),
        "CTRL": (partial(of_ctrl, ctrl.VARIANTS["ctrl-256"]), 800_000 * 1024),  # §3.2
    }
)


def table(head, rows):
    """A Markdown table; all but its first column are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def power(value):
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits} × 10<sup>{int(exponent)}</sup>"


def size_told(count):
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def runs():
    """Operations of each paper's run, and hours on one GPU."""
    head = ["run", "samples", "operations forward, a sample", "operations", "GPU-hours"]
    rows = []
    for name, (count, samples) in RUNS.items():
        _, forward = count()
        whole = 3 * forward * samples  # backward is twice forward
        hours = whole / (PEAK * SHARE) / 3600
        told = [f"{samples / 1e6:,.0f} million", power(forward), power(whole)]
        rows.append([name, *told, f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"])
    return table(head, rows)


def memory():
    """Bytes of weights, gradients and AdamW's two means, whole and sharded."""
    head = ["model", "parameters", "one GPU", "8 GPUs, each", "64 GPUs, each"]
    counted = {name: count()[0] for name, (count, _) in RUNS.items()}
    with torch.device("meta"):
        xlarge = deberta.MaskDecoder(deberta.VARIANTS["deberta-xlarge"])
        counted["DeBERTa-xlarge"] = parameters(albert.MaskedLM(xlarge))
    rows = []
    for name in ("ALBERT-xxlarge", "DeBERTa-large", "DeBERTa-xlarge", "CTRL"):
        whole = 16 * counted[name]
        sizes = [size_told(whole / gpus) for gpus in (1, 8, 64)]
        rows.append([name, f"{counted[name] / 1e6:,.0f} million", *sizes])
    return table(head, rows)


def exchange():
    """Bytes of gradients in one all-reduce, with ALBERT's sharing and without."""
    head = ["network", "shared", "not shared", "saved"]
    rows = []
    for name in ("base", "large", "xlarge", "xxlarge"):
        config, sizes = albert.VARIANTS[f"albert-{name}"], []
        for share in ("all", "none"):
            with torch.device("meta"):
                encoder = albert.albert(replace(config, share=share))
                sizes.append(4 * parameters(albert.PreTraining(encoder)))
        saved = sizes[1] - sizes[0]
        rows.append([f"ALBERT-{name}", *map(size_told, (*sizes, saved))])
    return table(head, rows)


def tables():
    """The three tables of the book's page, as Markdown."""
    return "\n\n".join([runs(), memory(), exchange()])
