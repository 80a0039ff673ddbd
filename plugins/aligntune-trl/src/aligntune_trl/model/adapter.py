"""LoRA: make the adapter, keep its weights in float32, and save it so that plain peft reads it back."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aligntune_core import LoadedModel
from aligntune_core.toolkit import (
    MERGED_BASE,
    ConfigError,
    Targets,
    built_targets,
    cache_folder,
    resolve_targets,
    target_problems,
    world,
)
from aligntune_trl import table
from aligntune_trl.model import loftq, reward_head
from aligntune_trl.quiet import known_warnings_hidden, no_bars

NAME = "default"
ALL_LINEAR = "all-linear"
REFERENCE = "ref"
"""TRL's name for the frozen copy of an adapter."""

Attach = Callable[[Any, Any], Any]
"""(model, ``LoraConfig``) -> ``PeftModel``."""


@no_bars()
@known_warnings_hidden()
def apply(loaded: LoadedModel, config: Any, attach: Attach | None = None) -> LoadedModel:
    """Wrap the model in a fresh adapter, unless it is continued or fine-tuned in full. Core has seeded just before.

    Args:
        loaded: the model.
        config: resolved configuration.
        attach: wraps a model as a ``LoraConfig`` says; by default peft's ``get_peft_model``.
    """
    model = loaded.model
    if not config.peft.enabled:
        model.requires_grad_(True)
        return loaded
    if is_adapted(model):
        to_float32(model)
        keep_only_policy(model)
        return loaded
    if config.peft.merge_adapter:
        _stage_merged_base(model, loaded.tokenizer, config)
    return replace(loaded, model=wrap(model, config, attach))


def is_adapted(model: Any) -> bool:
    """Whether the model carries peft adapters."""
    return hasattr(model, "peft_config")


def lora_config(config: Any, targets: Mapping[str, Any] | None = None) -> Any:
    """peft's configuration object, from the table; ``targets`` are its arguments that say where the adapter goes."""
    from peft import LoraConfig

    values = table.write(config, "lora")
    if targets is None and layers_of_all_linear(config):
        targets = {"target_modules": [ALL_LINEAR]}
    task = "SEQ_CLS" if reward_head.scores(config) else "CAUSAL_LM"
    return LoraConfig(task_type=task, **{**values, **(targets or {})})


def layers_of_all_linear(config: Any) -> bool:
    """Whether some layers only are to have an adapter on "all-linear": peft takes that with names of modules only."""
    return config.peft.target_modules == ALL_LINEAR and config.peft.layers_to_transform is not None


def wrap(model: Any, config: Any, attach: Attach | None = None) -> Any:
    """A ``PeftModel`` around ``model`` with float32 adapter weights."""
    from peft import get_peft_model

    if problems := target_problems(model, config.peft):  # of a model whose code its repository brings
        raise ConfigError(problems)
    targets = resolve_targets(model, config.peft)
    if attach is None:
        model = get_peft_model(model, lora_config(config, targets.arguments()))
    else:
        model = attach(model, lora_config(config, _left_open(targets, config)))
    model.aligntune_fresh, model.aligntune_targets = True, targets
    if config.peft.init == "loftq":
        loftq.initialise(model, config)
        model.aligntune_init = "loftq"
    to_float32(model)
    if config.peft.init == "pissa":
        model.aligntune_initial = initial_matrices(model)
    keep_only_policy(model)
    return model


def _left_open(targets: Targets, config: Any) -> dict[str, Any]:
    """Arguments for a library that has a way of its own with "all-linear", which is right but for fused experts.

    Layers to transform go with names only.
    """
    if targets.parameters:
        return targets.arguments()
    if not layers_of_all_linear(config):
        return {"target_modules": config.peft.target_modules}
    return {"target_modules": sorted({name.rpartition(".")[2] for name in targets.modules})}


def to_float32(model: Any) -> None:
    """Trainable weights are float32 masters: in bf16 small updates would round away."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.to(torch.float32)


def reopen(model: Any) -> None:
    """Make the adapter of a model in memory trainable again, without what an earlier run left on the model."""
    if has_reference(model):
        model.delete_adapter(REFERENCE)
    model.aligntune_fresh = False
    model.set_adapter(NAME)
    for name, parameter in model.named_parameters():
        if f".{NAME}." in name or name.endswith(f".{NAME}"):
            parameter.requires_grad_(True)


@contextmanager
def float32_kept(model: Any) -> Iterator[None]:
    """Undo what TRL's constructors do to adapters on quantised weights: they round them to bf16."""
    kept = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in kept and parameter.dtype != kept[name].dtype:
            parameter.data = kept[name].to(parameter.device)


# --- saving ----------------------------------------------------------------------------------------------------------


def keep_only_policy(model: Any) -> None:
    """Let every save of this model write the policy's adapter alone: a DPO reference beside it is never saved."""
    model.save_pretrained = functools.partial(_save_pretrained, model)


def _save_pretrained(model: Any, folder: Any, **more: Any) -> None:
    more["selected_adapters"] = [NAME]
    type(model).save_pretrained(model, folder, **more)


def initial_matrices(model: Any) -> dict[str, Any]:
    """The adapter's state before training, on the CPU: PiSSA's saved form is the difference from it."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, adapter_name=NAME)
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items() if "lora_" in name}


def save(model: Any, folder: Path) -> None:
    """Write the policy's adapter, loadable on its original base with plain peft.

    PiSSA trains on a base from which the initial adapter was taken out. What is written is the difference as a plain
    LoRA of twice the rank, so that it fits the untouched base.
    """
    if not hasattr(model, "aligntune_initial"):
        model.save_pretrained(str(folder))
        return
    _save_difference(model, folder)


def _save_difference(model: Any, folder: Path) -> None:
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = {k: v.detach().cpu() for k, v in get_peft_model_state_dict(model, adapter_name=NAME).items()}
    for name, before in model.aligntune_initial.items():
        dim = 0 if "lora_A" in name else 1
        state[name] = torch.cat([state[name], before if dim == 0 else -before], dim=dim)
    config = model.peft_config[NAME]
    factor = 2**0.5 if config.use_rslora else 2
    plain = replace(config, r=config.r * 2, lora_alpha=config.lora_alpha * factor, init_lora_weights=True)
    plain.inference_mode = True
    plain.base_model_name_or_path = config.base_model_name_or_path or model.base_model.model.name_or_path
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.contiguous() for k, v in state.items()}, folder / "adapter_model.safetensors", {"format": "pt"}
    )
    plain.save_pretrained(str(folder))


# --- the merged base of merge_adapter=True ---------------------------------------------------------------------------


def _stage_merged_base(model: Any, tokenizer: Any, config: Any) -> None:
    """Write the merged base; it moves into place when training starts, after core has set an earlier run aside."""
    output_dir = Path(config.run.output_dir).resolve()
    if world().is_main:
        staged = cache_folder(output_dir) / MERGED_BASE
        model.save_pretrained(str(staged))
        tokenizer.save_pretrained(str(staged))
    model.name_or_path = str(output_dir / MERGED_BASE)
    model.config._name_or_path = str(output_dir / MERGED_BASE)


def place_merged_base(output_dir: Path, config: Any) -> None:
    """Move a staged merged base to ``output_dir/base``, where the adapter's configuration points.

    Every process comes here; the main one moves the folder, the others wait until it is in place.
    """
    if not config.peft.merge_adapter:
        return
    topology = world()
    if topology.is_main:
        _move_staged(output_dir)
    topology.barrier()


def _move_staged(output_dir: Path) -> None:
    import shutil

    staged, target = cache_folder(output_dir) / MERGED_BASE, output_dir / MERGED_BASE
    if not staged.is_dir():
        return
    if target.exists():
        shutil.rmtree(target)
    staged.rename(target)


# --- the reference --------------------------------------------------------------------------------------------------


def has_reference(model: Any) -> bool:
    """Whether a frozen copy of the adapter sits beside it."""
    return is_adapted(model) and REFERENCE in model.peft_config


@contextmanager
def copied_as_it_is(model: Any) -> Iterator[None]:
    """While TRL copies the adapter for its reference, make the copy whole, and keep PiSSA from splitting the base.

    TRL copies the weights whose names hold ".default.", which those on embeddings and single tokens do not: their
    copies would be fresh ones.
    """
    if not is_adapted(model):
        yield
        return
    config, add = model.peft_config[NAME], model.add_adapter

    def added(name: str, *arguments: Any, **more: Any) -> None:
        add(name, *arguments, **more)
        if name == REFERENCE:
            _copy_adapter(model)

    init, config.init_lora_weights = config.init_lora_weights, True
    model.add_adapter = added
    try:
        yield
    finally:
        config.init_lora_weights = init
        del model.add_adapter


def _copy_adapter(model: Any) -> None:
    """Give the reference all that the policy's adapter has, buffers too."""
    import torch

    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            copied = re.sub(rf"\.{NAME}(?=\.|$)", f".{REFERENCE}", name)
            if copied != name and copied in tensors:
                tensors[copied].copy_(tensor)


def frozen_policy(model: Any) -> Any:
    """A frozen copy of the whole policy where no adapter can stand for it, else None.

    TRL would reload a full model from its hub id or path, which is not the policy where it came trained or in memory;
    and biases that train beside an adapter cannot be switched off with it.
    """
    adapted = is_adapted(model)
    if adapted and model.peft_config[NAME].bias == "none":
        return None
    reference = copy.deepcopy(model)
    if adapted:
        reference = reference.merge_and_unload(adapter_names=[NAME])
    return reference.requires_grad_(False).eval()


def drop_needless_reference(model: Any) -> None:
    """Remove TRL's copy of a fresh adapter: with zero B, the base alone is the policy as loaded."""
    if has_reference(model) and is_fresh(model) and starts_at_base(model):
        model.delete_adapter(REFERENCE)


def is_fresh(model: Any) -> bool:
    """Whether the adapter was made by this run, not continued."""
    return bool(getattr(model, "aligntune_fresh", False))


def starts_at_base(model: Any) -> bool:
    """Whether the untrained adapter changes nothing: not so for PiSSA and LoftQ."""
    # The matrix that starts as zeros; on an embedding it is the other one.
    changing = re.compile(rf"\.lora_(B|embedding_A)\.{NAME}(\.|$)")
    return not any(
        p.detach().count_nonzero() for name, p in model.named_parameters() if changing.search(name)
    )


def targets(model: Any, configured: Any) -> Any:
    """What carries the adapter, as the configuration would say it: ``configured`` where nothing of it is missing."""
    return built_targets(model, configured, model.aligntune_targets)


def built(model: Any, config: Any) -> dict[str, Any]:
    """Which of the modules and layers that were asked for the built adapter has; peft passes over those it lacks."""
    names = [name for name, module in model.get_base_model().named_modules() if name]
    whole_modules, values = config.peft.modules_to_save, {}
    if whole_modules:
        whole = [n.removesuffix(".modules_to_save") for n in names if n.endswith(".modules_to_save")]
        values["peft.modules_to_save"] = sorted(a for a in whole_modules if any(n.endswith(a) for n in whole))
    if config.peft.layers_to_transform is not None:
        carried = [n for n in names if n.endswith((".lora_A", ".lora_embedding_A"))]
        numbers = [re.match(r".*\.[^.]*\.(\d+)\.", n) for n in carried]  # peft's own idea of a layer's number
        values["peft.layers_to_transform"] = sorted({int(m[1]) for m in numbers if m})
    return values
