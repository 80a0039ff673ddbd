"""SFT with LoRA, then DPO on the adapter it left, then one plain model.

The DPO run continues the SFT adapter; its reference is the model as it was loaded, so the first loss is ln 2.
"""

from aligntune import create_rl_trainer, create_sft_trainer

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

sft = create_sft_trainer(
    model_name=MODEL,
    dataset_name="tatsu-lab/alpaca",
    split="train[:1000]",
    max_steps=100,
    batch_size=4,
    learning_rate=2e-4,
    output_dir="runs/chain-sft",
)
print(sft.train()["final_loss"])

dpo = create_rl_trainer(
    model_name="runs/chain-sft",
    dataset_name="Anthropic/hh-rlhf",
    split="train[:1000]",
    algorithm="dpo",
    max_steps=50,
    batch_size=2,
    beta=0.1,
    on_bad_rows="drop",
    output_dir="runs/chain-dpo",
)
print(dpo.train()["final_loss"])
print(dpo.save_model("runs/chain-merged", merged=True))
