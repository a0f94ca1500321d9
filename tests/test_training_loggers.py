"""Weights & Biases (offline) and TensorBoard get a run's numbers and pictures, and a resumed run stays one run."""

from __future__ import annotations

from pathlib import Path

import pytest
from dense_fakes import write_toy_shards
from training_toys import Crash, Stop, rows, toy_recipe

from facezoo.errors import UnknownNameError
from facezoo.training.run import train

STEPS = ("trainer.max_steps=8", "trainer.checkpoint_every=2", "trainer.image_every=4")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_toy_shards(path, count=40, per_shard=40)
    return path


def interrupted(shards: Path, run_dir: Path, *overrides: str) -> None:
    """Train to step 7, stop, and go on from step 6 to the end."""
    with pytest.raises(Crash):
        train(toy_recipe(shards, run_dir, *STEPS, *overrides), [Stop(7)])
    train(toy_recipe(shards, run_dir, *STEPS, *overrides))


def test_an_unknown_logger_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="wandb"):
        toy_recipe(shards, tmp_path, "trainer.logger=wanbd")


def test_without_a_logger_there_is_no_log(shards: Path, tmp_path: Path) -> None:
    train(toy_recipe(shards, tmp_path, "trainer.max_steps=1", "trainer.logger=none"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.ckpt", "export", "init.json", "last.ckpt", "recipe.yaml",
    ]  # fmt: skip


@pytest.mark.slow
def test_tensorboard_has_every_step_once(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupted(shards, tmp_path, "trainer.logger=csv,tensorboard")
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    loss = [(e.step, e.value) for e in found.Scalars("train/loss")]
    table = [(int(r["step"]), float(r["train/loss"])) for r in rows(tmp_path) if r["train/loss"]]
    assert [step for step, _ in loss] == [2, 4, 6, 8]
    assert [value for _, value in loss] == pytest.approx([value for _, value in table])
    assert [e.step for e in found.Scalars("val/nme68")] == [4, 8]
    pictures = found.Images("predictions")
    assert [e.step for e in pictures] == [4, 8]
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG") and pictures[0].width == 6 * 128


@pytest.mark.slow
def test_wandb_offline_is_one_run(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    interrupted(shards, tmp_path, "trainer.logger=wandb")
    name = (tmp_path / "wandb-id.txt").read_text().strip()
    parts = sorted((tmp_path / "wandb").glob(f"offline-run-*-{name}"))
    assert len(parts) == 2  # before and after the stop, one id
    for part in parts:
        (log,) = part.glob("*.wandb")
        text = log.read_bytes()
        assert b"train/loss" in text and b"val/nme68" in text and b"batch_size" in text
    assert [len(list(part.rglob("predictions_*.png"))) for part in parts] == [1, 1]
    assert not (tmp_path / "metrics.csv").exists()
