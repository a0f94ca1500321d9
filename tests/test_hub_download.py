"""Downloads from a real server that fails in every way: whole and proven files, or one error that says what to do."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import READER, Fault, HubServer, sha256

from facezoo.catalog import CATALOG, Catalog, Licences, ModelSpec, WeightSpec
from facezoo.errors import AssetError, HubError
from facezoo.hub import resolve
from facezoo.hub.cache import RepoCache
from facezoo.hub.download import fetch

SIZE = 700_000
FILES = {
    "config.json": json.dumps({"method": "dense", "config": {}}).encode(),
    "model.safetensors": os.urandom(SIZE),
    "README.md": b"---\nlicense: mit\n---\n",
    "pytorch_model.bin": b"a pickle that nobody wants",
    "modeling.py": b"print('code that nobody wants')",
}
REPO = "user/repo"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("facezoo.hub.download._PAUSES", (0.05, 0.05))  # waits are as many, but short
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url())
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> RepoCache:
    return RepoCache(tmp_path / "cache", REPO)


def cached_files(cache: RepoCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def test_only_three_files_are_fetched_and_they_are_the_right_ones(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    found = resolve(REPO)
    assert (found.id, found.revision, found.source) == (f"{REPO}@{commit}", commit, "hub")
    assert {path.name for path in found.folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    for path in found.folder.iterdir():
        assert path.read_bytes() == FILES[path.name]
    assert found.sha256 == {"model.safetensors": sha256(FILES["model.safetensors"])}
    assert hub.requests(pattern=r"\.bin|\.py") == []


def test_a_pinned_commit_in_the_cache_needs_no_request_at_all(hub: HubServer) -> None:
    commit = hub.add(REPO, FILES)
    resolve(REPO, revision=commit)
    hub.log.clear()
    for again in (
        resolve(REPO, revision=commit),
        resolve(f"{REPO}@{commit}"),
        resolve(f"facezoo://{REPO}@{commit}"),
    ):
        assert again.source == "cache"
        again.verify()
    assert hub.log == []
    hub.stop()
    assert resolve(REPO, revision=commit).revision == commit


def test_a_branch_is_followed_with_one_request_and_equal_files_are_not_fetched_again(hub: HubServer) -> None:
    first = hub.add(REPO, FILES)
    assert resolve(REPO).revision == first
    hub.log.clear()
    assert resolve(REPO).revision == first
    assert [(r.method, r.path) for r in hub.log] == [("HEAD", f"/{REPO}/resolve/main/config.json")]
    second = hub.add(REPO, {"README.md": b"---\nlicense: mit\n---\nbetter"})
    hub.log.clear()
    found = resolve(REPO)
    assert found.revision == second
    assert (found.folder / "README.md").read_bytes().endswith(b"better")
    assert hub.requests("GET", "model.safetensors") == []
    assert resolve(REPO, revision=first).source == "cache"


def test_tags_and_branches_have_their_own_commits(hub: HubServer) -> None:
    first = hub.add(REPO, FILES)
    hub.repos[REPO].refs["v1"] = first
    second = hub.add(REPO, {"model.safetensors": b"other"}, branch="main")
    assert resolve(f"{REPO}@v1").revision == first
    assert resolve(REPO).revision == second


def test_without_a_network_a_branch_is_what_it_was_and_a_warning_says_so(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(REPO, FILES)
    resolve(REPO)
    hub.stop()
    with pytest.warns(UserWarning, match=f"cannot be reached.*{commit}"):
        found = resolve(REPO)
    assert (found.revision, found.source) == (commit, "cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who says offline is not told about it
        assert resolve(REPO).revision == commit


def test_offline_mode_asks_nobody_and_lists_the_ways(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set") as caught:
        resolve(REPO)
    for way in ("hf download user/repo", "models--user--repo", "HF_ENDPOINT", "dense-1609"):
        assert way in str(caught.value)
    assert hub.log == []


def test_no_network_and_no_cache_is_one_error_at_once(hub: HubServer) -> None:
    hub.stop()
    with pytest.raises(
        HubError, match=r"which HF_ENDPOINT names, cannot be reached.*Ways without the network"
    ):
        resolve(REPO)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("HEAD", status=404, error_code="RepoNotFound"), "does not exist on .* HF_TOKEN"),
        (Fault("HEAD", status=401), "HTTP 401.*HF_TOKEN"),
        (Fault("HEAD", status=403, error_code="GatedRepo"), "is gated.*Accept its terms at http"),
        (Fault("HEAD", status=403), "refuses to read user/repo .HTTP 403.*HF_TOKEN"),
        (Fault("HEAD", status=404, error_code="RevisionNotFound"), "no such revision"),
        (Fault("HEAD", status=404, error_code="EntryNotFound"), "not a facezoo checkpoint"),
        (Fault("HEAD", status=429), "too many requests"),
        (Fault("HEAD", status=418), "HTTP 418"),
        (Fault("HEAD", headers={"X-Repo-Commit": None}), "not answered by a Hub.*HF_ENDPOINT"),
        (Fault("HEAD", headers={"X-Repo-Commit": "1234"}), "it is no Hub"),
        (Fault("GET .*/model.safetensors", status=403), "refuses to read user/repo"),
    ],
)
def test_every_refusal_is_one_error_that_names_the_cure(
    hub: HubServer, cache: RepoCache, fault: Fault, message: str
) -> None:
    hub.add(REPO, FILES)
    fault.times = -1
    hub.faults.append(fault)
    with pytest.raises(HubError, match=message) as caught:
        resolve(REPO)
    assert isinstance(caught.value, AssetError)
    assert "Traceback" not in str(caught.value)
    assert cache.snapshot(hub.repos[REPO].refs["main"]) is None


def test_a_server_in_trouble_is_asked_again_and_then_named(hub: HubServer, cache: RepoCache) -> None:
    hub.add(REPO, FILES)
    hub.faults.append(Fault("HEAD", status=503, times=1))
    hub.faults.append(Fault("GET .*/model.safetensors", status=500, times=1))
    resolve(REPO)
    hub.faults.append(Fault("HEAD", status=502, times=-1))
    with pytest.raises(HubError, match=r"is in trouble \(HTTP 502"):
        resolve("user/other")


def test_private_repos_need_a_token_and_storage_never_sees_it(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = hub.add(REPO, FILES, private=True)
    with pytest.raises(HubError, match="it is private"):
        resolve(REPO)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert resolve(REPO).revision == commit
    with pytest.raises(HubError, match="does not exist"):
        resolve(REPO, token=False, cache_dir=tmp_path / "other")
    with pytest.raises(HubError, match="401"):
        resolve(REPO, token="hf_wrong", cache_dir=tmp_path / "other")
    assert len(hub.requests("GET", server="storage")) == 1
    assert all("authorization" not in request.headers for request in hub.requests(server="storage"))


def test_a_refusal_names_the_copy_that_is_in_the_cache(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(REPO, FILES)
    resolve(REPO)
    hub.repos[REPO].private = True
    with pytest.raises(HubError, match=f"'{REPO}@{commit}' loads it without the Hub"):
        resolve(REPO)


@pytest.mark.parametrize("no_range", [False, True])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: HubServer, cache: RepoCache, no_range: bool
) -> None:
    commit = hub.add(REPO, FILES)
    hub.faults.append(Fault("GET /[0-9a-f]{64}", drop_after=SIZE // 2))
    hub.faults.append(Fault("GET /[0-9a-f]{64}", drop_after=SIZE // 4, no_range=no_range))
    hub.faults.append(Fault("GET /[0-9a-f]{64}", no_range=no_range))
    assert fetch(cache, "main") == commit
    folder = cache.snapshot(commit)
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    ranges = [request.headers.get("range") for request in hub.requests("GET", server="storage")]
    assert ranges[:2] == [None, f"bytes={SIZE // 2}-"]
    assert ranges[2] == (f"bytes={SIZE // 4}-" if no_range else f"bytes={SIZE * 3 // 4}-")


def test_a_download_that_cannot_go_on_leaves_its_part_for_the_next(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    hub.faults.append(Fault("GET /[0-9a-f]{64}", drop_after=SIZE // 2))
    hub.faults.append(Fault("GET /[0-9a-f]{64}", hang_up=True, times=-1))
    with pytest.raises(HubError, match="cannot be reached"):
        fetch(cache, commit)
    assert cache.snapshot(commit) is None
    hub.faults.clear()
    hub.log.clear()
    fetch(cache, commit)
    assert [r.headers.get("range") for r in hub.requests("GET", server="storage")] == [f"bytes={SIZE // 2}-"]
    assert not list(cache.folder.rglob("*.part"))


def test_a_slow_server_is_given_up_with_the_variable_that_waits_longer(
    hub: HubServer, cache: RepoCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    hub.add(REPO, FILES)
    hub.faults.append(Fault("HEAD", pause=1.0, times=-1))
    with pytest.raises(HubError, match=r"too slow.*HF_HUB_DOWNLOAD_TIMEOUT"):
        resolve(REPO)


def test_corrupted_bytes_are_refused_and_do_not_stay(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    hub.faults.append(Fault("GET /[0-9a-f]{64}", lie=True))
    with pytest.raises(HubError, match=r"model\.safetensors arrived damaged: its sha256 is"):
        fetch(cache, "main")
    assert [path for path in cached_files(cache) if path.stat().st_size == SIZE] == []
    fetch(cache, "main")
    hub.faults.append(Fault("GET .*/config.json", lie=True))
    with pytest.raises(HubError, match=r"config\.json arrived damaged: its git hash"):
        fetch(RepoCache(cache.cache / "second", REPO), commit)


def test_a_wrong_beginning_from_earlier_is_noticed_and_fetched_anew(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    blob = cache.blob(sha256(FILES["model.safetensors"]))
    blob.parent.mkdir(parents=True)
    for rubbish in (b"x" * 1000, b"x" * SIZE, b"x" * (SIZE + 1)):
        blob.with_name(f"{blob.name}.part").write_bytes(rubbish)
        fetch(cache, commit)
        assert blob.read_bytes() == FILES["model.safetensors"]
        blob.unlink()


def test_bytes_that_rot_in_the_cache_are_refused_with_the_cure(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    found = resolve(REPO)
    path = (found.folder / "model.safetensors").resolve()
    path.write_bytes(FILES["model.safetensors"][:-1] + b"?")
    with pytest.raises(AssetError, match=f"damaged.*rm -r {cache.folder}"):
        resolve(REPO, revision=commit).verify()


def test_a_renamed_repo_is_followed(hub: HubServer) -> None:
    hub.add(REPO, FILES)
    moved = {"Location": f"/{REPO}/resolve/main/config.json", "X-Repo-Commit": None}
    hub.faults.append(Fault("HEAD /old/name", status=307, headers=moved))
    hub.add("old/name", FILES)
    assert resolve("old/name").revision == hub.repos[REPO].refs["main"]


def test_a_file_of_unknown_size_arrives_whole(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, FILES)
    hub.faults.append(Fault("HEAD .*/model.safetensors", headers={"X-Linked-Size": None}))
    fetch(cache, commit)
    assert cache.digests(commit) == {"model.safetensors": sha256(FILES["model.safetensors"])}


def test_a_repo_without_a_card_is_complete(hub: HubServer, cache: RepoCache) -> None:
    commit = hub.add(REPO, {name: data for name, data in FILES.items() if name != "README.md"})
    fetch(cache, "main")
    assert cache.snapshot(commit) is not None


def test_a_cache_that_cannot_be_written_is_named(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HubError, match=r"cannot be stored in the cache.*cache_dir="):
        resolve(REPO, cache_dir=tmp_path / "file")


def lab_catalogue(hub: HubServer, **changes: object) -> Catalog:
    """A catalogue with one model whose weights are on the Hub."""
    commit = hub.add("lab/tiny.v1", FILES)
    pins = {name: sha256(FILES[name]) for name in ("config.json", "model.safetensors")}
    weights = {
        "tag": "v1",
        "head": "open-v1",
        "sha256": pins,
        "size": sum(len(data) for data in FILES.values()),
        "licences": Licences("Apache-2.0", "CC-BY-NC-4.0", "CC0-1.0", "CC0-1.0"),
        "trained_on": "nothing",
        "embedded": False,
        "repo": "lab/tiny.v1",
        "revision": commit,
        **changes,
    }
    dense = CATALOG["dense-1609"]
    model = ModelSpec(
        name="tiny",
        method="dense",
        module=dense.module,
        class_name=dense.class_name,
        summary="for tests",
        paper="none",
        tasks=("landmarks",),
        weights=(WeightSpec(**weights),),  # type: ignore[arg-type]
    )
    return Catalog((model,), deprecated={"small": "tiny"})


def test_a_catalogue_name_comes_from_its_pinned_commit_once(hub: HubServer) -> None:
    table = lab_catalogue(hub)
    hub.add("lab/tiny.v1", {"model.safetensors": b"newer weights on main"})
    found = resolve("tiny", table=table)
    found.verify()
    assert (found.id, found.source, found.revision) == ("tiny.v1", "hub", table["tiny"].weights[0].revision)
    assert found.licences is not None and not found.licences.commercial
    hub.stop()
    again = resolve("facezoo://tiny.v1", table=table)
    again.verify()
    assert again.source == "cache"
    with pytest.warns(FutureWarning, match="'small' is deprecated.*'tiny'"):
        assert resolve("small", table=table).id == "tiny.v1"


def test_other_bytes_than_the_catalogue_pins_are_never_even_fetched(hub: HubServer) -> None:
    pins = {"config.json": sha256(FILES["config.json"]), "model.safetensors": "0" * 64}
    with pytest.raises(HubError, match=r"pinned is 0000.*pip install --upgrade facezoo"):
        resolve("tiny", table=lab_catalogue(hub, sha256=pins))
    assert hub.requests("GET", "model.safetensors") == []
    pins = {"config.json": "0" * 64, "model.safetensors": sha256(FILES["model.safetensors"])}
    with pytest.raises(HubError, match=r"config\.json is not the file that was asked for"):
        resolve("tiny", table=lab_catalogue(hub, sha256=pins))
