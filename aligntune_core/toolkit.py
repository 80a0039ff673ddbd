"""What a plugin may use of core beside ``aligntune_core`` and ``aligntune_core.types``; nothing else is promised.

Light: each name is imported when it is first asked for; it is documented where the import below says that it lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm as Algorithm
    from aligntune_core.algorithms import Batch as Batch
    from aligntune_core.algorithms import Default as Default
    from aligntune_core.algorithms import find_algorithm as find_algorithm
    from aligntune_core.algorithms.base import epochs as epochs
    from aligntune_core.algorithms.base import learning_rate as learning_rate
    from aligntune_core.algorithms.generation import Generation as Generation
    from aligntune_core.backends.default_hooks import prepare_by_default as prepare_by_default
    from aligntune_core.config import covers as covers
    from aligntune_core.config import paths as paths
    from aligntune_core.config import written as written
    from aligntune_core.config.keywords import keyword_of as keyword_of
    from aligntune_core.config.keywords import named as named
    from aligntune_core.config.resolve.defaults import output_dir as output_dir
    from aligntune_core.config.table import Argument as Argument
    from aligntune_core.config.table import Table as Table
    from aligntune_core.config.table import compare as compare
    from aligntune_core.config.table import keep as keep
    from aligntune_core.config.table import parameter_arguments as parameter_arguments
    from aligntune_core.config.table import plain as plain
    from aligntune_core.config.table import read as read
    from aligntune_core.config.table import same as same
    from aligntune_core.config.table import value_at as value_at
    from aligntune_core.config.table import write as write
    from aligntune_core.data.encoding import TokenSequence as TokenSequence
    from aligntune_core.data.encoding import window as window
    from aligntune_core.data.formats.base import Format as Format
    from aligntune_core.data.formats.base import Roles as Roles
    from aligntune_core.data.formats.base import RowProblem as RowProblem
    from aligntune_core.data.lengths import limit_of as limit_of
    from aligntune_core.data.lengths import too_long_prompt as too_long_prompt
    from aligntune_core.data.tokens import sequences as sequences
    from aligntune_core.entrypoints import installed_version as installed_version
    from aligntune_core.entrypoints import versions as versions
    from aligntune_core.errors import BackendUnavailable as BackendUnavailable
    from aligntune_core.errors import CheckpointError as CheckpointError
    from aligntune_core.errors import ConfigError as ConfigError
    from aligntune_core.errors import DataError as DataError
    from aligntune_core.errors import HookError as HookError
    from aligntune_core.errors import NonFiniteLoss as NonFiniteLoss
    from aligntune_core.errors import RewardError as RewardError
    from aligntune_core.errors import RunError as RunError
    from aligntune_core.fields import Section as Section
    from aligntune_core.fields import option as option
    from aligntune_core.launch.environment import recorded_environment as recorded_environment
    from aligntune_core.model.device import probe as probe
    from aligntune_core.model.device import torch_device as torch_device
    from aligntune_core.model.folding import fold as fold
    from aligntune_core.model.formats import weight_format_problems as weight_format_problems
    from aligntune_core.model.growth import grow as grow
    from aligntune_core.model.growth import grown_rows as grown_rows
    from aligntune_core.model.kind import check_positions as check_positions
    from aligntune_core.model.kind import classifier_problems as classifier_problems
    from aligntune_core.model.kind import language_model_problems as language_model_problems
    from aligntune_core.model.kind import text_part_remark as text_part_remark
    from aligntune_core.model.layers import model_skeleton as model_skeleton
    from aligntune_core.model.source import adapter_config as adapter_config
    from aligntune_core.model.source import check_base as check_base
    from aligntune_core.model.source import check_model as check_model
    from aligntune_core.model.source import located as located
    from aligntune_core.model.targets import Targets as Targets
    from aligntune_core.model.targets import built_targets as built_targets
    from aligntune_core.model.targets import resolve_targets as resolve_targets
    from aligntune_core.model.targets import target_problems as target_problems
    from aligntune_core.model.tokenizer import check_ends as check_ends
    from aligntune_core.model.tokenizer import check_padding as check_padding
    from aligntune_core.model.tokenizer import embedding_rows as embedding_rows
    from aligntune_core.model.tokenizer import load_tokenizer as load_tokenizer
    from aligntune_core.rewards import Reward as Reward
    from aligntune_core.rewards import RewardSet as RewardSet
    from aligntune_core.rewards import build_rewards as build_rewards
    from aligntune_core.rewards import read_rewards as read_rewards
    from aligntune_core.rewards.text import completion_text as completion_text
    from aligntune_core.rewards.text import prompt_text as prompt_text
    from aligntune_core.rewards.text import shorten as shorten
    from aligntune_core.run.checkpoints import checkpoints as checkpoints
    from aligntune_core.run.checkpoints import weights_problem as weights_problem
    from aligntune_core.run.events import rewind as rewind
    from aligntune_core.run.folder import MERGED_BASE as MERGED_BASE
    from aligntune_core.run.folder import SAMPLES as SAMPLES
    from aligntune_core.run.folder import cache_folder as cache_folder
    from aligntune_core.run.resume import has_optimizer as has_optimizer
    from aligntune_core.run.resume import step_of as step_of
    from aligntune_core.run.resume import weights_alone as weights_alone
    from aligntune_core.run.seeding import seed_everything as seed_everything
    from aligntune_core.run.topology import world as world
    from aligntune_core.wording import a_type as a_type
    from aligntune_core.wording import did_you_mean as did_you_mean
    from aligntune_core.wording import listed as listed
    from aligntune_core.wording import one_line as one_line

__getattr__, __dir__ = lazy(__name__)
