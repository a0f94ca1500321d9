"""Several processes and one cache: nothing is fetched twice, nothing is broken, and a killed one is taken up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Fault, HubServer, sha256

WEIGHTS = os.urandom(2_000_000)
REPO = "user/repo"
CODE = """
import json, sys
from facezoo.hub import resolve
found = resolve(sys.argv[1])
found.verify()
heavy = [m for m in ("torch", "lightning") if m in sys.modules]
print(json.dumps({"folder": str(found.folder), "source": found.source, "heavy": heavy}))
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add(REPO, {"config.json": b'{"method": "dense"}', "model.safetensors": WEIGHTS})
        yield server


def start(hub: HubServer, cache: Path) -> subprocess.Popen[str]:
    """Resolve the repo in a new process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": hub.url(), "HF_HOME": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, REPO],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_processes_at_once_share_one_download(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.append(Fault("GET /[0-9a-f]{64}", trickle=0.02, times=-1))  # long enough for all to meet
    found = [result(process) for process in [start(hub, tmp_path) for _ in range(3)]]
    assert len({one["folder"] for one in found}) == 1
    folder = Path(found[0]["folder"])
    assert folder.is_relative_to(tmp_path / "hub")
    assert sha256((folder / "model.safetensors").read_bytes()) == sha256(WEIGHTS)
    assert len(hub.requests("GET", server="storage")) == 1
    assert not list(tmp_path.rglob("*.part"))
    assert [one["heavy"] for one in found] == [[], [], []]  # finding files needs no torch


def test_a_killed_download_is_taken_up_by_the_next_process(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.append(Fault("GET /[0-9a-f]{64}", trickle=0.2))
    process = start(hub, tmp_path)
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size > 100_000 for part in tmp_path.rglob("*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (part,) = tmp_path.rglob("*.part")
    there = part.stat().st_size
    assert 0 < there < len(WEIGHTS)
    found = result(start(hub, tmp_path))
    assert (Path(found["folder"]) / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [request.headers.get("range") for request in hub.requests("GET", server="storage")]
    assert ranges == [None, f"bytes={there}-"]
