"""A reward model from preferences, then PPO against it: the policy learns to answer as the preferred answers do.

The reward model's folder is the policy's ``reward_model_name``; ``kl_coef`` holds the policy near the model that it
started from.
"""

from aligntune import create_rl_trainer

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

reward = create_rl_trainer(
    model_name=MODEL,
    dataset_name="Anthropic/hh-rlhf",
    split="train[:2000]",
    algorithm="reward",
    max_steps=100,
    batch_size=4,
    max_seq_length=1024,
    on_bad_rows="drop",
    output_dir="runs/chain-reward",
)
print(reward.train()["final_loss"])

ppo = create_rl_trainer(
    model_name=MODEL,
    dataset_name="tatsu-lab/alpaca",
    split="train[:1000]",
    algorithm="ppo",
    reward_model_name="runs/chain-reward",
    max_steps=100,
    batch_size=8,
    max_completion_length=64,
    learning_rate=1e-5,
    kl_coef=0.05,
    output_dir="runs/chain-ppo",
)
ppo.train()
print(*ppo.generate(["Give three tips for staying healthy.", "What is the capital of France?"]), sep="\n\n")
