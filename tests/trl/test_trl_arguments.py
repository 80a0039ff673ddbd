"""The argument table: every honoured path reaches the library's own object and is read back with its value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import Device, Prepared
from aligntune_core.config import resolve_config
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.errors import ConfigError
from aligntune_trl.table import BESIDE_THE_TABLE, HONOURS
from aligntune_trl.table import TABLE as ROWS

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Rows

pytestmark = pytest.mark.backend

CPU = Device(kind="cpu")
TABLE = {argument.path: argument for argument in ROWS}
Planned = Callable[..., dict[str, Any]]
QLORA = {"model.quantization.load_in_4bit": True}
EVAL = {"data.eval_dataset": [{"prompt": "a", "completion": "b"}]}
BEST = {
    **EVAL,
    "run.save_strategy": "epoch",
    "run.eval_strategy": "epoch",
    "run.load_best_model_at_end": True,
}

# A value other than the default for each path, with what it needs beside it.
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "model.revision": ("main", {}),
    "model.trust_remote_code": (True, {}),
    "model.device_map": ({"": "cpu"}, {}),
    "model.attn_implementation": ("eager", {}),
    "model.precision": ("bf16", {}),
    "model.quantization.load_in_4bit": (True, {}),
    "model.quantization.bnb_4bit_quant_type": ("fp4", QLORA),
    "model.quantization.bnb_4bit_use_double_quant": (False, QLORA),
    "model.quantization.bnb_4bit_compute_dtype": ("bfloat16", QLORA),
    "peft.r": (4, {}),
    "peft.alpha": (5, {}),
    "peft.dropout": (0.25, {}),
    "peft.target_modules": (["v_proj", "q_proj"], {}),
    "peft.bias": ("all", {}),
    "peft.use_rslora": (True, {}),
    "peft.use_dora": (True, {}),
    "peft.modules_to_save": (["norm"], {}),
    "peft.layers_to_transform": ([1], {"peft.target_modules": ["q_proj"]}),
    "peft.init": ("pissa", {}),
    "data.num_proc": (2, {}),
    "data.max_seq_length": (77, {}),
    "data.truncation_mode": ("keep_end", {}),
    "data.completion_only_loss": (False, {}),
    "data.packing": (True, {}),
    "data.packing_strategy": ("wrapped", {"data.packing": True}),
    "data.padding_free": (True, {"data.packing": True}),
    "data.group_by_length": (True, {}),
    "data.shuffle": (False, {}),
    "optim.learning_rate": (3e-4, {}),
    "optim.optimizer": ("adafactor", {}),
    "optim.lr_scheduler": ("cosine", {}),
    "optim.warmup_steps": (3, {}),
    "optim.warmup_ratio": (0.25, {}),
    "optim.weight_decay": (0.1, {}),
    "optim.max_grad_norm": (0.5, {}),
    "optim.adam_beta1": (0.8, {}),
    "optim.adam_beta2": (0.95, {}),
    "optim.adam_epsilon": (1e-6, {}),
    "optim.num_epochs": (2.5, {}),
    "optim.max_steps": (9, {}),
    "optim.batch_size": (3, {}),
    "optim.eval_batch_size": (5, {}),
    "optim.gradient_accumulation_steps": (2, {}),
    "optim.gradient_checkpointing": (True, {}),
    "optim.gradient_checkpointing_kwargs": (
        {"use_reentrant": True},
        {"optim.gradient_checkpointing": True},
    ),
    "optim.lr_scheduler_kwargs": ({"num_cycles": 1.5}, {"optim.lr_scheduler": "cosine"}),
    "optim.neftune_noise_alpha": (5.0, {}),
    "optim.torch_compile": (True, {}),
    "run.run_name": ("a name", {}),
    "run.data_seed": (7, {}),
    "run.logging_steps": (3, {}),
    "run.logging_first_step": (True, {}),
    "run.save_only_model": (True, {}),
    "run.eval_on_start": (True, EVAL),
    "run.early_stopping_patience": (3, EVAL),
    "run.early_stopping_threshold": (0.25, {**EVAL, "run.early_stopping_patience": 3}),
    "run.ddp_timeout": (77, {}),
    "run.save_strategy": ("epoch", {}),
    "run.save_steps": (11, {}),
    "run.save_total_limit": (2, {}),
    "run.eval_strategy": ("steps", EVAL),
    "run.eval_steps": (4, {**EVAL, "run.eval_strategy": "steps"}),
    "run.load_best_model_at_end": (True, BEST),
    "run.metric_for_best_model": ("eval_loss", BEST),
    "run.greater_is_better": (False, BEST),
    "run.dataloader_num_workers": (1, {}),
}
# Not to be had on this machine, or read from the built trainer: tested on their own below.
ELSEWHERE = {
    "optim.loraplus_lr_ratio",
    "model.token",
    "model.quantization.load_in_8bit",
    "optim.activation_offloading",
    "optim.use_liger_kernel",
    "optim.tf32",
    "run.callbacks",
    "run.report_to",
    "peft.enabled",
    "peft.merge_adapter",
    "rewards.functions",
    "rewards.weights",
    "rewards.model",
}


@pytest.fixture(scope="module")
def planned(tiny_model_dir: Path) -> Planned:
    def read(algorithm: str = "sft", **paths: Any) -> dict[str, Any]:
        from aligntune_trl.prepare import planned as read_back
        from aligntune_trl.problems import problems

        config = resolve_config(
            "sft" if algorithm == "sft" else "rl",
            **{
                "algorithm": algorithm,
                "model_name": str(tiny_model_dir),
                "dataset_name": "rows.json",
                "backend": "trl",
            }
            | {"output_dir": "out"}
            | paths,
        )
        if refused := problems(config):
            raise ConfigError(refused)
        return dict(read_back(resolve(config, CPU), Prepared(device=CPU)))

    return read


def test_all_honoured_paths_are_covered() -> None:
    rewards = {
        path for path in HONOURS if path.startswith("rewards.")
    }  # they belong to the online algorithms
    assert set(CHANGES) | ELSEWHERE | rewards == HONOURS
    assert set(TABLE) | BESIDE_THE_TABLE == HONOURS


@pytest.mark.parametrize("path", CHANGES)
def test_a_changed_path_comes_back(path: str, planned: Planned) -> None:
    value, needed = CHANGES[path]
    found = planned(**{**needed, path: value})[path]
    assert _plain(found) == _plain(value)
    unchanged = planned(**{p: v for p, v in needed.items() if p != path} if path not in BEST else EVAL)
    assert _plain(unchanged.get(path)) != _plain(value)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    "path", ["model.token", "optim.activation_offloading", "optim.use_liger_kernel", "optim.tf32"]
)
def test_written_and_read_on_any_object(path: str) -> None:
    from pydantic import SecretStr

    value: Any = SecretStr("hf_secret") if path == "model.token" else True
    written = TABLE[path].written(value)
    assert list(written.values()) == ["hf_secret" if path == "model.token" else True]
    assert TABLE[path].read(SimpleNamespace(**written)) == value


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"optim.activation_offloading": True}, "activation_offloading"),
        ({"optim.tf32": True}, "tf32"),
        ({"optim.gradient_checkpointing": "unsloth"}, "unsloth"),
        ({"data.padding_free": True}, "packing=True"),
        ({"optim.optimizer": "adamw_torhc"}, "adamw_torch"),
        ({"optim.optimizer": "galore_adamw"}, "galore"),
        ({"run.report_to": ["tensorbord"]}, "report_to"),
        ({"run.callbacks": [print]}, "callbacks"),
        ({"optim.gradient_checkpointing_kwargs": {"use_reentrent": True}}, 'Did you mean "use_reentrant"'),
        ({"optim.lr_scheduler": "cosin"}, "cosine"),
        ({"optim.lr_scheduler": "cosine_with_min_lr"}, "min_lr"),
        ({"optim.lr_scheduler": "cosine", "optim.lr_scheduler_kwargs": {"min_lr": 1e-6}}, "does not take"),
        ({"optim.lr_scheduler_kwargs": {"power": 2.0}}, "lr_scheduler_kwargs"),
        ({"algorithm": "dpo", "data.packing": True}, "packing"),
        ({"algorithm": "dpo", "data.group_by_length": True}, "group_by_length"),
        ({"algorithm": "dpo", "sync_ref_model": True}, "sync_ref_model"),
    ],
)
def test_refused_before_weights(keywords: dict[str, Any], named: str, planned: Planned) -> None:
    with pytest.raises(ConfigError, match=named):
        planned(**keywords)


def test_trackers_are_written_and_read() -> None:
    argument = TABLE["run.report_to"]
    assert argument.written(["wandb", "trackio"]) == {"report_to": ["wandb", "trackio"]}
    assert argument.written([]) == {"report_to": "none"}
    assert argument.read({"report_to": ["wandb"]}) == ["wandb"]


def test_every_parameter_of_dpo_comes_back(planned: Planned) -> None:
    values = {
        "beta": 0.3,
        "loss_type": ["robust", "discopop"],
        "loss_weights": [0.7, 0.3],
        "label_smoothing": 0.1,
        "f_divergence_type": "alpha_divergence",
        "f_alpha_divergence_coef": 0.4,
        "use_weighting": True,
        "discopop_tau": 0.1,
        "ld_alpha": 0.5,
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": 3,
        "ref_model_mixup_alpha": 0.5,
        "ref_model_sync_steps": 7,
        "disable_dropout": False,
    }
    found = planned("dpo", **values)
    assert {name: found[f"parameters.{name}"] for name in values} == values
    assert planned("dpo", sync_ref_model=True, use_peft=False)["parameters.sync_ref_model"] is True


def test_dft_loss_comes_back(planned: Planned) -> None:
    assert planned(loss_type="dft")["parameters.loss_type"] == "dft"
    assert planned()["parameters.loss_type"] == "nll"


def test_callbacks_are_the_callers_own(build: Build) -> None:
    from transformers import TrainerCallback

    class Counter(TrainerCallback):  # type: ignore[misc]
        steps = 0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.steps += 1

    counter = Counter()
    trainer = build("sft", callbacks=[counter])
    assert trainer.effective["run.callbacks"] == [counter]
    trainer.train()
    assert counter.steps == 3


def test_effective_reads_the_built_trainer(build: Build) -> None:
    """A trainer whose arguments were changed behind the configuration's back says so."""
    trainer = build("sft", attn_implementation="eager", warmup_ratio=0.5)
    assert trainer.effective["model.attn_implementation"] == "eager"
    assert trainer.effective["optim.warmup_steps"] == 2
    assert trainer.effective["data.rows"] == 22
    engine = trainer._engine
    trainer.native.args.learning_rate = 0.5
    trainer.native.args.weight_decay = 0.9
    trainer.native.args.max_grad_norm = 3.0
    changed = engine.effective()
    assert changed["optim.learning_rate"] == 0.5
    assert changed["optim.weight_decay"] == 0.9
    assert changed["optim.max_grad_norm"] == 3.0


def test_rows_are_counted_before_packing(build: Build, sft_rows: Rows) -> None:
    packed = build("sft", packing=True, max_seq_length=64)
    assert len(packed.native.train_dataset) < len(sft_rows)
    assert packed.effective["data.rows"] == len(sft_rows)
    packed.train()
