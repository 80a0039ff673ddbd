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

__getattr__, __dir__ = lazy(__name__)

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
