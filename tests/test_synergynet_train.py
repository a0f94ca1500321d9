"""Training SynergyNet from its recipe: the loss falls, the export predicts, a stopped run goes on."""

from __future__ import annotations

import json

import pytest
import torch
from synergynet_fakes import tiny_overrides, write_landmark_shards
from training_toys import PLAIN, Crash, Stop, assert_same, rows, state

from facezoo.config import load_recipe
from facezoo.training.run import train


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_landmark_shards(folder)
    return folder


def test_recipe_trains_and_exports(shards, tmp_path):
    from facezoo.models.synergynet.predict import SynergyFaces

    torch.manual_seed(0)
    options = [*PLAIN, "data.limit=8", "trainer.max_steps=24", "optim.lr=5.0e-3", "optim.ema=0.9"]
    export = train(load_recipe("synergynet", tiny_overrides(shards, tmp_path, *options)))
    found = [r for r in rows(tmp_path) if r.get("train/loss")]
    for name, share in (
        ("landmarks", 0.75),
        ("refined", 0.75),
        ("contour", 0.75),
        ("dense", 0.75),
        ("params", 0.95),
    ):
        assert float(found[-1][f"train/{name}"]) < share * float(found[0][f"train/{name}"]), name
    content = json.loads((export / "config.json").read_text())
    assert set(content["validation"]) == {"nme68", "nme_contour68", "nme_3dmm68", "nme_dense", "pose"}
    assert content["config"]["contour"] and content["config"]["refinement"] and content["config"]["reverse"]
    faces = SynergyFaces.from_pretrained(export).predict(
        torch.randint(0, 255, (3, 96, 96), dtype=torch.uint8), boxes=torch.tensor([20.0, 20, 70, 70])
    )
    assert set(faces[0].landmarks) == {"ibug68", "ibug68_3dmm", "ibug68_contour", "dense"}


def test_a_stopped_run_goes_on_as_if_it_had_not(shards, tmp_path):
    options = ["trainer.max_steps=6", "trainer.checkpoint_every=2"]
    train(load_recipe("synergynet", tiny_overrides(shards, tmp_path / "one", *options)))
    recipe = load_recipe("synergynet", tiny_overrides(shards, tmp_path / "two", *options))
    with pytest.raises(Crash):
        train(recipe, [Stop(5)])
    train(load_recipe("synergynet", tiny_overrides(shards, tmp_path / "two", *options)))
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    one.pop("validation"), two.pop("validation")
    assert_same(one["weights"], two["weights"])
