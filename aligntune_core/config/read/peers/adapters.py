"""Keywords of peft's LoraConfig, of bitsandbytes' configuration, and of Unsloth's FastLanguageModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.config import keywords as kw
from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    always,
    choice,
    field_or,
    names_list,
    same,
    switch,
)

QUANTIZATION = "model.quantization"
FOUR_BIT: Settings = [(f"{QUANTIZATION}.load_in_4bit", True)]
EIGHT_BIT: Settings = [(f"{QUANTIZATION}.load_in_8bit", True)]
QUANTIZED = (
    "load_in_4bit=True and load_in_8bit=True (bitsandbytes) are the weight formats that are made on loading"
)

_INIT: dict[str, Settings] = {
    "true": [],
    "default": [],
    **{name: [("peft.init", name)] for name in ("gaussian", "pissa", "loftq")},
}
_LAYERS = "layers_to_transform names layers by number"
_RANKS = "every module has the rank lora_r and the scale lora_alpha"
_LOFTQ = 'lora_init="loftq" starts so, with 4 bits'
_OTHER_ADAPTER = (
    "LoRA and its variants rsLoRA, DoRA, PiSSA and LoftQ are offered: use_rslora, use_dora, lora_init"
)
_UNSLOTH = 'backend="unsloth" sets it; backend_options has what can be chosen'


def bits(value: Any, _: Context) -> Settings:
    """A number of bits, as 4 or 8."""
    settings = {"4": FOUR_BIT, "8": EIGHT_BIT}.get(str(value))
    if settings is None:
        raise Refused(f"is not offered: {QUANTIZED}")
    return settings


def _quantization_config(value: Any, _: Context) -> Settings:
    """bitsandbytes' configuration, as a mapping or an object."""
    if not isinstance(value, Mapping):
        to_dict = getattr(value, "to_dict", None)
        value = to_dict() if callable(to_dict) else value
    if not isinstance(value, Mapping):
        raise Refused("must be a mapping: quantization={...}")
    fields = {name: entry.path for name, entry in kw.in_section(QUANTIZATION).items()}
    if value.get("quant_method") not in (None, "bitsandbytes"):
        raise Refused(f"is not offered: {QUANTIZED}")
    return [
        (fields[name], setting) for name, setting in value.items() if name in fields and setting is not None
    ]


def _target_parameters(value: Any, context: Context) -> Settings:
    return field_or("lora_target_parameters", "lora_target_modules names modules")(value, context)


TRANSLATED: dict[str, Translation] = {
    "bits": bits,
    "lora_modules_to_save": names_list("peft.modules_to_save"),
    "init_lora_weights": choice(_INIT, f"{_OTHER_ADAPTER}; lora_init has the starts"),
    "bias": same("peft.bias"),
    "target_parameters": _target_parameters,
    "use_bnb_nested_quant": same(f"{QUANTIZATION}.bnb_4bit_use_double_quant"),
    "bnb_4bit_quant_storage": always(
        "uint8", because="4-bit weights are stored as bitsandbytes does by default"
    ),
    "quantization_config": _quantization_config,
    "bnb_config": _quantization_config,
    "full_finetuning": switch("peft.enabled", False),
    "megatron_core": always("megatron.core", because="layers of Megatron are not read"),
    "peft_type": choice({"lora": [], "pefttype.lora": []}, _OTHER_ADAPTER),
    "load_in_16bit": always(True, because='write precision="bf16"'),
    "fix_tokenizer": always(True, because=_UNSLOTH),
    "disable_log_stats": always(True, because=_UNSLOTH),
}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset({"use_bnb_nested_quant"})

NOT_OFFERED: dict[str, str] = {
    "exclude_modules": "name those that are trained: lora_target_modules takes a list or a regex",
    "fan_in_fan_out": "peft sees by the layer's type how its weights lie",
    "layers_pattern": _LAYERS,
    "finetune_last_n_layers": _LAYERS,
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), _RANKS),
    **dict.fromkeys(("megatron_config", "auto_mapping", "peft_version", "inference_mode", "runtime_config"),
                    "peft sets it itself"),
    "base_model_name_or_path": "the base of an adapter is in its folder: model_name=ADAPTER_FOLDER goes on training it",
    "trainable_token_indices": "modules_to_save trains a layer whole: [\"embed_tokens\"]",
    "loftq_config": _LOFTQ,
    **dict.fromkeys(("eva_config", "corda_config", "lora_ga_config", "velora_config", "alora_invocation_tokens",
                     "use_qalora", "qalora_group_size", "monteclora_config", "layer_replication", "use_bdlora",
                     "arrow_config", "kasa_config"), _OTHER_ADAPTER),
    "ensure_weight_tying": "tied weights stay tied as the model has them; modules_to_save names what is trained whole",
    "load_in_fp8": QUANTIZED,
    "max_lora_rank": "lora_r is the rank",
    **dict.fromkeys(("resize_model_vocab", "use_exact_model_name", "offload_embedding", "float8_kv_cache",
                     "qat_scheme", "unsloth_tiled_mlp", "temporary_location", "unsloth_force_compile", "fullgraph",
                     "auto_model", "return_logits", "text_only"), _UNSLOTH),
    **dict.fromkeys(("finetune_vision_layers", "finetune_language_layers", "finetune_attention_modules",
                     "finetune_mlp_modules", "finetune_audio_layers"),
                    "lora_target_modules names the modules that get an adapter, by a list or a regex"),
    **dict.fromkeys(("whisper_language", "whisper_task"), "language models are trained, no speech models"),
    **dict.fromkeys(("llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload",
                     "llm_int8_has_fp16_weight"), QUANTIZED),
    "max_memory": "device_map places layers on devices",
    "offload_folder": "device_map places layers on devices",
    "low_cpu_mem_usage": "weights are loaded as transformers does",
    "cache_dir": "set the environment variable HF_HOME",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "qalora_group_size": 16,
    "runtime_config": {"ephemeral_gpu_offload": False},
    "max_lora_rank": 64,
    "temporary_location": "_unsloth_temporary_saved_buffers",
    "low_cpu_mem_usage": True,
}
