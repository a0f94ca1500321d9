"""Publishing to a real server: one commit, checked before and after, and what another process then loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from doc_blocks import blocks
from hub_models import LICENCES, files_of, tiny_model, write_run
from hub_server import READER, TOKEN, Fault, HubServer, sha256
from safetensors.torch import load_file, save_file

from facezoo.cli import main
from facezoo.errors import AssetError, HubError, InputError
from facezoo.hub.exported import read_header
from facezoo.hub.publish import publish
from facezoo.models.load import load

REPO = "lab/tiny"
MIT_CARD = "---\nlicense: mit\n---\n# By hand\n"
OTHER_CARD = f"{MIT_CARD}<!-- facezoo card, weights sha256 0 -->"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    # the library would ask the public Hub which programs call it
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url())
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "tiny")


def writes(hub: HubServer) -> list[str]:
    return [request.path for request in hub.log if request.method in ("POST", "PUT")]


def test_a_run_becomes_one_commit_that_loads_as_it_was(hub: HubServer, run: Path) -> None:
    done = publish(run, REPO)
    repo = hub.repos[REPO]
    assert not repo.private
    assert repo.refs == {"main": done.commit}
    assert len([path for path in writes(hub) if "/commit/" in path]) == 1
    published = repo.commits[str(done.commit)]
    assert set(published) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    assert {name: published[name] for name in files_of(run)} == files_of(run)
    assert {file.name: file.sha256 for file in done.files} == {n: sha256(d) for n, d in files_of(run).items()}
    model = load(REPO, device="cpu")
    assert model.model_id == f"{REPO}@{done.commit}"
    for name, value in tiny_model().state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert model.state_dict()[name].equal(wanted), name


@pytest.mark.slow
def test_another_process_with_an_empty_cache_loads_it_and_its_cache_needs_no_network(
    hub: HubServer, run: Path, tmp_path: Path
) -> None:
    assert main(["publish", str(run), "--repo", REPO]) == 0
    code = (
        "import json, sys, facezoo\n"
        "from safetensors.torch import save_file\n"
        "model = facezoo.load(sys.argv[1], cache_dir=sys.argv[2], device='cpu')\n"
        "save_file(model.state_dict(), sys.argv[3])\n"
        "print(model.model_id)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code, REPO, str(tmp_path / "elsewhere"), str(tmp_path / "loaded.safetensors")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "HF_ENDPOINT": hub.url(), "HF_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    assert name == f"{REPO}@{hub.repos[REPO].refs['main']}"
    there, here = load_file(tmp_path / "loaded.safetensors"), load(run / "export", device="cpu").state_dict()
    assert there.keys() == here.keys()
    assert all(there[key].equal(here[key]) for key in here)
    hub.stop()
    again = load(name, cache_dir=tmp_path / "elsewhere", device="cpu").state_dict()
    assert all(again[key].equal(here[key]) for key in here)
    with pytest.raises(HubError, match="Ways without the network"):
        load(name, cache_dir=tmp_path / "nowhere")


def test_publishing_again_adds_a_commit_and_nothing_is_sent_twice(hub: HubServer, run: Path) -> None:
    first = publish(run, REPO)
    hub.log.clear()
    assert publish(run, REPO).commit == first.commit  # nothing changed: nothing to commit
    assert hub.requests("PUT") == []
    (run / "export" / "README.md").unlink()
    write_run(run, seed=1)
    second = publish(run, REPO)
    assert second.commit != first.commit
    old, new = load(f"{REPO}@{first.commit}", device="cpu"), load(REPO, device="cpu")
    assert any(not a.equal(b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


def test_a_branch_and_a_private_repo(hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["publish", str(run), "--repo", REPO, "--revision", "candidate", "--private", "--json"]
    assert main(arguments) == 0
    done = json.loads(capsys.readouterr().out)
    repo = hub.repos[REPO]
    assert repo.private
    assert set(repo.refs) == {"main", "candidate"}
    assert repo.refs["candidate"] == done["commit"] != repo.refs["main"]
    assert load(REPO, revision="candidate", token=READER).model_id == f"{REPO}@{done['commit']}"


def test_a_dry_run_shows_everything_and_sends_nothing(
    hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["publish", str(run), "--repo", REPO, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for name, data in files_of(run).items():
        assert name in shown
        assert sha256(data) in shown
        assert f"{len(data):,}" in shown
    assert str(run / "export" / "README.md") in shown
    assert "nothing was sent" in shown
    assert main(["publish", str(run), "--repo", REPO, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commit"] is None
    assert hub.log == []
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set.*--dry-run"):
        publish(run, REPO)


def test_a_dry_run_needs_no_torch(run: Path) -> None:
    code = (
        "import sys\nfrom facezoo.cli import main\n"
        f"code = main(['publish', {str(run)!r}, '--repo', '{REPO}', '--dry-run', '--base-model', 'none'])\n"
        "print(code, [name for name in ('torch', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert (run / "export" / "README.md").is_file()


def test_an_exported_folder_is_as_good_as_a_run(hub: HubServer, run: Path) -> None:
    assert publish(run / "export", REPO).commit == hub.repos[REPO].refs["main"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _with_head(folder: Path) -> None:
    tensors = {**load_file(folder / "model.safetensors"), "head.v_template": torch.zeros(3)}
    save_file(tensors, folder / "model.safetensors")
    digest = sha256((folder / "model.safetensors").read_bytes())
    _edit(folder / "config.json", weights={"file": "model.safetensors", "sha256": digest})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: (e / "model.safetensors").unlink(), r"model\.safetensors is missing.*facezoo\.train"),
        (lambda e: (e / "last.ckpt").write_bytes(b"\x80\x04"), r"last\.ckpt.*can run code"),
        (lambda e: (e / "extra.PKL").write_bytes(b"\x80\x04"), r"extra\.PKL.*can run code"),
        (lambda e: _cut(e / "model.safetensors"), "does not describe model.safetensors"),
        (lambda e: (e / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda e: (e / "config.json").write_text("[]"), "no 'config' section"),
        (lambda e: _edit(e / "config.json", method="dence"), "Did you mean 'dense'"),
        (lambda e: _edit(e / "config.json", weights={"file": "../x"}), r"says '\.\./x'"),
        (_with_head, r"carries a head \(head\.v_template\)"),
        (lambda e: _edit(e / "config.json", licences=None), "of its code, weights, head, data"),
        (
            lambda e: _edit(e / "config.json", licences={**LICENCES, "data": None}),
            "of its data, .* once, --licence data=..., or",
        ),
        (lambda e: _edit(e / "config.json", lineage=None), "--base-model none"),
        (lambda e: (e / "README.md").write_text("# no metadata"), "--card"),
        (lambda e: (e / "README.md").write_text(OTHER_CARD), "other weights.*--card"),
        (lambda e: (e / "README.md").write_text(MIT_CARD), "says license mit, .* cc0-1.0.*--card"),
    ],
)  # fmt: skip
def test_what_should_not_be_published_is_refused_before_anything_is_sent(
    hub: HubServer, run: Path, spoil, message: str
) -> None:
    spoil(run / "export")
    with pytest.raises((AssetError, InputError), match=message):
        publish(run, REPO)
    assert hub.log == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repo": "tiny"}, "expected user/name"),
        ({"repo": "lab/tiny@v1"}, "expected user/name"),
        ({"revision": "a" * 40}, "is no branch"),
        ({"revision": "../x"}, "is no branch"),
        ({"licences": {"wieghts": "MIT"}}, "wieghts"),
    ],
)
def test_bad_names_are_refused(hub: HubServer, run: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        publish(run, **{"repo": REPO, **arguments})
    assert hub.log == []


def test_licences_and_lineage_may_be_stated_once(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "bare", licences=None, lineage=None)
    assert main(["publish", str(run), "--repo", REPO, "--dry-run"]) == 2
    assert "--licence" in capsys.readouterr().err
    stated = [f"--licence={part}={licence}" for part, licence in LICENCES.items()]
    assert main(["publish", str(run), "--repo", REPO, "--dry-run", *stated, "--base-model", "lab/base"]) == 0
    config = json.loads((run / "export" / "config.json").read_text())
    assert config["licences"] == LICENCES
    assert config["lineage"] == {"base_model": "lab/base"}
    assert "base_model: lab/base" in (run / "export" / "README.md").read_text()
    assert main(["publish", str(run), "--repo", REPO]) == 0  # now it is in config.json
    assert load(REPO, device="cpu").info["licences"] == LICENCES
    assert main(["publish", str(run), "--repo", REPO, "--licence", "weights"]) == 2


def test_files_of_this_machine_are_warned_about(
    hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((run / "export" / "config.json").read_text())
    _edit(run / "export" / "config.json", config={**config["config"], "head": "/home/me/head.safetensors"})
    assert main(["publish", str(run), "--repo", REPO, "--dry-run", "--base-model", "./runs/mine/export"]) == 0
    warned = capsys.readouterr().err
    assert "/home/me/head.safetensors" in warned
    assert "./runs/mine/export" in warned
    assert main(["publish", str(run), "--repo", REPO, "--dry-run", "--base-model", "lab/mine"]) == 0
    assert "began from" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (READER, r"refuses to write lab/tiny \(HTTP 403\).*HF_TOKEN"),
        ("", "HTTP 401.*HF_TOKEN"),
        ("hf_wrong", "HTTP 40"),
    ],
)
def test_who_may_not_write_is_told_what_to_do(hub: HubServer, run: Path, token: str, message: str) -> None:
    with pytest.raises(HubError, match=message):
        publish(run, REPO, token=token or False)
    assert REPO not in hub.repos


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST /api/models/.*/commit", status=500, times=-1),
        Fault("PUT", status=403, times=-1),
        Fault("POST .*/verify", status=400, times=-1),
        Fault("POST /api/models/.*/commit", hang_up=True, times=-1),
    ],
)
def test_an_upload_that_fails_leaves_no_half_of_a_commit(hub: HubServer, run: Path, fault: Fault) -> None:
    hub.faults.append(fault)
    with pytest.raises(HubError, match=r"HTTP 500|HTTP 403|HTTP 400|cannot be reached"):
        publish(run, REPO)
    assert list(hub.repos[REPO].commits[hub.repos[REPO].refs["main"]]) == [".gitattributes"]
    hub.faults.clear()
    assert publish(run, REPO).commit == hub.repos[REPO].refs["main"]


def test_other_bytes_on_the_hub_than_here_are_noticed(hub: HubServer, run: Path) -> None:
    hub.faults.append(Fault("HEAD .*/model.safetensors", headers={"X-Linked-Etag": f'"{"0" * 64}"'}))
    with pytest.raises(HubError, match="was committed, but the Hub has"):
        publish(run, REPO)


def test_no_network_is_one_error(hub: HubServer, run: Path) -> None:
    hub.stop()
    with pytest.raises(HubError, match="cannot be reached"):
        publish(run, REPO)


def test_the_commands_of_the_docs_run(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs" / "dense")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    ran = []
    for block in blocks("publishing.md"):
        if block.language == "python":  # what predicts needs a trained network: tests/test_walkthrough.py
            text = block.text if block.step != "load" else ""
            exec(text.replace("COMMIT", hub.repos["me/dense"].refs["main"]), scope)
        for words in block.commands("facezoo"):
            assert main(words[1:]) == 0, capsys.readouterr().err
            ran.append(words[1])
    assert {"publish", "info", "list"} <= set(ran)
    assert scope["pinned"].model_id == f"me/dense@{hub.repos['me/dense'].refs['main']}"  # type: ignore[attr-defined]


def test_a_header_must_describe_the_bytes(run: Path) -> None:
    path = run / "export" / "model.safetensors"
    wanted = {name: tuple(value.shape) for name, value in load_file(path).items()}
    assert read_header(path) == wanted
    whole = path.read_bytes()
    for spoilt in (
        whole[:-1],
        whole + b"\0",
        whole[:4],
        b"",
        b"\xff" * 64,
        (8).to_bytes(8, "little") + b"not json",
    ):
        path.write_bytes(spoilt)
        with pytest.raises(AssetError, match="not a whole safetensors file"):
            read_header(path)
