"""Reward names that tutorials use and that do not exist here, each with the nearest that does.

None is an alias: those names promise more (or something else) than what is here, and a run that silently trains on
another reward than the one it names is worse than an error.
"""

from __future__ import annotations

_MODEL = "A reward model judges this: give its hub id or folder as reward_model_name"
_CODE = (
    "Running generated code is not offered; a function of your own that does so in a sandbox goes in as "
    '"package.module:function"'
)
_MATHS = "It compares the final answer with the row's, mathematically"

# name -> (nearest built-in, a sentence that helps)
UNAVAILABLE: dict[str, tuple[str, str]] = {
    "math_correctness": ("math", _MATHS),
    "math_reasoning": ("math", _MATHS + '; add "think_format" for a visible chain of thought'),
    "math_accuracy": ("math", _MATHS),
    "math_equivalence": ("math", _MATHS),
    "math_verify": ("math", _MATHS),
    "accuracy": ("math", _MATHS + '; "exact_answer" compares text'),
    "accuracy_reward": ("math", _MATHS + '. TRL\'s own is "trl.rewards:accuracy_reward"'),
    "correctness": ("exact_answer", 'For mathematics there is "math"'),
    "exact_match": ("exact_answer", "It compares the final answer inside the completion"),
    "bleu": ("exact_answer", "Overlap with a reference is not offered"),
    "rouge": ("exact_answer", "Overlap with a reference is not offered"),
    "length_penalty": ("length", "Its parameters are min_length, max_length, unit"),
    "length_reward": ("length", "Its parameters are min_length, max_length, unit"),
    "conciseness": ("length", "Its parameters are min_length, max_length, unit"),
    "brevity": ("length", "Its parameters are min_length, max_length, unit"),
    "soft_overlong_punishment": ("overlong", "It is the same formula under a shorter name"),
    "diversity": ("repetition", "It penalises n-grams that repeat within one completion"),
    "fluency": ("repetition", _MODEL),
    "coherence": ("repetition", _MODEL),
    "repetition_penalty": ("repetition", "That word is a sampling parameter of generation"),
    "safety": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "toxicity": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "harmlessness": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "sentiment": ("keyword", _MODEL),
    "politeness": ("keyword", _MODEL),
    "helpfulness": ("keyword", _MODEL),
    "honesty": ("keyword", _MODEL),
    "factuality": ("exact_answer", _MODEL),
    "relevance": ("keyword", _MODEL),
    "domain_specific": ("keyword", "Its words are those of your domain"),
    "instruction_following": (
        "regex",
        'Instructions that a program can check fit "regex", "keyword" or "json_schema"',
    ),
    "code_correctness": ("exact_answer", _CODE),
    "code_execution": ("exact_answer", _CODE),
    "code_quality": ("regex", _CODE),
    "code_syntax": ("regex", _CODE),
    "mbpp_reward": ("exact_answer", _CODE),
    "format": ("xml_tags", 'Others are "think_format", "regex" and "json_schema"'),
    "format_reward": ("xml_tags", 'Others are "think_format", "regex" and "json_schema"'),
    "think_format_reward": ("think_format", 'TRL\'s own is "trl.rewards:think_format_reward"'),
    "reasoning_format": ("think_format", 'Others are "xml_tags" and "regex"'),
    "json": ("json_schema", "Without a schema it asks for JSON alone"),
    "custom": (
        "exact_answer",
        'A function of your own goes in as {"type": "custom", "params": {"function": f}}',
    ),
}
