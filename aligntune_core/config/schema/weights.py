"""The sections that say what is trained: the model and its adapter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import SecretStr, field_validator

from aligntune_core.fields import Section, option

Precision = Literal["auto", "bf16", "fp16", "fp32"]


class Quantization(Section):
    """Weight format of the frozen base (QLoRA, https://arxiv.org/abs/2305.14314)."""

    load_in_4bit: Annotated[bool, option("4-bit weights")] = False
    load_in_8bit: Annotated[bool, option("8-bit weights")] = False
    bnb_4bit_quant_type: Annotated[
        Literal["nf4", "fp4"],
        option("4-bit data type", source="QLoRA paper", beside={"model.quantization.load_in_4bit": True}),
    ] = "nf4"
    bnb_4bit_use_double_quant: Annotated[
        bool,
        option(
            "quantise the quantisation constants too",
            source="QLoRA paper",
            beside={"model.quantization.load_in_4bit": True},
        ),
    ] = True
    bnb_4bit_compute_dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        option(
            "dtype of matrix products; auto follows precision",
            beside={"model.quantization.load_in_4bit": True},
        ),
    ] = "auto"

    @field_validator("bnb_4bit_compute_dtype", mode="before")
    @classmethod
    def _dtype_by_name(cls, value: Any) -> Any:
        name = str(value).removeprefix("torch.")
        return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "None": "auto"}.get(name, name)


class ModelConfig(Section):
    """Which model, in which number format."""

    name: Annotated[
        Any,
        option(
            "hub id, local folder, adapter folder, or a model in memory",
            keyword="model_name",
            aliases=("model_name_or_path", "model"),
            owner="core",
            on_resume="held",
        ),
    ]
    tokenizer: Annotated[
        Any,
        option(
            "hub id or folder of the tokenizer, or a tokenizer in memory",
            keyword="tokenizer_name",
            aliases=("tokenizer_name_or_path", "tokenizer"),
            owner="core",
            off="the model's own tokenizer",
        ),
    ] = None
    chat_template: Annotated[
        str | None, option("Jinja chat template to use", owner="core", off="the tokenizer's own")
    ] = None
    revision: Annotated[
        str | None,
        option("branch, tag or commit on the hub", off="the hub's default branch", example="a-branch"),
    ] = None
    token: Annotated[
        SecretStr | None,
        option(
            "hub access token; never written out",
            secret=True,
            off="the hub login of this machine",
            example="hf_example",
        ),
    ] = None
    trust_remote_code: Annotated[bool, option("run the code that a model repository ships")] = False
    device_map: Annotated[
        str | dict[str, Any] | None,
        option("placement of layers on devices", off="one device", example="auto"),
    ] = None
    attn_implementation: Annotated[
        str | None,
        option(
            "attention kernel, e.g. sdpa, eager, flash_attention_2",
            off="the library's choice",
            example="eager",
        ),
    ] = None
    precision: Annotated[
        Precision,
        option(
            "bf16: frozen weights bf16, trainable float32, bf16 autocast; fp32: float32 everywhere; "
            "auto: bf16 where the device has it, else fp32",
            on_resume="changes",
            example="bf16",
        ),
    ] = "auto"
    quantization: Annotated[
        Quantization | None,
        option("weight format of the frozen base", off="not quantised", on_resume="changes"),
    ] = None


class PeftConfig(Section):
    """LoRA (https://arxiv.org/abs/2106.09685) and its variants."""

    enabled: Annotated[
        bool | None,
        option(
            "train a LoRA adapter; false: full fine-tuning; unset: LoRA",
            keyword="use_peft",
            aliases=("use_lora", "peft_enabled"),
            alone=True,
        ),
    ] = None
    r: Annotated[int, option("rank", keyword="lora_r", aliases=("lora_rank",), ge=1)] = 16
    alpha: Annotated[
        float, option("scale numerator: the update is scaled by alpha / r", keyword="lora_alpha", gt=0)
    ] = 32
    dropout: Annotated[
        float, option("dropout on the adapter's input, 0..1", keyword="lora_dropout", ge=0, lt=1)
    ] = 0.0
    target_modules: Annotated[
        str | list[str] | None,
        option(
            "module names, a regex, or all-linear; unset: all-linear",
            keyword="lora_target_modules",
            aliases=("target_modules",),
            example=["q_proj", "v_proj"],
        ),
    ] = None
    bias: Annotated[
        Literal["none", "all", "lora_only"], option("which biases train", keyword="lora_bias")
    ] = "none"
    use_rslora: Annotated[bool, option("scale by alpha / sqrt(r) (https://arxiv.org/abs/2312.03732)")] = False
    use_dora: Annotated[bool, option("weight-decomposed LoRA (https://arxiv.org/abs/2402.09353)")] = False
    modules_to_save: Annotated[
        list[str] | None,
        option("modules trained in full beside the adapter", off="none", example=["lm_head"]),
    ] = None
    layers_to_transform: Annotated[
        list[int] | None,
        option(
            "layer indices that get an adapter",
            off="all layers",
            example=[0],
            beside={"peft.target_modules": ["q_proj", "v_proj"]},
        ),
    ] = None
    init: Annotated[
        Literal["default", "gaussian", "pissa", "loftq"],
        option(
            "initialisation: default (Kaiming A, zero B), gaussian, PiSSA (https://arxiv.org/abs/2404.02948) "
            "or LoftQ (https://arxiv.org/abs/2310.08659)",
            keyword="lora_init",
            example="gaussian",
        ),
    ] = "default"
    merge_adapter: Annotated[
        bool, option("model_name is an adapter folder: merge it into its base and train a fresh adapter")
    ] = False
