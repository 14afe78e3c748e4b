"""The configuration of a Hugging Face architecture: what the user may say about it, and what follows from the run.

Transformers takes any key and keeps the ones it does not know, so that a misspelt one changes nothing and says nothing.
Here each key is held against the architecture's own configuration class. What tokenizer and training decide is set
from them, and refused where it is given.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from doremi.errors import ConfigError, one_line

TOKENIZER, PRECISION, PLACE = "the tokenizer decides it", "training.precision decides it", "model.architecture says it"
PAPERS, REMOTE = "it says nothing about the model", "remote code is never run"
OUTPUTS, HARDWARE = "a training has no use for it", "what the model and this machine can do decides it"
CLASSES = "it belongs to a classifier"
BALANCE = (
    "the balance loss of experts is not added here, for it would depend on training.accumulation and on the number of "
    "processes"
)
NOT_THE_USERS = {
    "vocab_size": TOKENIZER, "tokenizer_class": TOKENIZER,
    "dtype": PRECISION, "torch_dtype": PRECISION, "quantization_config": PRECISION,
    "model_type": PLACE, "architectures": PLACE, "is_encoder_decoder": PLACE,
    "transformers_version": PAPERS, "name_or_path": PAPERS, "_name_or_path": PAPERS, "_commit_hash": PAPERS,
    "auto_map": REMOTE, "custom_pipelines": REMOTE,
    "use_cache": OUTPUTS, "return_dict": OUTPUTS, "use_return_dict": OUTPUTS, "output_attentions": OUTPUTS,
    "output_hidden_states": OUTPUTS, "task_specific_params": OUTPUTS, "return_dict_in_generate": OUTPUTS,
    "attn_implementation": HARDWARE, "_attn_implementation": HARDWARE, "experts_implementation": HARDWARE,
    "num_labels": CLASSES, "id2label": CLASSES, "label2id": CLASSES, "problem_type": CLASSES,
}  # fmt: skip
_TOKEN_IDS = re.compile(r".*_token_(id|ids|index)")
_BALANCE = re.compile(r".*(aux|z)_loss.*|output_router_logits")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "context_length", "max_sequence_length")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def configuration(
    description: Mapping[str, Any], vocab_size: int, sequence_length: int, end_of_text_id: int, pad_id: int | None
) -> Any:
    """The transformers configuration that `description` (see `model.shape`) stands for; none of it is built yet.

    `pad_id` is the tokenizer's own padding token. `ConfigError` that names the first key that cannot be.
    """
    family = _family(description["architecture"])
    given = {key: value for key, value in description.items() if key != "architecture"}
    _check_owner(given)
    _check_known(family, given)
    _check_rope(family, given)
    options = {family.attribute_map.get(key, key): _fitted(family, key, value) for key, value in given.items()}
    _set_positions(family, options, sequence_length)
    ids = {"bos_token_id": end_of_text_id, "eos_token_id": end_of_text_id, "pad_token_id": pad_id}
    try:
        config = family(**options, vocab_size=vocab_size, **ids)
    except Exception as error:  # each architecture checks its own keys, with exceptions of its own
        if pad_id is None and "'pad_token_id'" in str(error):
            raise ConfigError(
                f"model.architecture: {family.model_type} needs a padding token, and none is set; take another family"
            ) from None
        raise ConfigError(f"model.options: {reason(error)}") from None
    _check_one_part(config)
    config.use_cache = False
    return config


def reason(error: Exception) -> str:
    """What transformers found wrong, in one line of bounded length."""
    text = one_line(str(error)).strip("'\"") or type(error).__name__
    _, _, inner = text.partition("Error: ")  # its validators say first which of them it was
    return (inner or text)[:300]


def _family(name: str) -> Any:
    """The configuration class of a causal language model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))
    if name not in known:
        near = _nearest(name, known)
        hint = f"did you mean {near!r}? " if near else ""
        raise ConfigError(
            f"model.architecture: transformers cannot build a causal language model {one_line(name)!r}; "
            f"{hint}docs/models.md lists those that train"
        )
    return CONFIG_MAPPING[name]


def _check_owner(options: Mapping[str, Any]) -> None:
    """`ConfigError` for keys that cannot be the user's; all of them are named, for they come pasted together."""
    reasons = {key: why for key, value in options.items() if (why := _owner(key, value))}
    if reasons:
        first, *others = reasons
        more = f" (and {', '.join(map(one_line, others))})" if others else ""
        raise ConfigError(f"model.options.{one_line(first)}: {reasons[first]}; leave it out{more}")


def _owner(key: str, value: Any) -> str | None:
    """Why a key cannot be the user's."""
    from transformers import GenerationConfig

    if key in NOT_THE_USERS:
        return NOT_THE_USERS[key]
    if _TOKEN_IDS.fullmatch(key):
        return TOKENIZER
    if _BALANCE.fullmatch(key) and value:
        return BALANCE
    if key in GenerationConfig._get_default_generation_params():
        return "it belongs to the generation of text, not to the model"
    return None


def _names(family: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(family)} | set(family.attribute_map)


def _check_known(family: Any, options: Mapping[str, Any]) -> None:
    """`ConfigError` for a key that the class does not have, or that is there under two of its names."""
    names = _names(family)
    for key, value in options.items():
        if key not in names and not _is_understood(family, key, value):
            near = _nearest(key, names - set(NOT_THE_USERS))
            hint = f"did you mean {near!r}?" if near else "leave it out"
            raise ConfigError(f"model.options.{one_line(key)}: {family.model_type} has no such key; {hint}")


def _is_understood(family: Any, key: str, value: Any) -> bool:
    """Whether a key that is no field does something: an older name of one, or read by the architecture's code.

    An older name changes something else, or is not kept as it came.
    """
    if re.search(rf"config(\.|, \"){re.escape(key)}\b", _code(family)):
        return True
    try:
        with_key, without = family(**{key: value}), family()
    except Exception:  # with a value that the class looks at
        return True
    return key not in vars(with_key) or {**vars(with_key), key: None} != {**vars(without), key: None}


def _code(family: Any) -> str:
    """Of the architecture's model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM._model_mapping[family]
    return inspect.getsource(sys.modules[model.__module__])


def _check_rope(family: Any, options: Mapping[str, Any]) -> None:
    """`ConfigError` for rotary settings that transformers would pass over."""
    places = [key for key in ("rope_parameters", "rope_scaling") if options.get(key) is not None]
    if len(places) == 2 or (places and "rope_theta" in options and "rope_theta" in options[places[0]]):
        raise ConfigError("model.options.rope_parameters: the same is said in two places; say it here alone")
    if places and isinstance(options[places[0]], Mapping):
        _check_rope_keys(family, places[0], options[places[0]])


def _check_rope_keys(family: Any, place: str, values: Mapping[str, Any]) -> None:
    from transformers.modeling_rope_utils import RopeParameters

    known = {*RopeParameters.__annotations__, "type", *(getattr(family, "ignore_keys_at_rope_validation", None) or ())}
    for key, value in values.items():
        if isinstance(value, Mapping):  # of one kind of layers
            _check_rope_keys(family, f"{place}.{one_line(key)}", value)
        elif key not in known:
            near = _nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"known keys here: {', '.join(sorted(known))}"
            raise ConfigError(f"model.options.{place}.{one_line(key)}: there is no such key; {hint}")


def _fitted(family: Any, key: str, value: Any) -> Any:
    """`value` as the class wants it: numbers may be written as text (YAML reads 1e4 so), 1 for 1.0, 1e4 for 10000."""
    value = _numbers(value)
    validators = getattr(family, "__validators__", {}).get(family.attribute_map.get(key, key), [])
    for candidate in _spellings(value):
        if all(_accepts(validator, candidate) for validator in validators):
            return candidate
    field = next(field for field in dataclasses.fields(family) if field.name == family.attribute_map.get(key, key))
    wanted = field.type.__name__ if isinstance(field.type, type) else str(field.type).replace("typing.", "")
    shown = one_line(repr(value))[:60]
    raise ConfigError(f"model.options.{key}: should be {wanted} (given: {shown})")


def _spellings(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [value, tuple(value)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [value]
    return [value, float(value), *([int(value)] if math.isfinite(value) and value == int(value) else [])]


def _accepts(validator: Any, value: Any) -> bool:
    try:
        validator(value)
    except (TypeError, ValueError):
        return False
    return True


def _numbers(value: Any) -> Any:
    """`value`, numbers that are written as text read, at any depth."""
    if isinstance(value, Mapping):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    if isinstance(value, str) and len(value) < 30 and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value


def _set_positions(family: Any, options: dict[str, Any], sequence_length: int) -> None:
    """As many positions as a sequence has, where the user says nothing; `ConfigError` if the user wants fewer."""
    names = {field.name for field in dataclasses.fields(family)}
    for key in _POSITIONS:
        if key in names and int(options.setdefault(key, sequence_length) or 0) < sequence_length:
            raise ConfigError(
                f"model.options.{key}: is {options[key]}, fewer than data.sequence_length ({sequence_length}); "
                "leave it out, or make it as large"
            )


def _check_one_part(config: Any) -> None:
    """`ConfigError` for a model of several parts, such as one that also sees pictures."""
    text = config.get_text_config(decoder=True)
    if text.model_type != config.model_type:
        raise ConfigError(
            f"model.architecture: {config.model_type} has parts beside its language model; "
            f"take the language model alone ({text.model_type}) if docs/models.md lists it"
        )


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)), None)
