"""Training on people rendered by worker processes: the same run whether or not it is stopped, whoever renders."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_toys import Crash, Seen, Stop, assert_same, rows, state

from facezoo.config import Recipe, load_recipe
from facezoo.data.datamodule import FIRST_TRAINING_SEED
from facezoo.training.run import train

pytestmark = pytest.mark.slow  # people and worker processes


def streamed(run_dir: Path, *overrides: str) -> Recipe:
    return load_recipe("dense", [
        "model.widths=[8,8,8,8]", "model.depths=[1,1,1,1]", "model.neck_channels=4", "model.hidden=16", "model.rank=4",
        "model.scale_rank=4", "model.crop_size=32", "data.size=64", "data.batch_size=2", "data.validation=3",
        "data.statistics=4", "trainer.max_steps=4", "trainer.checkpoint_every=1", "trainer.log_every=1",
        "trainer.image_every=0", "trainer.device=cpu", f"trainer.run_dir={run_dir}", *overrides,
    ])  # fmt: skip


def test_workers_and_restarts_change_nothing(tmp_path: Path) -> None:
    train(streamed(tmp_path / "alone", "data.workers=0"), [Seen(tmp_path / "seen")])
    with pytest.raises(Crash):
        train(streamed(tmp_path / "two", "data.workers=2"), [Stop(3)])
    train(streamed(tmp_path / "two", "data.workers=2"))
    assert_same(state(tmp_path / "alone"), state(tmp_path / "two"))
    assert_same(rows(tmp_path / "alone"), rows(tmp_path / "two"))
    people = [n for _, batch in sorted(Seen.read(tmp_path / "seen").items()) for n in batch]
    assert people == list(range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 8))
