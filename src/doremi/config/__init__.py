"""One typed description of a run (schema.py), read from YAML and overridden (loading.py)."""

from doremi.config.comparison import DownstreamConfig
from doremi.config.limits import DomainLimits, LimitsConfig
from doremi.config.loading import dump, load, load_run, read_yaml, validate
from doremi.config.schema import (
    PLAIN_MIXTURES,
    DataConfig,
    DomainConfig,
    ModelConfig,
    ProxyConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "PLAIN_MIXTURES",
    "DataConfig",
    "DomainConfig",
    "DomainLimits",
    "DownstreamConfig",
    "LimitsConfig",
    "ModelConfig",
    "ProxyConfig",
    "RunConfig",
    "TrainingConfig",
    "dump",
    "load",
    "load_run",
    "read_yaml",
    "validate",
]
