"""What cannot be run, said before any weights load."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from aligntune_core import Device
from aligntune_core.errors import ConfigError
from aligntune_core.model.kind import classifier_problems, language_model_problems
from aligntune_core.run.topology import world_size
from aligntune_trl.model import problems as early
from aligntune_trl.model.source import Source
from aligntune_trl.table import PEFT, value_at


def refuse(config: Any, device: Device, source: Source, backend: str = "trl") -> None:
    """Check a resolved configuration against device, model and library.

    Args:
        config: resolved configuration.
        device: where training runs.
        source: what ``model_name`` is.
        backend: the backend that asks: "unsloth" has a checkpointing of its own.

    Raises:
        ConfigError: all problems at once.
    """
    problems = [
        *_device_problems(config, device, backend),
        *_data_problems(config),
        *_callback_problems(config),
        *_online_problems(config),
        *_head_problems(config, source),
        *_weights_problems(config, source),
        *(_adapter_problems(config, source) if config.peft.enabled else ()),
        *early.problems(config, device, source, fresh=config.peft.enabled and not continued(config, source)),
    ]
    if problems:
        raise ConfigError(problems)


def _device_problems(config: Any, device: Device, backend: str) -> list[str]:
    problems = []
    on_cpu = device.kind == "cpu"
    if config.model.precision == "fp16" and on_cpu:
        problems.append('precision="fp16" needs a GPU; on a CPU take "fp32"')
    if config.optim.tf32 and device.kind != "cuda":
        problems.append(f"tf32 is a number format of NVIDIA GPUs; this run is on {device.kind}. Leave it out")
    if config.optim.activation_offloading and on_cpu:
        problems.append(
            "activation_offloading moves activations from a GPU to host memory; on a CPU leave it out"
        )
    if config.optim.gradient_checkpointing == "unsloth" and backend != "unsloth":
        problems.append('gradient_checkpointing="unsloth" is for backend="unsloth"; take True')
    if config.optim.use_liger_kernel and find_spec("liger_kernel") is None:
        problems.append("use_liger_kernel needs the liger-kernel package: pip install liger-kernel")
    return problems


def _data_problems(config: Any) -> list[str]:
    if config.algorithm == "sft" and config.data.padding_free and not config.data.packing:
        return [
            "padding_free without packing would not enforce max_seq_length in TRL; packing=True is padding-free too"
        ]
    return []


def _online_problems(config: Any) -> list[str]:
    """Rewards that are none, and a generator that is not there."""
    from aligntune_core.algorithms import find
    from aligntune_core.rewards import read_rewards

    problems = []
    if find(config.algorithm).scored_by == "rewards":
        try:
            read_rewards(config.rewards)
        except ConfigError as error:
            problems += error.problems
    if getattr(config.parameters, "generation", None) == "vllm" and find_spec("vllm") is None:
        problems.append(
            'generation="vllm" needs the vllm package, which is not installed here: pip install vllm, or leave '
            "generation out"
        )
    steps, processes = getattr(config.parameters, "steps_per_generation", None), world_size()
    if steps is not None and steps % processes and not config.optim.gradient_accumulation_steps % processes:
        near = [n for n in (steps // processes * processes, -(-steps // processes) * processes) if n]
        problems.append(
            f"steps_per_generation: {processes} processes do not divide {steps}: take {' or '.join(map(str, near))}"
        )
    return problems


def _callback_problems(config: Any) -> list[str]:
    from transformers import TrainerCallback

    wrong = [c for c in config.run.callbacks if not isinstance(c, TrainerCallback)]
    return [
        f"callbacks: got {type(c).__name__} {c!r}; pass objects of transformers.TrainerCallback"
        for c in wrong
    ]


def _head_problems(config: Any, source: Source) -> list[str]:
    """A classifier where a language model is needed, or the other way round."""
    if config.algorithm != "reward" and source.outputs is not None:
        return [
            f"model_name: this is a classifier (a reward model?), which writes no text; {config.algorithm} trains a "
            "language model. A reward model goes into reward_model_name"
        ]
    if config.algorithm != "reward":
        return language_model_problems(source.model_config, source.architectures, source.in_memory)
    if source.outputs not in (None, 1):
        return [
            f"model_name: this classifier has {source.outputs} outputs; a reward model has 1. Give the language model "
            "that it was made from"
        ]
    if source.in_memory and source.outputs is None:
        return [
            "model_name: a language model in memory has no head that scores; pass its path, or a model of "
            "AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)"
        ]
    return [] if source.in_memory else classifier_problems(source.model_config)


def _weights_problems(config: Any, source: Source) -> list[str]:
    problems = []
    quantised = source.quantised or config.model.quantization is not None
    if config.model.quantization is not None and source.in_memory:
        problems.append(
            "quantization: the model is in memory already; quantise it when loading it, or pass its path"
        )
    if config.model.device_map is not None and source.in_memory:
        problems.append(
            "device_map: the model is in memory already; place it when loading it, or pass its path"
        )
    if config.model.quantization is not None and source.quantised:
        problems.append("quantization: the checkpoint is stored quantised already; leave quantization out")
    if quantised and not config.peft.enabled:
        problems.append(
            "use_peft=False: quantised weights cannot be fine-tuned in full; leave use_peft out for LoRA"
        )
    if config.peft.merge_adapter and source.adapter_config is None:
        problems.append("merge_adapter: model_name is no adapter; leave merge_adapter out")
    if config.peft.merge_adapter and quantised:
        problems.append(
            "merge_adapter: merging into 4-bit weights rounds the adapter away; leave merge_adapter out to "
            "continue the adapter, or load the base unquantised"
        )
    if source.adapter_config is not None and not config.peft.enabled and not config.peft.merge_adapter:
        problems.append(
            "use_peft=False: model_name is an adapter; set merge_adapter=True to merge it and fine-tune the whole, "
            "or leave use_peft out to continue the adapter"
        )
    if getattr(config.parameters, "sync_ref_model", False) and config.peft.enabled:
        problems.append(
            "sync_ref_model: with LoRA the reference is the base model; use_peft=False gives it one of its own"
        )
    if needs_reference(config) and config.peft.enabled and config.peft.bias != "none":
        if quantised:
            problems.append(
                f"lora_bias: with {config.algorithm} the reference needs the untrained biases in a copy; quantised "
                "weights have none"
            )
        elif config.algorithm not in ("dpo", "ppo"):
            problems.append(
                f"lora_bias={config.peft.bias!r}: the KL of {config.algorithm} needs a reference; biases that train "
                'beside an adapter stay on when it is switched off; take lora_bias="none" or beta=0'
            )
    return problems


def needs_reference(config: Any) -> bool:
    """Whether training compares the policy with the one that it was at its start."""
    return config.algorithm in ("dpo", "ppo") or bool(getattr(config.parameters, "beta", 0))


def _adapter_problems(config: Any, source: Source) -> list[str]:
    if continued(config, source):
        return differences(config, source.adapter_config or {})
    peft, quantised = config.peft, source.quantised or config.model.quantization is not None
    problems = []
    if peft.init == "pissa" and quantised:
        problems.append(
            'lora_init="pissa" splits the weights themselves and needs them unquantised; take "loftq"'
        )
    if peft.init == "pissa" and peft.use_dora:
        problems.append(
            'lora_init="pissa" with use_dora cannot be saved as an adapter of the original model; take one'
        )
    if peft.init == "loftq" and (
        config.model.quantization is None or not config.model.quantization.load_in_4bit
    ):
        problems.append(
            'lora_init="loftq" corrects the error of 4-bit weights: set quantization={"load_in_4bit": True} with an '
            "unquantised checkpoint"
        )
    if peft.init == "loftq" and peft.use_dora:
        problems.append('lora_init="loftq" with use_dora: the two initialise the same matrices; take one')
    if not isinstance(peft.target_modules, str) and "lm_head" in (peft.target_modules or ()):
        problems.append(
            "lora_target_modules: TRL reads lm_head's weight directly and would not train an adapter on it; "
            "leave it out, or name it in modules_to_save"
        )
    return problems


def continued(config: Any, source: Source) -> bool:
    """Whether training goes on with the adapter that ``model_name`` is."""
    return bool(config.peft.enabled) and source.adapter_config is not None and not config.peft.merge_adapter


def differences(config: Any, adapter: Mapping[str, Any]) -> list[str]:
    """Adapter settings that were given and differ from those of the adapter that is continued."""
    from aligntune_core.config import keyword_of, written
    from aligntune_core.config.table import same

    problems = []
    for path in sorted(set(PEFT) & written(config)):
        found, asked = PEFT[path].read(adapter.__getitem__), value_at(config, path)
        if path == "peft.target_modules" and asked == "all-linear":
            continue  # adapters store the names that it stood for
        if not same(path, asked, found):
            twice = (
                " (PiSSA is saved as plain LoRA of twice the rank)"
                if path == "peft.r" and found == 2 * asked
                else ""
            )
            problems.append(
                f"{keyword_of(path)}: asked for {asked!r}, but the adapter that model_name names has {found!r}{twice}. "
                "Leave it out to continue that adapter, or set merge_adapter=True to merge it and start a new one"
            )
    return problems
