"""Keys: what they depend on, and that they stay what they are from version to version."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import yaml

from doremi.config import LimitsConfig, ProxyConfig, TrainingConfig, load_run, validate
from doremi.config.neutral import Neutral, neutral_values, without_neutral
from doremi.config.reach import Reaches
from doremi.config.section import Section, reach_of
from doremi.model.presets import shape
from doremi.rundir.specs import LossesSpec, MixtureSpec, Scoring, Spec, TrainingSpec, canonical

NEUTRAL: dict[str, object] = {
    "steps": 1000, "batch_size": 32, "optimizer": "adamw", "learning_rate": 1e-3, "schedule": "exponential",
    "final_learning_rate": 0.1, "warmup": 0.06, "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.99,
    "gradient_clip": 1.0, "precision": "auto", "compile": "auto", "threads": "auto", "evaluate_every": "auto",
    "initial_spread": 1.0, "learning_rates": {},
}  # fmt: skip
"""What keys leave out, for ever: one line a setting of `training` that a result depends on."""
SETTINGS = TrainingConfig.model_validate({
    **NEUTRAL,
    "steps": 100, "batch_size": 8, "precision": "float32", "compile": False, "threads": 2, "evaluate_every": 10,
})  # fmt: skip
PLAIN = TrainingSpec("f" * 64, 256, canonical(shape("1m", None, {})), SETTINGS, (0.25, 0.75), 0)
PROXY = replace(PLAIN, weights=(0.5, 0.5), scoring=Scoring(ProxyConfig(), "a" * 64, "live"))
MIXTURE = MixtureSpec("doremi", "f" * 64, (("0", "b" * 64),), LimitsConfig(), 1000, "{}")
GOLDEN: dict[str, tuple[Spec, str]] = {
    "plain": (PLAIN, "218ad86689067a02dfe2e6ba3bc43882c11013a90329ba01abc66fc828c8ba8e"),
    "proxy": (PROXY, "8d7722dda70b8756fbb7abaa2f9d2bb6bdf44d256e323b4d1383f3417288e0f5"),
    "losses": (LossesSpec("f" * 64, 256, "a" * 64), "b3a8936444d3ee6ca7e5b75ff88a66c751827043c79338ca07e9727b6c490821"),
    "mixture": (
        MixtureSpec("doremi", "f" * 64, (("0", "b" * 64),), LimitsConfig(), 1000, "{}"),
        "9259772835f7e517afb4e04592e99f1473c24dabc48fca8563665c77023be9fb",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_key_is_the_same_in_every_version(name: str) -> None:
    """Else everything that people have trained would be trained again. A default of a setting is never changed."""
    spec, key = GOLDEN[name]
    assert spec.key == key


def test_a_setting_at_its_neutral_value_is_in_no_key() -> None:
    """Also a setting that is newer than a key, and one whose default has changed since."""
    matters = {name for name in TrainingConfig.model_fields if reach_of(TrainingConfig, name)}
    assert matters == NEUTRAL.keys()
    assert without_neutral(TrainingConfig.model_validate(NEUTRAL), matters) == {}


def test_a_run_from_before_a_setting_keeps_its_keys(tmp_path: Path) -> None:
    """Its record names every setting of its time; the others had their neutral value, whatever the default is now."""
    newer = {"schedule", "initial_spread"}
    recorded = validate({"name": "old", "data": {"domains": {"a": "a", "b": "b"}}, "training": NEUTRAL}, "test")
    values = recorded.model_dump(mode="json")
    values["training"] = {name: value for name, value in values["training"].items() if name not in newer}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert load_run(tmp_path).training == recorded.training
    assert load_run(tmp_path, ["training.schedule=linear"]).training.schedule == "linear"
    assert neutral_values(TrainingConfig).items() <= NEUTRAL.items()


def test_a_default_may_change_and_keys_stay() -> None:
    class Before(Section):
        reaches = Reaches("main")
        rate: float = 0.1

    class After(Section):
        reaches = Reaches("main")
        rate: Annotated[float, Neutral(0.1)] = 0.2

    for value in (0.1, 0.2, 0.3):
        said = [without_neutral(section(rate=value), {"rate"}) for section in (Before, After)]
        assert said[0] == said[1] == ({} if value == 0.1 else {"rate": value})


def test_settings_that_no_result_depends_on_are_in_no_key() -> None:
    changed = {"accumulation": 4, "checkpoint_every": 7, "log_every": 3, "parallel": "fsdp", "timeout": 5.0}
    other = replace(PLAIN, settings=SETTINGS.model_copy(update=changed))
    assert other.key == PLAIN.key


def test_threads_count_on_a_cpu_alone() -> None:
    one = SETTINGS.model_copy(update={"threads": 1})
    assert replace(PLAIN, settings=one).key != PLAIN.key
    assert replace(PLAIN, settings=one, device="cuda").key == replace(PLAIN, device="cuda").key


def test_a_proxy_depends_on_its_reference_and_its_batches_on_their_weights() -> None:
    assert PROXY.scoring is not None
    assert replace(PROXY, scoring=replace(PROXY.scoring, reference="b" * 64)).key != PROXY.key
    assert replace(PROXY, weights=(0.4, 0.6)).key != PROXY.key
    same = ProxyConfig(seeds=5, sampling="natural")  # how many there are, and a name for the weights
    assert replace(PROXY, scoring=replace(PROXY.scoring, proxy=same)).key == PROXY.key


def test_keys_need_no_torch() -> None:
    code = "import doremi.rundir.graph, doremi.methods, doremi.pipeline.planning, doremi.cli.jobs, sys\n"
    code += "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
