"""A backend that is plain numpy: the model's embedding predicts each token from the one before it, through an adapter.

It is the source of a plugin that the kit's tests install, and shows an engine with a ``probe``. It trains SFT.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aligntune_core import BackendInfo, Device, LoadedModel, Prepared, Support, TrainResult, hookimpl
from aligntune_core.testing.probe import Parameter, Update
from aligntune_core.types import Datasets, RunContext, Sampling

Arrays = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Sample = tuple[list[int], int]

EMBEDDING = "model.embed_tokens.weight"
FIELDS = {
    "optim": """learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_steps batch_size
        gradient_accumulation_steps eval_batch_size lr_scheduler warmup_steps max_grad_norm""",
    "data": "max_seq_length truncation_mode completion_only_loss",
    "run": "data_seed save_strategy save_steps save_total_limit",
    "peft": "r alpha",
}
BUILT = [f"{section}.{name}" for section, names in FIELDS.items() for name in names.split()]


@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(summary="bigrams in numpy", honours=frozenset(BUILT), devices=("cpu",))


@hookimpl
def supports_algorithm(algorithm: str) -> Support:
    return Support(True) if algorithm == "sft" else Support(False, "sft only")


@hookimpl
def problems(config: Any) -> list[str]:
    limits = {
        "lr_scheduler: bigrams have linear and cosine": config.optim.lr_scheduler in ("linear", "cosine"),
        "loss_type: bigrams have nll": config.parameters.loss_type == "nll",
    }
    return [sentence for sentence, holds in limits.items() if not holds]


@hookimpl
def prepare(config: Any) -> Prepared:
    from transformers import AutoTokenizer

    return Prepared(device=Device(kind="cpu"), tokenizer=AutoTokenizer.from_pretrained(config.model.name))


@hookimpl
def load_model(config: Any, prepared: Prepared) -> LoadedModel:
    from safetensors.numpy import load_file

    return LoadedModel(
        load_file(Path(config.model.name) / "model.safetensors")[EMBEDDING], prepared.tokenizer
    )


@hookimpl
def apply_peft(loaded: LoadedModel, config: Any, prepared: Prepared) -> LoadedModel:
    import numpy as np

    rank, (_, width) = config.peft.r, loaded.model.shape
    draw = np.random.default_rng(config.run.seed)
    down = draw.normal(0, 1 / math.sqrt(width), (rank, width)).astype(np.float64)
    arrays = {EMBEDDING: loaded.model, "down": down, "up": draw.normal(0, 0.01, (width, rank))}
    return LoadedModel(arrays, loaded.tokenizer)


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine:
    return Engine(loaded, config, datasets, run)


class Engine:
    """The loop, and its probe."""

    def __init__(self, loaded: LoadedModel, config: Any, datasets: Datasets, run: RunContext) -> None:
        self.arrays: Arrays = loaded.model
        self.tokenizer, self.run = loaded.tokenizer, run
        self.values: dict[str, Any] = {path: _at(config, path) for path in BUILT}
        self.values["data.completion_only_loss"] = config.data.completion_only_loss is not False
        self.scale = config.peft.alpha / config.peft.r
        self.rows = [self.sample(row) for row in datasets.train]
        self.eval_rows = [self.sample(row) for row in datasets.eval or ()]
        self.step, self.loss_sum = 0, 0.0
        self.on_update: Callable[[Update], None] | None = None
        self.moments = {f"{kind}.{name}": self.arrays[name] * 0 for kind in "mv" for name in ("down", "up")}

    @property
    def native(self) -> Engine:
        return self

    @property
    def model(self) -> Arrays:
        return self.arrays

    @property
    def probe(self) -> Engine:
        return self

    def effective(self) -> dict[str, Any]:
        return {**self.values, "parameters.loss_type": "nll", "data.rows": len(self.rows)}

    # --- the probe ---------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Parameter]:
        return {
            name: Parameter(
                value=array.copy(), trainable=name != EMBEDDING, shape=array.shape, dtype=str(array.dtype)
            )
            for name, array in self.arrays.items()
        }

    def loss(self, rows: Rows) -> float:
        return self.look([self.sample(row) for row in rows])[0]

    def watch(self, on_update: Callable[[Update], None] | None) -> None:
        self.on_update = on_update

    # --- training ----------------------------------------------------------------------------------------------------

    def sample(self, row: Mapping[str, Any]) -> Sample:
        """Token ids, and the index of the first in the loss."""
        whole = self.ids([*row["prompt"], *row["completion"]])
        completion_only = self.values["data.completion_only_loss"]
        start = len(self.ids(row["prompt"], add_generation_prompt=True)) if completion_only else 0
        length = self.values["data.max_seq_length"]
        if self.values["data.truncation_mode"] == "keep_start":
            return whole[:length], start
        return whole[-length:], max(0, start - max(0, len(whole) - length))

    def ids(self, messages: Any, **template: Any) -> list[int]:
        rendered = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **template)
        return list(rendered["input_ids"])

    def look(self, samples: Iterable[Sample]) -> tuple[float, Arrays, float]:
        """Mean loss over all tokens of these samples, gradients of the adapter, and share of likeliest tokens."""
        import numpy as np

        pairs = [(ids[i - 1], ids[i]) for ids, start in samples for i in range(max(1, start), len(ids))]
        before, after = (np.array(side) for side in zip(*pairs, strict=True))
        hidden, logits = self.forward(before)
        logits -= logits.max(1, keepdims=True)
        logps = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        wrong = np.exp(logps)
        wrong[np.arange(len(after)), after] -= 1
        pull = self.scale * (wrong / len(after)) @ self.arrays[EMBEDDING]
        gradients = {
            "up": pull.T @ (hidden @ self.arrays["down"].T),
            "down": (pull @ self.arrays["up"]).T @ hidden,
        }
        right = float((logits.argmax(1) == after).mean())
        return float(-logps[np.arange(len(after)), after].mean()), gradients, right

    def forward(self, before: Any) -> tuple[Any, Any]:
        """Embeddings of tokens, and logits of those that follow."""
        hidden = self.arrays[EMBEDDING][before].astype("float64")
        turned = hidden + self.scale * hidden @ self.arrays["down"].T @ self.arrays["up"].T
        return hidden, turned @ self.arrays[EMBEDDING].T

    def batches(self) -> Iterator[tuple[float, list[list[int]]]]:
        """Row numbers of the micro-batches of each step, with the epoch that has passed."""
        import torch  # whose permutation is the contract's

        size, count = self.values["optim.batch_size"], len(self.rows)
        accumulation = self.values["optim.gradient_accumulation_steps"]
        for epoch in range(self.values["optim.max_steps"]):
            generator = torch.Generator().manual_seed(self.values["run.data_seed"] + epoch)
            order = torch.randperm(count, generator=generator).tolist()
            micro = [order[i : i + size] for i in range(0, count, size)]
            for i in range(0, len(micro), accumulation):
                done = sum(map(len, micro[: i + accumulation]))
                yield epoch + done / count, micro[i : i + accumulation]

    def train(self, resume_from: Path | None = None) -> TrainResult:
        if resume_from is not None:
            self.load(resume_from)
        stopped = None
        for number, (epoch, micro) in enumerate(self.batches()):
            if number < self.step:
                continue
            self.update(epoch, micro)
            if self.eval_rows and epoch == int(epoch):
                self.evaluate()
            stopped = self.run.stop()
            due = (
                self.values["run.save_strategy"] == "steps" and self.step % self.values["run.save_steps"] == 0
            )
            if stopped or due:
                self.checkpoint()
            if stopped or self.step >= self.values["optim.max_steps"]:
                break
        return TrainResult(
            steps=self.step, metrics={"train_loss": self.loss_sum / self.step}, stopped=stopped
        )

    def update(self, epoch: float, micro: list[list[int]]) -> None:
        import numpy as np

        samples = [[self.rows[number] for number in part] for part in micro]
        loss, gradients, _ = self.look([sample for part in samples for sample in part])
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
        limit = self.values["optim.max_grad_norm"]
        shrink = min(1.0, limit / (norm + 1e-6)) if limit else 1.0
        names = {
            "weight_decay": "weight_decay",
            "beta1": "adam_beta1",
            "beta2": "adam_beta2",
            "eps": "adam_epsilon",
        }
        adam = {name: self.values[f"optim.{field}"] for name, field in names.items()}
        rate = self.rate()
        if self.on_update is not None:
            tokens = [[ids for ids, _ in part] for part in samples]
            self.on_update(
                Update(samples=tokens, learning_rate=rate, gradient_norm=norm * shrink, settings=adam)
            )
        self.step, self.loss_sum = self.step + 1, self.loss_sum + loss
        for name, gradient in gradients.items():
            m, v, array = self.moments[f"m.{name}"], self.moments[f"v.{name}"], self.arrays[name]
            m += (1 - adam["beta1"]) * (shrink * gradient - m)
            v += (1 - adam["beta2"]) * ((shrink * gradient) ** 2 - v)
            towards = m / (1 - adam["beta1"] ** self.step)
            by = np.sqrt(v / (1 - adam["beta2"] ** self.step)) + adam["eps"]
            array -= rate * (towards / by + adam["weight_decay"] * array)
        event = {
            "step": self.step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm * shrink,
        }
        self.run.emit({**event, "tokens": sum(len(ids) for part in samples for ids, _ in part)})

    def rate(self) -> float:
        peak: float = self.values["optim.learning_rate"]
        warmup: int = self.values["optim.warmup_steps"]
        if self.step < warmup:
            return peak * self.step / warmup
        progress: float = (self.step - warmup) / max(1, self.values["optim.max_steps"] - warmup)
        if self.values["optim.lr_scheduler"] == "linear":
            return peak * (1 - progress)
        return peak * (1 + math.cos(math.pi * progress)) / 2

    # --- afterwards --------------------------------------------------------------------------------------------------

    def evaluate(self, rows: Rows | None = None) -> dict[str, float]:
        samples = self.eval_rows if rows is None else [self.sample(row) for row in rows]
        loss, _, accuracy = self.look(samples)
        figures = {"eval_loss": loss, "eval_token_accuracy": accuracy}
        self.run.emit({"step": self.step, **figures})
        return {**figures, "perplexity": math.exp(loss)}

    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        import numpy as np

        draw = np.random.default_rng(sampling.seed)
        texts = []
        for prompt in prompts:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
            last = self.ids(messages, add_generation_prompt=True)[-1]
            texts += [self.completion(last, sampling, draw) for _ in range(sampling.n)]
        return texts

    def completion(self, last: int, sampling: Sampling, draw: Any) -> str:
        import numpy as np

        ids: list[int] = []
        while len(ids) < sampling.max_new_tokens and last != self.tokenizer.eos_token_id:
            logits = self.forward(np.array([last]))[1][0]
            if sampling.temperature:
                logits = logits / sampling.temperature + draw.gumbel(size=len(logits))
            last = int(logits.argmax())
            ids.append(last)
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return min((text.partition(end)[0] for end in sampling.stop), key=len, default=text)

    def save(self, path: Path, form: str) -> None:
        from safetensors.numpy import save_file

        path.mkdir(parents=True, exist_ok=True)
        arrays = dict(self.arrays)
        if form != "merged":
            del arrays[EMBEDDING]
        save_file(arrays, path / "bigram.safetensors")
        self.tokenizer.save_pretrained(path)

    def checkpoint(self) -> None:
        from safetensors.numpy import save_file

        folder = self.run.checkpoint_dir(self.step)
        self.save(folder, "adapter")
        save_file(self.moments, folder / "moments.safetensors")
        (folder / "trainer_state.json").write_text(
            json.dumps({"global_step": self.step, "loss_sum": self.loss_sum})
        )
        keep = self.values["run.save_total_limit"]
        folders = sorted(
            self.run.output_dir.glob("checkpoint-*"), key=lambda f: int(f.name.rpartition("-")[2])
        )
        for old in folders[:-keep] if keep else []:
            shutil.rmtree(old)

    def load(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        state = json.loads((folder / "trainer_state.json").read_text())
        self.step, self.loss_sum = state["global_step"], state["loss_sum"]
        self.arrays |= load_file(folder / "bigram.safetensors")
        self.moments = load_file(folder / "moments.safetensors")

    def close(self) -> None:
        pass


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config
