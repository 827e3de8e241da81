"""The lessons' models beside those of production libraries, with the same weights.

`transformers` has the four of text, `pytorchcv` the two of images. Each case is two
models that give the same logits for the same input, which is checked when it is made.
"""

import tempfile
import time
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import transformers
from pytorchcv.models import densenet as densenet_theirs
from pytorchcv.models import densenet_cifar, resnet_cifar
from pytorchcv.models import resnet as resnet_theirs
from torch import nn

from kit.weights import quiet
from lessons import densenet, resnet
from lessons.ctrl import generate, sampled
from lessons.published import albert, ctrl, deberta, electra
from lessons.published.resnet import BasicBlockB

BATCH, TOKENS, VOCABULARY = 16, 128, 4000


@dataclass
class Case:
    """Two models that do the same.

    ours, theirs: modules. inputs: token ids `(batch, tokens)` or images. targets: ids,
    classes, or 0 and 1 where a model has one logit a token. attention: the library's.
    """

    ours: nn.Module
    theirs: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    attention: str = ""

    def logits(self, side):
        found = getattr(self, side)(self.inputs)
        return found if isinstance(found, torch.Tensor) else found.logits

    def loss(self, side):
        logits = self.logits(side)
        if logits.shape == self.targets.shape:
            return F.binary_cross_entropy_with_logits(logits, self.targets)
        return F.cross_entropy(logits.flatten(0, -2), self.targets.flatten())

    def generated(self, side, begin, length):
        """The first tokens of the inputs and `length` more, drawn one after another."""
        model, ids = getattr(self, side), self.inputs[:, :begin]
        if side == "ours":
            return generate(model, ids, length, sampled)[0]
        exactly = {"max_new_tokens": length, "min_new_tokens": length}
        drawn = {"do_sample": True, "top_k": 0, "pad_token_id": 0}
        return model.generate(ids, **exactly, **drawn)

    def checked(self):
        """This case; AssertionError unless both give the same logits."""
        self.ours.eval(), self.theirs.eval()
        with torch.no_grad():
            ours, theirs = self.logits("ours"), self.logits("theirs")
        assert torch.allclose(ours, theirs, atol=1e-4 * theirs.abs().max().item())
        return self


def of_attention(kind, load, attention, sizes):
    torch.manual_seed(0)
    kind = getattr(transformers, kind)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        config = kind.config_class(vocab_size=VOCABULARY, **sizes)
        theirs = kind._from_config(config, attn_implementation=attention)
        theirs.save_pretrained(folder)
        ours = load(folder)
    # From 1: 0 would be taken for padding.
    ids = torch.randint(1, VOCABULARY, (BATCH, TOKENS))
    one_logit = kind is transformers.ElectraForPreTraining
    targets = (torch.rand(BATCH, TOKENS) < 0.15).float() if one_logit else ids
    return Case(ours, theirs, ids, targets, attention).checked()


def of_text(kind, load, **sizes):
    """A case of a class of `transformers`, loaded by the lesson from its files.

    The library's attention is the faster one of those that it has for this class.
    """
    found = []
    for attention in ("sdpa", "eager"):
        try:
            case = of_attention(kind, load, attention, sizes)
        except ValueError:  # it has none of this kind
            continue
        taken = []
        for _ in range(4):
            begun = time.perf_counter()
            case.loss("theirs").backward()
            taken.append(time.perf_counter() - begun)
        case.theirs.zero_grad()
        found.append((min(taken), case))
    return min(found, key=lambda one: one[0])[1]


def with_weights(model):
    """The modules that have weights of their own, as they stand in the model."""
    modules = model.modules()
    return [one for one in modules if one.state_dict() and not [*one.children()]]


def in_order_of_use(model, images):
    """The same modules in the order in which they run."""
    found, hooks = [], []
    for one in with_weights(model):
        hooks.append(one.register_forward_pre_hook(lambda one, _: found.append(one)))
    model.eval()(images)
    for hook in hooks:
        hook.remove()
    return found


def of_images(ours, theirs, batch, size, by_use=False):
    """A case of a network of `pytorchcv`, whose weights are copied to ours in order.

    by_use: in the order of use, as the modules stand in another one.
    """
    torch.manual_seed(0)
    ours, theirs = ours(), theirs()
    images = torch.randn(batch, 3, size, size)
    modules = [in_order_of_use(one, images[:1]) if by_use else with_weights(one)
               for one in (ours, theirs)]
    for one, other in zip(*modules, strict=True):
        one.load_state_dict(other.state_dict())
    for model in (ours, theirs):  # as the lessons train
        model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    targets = torch.randint(10, (batch,))
    return Case(ours, theirs, images, targets).checked()


def bert_like(hidden, **more):
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden}
    sizes |= {"num_hidden_layers": 4, "num_attention_heads": hidden // 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return sizes | dropout | {"max_position_embeddings": 512} | more


def gpt_like(hidden):
    sizes = {"n_embd": hidden, "dff": 4 * hidden, "n_layer": 4, "n_positions": 512}
    return sizes | {"n_head": hidden // 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0}


RELATIVE = {
    "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0,
    "position_biased_input": False, "max_relative_positions": 512,
}


def cases():
    """{(model, "small" or "middle"): function that makes its case}."""
    found = {
        ("ResNet-20", "small"): partial(
            of_images, partial(resnet.cifar_net, 20, BasicBlockB),
            resnet_cifar.resnet20_cifar10, BATCH, 32,
        ),
        ("ResNet-50", "middle"): partial(
            of_images, partial(resnet.build, "resnet50"),
            resnet_theirs.resnet50, 4, 224,
        ),
        ("DenseNet-40", "small"): partial(
            of_images,
            partial(densenet.cifar_net, 40, 12, compression=0.5, stem_width=24),
            densenet_cifar.densenet40_k12_cifar10, BATCH, 32, by_use=True,
        ),
        ("DenseNet-121", "middle"): partial(
            of_images, partial(densenet.build, "densenet121"),
            densenet_theirs.densenet121, 4, 224, by_use=True,
        ),
    }
    for size, hidden in (("small", 128), ("middle", 384)):
        like, half = partial(bert_like, hidden), {"embedding_size": hidden // 2}
        kinds = {
            "ALBERT": ("AlbertForMaskedLM", albert, like(**half)),
            "ELECTRA": ("ElectraForPreTraining", electra, like(**half)),
            "DeBERTa": ("DebertaForMaskedLM", deberta, like(**RELATIVE)),
            "CTRL": ("CTRLLMHeadModel", ctrl, gpt_like(hidden)),
        }
        for name, (kind, published, sizes) in kinds.items():
            make = partial(of_text, kind, published.from_pretrained, **sizes)
            found[name, size] = make
    return found
