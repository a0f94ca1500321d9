"""Folders over real processes: two give what one gives, a killed run goes on, launchers are understood."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from predict_fakes import picture, toy_model

from facezoo.cli import main

pytestmark = pytest.mark.slow  # every process imports torch and Lightning anew
COUNT, PATIENCE = 9, 900  # seconds: a busy machine takes minutes to start two processes
OPTIONS = ["--detector", "whole", "--device", "cpu", "--format", "npz"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("toy")
    toy_model(folder, noise=0.2).save_pretrained(folder / "weights")
    return str(folder / "weights")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An odd number of pictures in two folders, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    fill(folder, COUNT)
    (folder / "p1-broken.jpg").write_bytes(b"\xff\xd8 no")
    return folder


@pytest.fixture(scope="module")
def alone(weights: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What one process makes of them."""
    out = tmp_path_factory.mktemp("alone")
    assert main(command(photos, out, weights)) == 1
    return results(out)


def fill(folder: Path, count: int) -> None:
    (folder / "sub").mkdir()
    for number in range(count):
        Image.fromarray(picture(90 + number, 96, number)).save(
            folder / ("sub" if number % 3 == 2 else "") / f"p{number}.png"
        )


def command(photos: Path, out: Path, weights: str, *more: str) -> list[str]:
    return ["predict", str(photos), "--out", str(out), "--model", weights, *OPTIONS, *more]


def environment(**more: str) -> dict[str, str]:
    launchers = ("SLURM", "TORCHELASTIC", "MASTER_", "LOCAL_", "NODE_RANK", "WORLD_SIZE", "RANK", "GROUP_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(launchers)}
    return clean | {"OMP_NUM_THREADS": "1"} | more


def results(out: Path) -> dict[str, dict]:
    """Return what each picture's JSON file says, the manifest's line with it."""
    entries = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len({entry["input"] for entry in entries}) == len(entries)
    found = {}
    for entry in entries:
        mark = [out / name for name in entry["outputs"] if name.endswith(".json")]
        found[entry["input"]] = {
            "error": entry["error"],
            "outputs": entry["outputs"],
            "faces": json.loads(mark[0].read_text())["faces"] if mark else [],
        }
    return found


def agree(one: dict[str, dict], two: dict[str, dict]) -> None:
    """Check that two runs wrote the same files with the same numbers, but for the rounding of other batches."""
    assert one.keys() == two.keys() and len(one) == COUNT + 1
    for name in one:
        assert (one[name]["error"], one[name]["outputs"]) == (two[name]["error"], two[name]["outputs"]), name
        assert len(one[name]["faces"]) == len(two[name]["faces"]), name
        for a, b in zip(one[name]["faces"], two[name]["faces"], strict=True):
            for key in ("ibug68", "dense"):
                for p, q in zip(a["landmarks"][key], b["landmarks"][key], strict=True):
                    assert p == pytest.approx(q, abs=1e-3), name
            assert a["box"] == pytest.approx(b["box"], abs=1e-3)
            assert a["params"]["identity"] == pytest.approx(b["params"]["identity"], abs=1e-2)


def facezoo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "facezoo", *arguments]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def writers(out: Path) -> list[int]:
    """Return the processes that were started with this output folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(out).encode() in words and state != "Z":
            found.append(int(entry.name))
    return found


def marks(out: Path) -> dict[Path, int]:
    """Return when each finished picture was finished; what a process is about to write is none."""
    found = [path for path in out.rglob("p*.json") if ".facezoo" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in found}


def wait_until(condition, seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


def test_two_processes_give_what_one_gives(weights, photos, alone, tmp_path) -> None:
    done = subprocess.run(
        facezoo(*command(photos, tmp_path / "out", weights, "--devices", "2", "--batch-size", "2", "--workers", "1")),
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"{COUNT} of {COUNT + 1} pictures predicted" in done.stdout
    told = [line for line in done.stderr.splitlines() if " images/s " not in line]  # but for the progress
    assert len(told) == 1 and "p1-broken.jpg" in told[0]
    said = Counter(line.split(": ")[0] for line in done.stdout.splitlines() if line.endswith(": 1 face"))
    assert len(said) == COUNT and set(said.values()) == {1}  # each picture by one process
    agree(alone, results(tmp_path / "out"))


def test_torchrun_starts_the_processes(weights, photos, alone, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port(),
         "-m", "facezoo", *command(photos, tmp_path / "out", weights)],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1  # one picture is broken
    assert f"{COUNT} of {COUNT + 1} pictures predicted" in done.stdout, done.stderr
    agree(alone, results(tmp_path / "out"))


def test_slurm_tasks_share_a_folder(weights, photos, alone, tmp_path) -> None:
    """Two tasks on two nodes as srun starts them, both of them on this machine."""
    port = free_port()
    tasks = [
        subprocess.Popen(
            facezoo(*command(photos, tmp_path / "out", weights)),
            env=environment(
                SLURM_JOB_ID="4711", SLURM_JOB_NAME="faces", SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="1",
                SLURM_NNODES="2", SLURM_PROCID=str(rank), SLURM_LOCALID="0", SLURM_NODEID=str(rank),
                SLURM_NODELIST="127.0.0.1", MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
            ),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [task.communicate(timeout=PATIENCE) for task in tasks]
    assert [task.returncode for task in tasks] == [1, 0], said
    assert all(out.count(": 1 face") >= 4 for out, _ in said)
    agree(alone, results(tmp_path / "out"))


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_killed_run_goes_on_where_it_stopped(weights, tmp_path) -> None:
    photos, out, count = tmp_path / "photos", tmp_path / "out", 40
    photos.mkdir()
    fill(photos, count)
    run = facezoo(*command(photos, out, weights, "--devices", "2", "--batch-size", "1"))

    first = subprocess.Popen(run, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(marks(out)) >= 6, PATIENCE, "the run did not begin")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    wait_until(lambda: not writers(out), 60, "a process of the killed run goes on")
    before = marks(out)
    assert 6 <= len(before) < count  # the first process's share at least is not done
    for path in before:
        assert json.loads(path.read_text())["faces"]  # a mark is whole
    second = subprocess.run(
        run, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert second.returncode == 0, second.stderr
    after = marks(out)
    assert len(after) == count and all(after[path] == stamp for path, stamp in before.items())
    assert f"{count - len(before)} of {count} pictures predicted" in second.stdout
    assert f"{len(before)} were finished before" in second.stdout
    entries = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(entries) == count == sum(entry["faces"] for entry in entries)
    assert not list((out / ".facezoo").glob("work-*")) and not list((out / ".facezoo").glob("journal-*"))


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_run_ends_when_asked_to(weights, tmp_path) -> None:
    """A trainer would go on after SIGTERM until its next checkpoint, which never comes here."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    fill(photos, 60)
    run = facezoo(*command(photos, out, weights, "--devices", "2", "--batch-size", "1"))
    process = subprocess.Popen(run, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(marks(out)) >= 2, PATIENCE, "the run did not begin")
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not writers(out), 60, "a process of the ended run goes on")
    assert len(marks(out)) < 60
