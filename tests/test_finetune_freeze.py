"""Frozen parts stand still to the bit, batch statistics included; everything else trains; resuming keeps it so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from finetune_fakes import read_json, small, trained, write_data
from safetensors.torch import load_file
from torch import Tensor

from facezoo.errors import InputError, RecipeError
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.module import DenseModel
from facezoo.train import main
from facezoo.training.run import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def parent(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("parent"))


def weights(export: Path) -> dict[str, Tensor]:
    return load_file(export / "model.safetensors")


def test_frozen_weights_and_batch_statistics_stand_still_and_the_rest_moves(
    data: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze = ("init.freeze=[features]", f"init={parent}", "optim.ema=0.9", "trainer.max_steps=5")
    export = trained(data, tmp_path, *freeze)
    before, after = weights(parent), weights(export)
    steps = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for name, value in before.items():
        if name.startswith("net.features."):
            assert torch.equal(after[name], value), name
            assert torch.equal(steps["state_dict"][f"model.{name}"], value), name
        elif not name.startswith("net.params_"):  # the units of the parameters are no weights
            assert not torch.equal(after[name], value), name
    assert any("running_mean" in n for n in before)  # the loop has seen batch statistics
    model = DenseModel.from_pretrained(export)
    free = [p for n, p in model.named_parameters() if not n.startswith("net.features.")]
    assert len(steps["optimizer_states"][0]["state"]) == len(free)
    report = read_json(tmp_path / "init.json")
    assert report["frozen"] == ["net.features"] and report["new"] == report["left"] == []
    assert report["parameters"]["trained"] == sum(p.numel() for p in free)
    assert sum(report["parameters"].values()) == sum(p.numel() for p in model.parameters())
    out = capsys.readouterr().out
    assert f"{report['parameters']['frozen']:,} are frozen [net.features]" in out


def test_without_freezing_the_same_parts_move(data: Path, parent: Path, tmp_path: Path) -> None:
    before, after = weights(parent), weights(trained(data, tmp_path, f"init={parent}"))
    moved = [n for n in before if n.startswith("net.features.") and not torch.equal(before[n], after[n])]
    assert any("running_mean" in n for n in moved) and any("conv" in n or "expand.weight" in n for n in moved)


def test_a_frozen_part_computes_as_in_eval_mode_while_training() -> None:
    model = DenseModel(DenseConfig(widths=[8, 8], depths=[1, 1], hidden=8, rank=4, scale_rank=2, points=10))
    images = torch.rand(4, 3, 128, 128)
    model.freeze(["features.backbone.stem"])
    model.train()
    stem, blocks = model.net.features.backbone.stem, model.net.features.backbone.blocks
    assert not stem[1].training and blocks.training and model.training
    torch.testing.assert_close(stem(images)[:1], stem(images[:1]))  # no batch statistics in it
    model.eval().train()
    assert not stem.training and stem[1].running_mean.abs().sum() == 0
    model.freeze(["net.params"])  # by its full name; what was frozen before trains again
    assert model.frozen == ("net.params",) and stem[1].training and stem[0].weight.requires_grad
    assert not model.net.params.weight.requires_grad


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["init.freeze=[featurs]"], "Did you mean 'features'"),
        (["init.freeze=[features.backbone.steam]"], "'features.backbone.stem'"),
        (["init.freeze=[features,neck,decoder,params]"], "nothing to train"),
        (["init.freeze=[features]", "init=scratch"], "random weights"),
        (["init.freeze=[neck]", "model.crop_size=96", "init.rehead=true"], r"net.neck.0.weight.*leave"),
    ],
)
def test_freezing_what_makes_no_sense_is_refused(
    data: Path, parent: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(data, tmp_path, f"init={parent}", *overrides)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_stopped_run_goes_on_frozen_without_its_parent(data: Path, parent: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(parent, tmp_path / "parent")
    tune = (
        f"init={copy}",
        "init.freeze=[features]",
        "trainer.checkpoint_every=2",
        "trainer.validate_every=2",
    )
    whole = trained(data, tmp_path / "whole", *tune, "trainer.max_steps=4", "optim.schedule=constant",
                    "optim.warmup=0")  # fmt: skip
    parts = (data, tmp_path / "parts", *tune, "optim.schedule=constant", "optim.warmup=0")
    trained(*parts, "trainer.max_steps=2")
    report = read_json(tmp_path / "parts" / "init.json")
    shutil.rmtree(copy)
    export = trained(*parts, "trainer.max_steps=4")
    one, two = weights(whole), weights(export)
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert read_json(tmp_path / "parts" / "init.json") == report
    assert read_json(export / "config.json")["lineage"] == report["lineage"]
    with pytest.raises(RecipeError, match=r"began with \(\[net.features\]\).*resume=never"):
        train(small(*parts, "trainer.max_steps=6", "init.freeze=[]"))


def test_resuming_wins_over_another_init(
    data: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(data, tmp_path)
    capsys.readouterr()
    export = trained(data, tmp_path, f"init={parent}", "trainer.max_steps=3")
    assert "at step 2" in (out := capsys.readouterr().out) and "begun with init=scratch" in out
    assert read_json(export / "config.json")["lineage"]["parents"] == []


def test_the_command_line_prints_one_line(
    data: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    from facezoo.config import to_yaml

    path.write_text(to_yaml(small(data, tmp_path / "run", f"init={parent}")))
    assert main([f"recipe={path}", "init.freeze=[neckk]"]) == 2
    error = capsys.readouterr().err
    assert "'neckk'" in error and "Did you mean 'neck'" in error and len(error.splitlines()) == 1
