"""One rank of a PPO run on fixed completions; test_ppo_processes.py starts it with the variables of torchrun."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch


def main(model_dir: str, out: str, accumulation: int) -> None:
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from aligntune_trl.algorithms.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    seen: list[Any] = []
    trainer = PPOTrainer(
        model=model,
        args=PPOConfig(
            output_dir=out,
            use_cpu=True,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=accumulation,
            max_completion_length=8,
            max_steps=3,
            learning_rate=0.5,
            optim="sgd",
            whiten_rewards=True,
            target_kl=1e-6,
            save_strategy="steps",
            save_steps=2,
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": f"count to {n}"} for n in range(12)]),
        eval_dataset=Dataset.from_list([{"prompt": f"count to {n}"} for n in range(3)]),
        score=lambda prompts, completions, columns: [float(len(text)) for text in completions],
        on_completions=lambda *shown: seen.append(shown[:4]),
    )
    sampler = trainer.sampler

    def sample(policy: Any, prompts: list[str], device: Any) -> Any:
        drawn = []
        for prompt in prompts:
            number = int(prompt.split()[-1])
            tokens = torch.tensor([(7 * number + 3 * i) % 200 + 40 for i in range(8)])
            if number % 3:
                tokens[1 + number % 6] = tokenizer.eos_token_id
            drawn.append(tokens)
        return sampler.complete(*sampler.encode(prompts, device), drawn)

    trainer.sampler.sample = sample
    trainer.train()
    figures = trainer.evaluate()
    if trainer.accelerator.is_main_process:
        state = {name: p.tolist() for name, p in trainer.model.named_parameters() if p.requires_grad}
        logs = [line for line in trainer.state.log_history if "loss" in line]
        Path(out, "result.json").write_text(
            json.dumps({"weights": state, "logs": logs, "seen": seen, "evaluation": figures})
        )
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)  # one time in twenty, gloo's destructor waits for ever for a peer that has left
