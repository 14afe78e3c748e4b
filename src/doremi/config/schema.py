"""One typed description of a run: every key, its unit, its default and what it may be."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from doremi.config.comparison import CandidatesConfig, DownstreamConfig, VerdictConfig, check_race
from doremi.config.limits import LimitsConfig
from doremi.config.paths import InputPath
from doremi.config.reach import TRAININGS, Reaches
from doremi.config.section import Section
from doremi.config.shapes import HubConfig, RecordsConfig, SharedFilesConfig, check_shared
from doremi.config.step_range import first_and_last
from doremi.config.training import Auto, TrainingConfig
from doremi.corpus.library import CORPORA
from doremi.corpus.size import Given
from doremi.errors import MixtureError
from doremi.mixture.domains import DomainSet, is_file_name

PLAIN_MIXTURES = ("natural", "uniform", "temperature", "unimax")


class DomainConfig(RecordsConfig, HubConfig):
    """Where one domain's documents are. A path or a list of paths is short for `train`."""

    train: list[Annotated[str, InputPath()]] = Field(default=[])
    """Files, folders, globs or fsspec addresses. They hold JSON lines, JSON arrays, tables (Parquet, Arrow, CSV), or
    text (one document a file). Packed files (.gz .zst .bz2 .xz) and .tar are read too."""
    validation: list[Annotated[str, InputPath()]] = Field(default=[])
    """The same for held-out documents. Without it, files named validation, valid, val or dev under `train` are held
    out, or else a share of the text is. Files named test, eval or holdout are not read."""
    epochs: Annotated[float, Reaches(*TRAININGS)] = Field(default=1.0, gt=0)
    """How many times the natural mixture counts this domain. The Pile's baseline has 3 for Wikipedia."""
    text_field: str | None = None
    """Field or column of the text. Default is data.text_field."""
    values: list[str] = Field(default=[])
    """What data.domain_field says of this domain's documents. Default is the domain's name."""
    sample_tokens: int | None = Field(default=None, ge=1)
    """About how many tokens of this domain are read. Default is data.sample_tokens."""
    tokens: Annotated[int | None, Reaches(*TRAININGS)] = Field(default=None, ge=1)
    """Tokens of the whole domain, where only a part of it is here or is read. Default is what is counted, or estimated
    from a sample."""
    bytes: Annotated[int | None, Reaches(*TRAININGS)] = Field(default=None, ge=1)
    """The same as UTF-8 bytes of text. Its tokens are then estimated."""
    documents: Annotated[int | None, Reaches(*TRAININGS)] = Field(default=None, ge=1)
    """The same in documents. Its tokens are then estimated."""

    @field_validator("train", "validation", "values", mode="before")
    @classmethod
    def _one_path_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_size(self) -> DomainConfig:
        if sum(size is not None for size in (self.tokens, self.bytes, self.documents)) > 1:
            raise ValueError("give one of tokens, bytes and documents: each is the size of the whole domain")
        return self

    @property
    def given(self) -> Given | None:
        """How large the whole domain is, where that is said."""
        given = Given(self.tokens, self.bytes, self.documents)
        return None if given.said is None else given


class DataConfig(RecordsConfig, SharedFilesConfig):
    """The corpus, its domains and tokenizer, and what is held out."""

    domains: dict[str, DomainConfig]
    """Where the documents are, by name of the domain."""
    corpus: Annotated[Annotated[str, InputPath()] | None, Reaches()] = None
    """Folder of a prepared corpus, such as one in runs/corpora. What it was made of need not be said again, but for
    `epochs`. Without it, the corpus is looked for beside the runs, and prepared there."""
    text_field: str = "text"
    """Field of a record, or column of a table, that holds the text. One inside others is `meta.text`."""
    tokenizer: Annotated[str, InputPath("tokenizer")] | None = None
    """Name or folder of a Hugging Face tokenizer. Without it a byte-level BPE is trained on the corpus."""
    vocab_size: int = Field(default=8192, ge=260, le=2**31 - 1)
    """Entries of the tokenizer to train (without effect where `tokenizer` is given)."""
    tokenizer_sample_bytes: int = Field(default=30_000_000, ge=1000)
    """Bytes of text, the same from each domain, that the tokenizer is trained on."""
    sequence_length: Annotated[int, Reaches(*TRAININGS)] = Field(default=256, ge=2)
    """Tokens in a sequence."""
    validation_fraction: float = Field(default=0.05, gt=0, lt=0.9)
    """Share of the text held out where a domain brings no validation files. It is at least 64 documents or parts of
    documents, but of a small domain a fifth."""
    validation_max_tokens: int = Field(default=100_000, ge=1)
    """Tokens of validation text kept a domain, at most. Parts of long documents are held out. The rest of them is
    trained on."""
    on_bad_record: Literal["stop", "skip"] = "stop"
    """What happens at a record that is no document, such as one with null for text: stop, or skip and count it."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Whether equal documents all count, or only the first, over all domains. Both count how many there are."""
    max_unknown: Annotated[float, Reaches()] = Field(default=0.1, ge=0, le=1)
    """Largest share of a domain's tokens that the tokenizer may not know. Such text looks easy to predict."""
    sample_tokens: int | None = Field(default=None, ge=1)
    """About how many tokens of each domain are read, spread over its files. Default is all of them."""
    epoch_matched: Annotated[bool, Reaches(*TRAININGS)] = False
    """Train on a share of every domain, run tokens / budget_tokens, so that each repeats as in the final run."""
    workers: Annotated[int, Reaches()] = Field(default=0, ge=0)
    """Processes that tokenize. 0 means one for each core."""

    @property
    def given(self) -> dict[str, Given]:
        """How large whole domains are, of those where that is said."""
        return {name: domain.given for name, domain in self.domains.items() if domain.given is not None}

    @field_validator("domains", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in value:
            if not isinstance(name, str):  # no, 2024, null, ...
                raise ValueError(f"domain name {name!r} is not a string; put it in quotes")
        return {name: {"train": entry} if isinstance(entry, str | list) else entry for name, entry in value.items()}

    @model_validator(mode="after")
    def _files_of_domains_or_of_all(self) -> DataConfig:
        check_shared(self, self.domains)
        return self

    @field_validator("domains")
    @classmethod
    def _names(cls, value: dict[str, DomainConfig]) -> dict[str, DomainConfig]:
        try:
            DomainSet(value)
        except MixtureError as error:
            raise ValueError(str(error)) from None
        return value


class ModelConfig(Section):
    """A causal language model, from a preset or from any Hugging Face architecture."""

    reaches: ClassVar[Reaches] = Reaches(*TRAININGS)

    preset: Annotated[str | None, Reaches("reference", "losses", "proxy", "mixture")] = "1m"
    """Name of a shape: 0.1m, 0.3m, 1m, 3m, 10m, 30m, or the paper's 70m, 150m, 280m, 510m, 760m, 1b, 8b. Must be
    null if `architecture` is given."""
    architecture: str | None = None
    """A Hugging Face model type such as llama or gpt2 (docs/models.md lists those that train)."""
    options: dict[str, JsonValue] = Field(default={})
    """Keys of that architecture's configuration. With a preset they override its own. What the tokenizer or the
    training decides (vocab_size, dtype, token ids) is refused."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.preset is None) == (self.architecture is None):
            raise ValueError("give either model.preset or model.architecture (with model.preset: null)")
        return self


class ReferenceConfig(Section):
    """The reference model (step 1), trained in the ordinary way on a given mixture."""

    reaches: ClassVar[Reaches] = Reaches("reference", "losses", "proxy", "mixture")

    mixture: Annotated[Annotated[str, InputPath("mixture")], Reaches(*TRAININGS)] = "natural"
    """natural, uniform, temperature, unimax, the name of a published mixture, or the path of a mixture.json."""
    losses: Annotated[Literal["auto", "live", "stored"], Reaches("proxy", "mixture")] = "auto"
    """`live` computes the reference's losses beside the proxy, step by step. `stored` computes them once for the whole
    corpus and keeps them on disk, two bytes a token. `auto` stores them where the proxy sees the corpus several
    times."""
    reuse: Annotated[Annotated[str, InputPath()] | None, Reaches()] = None
    """Another run directory. References and stored losses that would be trained exactly alike are taken from there, for
    example to try another eta."""


class ProxyConfig(Section):
    """The proxy model (step 2): Group DRO over domains, Algorithm 1."""

    reaches: ClassVar[Reaches] = Reaches("proxy", "mixture")

    seeds: Annotated[int, Reaches("mixture", "longer", "fewshot")] = Field(default=1, ge=1)
    """Number of pairs of reference and proxy. Their averaged weights are averaged, and their spread is reported."""
    eta: float = Field(default=1.0, ge=0)
    """Step size of the domain weights. The paper has 1."""
    smoothing: float = Field(default=1e-3, ge=0, le=1)
    """Share of the uniform distribution mixed into the weights at each step (c in the paper, 1e-3)."""
    sampling: Annotated[str, InputPath("mixture")] = "uniform"
    """Mixture that the proxy's batches are drawn with, uniform in the paper."""
    variant: Literal["paper", "official", "hardest", "easiest"] = "paper"
    """Algorithm 1, the authors' code, or an ablation (proxy loss only, or minus the reference loss only)."""
    update: Literal["exact", "lagged"] = "exact"
    """`exact` weights a batch with the weights that it has just updated, as in Algorithm 1. With accumulation it takes
    a second forward pass. `lagged` uses the weights from before the batch, in one forward pass."""
    stop: Literal["never", "auto"] = "never"
    """With `auto` a proxy ends at the first evaluation at which its averaged weights have settled. It has then seen
    only the first part of the learning-rate schedule."""
    choices: dict[str, JsonValue] = Field(default={})
    """Single choices that replace the variant's own, as in docs/algorithm.md. They are excess, clip, absent,
    unseen_score, start, smoothing_target, average_from and sampling."""


class RoundsConfig(Section):
    """Iterated DoReMi. Each round's mixture is the next round's reference mixture (paper section 2)."""

    max: Annotated[int, Reaches("longer", "fewshot")] = Field(default=1, ge=1)
    """Rounds at most. 1 is DoReMi without repetition. The paper needed at most three."""
    until: float = Field(default=1e-3, gt=0, le=1)
    """A round in which no weight changes by this is the last one. So is a round whose change is within the spread
    between proxies."""


class RunConfig(Section):
    """A whole run."""

    name: str
    """Name of the run directory."""
    runs: Annotated[str, InputPath()] = "runs"
    """Folder of the run directories, and of `corpora`, which they share. Not written it is `runs` where one stands."""
    seed: Annotated[int, Reaches("mixture")] = Field(default=0, ge=0, le=2**31)
    """First seed. Further seeds count up from it."""
    budget_tokens: Annotated[int | None, Reaches(*TRAININGS)] = Field(default=None, ge=1)
    """Tokens of the final run, for the epochs shown beside weights and for limits.max_epochs. Default is the tokens of
    one candidate."""
    workers: Annotated[int | Auto, Reaches()] = "auto"
    """Trainings at once. `auto` does as many as make the run end sooner and fit the memory, one on each GPU."""
    executor: Annotated[str, Reaches()] = "local"
    """Where trainings go on. `local` is this machine. `ray` makes them tasks of a Ray that is started here.
    `ray://HOST:PORT` joins a Ray whose machines have the same folders and the same doremi. For Slurm see
    `doremi slurm`."""
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default=[])
    """Programs that draw curves while a run works (docs/trackers.md). Each is an extra of the same name. Default is
    none."""
    profile: Annotated[str | None, Reaches()] = None
    """Steps of each training of which a trace is written, such as 5:8 (docs/scaling.md). Default is none."""
    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    reference: ReferenceConfig = ReferenceConfig()
    proxy: ProxyConfig = ProxyConfig()
    rounds: RoundsConfig = RoundsConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    limits: LimitsConfig = LimitsConfig()
    downstream: DownstreamConfig = DownstreamConfig()
    verdict: VerdictConfig = VerdictConfig()

    @field_validator("executor")
    @classmethod
    def _known_executor(cls, value: str) -> str:
        if value not in ("local", "ray") and not re.fullmatch(r"ray://[^\s:/@]+(:\d+)?", value):
            raise ValueError(f"{value!r} is none: use local, ray or ray://HOST:PORT")
        return value

    @field_validator("runs")
    @classmethod
    def _here(cls, value: str) -> str:
        if "://" in value:
            raise ValueError(
                f"{value} is an address, but runs are locked and read in place: give a folder, and copy finished runs "
                "there. `doremi export` writes to addresses"
            )
        return value

    @field_validator("profile")
    @classmethod
    def _range_of_steps(cls, value: str | None) -> str | None:
        if value is not None:
            first_and_last(value)
        return value

    @field_validator("workers")
    @classmethod
    def _at_least_one_worker(cls, value: int | Auto) -> int | Auto:
        if value != "auto" and value < 1:
            raise ValueError("must be auto, or at least 1")
        return value

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        if value.casefold() == CORPORA:
            raise ValueError(f"{value!r} is where the prepared corpora lie: give the run another name")
        if not is_file_name(value):
            raise ValueError(f"{value!r} cannot be a run's name: use letters, digits and _.-, no separators")
        return value

    @model_validator(mode="after")
    def _every_domain_in_every_batch(self) -> RunConfig:
        domains, batch = len(self.data.domains), self.training.batch_size
        if batch < domains:
            raise ValueError(
                f"training.batch_size is {batch} but there are {domains} domains; "
                f"a batch must hold every domain: use at least {domains}"
            )
        for name in [*self.limits.domains, *(d for g in self.limits.groups.values() for d in g.domains)]:
            if name not in self.data.domains:
                raise ValueError(f"limits names {name!r}, which is not in data.domains: {', '.join(self.data.domains)}")
        if self.data.epoch_matched and self.budget_tokens is None:
            raise ValueError("data.epoch_matched needs budget_tokens: give the tokens of the final run")
        return self

    @model_validator(mode="after")
    def _race_that_can_be(self) -> RunConfig:
        check_race(self.candidates, self.candidate_mixtures(), self.verdict.looks)
        return self

    @property
    def root(self) -> Path:
        """The run directory."""
        return Path(self.runs) / self.name

    @property
    def domains(self) -> DomainSet:
        return DomainSet(self.data.domains)

    @property
    def run_tokens(self) -> int:
        """Tokens that each model is trained on."""
        return self.training.steps * self.training.batch_size * self.data.sequence_length

    @property
    def budget(self) -> int:
        return self.budget_tokens or self.run_tokens

    @property
    def kept_share(self) -> Fraction:
        """Share of each domain's training tokens that models are trained on, at most 1."""
        return min(Fraction(1), Fraction(self.run_tokens, self.budget)) if self.data.epoch_matched else Fraction(1)

    def search_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.proxy.seeds))

    def candidate_mixtures(self) -> list[str]:
        """What is trained and compared, each once. The reference mixture has its own name and is always among them."""
        own = self.reference.mixture
        return list(dict.fromkeys([*(own if name == "reference" else name for name in self.candidates.mixtures), own]))

    def size_names(self) -> list[str]:
        return list(self.candidates.sizes) or [self.size_name]

    @property
    def size_name(self) -> str:
        """Name of the proxy's size."""
        return self.model.preset if self.model.preset and not self.model.options else "custom"
