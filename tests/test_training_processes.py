"""Several processes on the CPU (gloo): nothing is trained on twice, metrics are one process's, launchers agree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from dense_fakes import write_toy_shards
from training_toys import Seen, rows, state, toy_overrides, toy_recipe

from facezoo.data.datamodule import FaceDataModule
from facezoo.errors import RecipeError
from facezoo.models.dense.module import DenseModel
from facezoo.training.machines import choose
from facezoo.training.settings import TrainerConfig

HELD_OUT, TRAINED = 17, 43  # 9 and 8 held-out samples: three batches of four in one process, two in the other
SETTINGS = (
    f"data.validation={HELD_OUT}", "data.batch_size=4", "trainer.validate_every=5", "trainer.precision=32",
    "trainer.log_every=1", "trainer.threads=1", "publish.half=false",
)  # fmt: skip
SCRIPT = """
import os, sys
from pathlib import Path
from training_toys import Seen
from facezoo.config import load_recipe
from facezoo.training.run import train

seen = Path(sys.argv[1])
seen.mkdir(parents=True, exist_ok=True)
(seen / f"pid{os.environ.get('LOCAL_RANK', 0)}").write_text(str(os.getpid()))
train(load_recipe("dense", sys.argv[2:]), [Seen(seen)])
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_toy_shards(path, count=HELD_OUT + TRAINED, per_shard=30)
    return path


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "train.py"
    path.write_text(SCRIPT)
    return path


def start(*command: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(*command: str) -> str:
    process = start(*command)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    return out


@pytest.mark.slow
def test_two_processes_train_and_validate_as_one(shards: Path, script: Path, tmp_path: Path) -> None:
    run, seen = tmp_path / "run", tmp_path / "seen"
    five = toy_overrides(shards, run, *SETTINGS, "trainer.max_steps=5", "trainer.devices=2")
    out = finish(str(script), str(seen), *five)
    assert "training with 2 processes on cpu" in out and out.count("step      5 100.0 %") == 1
    batches = Seen.read(seen)
    assert sorted(batches) == [(rank, step) for rank in (0, 1) for step in range(5)]
    assert Counter(n for batch in batches.values() for n in batch).most_common(1)[0][1] == 1
    # The two halves of a step are the batch that one process would have had.
    recipe = toy_recipe(shards, run, *SETTINGS, "data.batch_size=8")
    whole = FaceDataModule(recipe.data, recipe.seed).train_loader().dataset
    for step in range(5):
        assert batches[0, step] + batches[1, step] == whole.read_step(step)["seed"].tolist()
    assert (state(run)["step"], state(run)["images_seen"]) == (5, 40)

    # Metrics of both are the metrics of one process that has all held-out samples.
    model = DenseModel.from_pretrained(run / "export")
    plain, metrics = model.augmentation(recipe, training=False), model.metrics()
    data = FaceDataModule(recipe.data, recipe.seed)
    with torch.no_grad():
        for batch in data.validation_loader():
            crops = plain(batch)
            model.update_metrics(metrics, model(crops.images), crops)
    measured = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert model.info["validation"] == pytest.approx(measured, rel=1e-5)
    (logged,) = (r for r in rows(run) if r["val/nme68"])
    assert float(logged["val/nme68"]) == model.info["validation"]["nme68"]

    # Another launcher goes on where this one stopped, with the samples that were not seen yet.
    more = [a for a in five if not a.startswith(("trainer.max_steps", "trainer.devices"))]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    out = finish(*launcher, str(script), str(seen), *more, "trainer.max_steps=8")
    assert "resuming" in out and "at step 5" in out
    counts = Counter(n for batch in Seen.read(seen).values() for n in batch)
    assert sorted(counts) == list(range(TRAINED)) and max(counts.values()) == 2 and counts.total() == 64
    assert [r["step"] for r in rows(run) if r["train/loss"]] == [str(n) for n in range(1, 9)]


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_behind(shards: Path, script: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    endless = toy_overrides(
        shards, tmp_path / "run", *SETTINGS, "trainer.max_steps=1000000", "trainer.validate_every=1000000",
        "trainer.devices=2",
    )  # fmt: skip
    process = start(str(script), str(seen), *endless)
    try:
        end = time.monotonic() + 400
        while not (seen / "rank1.txt").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        other = int((seen / "pid1").read_text())
        process.kill()
        process.wait()
        end = time.monotonic() + 60
        while _alive(other):
            assert time.monotonic() < end, f"process {other} goes on alone"
            time.sleep(0.2)
    finally:
        process.kill()
        process.communicate()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_the_recipe_and_the_launcher_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"trainer\.nodes 2 needs .*docs/training\.md"):
        choose(TrainerConfig(device="cpu", nodes=2))
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}.items():
        monkeypatch.setenv(name, value)
    found = choose(TrainerConfig(device="cpu"))
    assert (found.devices, found.nodes, found.world) == (2, 3, 6)
    assert str(found).startswith("6 processes on 3 machines on cpu")
    with pytest.raises(RecipeError, match=r"torchrun started 2 processes.*trainer\.devices"):
        choose(TrainerConfig(device="cpu", devices=4))


def test_a_slurm_job_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    job = {
        "SLURM_NTASKS": "8",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_JOB_NAME": "facezoo",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    found = choose(TrainerConfig(device="cpu"))
    assert (found.devices, found.nodes) == (4, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # salloc's shell: one process, whatever was allocated
    assert choose(TrainerConfig(device="cpu")).world == 1


def test_precision_is_named_with_its_reason() -> None:
    assert choose(TrainerConfig(device="cpu", precision="32")).precision == "32-true"
    found = choose(TrainerConfig(device="cpu"))
    flags = Path("/proc/cpuinfo")
    if flags.exists():
        native = {"avx512_bf16", "amx_bf16"} & set(flags.read_text().split())
        assert found.precision == ("bf16-mixed" if native else "32-true")
    assert found.reason.startswith("auto: the CPU has ")
    with pytest.raises(RecipeError, match=r"precision=16 needs a CUDA device"):
        choose(TrainerConfig(device="cpu", precision="16"))
