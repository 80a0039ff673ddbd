"""What a LoRA adapter is put on: the configuration's target_modules in the words that peft understands for this model.

peft takes names of modules, and names of parameters (``target_parameters``) where experts share a tensor. For some
mixtures of experts it also reads gate_proj, up_proj, down_proj and the like as names of an older layout, whatever else
bears them, so linear layers of these names are spelt as parameters there too. Heavy imports are inside.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aligntune_core.config.keywords import named
from aligntune_core.model import layers
from aligntune_core.model.layers import Weight
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.weights import PeftConfig

ALL_LINEAR = "all-linear"
# Names of an expert's own matrices, as checkpoints have them, and of the tensors that hold those of all experts.
_FUSED = {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "w1": "gate_up_proj", "w3": "gate_up_proj",
          "w2": "down_proj"}  # fmt: skip
_SHOWN = 3


@dataclass(frozen=True)
class Targets:
    """What carries the adapter.

    Attributes:
        modules: peft's ``target_modules``: names, or a regular expression.
        parameters: peft's ``target_parameters``.
        covers: full names of the weights that will carry it.
        left: reason -> weights that all-linear leaves out.
        total: elements of all weights that all-linear is about.
    """

    modules: Sequence[str] | str
    parameters: Sequence[str]
    covers: frozenset[str]
    left: Mapping[str, Sequence[Weight]] = field(default_factory=dict)
    total: int = 0

    def remark(self) -> str:
        """The share of the weights that carries no adapter, and why; empty where each does."""
        if not self.left:
            return ""
        out = sum(w.size for group in self.left.values() for w in group)
        reasons = [
            f"{_percent(sum(w.size for w in group), self.total)} {reason} ({_examples(group)})"
            for reason, group in self.left.items()
        ]
        return (
            f"LoRA: {_percent(out, self.total)} of the weights of this model's layers stay without an adapter: "
            + "; ".join(reasons)
        )

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of peft's ``LoraConfig``."""
        modules = self.modules if isinstance(self.modules, str) else list(self.modules)
        parameters = {"target_parameters": list(self.parameters)} if self.parameters else {}
        return {"target_modules": modules, **parameters}


def resolve_targets(model: Any, peft: PeftConfig, packed: bool = False) -> Targets:
    """Work out what carries the adapter.

    Args:
        model: a transformers model without adapter, on any device, "meta" too.
        peft: the resolved section of the configuration.
        packed: whether the weights of linear layers are, or will be, stored in 4 or 8 bits.
    """
    candidates = [
        w
        for w in layers.weights(model)
        if not _whole(w.module, peft.modules_to_save or ()) and _in_layers(w.name, peft.layers_to_transform)
    ]
    left: dict[str, list[Weight]] = {}
    total = sum(w.size for w in candidates)
    wanted = [w for w in candidates if _means(peft.target_modules, w)]
    old = _older_names(model, {w.module.rpartition(".")[2] for w in wanted if w.kind == "linear"})
    modules: list[Weight] = []
    parameters: list[Weight] = []
    for weight in wanted:
        alone = weight.kind == "linear" and weight.module.rpartition(".")[2] not in old
        reason = _reason(weight, peft, alone, packed)
        if reason:
            left.setdefault(reason, []).append(weight)
        else:
            (modules if alone else parameters).append(weight)
    if peft.target_modules != ALL_LINEAR:
        total = sum(w.size for w in wanted)
        if not parameters and not left and not _misread(model, peft.target_modules):
            return Targets(peft.target_modules or [], (), frozenset(w.name for w in modules))
    names = [w.module for w in modules]
    if peft.target_modules != ALL_LINEAR:
        names += _embeddings(model, peft.target_modules)
    everything = dict(model.named_modules())
    others = [name for name in everything if name not in set(names)]
    listed_parameters = {w.name for w in parameters}
    other_parameters = [
        n for n, _ in model.named_parameters(remove_duplicate=False) if n not in listed_parameters
    ]
    return Targets(
        layers.shortest(names, others),
        layers.shortest(listed_parameters, other_parameters),
        frozenset(w.name for w in (*modules, *parameters)),
        left,
        total,
    )


def built_targets(model: Any, configured: Any, targets: Targets) -> Any:
    """The configuration's target_modules as a built adapter has them; other than ``configured`` where it lacks some.

    Args:
        model: ``PeftModel``.
        configured: target_modules of the configuration.
        targets: what it was built from.
    """
    have = layers.covered(model)
    whole = targets.covers <= have and layers.covered(model, whole=False) <= targets.covers
    if isinstance(configured, str) or configured is None:
        return configured if whole else sorted(have)
    carriers = [
        layers.plain_name(name)
        for name, module in model.get_base_model().named_modules()
        if any(len(getattr(module, matrices, ())) for matrices in ("lora_A", "lora_embedding_A"))
    ]
    built = [w for w in layers.weights(model) if w.name in have]
    return sorted(
        name
        for name in configured
        if any(carries(module, name) for module in carriers) or any(_named(w, name) for w in built)
    )


# --- what a name means ------------------------------------------------------------------------------------------------


def carries(module: str, name: str) -> bool:
    """Whether peft takes ``name`` for the module, or the parameter, of that full name."""
    return module == name or module.endswith(f".{name}")


def _means(configured: Any, weight: Weight) -> bool:
    if configured == ALL_LINEAR or configured is None:
        return True
    if weight.kind not in ("linear", "fused", "router"):
        return False
    if isinstance(configured, str):
        return any(re.fullmatch(configured, name) for name in _names(weight))
    return any(_named(weight, name) for name in configured)


def _named(weight: Weight, name: str) -> bool:
    return any(carries(own, name) for own in _names(weight))


def _names(weight: Weight) -> list[str]:
    """The full names that mean a weight: its own, its module's, and those of what is fused in it."""
    if weight.kind != "fused":
        return [weight.module, weight.name]
    leaf = weight.name.rpartition(".")[2]
    names = [weight.name, *(f"{weight.module}.{part}" for part, whole in _FUSED.items() if whole == leaf)]
    return [*names, weight.module] if leaf == "weight" else names


def _whole(module: str, whole: Iterable[str]) -> bool:
    """Whether peft trains the module whole, as part of one of those names."""
    return any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in whole)


def _in_layers(name: str, numbers: Collection[int] | None) -> bool:
    if numbers is None:
        return True
    number = re.match(r".*?\.[^.]*\.(\d+)\.", name)  # peft's own idea of a layer's number
    return number is not None and int(number[1]) in numbers


def _embeddings(model: Any, configured: Any) -> list[str]:
    """Modules other than linear ones that were named, and that peft has an adapter for."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    if isinstance(configured, str):
        return []
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, (nn.Embedding, _ConvNd)) and any(carries(path, name) for name in configured)
    ]


# --- what cannot carry an adapter -------------------------------------------------------------------------------------


def _reason(weight: Weight, peft: PeftConfig, alone: bool, packed: bool) -> str:
    """Why a weight stays without adapter, in words that follow its share; empty where it gets one."""
    if peft.target_modules == ALL_LINEAR and not weight.sees_text:
        return "in parts for pictures or sound, which texts do not pass"
    if weight.kind == "convolution" and peft.target_modules == ALL_LINEAR:
        return "in convolutions"
    if weight.kind == "other":
        return "in weights that are no linear layers"
    if weight.read_past:
        return "in layers whose weight the model's own code or kernels read past any adapter"
    if alone:
        return ""
    module = {"fused": "fused experts", "router": "routers"}.get(
        weight.kind, "shared experts and dense layers"
    )
    for setting, used in (
        (f"lora_dropout={peft.dropout}", peft.dropout > 0),
        ("use_dora", peft.use_dora),
        (f"lora_init={peft.init!r}", peft.init in ("pissa", "loftq")),
    ):
        if used:
            return f"in {module}, which peft cannot adapt with {setting}"
    if not weight.floating or (packed and weight.kind == "linear"):
        return f"in {module} stored in 4 or 8 bits, which peft cannot adapt in a mixture of experts"
    return ""


def _older_names(model: Any, names: Collection[str]) -> set[str]:
    """Those of the names of linear layers that peft takes for the experts of an older layout of this model."""
    return {name for name in names if _misread(model, [name])}


def _misread(model: Any, configured: Any) -> bool:
    """Whether peft would make other target_modules of these for this model."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # an older peft, which takes names as they are
        return False
    settings = LoraConfig(target_modules=configured)
    before = settings.target_modules
    try:
        convert_peft_config_for_transformers(settings, model, None)
    except ValueError:  # one of two that it fuses
        return True
    return bool(settings.target_modules != before)


# --- names that match nothing -----------------------------------------------------------------------------------------


def target_problems(model: Any, peft: PeftConfig) -> list[str]:
    """Sentences about target_modules and modules_to_save that name nothing of a model; empty where all fit.

    Args:
        model: a transformers model without adapter, on any device, "meta" too.
        peft: the resolved section of the configuration.
    """
    configured, whole = peft.target_modules, peft.modules_to_save or ()
    modules = {name: module for name, module in model.named_modules() if name}
    linear = [w for w in layers.weights(model) if w.kind in ("linear", "fused", "router")]
    sentences = []
    if isinstance(configured, str):
        sentences += [] if configured == ALL_LINEAR else _pattern(configured, modules, linear)
    else:
        unknown = [
            name
            for name in configured or ()
            if not any(_named(w, name) for w in linear)
            and not any(carries(module, name) for module in modules)
        ]
        leaves = {(w.name if w.kind == "fused" else w.module).rpartition(".")[2] for w in linear}
        sentences += [_unknown("peft.target_modules", name, leaves, modules) for name in unknown]
        present = [name for name in configured or () if name not in unknown]
        sentences += _containers(present, modules, linear)
        sentences += _without_effect(present, model, peft)
    return sentences + [
        _unknown("peft.modules_to_save", name, (), modules)
        for name in whole
        if not any(module.endswith(name) for module in modules)
    ]


def _without_effect(configured: Iterable[str], model: Any, peft: PeftConfig) -> Iterable[str]:
    """Names of layers none of which can carry an adapter."""
    every = layers.weights(model)
    old = _older_names(model, {w.module.rpartition(".")[2] for w in every if w.kind == "linear"})
    for name in configured:
        meant = [w for w in every if _named(w, name)]
        reasons = []
        for weight in meant:
            alone = weight.kind == "linear" and weight.module.rpartition(".")[2] not in old
            # peft has an adapter for convolutions, which all-linear is not about.
            alone = alone or (weight.kind == "convolution" and not weight.read_past)
            reasons.append(
                "" if alone and not weight.read_past else _reason(weight, peft, alone, packed=False)
            )
        if meant and all(reasons):
            yield f"{named('peft.target_modules')}: {name!r} would have no effect: its weights are {reasons[0]}"


def _unknown(path: str, name: str, leaves: Collection[str], modules: Iterable[str]) -> str:
    every = {module.rpartition(".")[2] for module in modules}
    near = sorted(leaf for leaf in every | set(leaves) if not leaf.isdigit())
    shown = sorted(leaves) if leaves else near
    return (
        f"{named(path)}: this model has no module {name!r}.{did_you_mean(name.rpartition('.')[2], near)} "
        f"{'Its linear layers are' if leaves else 'It has'}: {listed(shown)}"
    )


def _pattern(pattern: str, modules: Mapping[str, Any], linear: Sequence[Weight]) -> list[str]:
    where = named("peft.target_modules")
    if pattern.lower().replace("_", "-") == ALL_LINEAR:
        return [f"{where}: {pattern!r}: write {ALL_LINEAR!r}, or leave it out"]
    example = max((w.module for w in linear), key=lambda name: name.count("."), default="a.b")
    try:
        other = [
            name for name in modules if re.fullmatch(pattern, name) and not _adaptable(name, modules, linear)
        ]
        if other:
            return [
                f"{where}: {pattern!r} matches {other[0]!r} too, which is no layer that peft can adapt; let it match "
                f"whole names of layers only, such as {example}"
            ]
        if any(re.fullmatch(pattern, name) for w in linear for name in _names(w)):
            return []
        if any(re.fullmatch(pattern, module) for module in modules):
            return []
    except re.error as error:
        return [f"{where}: {pattern!r} is no regular expression: {error}. For names of modules give a list"]
    return [
        f"{where}: {pattern!r} matches no module: a plain string is a regular expression for whole names such as "
        f"{example}. For names of modules give a list: [{pattern!r}]"
    ]


def _adaptable(name: str, modules: Mapping[str, Any], linear: Sequence[Weight]) -> bool:
    """Whether peft has an adapter for a module, or for a parameter of it."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.Embedding, nn.MultiheadAttention, _ConvNd, Conv1D)
    return isinstance(modules[name], kinds) or any(w.module == name for w in linear)


def _containers(
    configured: Iterable[str], modules: Mapping[str, Any], linear: Sequence[Weight]
) -> Iterable[str]:
    """Targets that are no layers but hold them: peft has no adapter for those."""
    for name in configured:
        if any(_named(w, name) for w in linear):
            continue
        inside = {
            (w.name if w.kind == "fused" else w.module).rpartition(".")[2]
            for w in linear
            if f".{name}." in f".{w.name}" and w.module not in (name,)
        }
        where = named("peft.target_modules")
        other = [m for m in modules if carries(m, name) and not _adaptable(m, modules, linear)]
        if inside and any(carries(module, name) for module in modules):
            yield f"{where}: {name!r} is no layer but holds layers: take {listed(sorted(inside))}"
        elif other:
            yield f"{where}: {name!r} is a {type(modules[other[0]]).__name__}, which peft cannot adapt"


# --- words ------------------------------------------------------------------------------------------------------------


def _percent(part: int, total: int) -> str:
    share = 100 * part / total
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %" if share >= 0.01 else "under 0.01 %"


def _examples(group: Sequence[Weight]) -> str:
    names = list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", w.name.removesuffix(".weight")) for w in group))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
