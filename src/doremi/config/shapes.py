"""Settings that say how the records of files look: of one domain, or of all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from doremi.config.paths import InputPath
from doremi.config.reach import Reaches
from doremi.config.section import Section
from doremi.corpus.hub.dataset import Dataset

Value = str | bool | int | float | None


class TokenizedConfig(Section):
    """Files that hold token ids already. They are used where they lie, and data.tokenizer names what made them."""

    reaches: ClassVar[Reaches] = Reaches("corpus")

    type: Literal["auto", "uint8", "uint16", "uint32", "int32", "int64", "uint64"] = "auto"
    """Integer type of an id. `auto` asks the file's index or header. Without one, it is uint16 where that holds the
    vocabulary, or else uint32."""
    end: int | None = Field(default=None, ge=0)
    """Id that ends documents. Default is the tokenizer's end of text."""
    field: str = "input_ids"
    """Column of Arrow and Parquet files that has the ids."""


class RecordsConfig(Section):
    """Which part of a record is the document, and which records are asked for."""

    reaches: ClassVar[Reaches] = Reaches("corpus")

    join: str | None = None
    """What stands between the parts of a text that is a list, such as "\\n\\n". Without it, lists are refused."""
    where: dict[str, list[Value]] = Field(default={})
    """Fields and the values that they must have, such as {language: [en, de]}. Other documents are counted and left
    out."""
    tokenized: TokenizedConfig | None = None
    """Whether the files hold token ids, and how. `true` or `{}` is enough for most. They are Megatron's .bin and .idx,
    datatrove's .ds, .npy, flat .bin, or Arrow and Parquet with a column of ids."""

    @field_validator("tokenized", mode="before")
    @classmethod
    def _yes_is_enough(cls, value: Any) -> Any:
        if value is False:
            raise ValueError("say true, or leave it out; what data.tokenized says holds for all domains")
        return {} if value is True else value

    @field_validator("where", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if empty := [name for name, one in value.items() if one == []]:
            raise ValueError(f"{empty[0]!r} has no values; give one, or leave it out")
        return {name: one if isinstance(one, list) else [one] for name, one in value.items()}


class HubConfig(Section):
    """A dataset of the Hugging Face Hub in place of files. Its files are read as they come."""

    reaches: ClassVar[Reaches] = Reaches("corpus")

    dataset: str | None = None
    """Name of a dataset on the Hugging Face Hub, as OWNER/NAME, in place of `train`."""
    config: str | None = None
    """Which of its configurations, where it has several."""
    split: str | None = None
    """The only split that is read. Default is to train on `train`, and to hold out `validation` if there is one."""
    revision: str | None = None
    """Its branch, tag or commit. Default is `main`, as it is when a run begins."""

    @property
    def hub(self) -> Dataset | None:
        """The dataset with what is asked of it; None where none is named."""
        return Dataset(self.dataset, self.config, self.split, self.revision) if self.dataset else None

    @field_validator("dataset")
    @classmethod
    def _owner_and_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", value):
            raise ValueError(f"{value!r} is no name of a dataset; give OWNER/NAME, as its page on the Hub is called")
        return value

    @model_validator(mode="after")
    def _of_a_dataset(self) -> HubConfig:
        for name in ("config", "split", "revision"):
            if self.dataset is None and getattr(self, name) is not None:
                raise ValueError(f"{name} needs dataset: the name of a dataset on the Hugging Face Hub")
        return self


class SharedFilesConfig(Section):
    """Files with documents of all domains, of which a field names the domain."""

    reaches: ClassVar[Reaches] = Reaches("corpus")

    domain_field: str | None = None
    """Field that names a document's domain, such as `meta.source`. Its files are then `data.train`, and those of
    domains are not given."""
    train: list[Annotated[str, InputPath()]] = Field(default=[])
    """Files of all domains, where `domain_field` is given. They are read in one pass."""
    validation: list[Annotated[str, InputPath()]] = Field(default=[])
    """The same for held-out documents."""
    others: str = "leave_out"
    """What becomes of documents whose `domain_field` is empty or names no domain. `leave_out` counts them. `stop` ends
    the preparation. The name of a domain puts them there."""

    @field_validator("train", "validation", mode="before")
    @classmethod
    def _one_path_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def check_shared(shared: SharedFilesConfig, domains: Mapping[str, Any]) -> None:
    """`ValueError` where domains have files of their own and share some too, or have neither."""
    if shared.domain_field is None:
        for name in ("train", "validation", "others"):
            if name in shared.model_fields_set and getattr(shared, name) != type(shared).model_fields[name].default:
                raise ValueError(f"{name} needs domain_field: the field that names each document's domain")
    elif not shared.train:
        raise ValueError("domain_field needs train: the files that hold the documents of all domains")
    elif shared.others not in ("leave_out", "stop", *domains):
        raise ValueError(f"others: {shared.others!r} is no domain; use one of them, leave_out or stop")
    for name, domain in domains.items():
        (_check_own if shared.domain_field is None else _check_sharing)(name, domain)
    _check_tokenized(shared, domains)
    if shared.domain_field is not None:
        _check_values({name: domain.values or [name] for name, domain in domains.items()})


def _check_tokenized(shared: Any, domains: Mapping[str, Any]) -> None:
    """Ids have no fields but their own."""
    for name, domain in domains.items():
        if (domain.tokenized or shared.tokenized) is None:
            continue
        if shared.domain_field is not None:
            raise ValueError("domain_field needs text; domains that are tokenized have files of their own")
        if domain.where or shared.where or domain.join is not None or shared.join is not None or domain.text_field:
            raise ValueError(f"domains.{name}.tokenized: text_field, join and where are for text; leave them out")


def _check_own(name: str, domain: Any) -> None:
    if domain.train and domain.dataset:
        raise ValueError(f"domains.{name}: has both train and dataset; give one of them")
    if not domain.train and not domain.dataset:
        raise ValueError(f"domains.{name}.train: is missing; give the files of the domain")
    if domain.values:
        raise ValueError(f"domains.{name}.values: needs data.domain_field: the field that has these values")


def _check_sharing(name: str, domain: Any) -> None:
    if domain.train or domain.validation or domain.dataset:
        raise ValueError(f"domains.{name}: has files of its own; with data.domain_field they are data.train")
    if domain.text_field or domain.where or domain.join is not None:
        raise ValueError(f"domains.{name}: shares its files; give text_field, join and where for all, in data")


def _check_values(values: Mapping[str, list[str]]) -> None:
    owners: dict[str, str] = {}
    for name, own in values.items():
        for value in own:
            if (other := owners.setdefault(value, name)) != name:
                raise ValueError(f"domains.{name}.values: {value!r} belongs to {other!r} too; give it to one domain")
