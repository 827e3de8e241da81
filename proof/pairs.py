"""The lessons' models beside those of production libraries, with the same weights.

`transformers` has the four of text, `pytorchcv` the two of images. Each case is two
models that give the same logits for the same input, which is checked when it is made.
"""

import tempfile
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
from lessons.published import albert, ctrl, deberta, electra
from lessons.published.resnet import BasicBlockB

BATCH, TOKENS, VOCABULARY = 16, 128, 4000


@dataclass
class Case:
    """Two models that do the same.

    ours, theirs: modules. call: {"ours", "theirs"}: function from a model and an input
    to logits `(batch, …, classes)`. inputs, targets: what goes in and what is asked.
    """

    ours: nn.Module
    theirs: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor

    def side(self, name):
        return getattr(self, name)

    def logits(self, name):
        found = getattr(self, name)(self.inputs)
        return found if isinstance(found, torch.Tensor) else found.logits

    def loss(self, name):
        logits = self.logits(name)
        if logits.shape == self.targets.shape:  # ELECTRA: one logit a token
            return F.binary_cross_entropy_with_logits(logits, self.targets)
        return F.cross_entropy(logits.flatten(0, -2), self.targets.flatten())

    def check(self):
        """Raise AssertionError unless both give the same logits."""
        for model in (self.ours, self.theirs):
            model.eval()
        with torch.no_grad():
            ours, theirs = self.logits("ours"), self.logits("theirs")
        assert torch.allclose(ours, theirs, atol=1e-4 * theirs.abs().max().item())
        return self


def of_text(kind, load, attention, **sizes):
    """A case of a class of `transformers`, loaded by the lesson from its files."""
    torch.manual_seed(0)
    cls = getattr(transformers, kind)
    config = cls.config_class(vocab_size=VOCABULARY, **sizes)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        theirs = cls._from_config(config, attn_implementation=attention)
        theirs.save_pretrained(folder)
        ours = load(folder)
    # From 1: 0 would be taken for padding.
    ids = torch.randint(1, VOCABULARY, (BATCH, TOKENS))
    targets = ids
    if kind == "ElectraForPreTraining":
        targets = (torch.rand(BATCH, TOKENS) < 0.15).float()
    return Case(ours, theirs, ids, targets).check()


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
    targets = torch.randint(10, (batch,))
    return Case(ours, theirs, images, targets).check()


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


def text_cases(hidden, attention):
    """{model: function that makes its case} at one width."""
    like = partial(bert_like, hidden)
    return {
        "ALBERT": partial(of_text, "AlbertForMaskedLM", albert.from_pretrained,
                          attention, **like(embedding_size=hidden // 2)),
        "ELECTRA": partial(of_text, "ElectraForPreTraining", electra.from_pretrained,
                           attention, **like(embedding_size=hidden // 2)),
        "DeBERTa": partial(of_text, "DebertaForMaskedLM", deberta.from_pretrained,
                           attention, **like(**RELATIVE)),
        "CTRL": partial(of_text, "CTRLLMHeadModel", ctrl.from_pretrained,
                        attention, **gpt_like(hidden)),
    }


IMAGE_CASES = {
    ("ResNet-20", "small"): partial(
        of_images, partial(resnet.cifar_net, 20, BasicBlockB),
        resnet_cifar.resnet20_cifar10, BATCH, 32,
    ),
    ("ResNet-50", "middle"): partial(
        of_images, partial(resnet.build, "resnet50"), resnet_theirs.resnet50, 4, 224,
    ),
    ("DenseNet-40", "small"): partial(
        of_images, partial(densenet.cifar_net, 40, 12, compression=0.5, stem_width=24),
        densenet_cifar.densenet40_k12_cifar10, BATCH, 32, by_use=True,
    ),
    ("DenseNet-121", "middle"): partial(
        of_images, partial(densenet.build, "densenet121"),
        densenet_theirs.densenet121, 4, 224, by_use=True,
    ),
}
