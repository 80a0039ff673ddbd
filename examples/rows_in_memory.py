"""Rows in memory, a held-out part, evaluation and answers."""

from aligntune import create_sft_trainer

rows = [
    {"prompt": f"What is {a} plus {b}?", "completion": f"It is {a + b}, or {a} and {b} more."}
    for a in range(10)
    for b in range(10)
]

trainer = create_sft_trainer(
    model_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    dataset_name=rows[:90],
    eval_dataset=rows[90:],
    max_steps=30,
    batch_size=8,
    learning_rate=5e-4,
    output_dir="runs/rows-in-memory",
)
before = trainer.evaluate()
trainer.train()
after = trainer.evaluate()
print(before, after, sep="\n")
print(trainer.generate("What is three plus four?", max_new_tokens=20)[0])
