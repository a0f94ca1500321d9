"""What a text stands for, and where the cache is: decided without the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from facezoo.catalog import CATALOG
from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.hub import resolve
from facezoo.hub.cache import RepoCache
from facezoo.hub.environment import cache_folder, endpoint, offline
from facezoo.hub.names import CatalogName, RepoName, read_name

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without a Hub that could answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dense-1609", CatalogName("dense-1609")),
        ("dense-1609.open-v2", CatalogName("dense-1609.open-v2")),
        ("facezoo://dense-1609", CatalogName("dense-1609")),
        ("never-heard-of", CatalogName("never-heard-of")),
        ("user/repo", RepoName("user/repo")),
        ("user/repo@v1.0", RepoName("user/repo", "v1.0")),
        (f"user/repo@{COMMIT}", RepoName("user/repo", COMMIT)),
        ("user/repo@refs/pr/1", RepoName("user/repo", "refs/pr/1")),
        ("facezoo://user/repo@main", RepoName("user/repo", "main")),
        ("./user/repo", Path("user/repo")),
        ("../repo", Path("../repo")),
        ("/user/repo", Path("/user/repo")),
        ("a/b/c", Path("a/b/c")),
        ("user\\repo", Path("user\\repo")),
        ("user/re--po", Path("user/re--po")),
        ("user/..", Path("user/..")),
        ("user/repo@../../x", Path("user/repo@../../x")),
        (Path("user/repo"), Path("user/repo")),
    ],
)
def test_a_text_is_read_by_its_form(given: str | Path, expected: object) -> None:
    assert read_name(given, CATALOG) == expected


def test_a_home_folder_is_a_path() -> None:
    assert read_name("~/weights", CATALOG) == Path.home() / "weights"


@pytest.mark.parametrize("name", ["user/repo", "dense-1609"])
def test_a_checkpoint_folder_wins_over_a_name(here: Path, name: str) -> None:
    (here / name).mkdir(parents=True)
    (here / name / "config.json").write_text("{}")
    assert read_name(name, CATALOG) == Path(name)
    assert read_name(f"facezoo://{name}", CATALOG) != Path(name)


def test_a_folder_without_a_checkpoint_is_never_asked_of_the_hub(here: Path) -> None:
    (here / "runs" / "dense").mkdir(parents=True)
    with pytest.raises(AssetError, match=r"config\.json is missing"):
        resolve("runs/dense")
    (here / "runs" / "dense" / "export").mkdir()
    for name in ("config.json", "model.safetensors"):
        (here / "runs" / "dense" / "export" / name).write_text("{}")
    with pytest.raises(AssetError, match="load runs/dense/export"):
        resolve("runs/dense")


def test_a_folder_of_outputs_does_not_hide_a_catalogue_name(here: Path) -> None:
    (here / "dense-1609").mkdir()
    (here / "mine").mkdir()
    assert read_name("dense-1609", CATALOG) == CatalogName("dense-1609")
    assert read_name("mine", CATALOG) == Path("mine")


@pytest.mark.parametrize("given", ["facezoo://", "facezoo:///", "facezoo://a/b/c", "facezoo://../x"])
def test_a_marked_name_must_be_one(given: str) -> None:
    with pytest.raises(InputError, match="facezoo://"):
        read_name(given, CATALOG)


def test_what_is_wrong_with_a_name_is_said_without_the_network() -> None:
    with pytest.raises(UnknownNameError, match="dense-1609"):
        resolve("dense-1690")
    with pytest.raises(UnknownNameError):
        resolve("")
    with pytest.raises(InputError, match="leave revision out"):
        resolve("dense-1609", revision="main")
    with pytest.raises(InputError, match="leave revision out"):
        resolve("./folder", revision="main")
    with pytest.raises(InputError, match="another"):
        resolve("user/repo@v1", revision="v2")
    with pytest.raises(InputError, match="no branch"):
        resolve("user/repo", revision="../../../etc/passwd")


def test_variables_work_whenever_they_are_set(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert endpoint() == "https://mirror.example"
    monkeypatch.delenv("HF_ENDPOINT")
    assert endpoint() == "https://huggingface.co"
    for value, expected in (("1", True), ("yes", True), ("0", False), ("", False)):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert offline() is expected
    assert cache_folder("given") == here / "given"
    assert cache_folder() == here / "hub-cache"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(here / "home"))
    assert cache_folder() == here / "home" / "hub"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "xdg"))
    assert cache_folder() == here / "xdg" / "huggingface" / "hub"


def test_the_cache_is_the_one_that_huggingface_hub_reads(here: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    cache = RepoCache(here, "user/repo")
    for digest, name in (("b" * 64, "model.safetensors"), ("c" * 40, "config.json")):
        cache.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        cache.blob(digest).write_text(name)
        cache.link(COMMIT, name, digest)
    cache.remember("main", COMMIT)
    assert cache.commit_of("main") == COMMIT
    assert cache.digests(COMMIT) == {"model.safetensors": "b" * 64}
    found = try_to_load_from_cache("user/repo", "model.safetensors", cache_dir=here)
    assert isinstance(found, str)
    assert Path(found).read_text() == "model.safetensors"
    scanned = scan_cache_dir(here)
    assert scanned.warnings == []
    assert [repo.repo_id for repo in scanned.repos] == ["user/repo"]
