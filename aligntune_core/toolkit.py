"""What a plugin may use of core beside ``aligntune_core`` and ``aligntune_core.types``; nothing else is promised.

Light: each name is imported when it is first asked for. Where one is documented, is the docstring of its own module; by
subject they are:

- errors: BackendUnavailable, CheckpointError, ConfigError, DataError, HookError, NonFiniteLoss, RewardError, RunError
- words: a_type, did_you_mean, listed, one_line, keyword_of, named
- the configuration: covers, paths, written
- arguments: Argument, Table, compare, keep, parameter_arguments, plain, read, same, value_at, write
- algorithms: Algorithm, Batch, Default, find_algorithm, epochs, learning_rate, Generation, Section, option
- rows: Format, Roles, RowProblem, TokenSequence, sequences, limit_of, window, too_long_prompt
- the model: adapter_config, check_base, check_model, check_ends, load_tokenizer, check_positions,
  classifier_problems, language_model_problems
- the machine: probe, torch_device, installed_version, versions, world, recorded_environment
- rewards: Reward, RewardSet, build_rewards, read_rewards, completion_text, prompt_text, shorten
- the run: MERGED_BASE, SAMPLES, cache_folder, output_dir, rewind, seed_everything, checkpoints, weights_problem,
  step_of, prepare_by_default
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm, Batch, Default
    from aligntune_core.algorithms import find as find_algorithm
    from aligntune_core.algorithms.base import epochs, learning_rate
    from aligntune_core.algorithms.generation import Generation
    from aligntune_core.backends.default_hooks import prepare_by_default
    from aligntune_core.config import covers, paths, written
    from aligntune_core.config.keywords import keyword_of, named
    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.config.table import (
        Argument,
        Table,
        compare,
        keep,
        parameter_arguments,
        plain,
        read,
        same,
        value_at,
        write,
    )
    from aligntune_core.data.formats.base import Format, Roles, RowProblem
    from aligntune_core.data.lengths import limit_of, too_long_prompt
    from aligntune_core.data.tokens import TokenSequence, sequences, window
    from aligntune_core.entrypoints import installed_version, versions
    from aligntune_core.errors import (
        BackendUnavailable,
        CheckpointError,
        ConfigError,
        DataError,
        HookError,
        NonFiniteLoss,
        RewardError,
        RunError,
    )
    from aligntune_core.fields import Section, option
    from aligntune_core.launch.environment import recorded as recorded_environment
    from aligntune_core.model.device import probe, torch_device
    from aligntune_core.model.kind import check_positions, classifier_problems, language_model_problems
    from aligntune_core.model.source import adapter_config, check_base, check_model
    from aligntune_core.model.tokenizer import check_ends, load_tokenizer
    from aligntune_core.rewards import Reward, RewardSet, build_rewards, read_rewards
    from aligntune_core.rewards.text import completion_text, prompt_text, shorten
    from aligntune_core.run.checkpoints import checkpoints, weights_problem
    from aligntune_core.run.events import rewind
    from aligntune_core.run.folder import MERGED_BASE, SAMPLES, cache_folder
    from aligntune_core.run.resume import step_of
    from aligntune_core.run.seeding import seed_everything
    from aligntune_core.run.topology import world
    from aligntune_core.wording import a_type, did_you_mean, listed, one_line

__getattr__, __dir__ = lazy(
    __name__,
    {
        "MERGED_BASE": "aligntune_core.run.folder",
        "SAMPLES": "aligntune_core.run.folder",
        "Algorithm": "aligntune_core.algorithms",
        "Argument": "aligntune_core.config.table",
        "BackendUnavailable": "aligntune_core.errors",
        "Batch": "aligntune_core.algorithms",
        "CheckpointError": "aligntune_core.errors",
        "ConfigError": "aligntune_core.errors",
        "DataError": "aligntune_core.errors",
        "Default": "aligntune_core.algorithms",
        "Format": "aligntune_core.data.formats.base",
        "Generation": "aligntune_core.algorithms.generation",
        "HookError": "aligntune_core.errors",
        "NonFiniteLoss": "aligntune_core.errors",
        "Reward": "aligntune_core.rewards",
        "RewardError": "aligntune_core.errors",
        "RewardSet": "aligntune_core.rewards",
        "Roles": "aligntune_core.data.formats.base",
        "RowProblem": "aligntune_core.data.formats.base",
        "RunError": "aligntune_core.errors",
        "Section": "aligntune_core.fields",
        "Table": "aligntune_core.config.table",
        "TokenSequence": "aligntune_core.data.tokens",
        "a_type": "aligntune_core.wording",
        "adapter_config": "aligntune_core.model.source",
        "build_rewards": "aligntune_core.rewards",
        "cache_folder": "aligntune_core.run.folder",
        "check_base": "aligntune_core.model.source",
        "check_ends": "aligntune_core.model.tokenizer",
        "check_model": "aligntune_core.model.source",
        "check_positions": "aligntune_core.model.kind",
        "checkpoints": "aligntune_core.run.checkpoints",
        "classifier_problems": "aligntune_core.model.kind",
        "compare": "aligntune_core.config.table",
        "completion_text": "aligntune_core.rewards.text",
        "covers": "aligntune_core.config",
        "did_you_mean": "aligntune_core.wording",
        "epochs": "aligntune_core.algorithms.base",
        "find_algorithm": "aligntune_core.algorithms:find",
        "installed_version": "aligntune_core.entrypoints",
        "keep": "aligntune_core.config.table",
        "keyword_of": "aligntune_core.config.keywords",
        "language_model_problems": "aligntune_core.model.kind",
        "learning_rate": "aligntune_core.algorithms.base",
        "limit_of": "aligntune_core.data.lengths",
        "listed": "aligntune_core.wording",
        "load_tokenizer": "aligntune_core.model.tokenizer",
        "named": "aligntune_core.config.keywords",
        "one_line": "aligntune_core.wording",
        "option": "aligntune_core.fields",
        "output_dir": "aligntune_core.config.resolve.defaults",
        "parameter_arguments": "aligntune_core.config.table",
        "paths": "aligntune_core.config",
        "plain": "aligntune_core.config.table",
        "prepare_by_default": "aligntune_core.backends.default_hooks",
        "probe": "aligntune_core.model.device",
        "prompt_text": "aligntune_core.rewards.text",
        "read": "aligntune_core.config.table",
        "read_rewards": "aligntune_core.rewards",
        "recorded_environment": "aligntune_core.launch.environment:recorded",
        "rewind": "aligntune_core.run.events",
        "same": "aligntune_core.config.table",
        "seed_everything": "aligntune_core.run.seeding",
        "sequences": "aligntune_core.data.tokens",
        "shorten": "aligntune_core.rewards.text",
        "step_of": "aligntune_core.run.resume",
        "too_long_prompt": "aligntune_core.data.lengths",
        "torch_device": "aligntune_core.model.device",
        "value_at": "aligntune_core.config.table",
        "versions": "aligntune_core.entrypoints",
        "weights_problem": "aligntune_core.run.checkpoints",
        "window": "aligntune_core.data.tokens",
        "world": "aligntune_core.run.topology",
        "write": "aligntune_core.config.table",
        "written": "aligntune_core.config",
    },
)

__all__ = [
    "MERGED_BASE",
    "SAMPLES",
    "Algorithm",
    "Argument",
    "BackendUnavailable",
    "Batch",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Default",
    "Format",
    "Generation",
    "HookError",
    "NonFiniteLoss",
    "Reward",
    "RewardError",
    "RewardSet",
    "Roles",
    "RowProblem",
    "RunError",
    "Section",
    "Table",
    "TokenSequence",
    "a_type",
    "adapter_config",
    "build_rewards",
    "cache_folder",
    "check_base",
    "check_ends",
    "check_model",
    "check_positions",
    "checkpoints",
    "classifier_problems",
    "compare",
    "completion_text",
    "covers",
    "did_you_mean",
    "epochs",
    "find_algorithm",
    "installed_version",
    "keep",
    "keyword_of",
    "language_model_problems",
    "learning_rate",
    "limit_of",
    "listed",
    "load_tokenizer",
    "named",
    "one_line",
    "option",
    "output_dir",
    "parameter_arguments",
    "paths",
    "plain",
    "prepare_by_default",
    "probe",
    "prompt_text",
    "read",
    "read_rewards",
    "recorded_environment",
    "rewind",
    "same",
    "seed_everything",
    "sequences",
    "shorten",
    "step_of",
    "too_long_prompt",
    "torch_device",
    "value_at",
    "versions",
    "weights_problem",
    "window",
    "world",
    "write",
    "written",
]
