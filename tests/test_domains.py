"""Names and weights: what is accepted, what is refused, and that order never matters."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doremi.errors import MixtureError
from doremi.mixture.domains import DomainSet, Mixture, folder_name, is_file_name
from doremi.mixture.files import read_mixture
from doremi.mixture.published import published_mixture, published_names, published_source


@pytest.mark.parametrize("name", ["web", "Pile-CC", "Wikipedia (en)", "Gutenberg (PG-19)", "d\u00e9j\u00e0 vu", "(a)"])
def test_usual_names_are_allowed(name: str) -> None:
    assert DomainSet([name]).names == (name,)
    assert "/" not in folder_name(name)
    assert " " not in folder_name(name)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("C#", "Csharp"), ("C++", "C++"), ("Q&A", "QandA"), ("#1 (new)", "sharp1-new"), ("arXiv: cs.LG", "arXiv-cs.LG"),
        ("$5 {a} = 100%?", "5-a-100percent"), ("[x]; y*!", "x-y"), ("&amp;", "andamp"), ("@home", "athome"),
    ],
)  # fmt: skip
def test_signs_in_names_become_folders_that_nobody_dislikes(name: str, folder: str) -> None:
    assert DomainSet([name]).names == (name,)
    assert folder_name(name) == folder


def test_names_that_differ_in_a_sign_are_different_domains() -> None:
    names = ["C", "C#", "C++", "Q&A", "Q-A"]
    assert len({folder_name(name) for name in DomainSet(names)}) == len(names)


def test_runs_and_mixture_files_keep_to_plain_names() -> None:
    """Their names are folders as they stand."""
    assert is_file_name("Gutenberg (PG-19)")
    assert [name for name in ("C#", "Q&A", "a=b", "a*", "..") if is_file_name(name)] == []


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a/b", "a|b", 'a"b', "..", ".hidden", "a\\b", "<script>", "a\nb", "x" * 81, "a.", 3]
)
def test_paths_markup_and_blanks_are_refused(name: str) -> None:
    with pytest.raises(MixtureError, match="domain name"):
        DomainSet([name])


@pytest.mark.parametrize("names", [["a", "a"], ["Web", "web"], ["a b", "a-b"]])
def test_names_that_would_collide_are_refused(names: list[str]) -> None:
    with pytest.raises(MixtureError, match="too alike"):
        DomainSet(names)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": -1}, "'a' is -1; .*not negative"),
        ({"a": 0, "b": 0}, "all weights are zero"),
        ({"a": math.nan}, "finite"),
        ({"a": math.inf}, "finite"),
        ({"a": "1"}, "not a number"),
        ({"a": True}, "not a number"),
        ({}, "at least one domain"),
    ],
)
def test_weights_that_are_no_mixture(weights: dict, says: str) -> None:
    with pytest.raises(MixtureError, match=says):
        Mixture(weights)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1e6), min_size=1).filter(lambda w: sum(w.values()) > 0)
)
def test_sums_to_one_in_any_order(weights: dict[str, float]) -> None:
    one, two = Mixture(weights), Mixture(dict(reversed(weights.items())))
    assert math.isclose(math.fsum(one.weights.values()), 1, abs_tol=1e-12)
    domains = DomainSet(weights)
    assert one.aligned(domains) == pytest.approx(two.aligned(domains))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda values: sum(values) > 0))
def test_weights_of_a_mixture_make_the_same_mixture(values: list[float]) -> None:
    mixture = Mixture({f"domain {i}": value for i, value in enumerate(values)})
    assert Mixture(mixture.weights).weights == mixture.weights


def test_alignment_names_what_is_missing_or_unknown() -> None:
    domains = DomainSet(["a", "b"])
    with pytest.raises(MixtureError, match="weight for 'c', which is not a domain here"):
        Mixture({"a": 1, "b": 1, "c": 1}).aligned(domains)
    with pytest.raises(MixtureError, match="no weight for domain 'b'"):
        Mixture({"a": 1}).aligned(domains)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds no weights"),
        ('{"format": 2, "unit": "tokens", "weights": {"a": 1}}', "format 1"),
        ('{"format": 1, "unit": "documents", "weights": {"a": 1}}', "unit 'tokens'"),
        ('{"format": 1, "unit": "tokens"}', "holds no weights"),
        ('{"a": -1}', "not negative"),
        ('{"a": NaN}', "finite"),
    ],
)
def test_mixture_files_that_are_none_name_the_file(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    path.write_text(text)
    with pytest.raises(MixtureError, match=says) as caught:
        read_mixture(path)
    assert str(caught.value).startswith(str(path))


def test_bare_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"a": 3, "b": 1}))
    assert read_mixture(path).weights == {"a": 0.75, "b": 0.25}


@given(st.binary(max_size=80))
def test_any_bytes_are_a_mixture_or_a_mixture_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.json"
    path.write_bytes(data)
    try:
        mixture = read_mixture(path)
    except MixtureError as error:
        assert str(path) in str(error)
    else:
        assert mixture.weights


def test_published_mixtures_are_the_papers() -> None:
    assert len(published_mixture("pile-baseline").weights) == 22
    assert published_mixture("pile-doremi-280m")["Pile-CC"] == pytest.approx(0.6057, abs=2e-4)
    assert published_mixture("pile-doremi-1b")["OpenWebText2"] == pytest.approx(0.3289, abs=2e-4)
    assert published_mixture("glam-round-2")["Filtered webpages"] == pytest.approx(0.51, abs=6e-3)
    assert all(published_source(name) for name in published_names())
    with pytest.raises(MixtureError, match="did you mean 'pile-baseline'"):
        published_mixture("pile-basline")
