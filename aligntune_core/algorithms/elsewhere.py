"""Algorithms of the field that go by another name here, or that are not offered: what the error says of each."""

from __future__ import annotations

_NO_REFERENCE = 'is not offered. For preferences there is "dpo", which holds the policy to a reference'
_PAIRS = 'is not offered. For preferences there is "dpo" with its loss_type, for labelled answers "kto"'
_ONLINE = 'is not offered. Rewards are learnt by "grpo" and its relatives, and by "ppo"'
_TEACHER = "is not offered: there is no distillation from a teacher"
_DPO = 'is a loss of "dpo": write algorithm="dpo", loss_type='

# Spelt as the catalogue compares names: letters and digits only.
ELSEWHERE: dict[str, str] = {
    "ipo": f'{_DPO}"ipo"',
    "hinge": f'{_DPO}"hinge"',
    "slic": f'{_DPO}"hinge"',
    "exo": f'{_DPO}"exo_pair", with label_smoothing above 0',
    "nca": f'{_DPO}"nca_pair"',
    "bco": f'{_DPO}"bco_pair"',
    "robustdpo": f'{_DPO}"robust"',
    "sppo": f'{_DPO}"sppo_hard"',
    "aot": f'{_DPO}"aot"',
    "apo": f'{_DPO}"apo_zero" or "apo_down"; for labelled answers "kto" has "apo_zero_unpaired"',
    "discopop": f'{_DPO}"discopop"',
    "rpo": f'{_DPO}["sigmoid", "sft"], loss_weights=[1.0, ALPHA]',
    "wpo": 'is "dpo" with use_weighting=True',
    "trdpo": 'is "dpo" with sync_ref_model=True',
    "lddpo": 'is "dpo" with ld_alpha',
    "gdpo": 'is "grpo" with several rewards and multi_objective_aggregation="normalize_then_sum"',
    **dict.fromkeys(("orpo", "simpo", "cpo"), _NO_REFERENCE),
    **dict.fromkeys(("onlinedpo", "xpo", "nashmd", "iterativedpo", "tpo", "rso", "raft", "sdpo", "stepdpo"), _PAIRS),
    **dict.fromkeys(
        ("rloo", "reinforce", "remax", "reinforceplusplus", "cispo", "sapo", "gmpo", "vapo", "vespo", "opo", "gpg",
         "asyncgrpo", "a2po", "prime", "ebft"), _ONLINE),
    **dict.fromkeys(("gkd", "gold", "distillation", "minillm", "kd", "sdft"), _TEACHER),
    **dict.fromkeys(("prm", "processreward", "stepwise"), 'is not offered: "reward" scores whole answers'),
    **dict.fromkeys(
        ("pt", "pretrain", "pretraining", "clm", "cpt", "completion", "languagemodeling"),
        'is "sft" on plain text: write algorithm="sft" and text_column, the column that holds it'),
    **dict.fromkeys(
        ("instructiontuning", "finetune", "finetuning", "lora", "qlora", "full"),
        'is no algorithm. Supervised fine-tuning is "sft"; use_peft says whether an adapter is trained'),
    **dict.fromkeys(("embedding", "reranker", "seqcls"), "is not offered: language models are trained"),
}  # fmt: skip
