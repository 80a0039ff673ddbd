"""The sections that say what is trained: the model and its adapter."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SecretStr, field_validator

from aligntune_core.fields import Section, option, ours

# What the examples of some fields need beside them.
_FOUR_BIT = {"model.quantization.load_in_4bit": True}
_PROJECTIONS = ["q_proj", "v_proj"]


class Quantization(Section):
    """Weight format of the frozen base (QLoRA, https://arxiv.org/abs/2305.14314)."""

    load_in_4bit: bool = option("4-bit weights", False)
    load_in_8bit: bool = option("8-bit weights", False)
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = option(
        "4-bit data type", "nf4", source="QLoRA paper", beside=_FOUR_BIT
    )
    bnb_4bit_use_double_quant: bool = option(
        "quantise the quantisation constants too", True, source="QLoRA paper", beside=_FOUR_BIT
    )
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "dtype of matrix products; auto follows precision", "auto", beside=_FOUR_BIT
    )

    @field_validator("bnb_4bit_compute_dtype", mode="before")
    @classmethod
    def _dtype_by_name(cls, value: Any) -> Any:
        name = str(value).removeprefix("torch.")
        return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "None": "auto"}.get(name, name)


class ModelConfig(Section):
    """Which model, in which number format."""

    name: Any = ours(
        "hub id, local folder, adapter folder, or a model in memory",
        keyword="model_name",
        aliases=("model_name_or_path", "model"),
        on_resume="held",
    )
    tokenizer: Any = ours(
        "hub id or folder of the tokenizer, or a tokenizer in memory",
        None,
        keyword="tokenizer_name",
        aliases=("tokenizer_name_or_path", "tokenizer"),
        off="the model's own tokenizer",
        on_resume="changes",
    )
    chat_template: str | None = ours(
        "chat template to use: Jinja text, a file of it, or a name (chatml, llama3, qwen3, ...)",
        None,
        aliases=("chat_template_path",),
        off="the tokenizer's own",
        on_resume="changes",
    )
    chat_template_kwargs: dict[str, Any] = ours(
        "values that the chat template reads, e.g. enable_thinking; saved with it", {}, on_resume="changes"
    )
    eos_token: str | None = ours(
        "token that ends a reply, one of the tokenizer's",
        None,
        off="the one that the chat template writes after a reply, else the tokenizer's own",
        on_resume="changes",
    )
    pad_token: str | None = ours(
        "token that fills batches, one of the tokenizer's",
        None,
        off="the tokenizer's own, else the end-of-sequence token",
    )
    new_tokens: list[str] = ours(
        "tokens to add to the vocabulary; the embedding gets a row for each, near the mean of the others",
        [],
        on_resume="held",
        example=["<tool>"],
    )
    revision: str | None = option(
        "branch, tag or commit on the hub",
        None,
        off="the hub's default branch",
        example="a-branch",
        on_resume="changes",
    )
    token: SecretStr | None = option(
        "hub access token; never written out",
        None,
        secret=True,
        off="the hub login of this machine",
        example="hf_example",
    )
    trust_remote_code: bool = option("run the code that a model repository ships", False)
    device_map: str | dict[str, Any] | None = option(
        "placement of layers on devices", None, off="one device", example="auto"
    )
    attn_implementation: str | None = option(
        "attention kernel, e.g. sdpa, eager, flash_attention_2",
        None,
        off="the library's choice",
        example="eager",
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = option(
        "bf16: frozen weights bf16, trainable float32, bf16 autocast; fp32: float32 everywhere; "
        "auto: bf16 where the device has it, else fp32",
        "auto",
        on_resume="changes",
        example="bf16",
    )
    quantization: Quantization | None = option(
        "weight format of the frozen base", None, off="not quantised", on_resume="changes"
    )


class PeftConfig(Section):
    """LoRA (https://arxiv.org/abs/2106.09685) and its variants."""

    enabled: bool | None = option(
        "train a LoRA adapter; false: full fine-tuning; unset: LoRA",
        None,
        keyword="use_peft",
        aliases=("use_lora", "peft_enabled"),
        alone=True,
    )
    r: int = option("rank", 16, keyword="lora_r", aliases=("lora_rank",), ge=1)
    alpha: float = option(
        "scale numerator: the update is scaled by alpha / r", 32, keyword="lora_alpha", gt=0
    )
    dropout: float = option("dropout on the adapter's input, 0..1", 0.0, keyword="lora_dropout", ge=0, lt=1)
    target_modules: str | list[str] | None = option(
        "module names, a regex, or all-linear; unset: all-linear",
        None,
        keyword="lora_target_modules",
        aliases=("target_modules",),
        example=_PROJECTIONS,
    )
    bias: Literal["none", "all", "lora_only"] = option("which biases train", "none", keyword="lora_bias")
    use_rslora: bool = option("scale by alpha / sqrt(r) (https://arxiv.org/abs/2312.03732)", False)
    use_dora: bool = option("weight-decomposed LoRA (https://arxiv.org/abs/2402.09353)", False)
    modules_to_save: list[str] | None = option(
        "modules trained in full beside the adapter", None, off="none", example=["lm_head"]
    )
    layers_to_transform: list[int] | None = option(
        "layer indices that get an adapter",
        None,
        off="all layers",
        example=[0],
        beside={"peft.target_modules": _PROJECTIONS},
    )
    init: Literal["default", "gaussian", "pissa", "loftq"] = option(
        "initialisation: default (Kaiming A, zero B), gaussian, PiSSA (https://arxiv.org/abs/2404.02948) "
        "or LoftQ (https://arxiv.org/abs/2310.08659)",
        "default",
        keyword="lora_init",
        example="gaussian",
    )
    merge_adapter: bool = option(
        "model_name is an adapter folder: merge it into its base and train a fresh adapter", False
    )
