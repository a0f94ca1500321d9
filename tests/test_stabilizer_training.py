"""The recipe: learns in the trainer of all methods, resumes to the bit, follows the head it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facezoo.config import load_recipe
from facezoo.errors import RecipeError
from facezoo.models.stabilizer.predict import SkullStabilizer
from facezoo.training.run import train

PLAIN = ("trainer.max_minutes=0", "trainer.log_every=2", "trainer.threads=1", "optim.ema=0.5", "data.pool=16")


def recipe(run_dir: Path, *overrides: str):
    return load_recipe("stabilizer", ["smoke=true", f"trainer.run_dir={run_dir}", *PLAIN, *overrides])


def test_training_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    learning = ("optim.warmup=0", "optim.lr=0.005", "trainer.validate_every=15", "data.start=0")
    export = train(recipe(tmp_path / "a", "trainer.max_steps=30", *learning))
    model = SkullStabilizer.from_pretrained(export)
    found = model.info["validation"]
    assert model.info["trained_on"]["images_seen"] == 30 * 16 and model.info["head_id"] == "open-v1"
    assert model.info["licences"]["head"] == "CC0-1.0"
    untrained = ("trainer.max_steps=1", "optim.lr=1e-9")
    nothing = train(recipe(tmp_path / "b", *untrained, "data.start=0"))
    start = SkullStabilizer.from_pretrained(nothing).info["validation"]
    assert found["md"] < 0.9 * start["md"]
    linear = train(recipe(tmp_path / "c", *untrained, "data.start=1024"))
    assert SkullStabilizer.from_pretrained(linear).info["validation"]["md"] < 0.7 * start["md"]

    schedule = (
        "optim.schedule=constant",
        "optim.warmup=0",
        "trainer.validate_every=100",
        "trainer.checkpoint_every=2",
    )
    whole = train(recipe(tmp_path / "whole", "trainer.max_steps=4", *schedule))
    train(recipe(tmp_path / "parts", "trainer.max_steps=2", *schedule))
    parts = train(recipe(tmp_path / "parts", "trainer.max_steps=4", *schedule))
    a, b = (SkullStabilizer.from_pretrained(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_every_ablation_trains(tmp_path: Path) -> None:
    for number, change in enumerate(
        (
            ["model.region=upper_face"],
            ["model.region=all"],
            ["model.procrustes=false"],
            ["model.extractor=spiral", "model.spiral_channels=[4]", "model.points=65"],
            ["model.symmetric=false"],
            ["data.limit=64"],
        )
    ):
        export = train(recipe(tmp_path / str(number), "trainer.max_steps=2", *change))
        assert SkullStabilizer.from_pretrained(export).info["validation"]["md"] > 0


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="image_every"):
        train(recipe(tmp_path, "trainer.image_every=5", "trainer.max_steps=1"))
    for wrong in (
        "data.limit=3",
        "data.noise=[1.0]",
        "data.neck=[1.0]",
        "model.points=4",
        "model.widths=[]",
        "data.layouts=0",
    ):
        with pytest.raises(RecipeError, match=wrong.split("=")[0].split(".")[1]):
            recipe(tmp_path, wrong)
    with pytest.raises(RecipeError, match=r"data\.augment"):
        recipe(tmp_path, "data.augment.flip=0.1")


def test_head_is_short_for_the_models_head(tmp_path: Path) -> None:
    assert recipe(tmp_path, "head=flame2020").model.head == "flame2020"
