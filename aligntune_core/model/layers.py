"""The linear weights of a model: which there are, and which of them carry an adapter.

Most are the weights of ``nn.Linear``. Mixtures of experts keep those of all experts of a layer in one tensor of three
dimensions, and their router's in a plain matrix; peft adapts these as parameters. torch is imported inside.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["linear", "fused", "router", "convolution", "other"]

_INSIDE = ("lora_", "modules_to_save")
# Submodules of models that also take pictures or sound, where no class of its own says so.
_SENSES = ("vision", "visual", "image", "img_", "audio", "speech", "multi_modal", "mm_proj")
# Matrices that nothing is multiplied with.
_NO_MATRICES = ("bias", "embed", "norm", "rel_pos", "pos_emb")
# A use of a submodule's weight in a class's code, other than a part of it, or its type or place.
_USE = re.compile(
    r"(?<!isinstance\()\bself\.(\w+)\.weight\b(?!\s*=[^=])"
    r"(?!\[|\.(?:dtype|device|shape|size|data|ndim|is_meta)\b)"
)
HEADS = ("score", "classifier", "classification_head", "qa_outputs")


@dataclass(frozen=True)
class Weight:
    """One weight of two dimensions or more that is neither an embedding nor the output head.

    Attributes:
        name, module: full names of the parameter and of the module that holds it, without peft's wrappers.
        kind: what holds it: "linear" (``nn.Linear`` and transformers' ``Conv1D``), "fused" (all experts of a layer in
            three dimensions), "router", "convolution" or "other".
        size: number of elements; of packed weights those of the packed form.
        floating: whether the elements are numbers as they stand, not packed ones.
        sees_text: whether texts pass it: not so in the vision or audio tower of a multimodal model.
        read_past: whether the model's code takes the weight out of its module and multiplies with it by itself, as
            the kernels of state-space models do: an adapter on the module would have no effect.
        parameter: the tensor itself.
    """

    name: str
    module: str
    kind: Kind
    size: int
    floating: bool
    sees_text: bool
    read_past: bool
    parameter: Any


def weights(model: Any) -> list[Weight]:
    """The weights of a transformers model, with or without an adapter, on any device, "meta" too."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = dict(base.named_modules())
    heads = {id(module) for module in _heads(base)}
    blind = tuple(_blind(base, modules))
    plain = {plain_name(path): module for path, module in modules.items()}
    collected = []
    for path, module in modules.items():
        if id(module) in heads or any(part in path for part in _INSIDE):
            continue
        name = plain_name(path)
        for leaf, parameter in module.named_parameters(recurse=False):
            kind = _kind(module, leaf, parameter)
            if kind is None or id(module) in heads:
                continue
            full = f"{name}.{leaf}"
            sees = not f"{name}.".startswith(blind) and not any(part in name for part in _SENSES)
            floating = parameter.dtype.is_floating_point
            past = leaf == "weight" and _reads_past(plain, name)
            collected.append(Weight(full, name, kind, parameter.numel(), floating, sees, past, parameter))
    return collected


def plain_name(name: str) -> str:
    """A module's or parameter's name as it is without peft's wrappers."""
    parts = [part for part in name.split(".") if part not in ("base_layer", "original_module")]
    return ".".join(parts)


def _kind(module: Any, leaf: str, parameter: Any) -> Kind | None:
    """What a parameter is to its module; None: no matrix that activations are multiplied with."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Embedding) or "Embedding" in type(module).__name__:
        return None
    if isinstance(module, (nn.Linear, Conv1D)):
        # A router that is a linear layer of its own making may return more than its product.
        own = type(module).forward is not nn.Linear.forward and "Router" in type(module).__name__
        return ("router" if own else "linear") if leaf == "weight" else None
    shape = tuple(parameter.shape)
    if len(shape) < 2 or (any(part in leaf for part in _NO_MATRICES) and not leaf.endswith("_weight")):
        return None
    if isinstance(module, _ConvNd):
        return "convolution"
    alone = not any(True for child in module.children() for _ in child.parameters())
    if len(shape) == 3 and min(shape) > 1 and (leaf.endswith("proj") or leaf == "weight") and alone:
        return "fused"
    if len(shape) == 2 and leaf == "weight":
        return "router"
    return "other" if sorted(shape)[-2] > 1 else None


def _reads_past(modules: dict[str, Any], name: str) -> bool:
    """Whether the class that holds the module ``name`` reads its weight."""
    parent, _, leaf = name.rpartition(".")
    return parent in modules and leaf in _weights_read(type(modules[parent]).__mro__)


@cache
def _weights_read(ancestors: tuple[type, ...]) -> frozenset[str]:
    """Names of submodules whose weight the code of a class, with its ancestors, multiplies with by itself."""
    code = ""
    for ancestor in ancestors:
        if ancestor.__module__.startswith(("torch.", "builtins", "peft.")):
            continue
        try:
            code += inspect.getsource(ancestor)
        except (OSError, TypeError):  # made at run time, without a file
            continue
    return frozenset(_USE.findall(code))


def _heads(base: Any) -> Iterator[Any]:
    """The output layer of a language model, or of a classifier."""
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if head is not None:
        yield head
        return
    for name in HEADS:
        if (module := getattr(base, name, None)) is not None:
            yield module
            yield from module.modules()


def _blind(base: Any, modules: dict[str, Any]) -> Iterator[str]:
    """Beginnings of the names of modules that no text passes, in a model of several parts."""
    from transformers import PreTrainedModel

    text = base.config.get_text_config()
    for name, module in modules.items():
        other = (
            isinstance(module, PreTrainedModel) and module is not base and module.config is not base.config
        )
        if name and other and type(module.config) is not type(text):
            yield f"{name}."
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    if text is base.config or decoder is None:
        return
    inside = next((name for name, module in modules.items() if module is decoder), "")
    parent = inside.rpartition(".")[0]
    if parent:  # its neighbours: towers and projectors
        for name in modules:
            if name.rpartition(".")[0] == parent and name != inside:
                yield f"{name}."


def covered(model: Any, whole: bool = True) -> set[str]:
    """Names of the weights of a ``PeftModel`` that carry an adapter or, with ``whole``, are trained whole beside it."""
    base = model.get_base_model()
    parameters = set()
    for path, module in base.named_modules():
        if "modules_to_save" in path or any(part in path for part in ("lora_A", "lora_B")):
            continue
        if hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
            parameters |= {id(parameter) for parameter in module.original_module.parameters() if whole}
        elif getattr(module, "lora_A", None) and hasattr(module, "get_base_layer"):
            held = module.get_param() if hasattr(module, "get_param") else module.get_base_layer().weight
            parameters.add(id(held))
    return {weight.name for weight in weights(model) if id(weight.parameter) in parameters}


def model_skeleton(model_config: Any, classifier: bool = False) -> Any:
    """A model of a configuration, without weights (on torch's "meta"); None where that takes code of a repository.

    Args:
        model_config: transformers' configuration; it is not changed.
        classifier: a reward model instead of a language model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    if type(model_config) not in auto._model_mapping:
        return None
    settings = copy.deepcopy(model_config)
    with torch.device("meta"):
        return auto.from_config(settings)


def shortest(chosen: Iterable[str], others: Iterable[str]) -> list[str]:
    """Endings of names that match each of ``chosen`` and none of ``others``, sorted; whole parts between dots."""
    taken = {ending for name in others for ending in _endings(name)}
    picked = set()
    for name in chosen:
        endings = [e for e in _endings(name) if e not in taken and e != "weight"]
        picked.add(endings[0] if endings else name)
    return sorted(picked)


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    for start in range(len(parts) - 1, -1, -1):
        yield ".".join(parts[start:])
