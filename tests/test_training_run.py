"""A run: learns, resumes to the same weights, stops at NaN, keeps its time budget, exports what was validated."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from dense_fakes import POINTS, write_toy_shards
from safetensors.torch import load_file

from facezoo.config import Recipe, load_recipe
from facezoo.data.augment import AugmentConfig
from facezoo.errors import FacezooError, RecipeError
from facezoo.models.dense.module import DenseModel
from facezoo.training import run as run_module
from facezoo.training.ema import WeightAverage
from facezoo.training.run import train
from facezoo.training.schedule import learning_rate, progress
from facezoo.training.settings import OptimConfig, TrainerConfig

PLAIN = [f"data.augment.{name}=0" for name in vars(AugmentConfig())]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_toy_shards(path, count=120, per_shard=60)
    return path


def recipe(shards: Path, run_dir: Path, *overrides: str) -> Recipe:
    small = ("model.widths=[8,16,16,16]", "model.depths=[1,1,1,1]", "model.hidden=32", "model.rank=16",
             "model.scale_rank=4",
             f"model.head={shards / 'toy.safetensors'}", f"model.points={POINTS}", "model.crop_size=64",
             "data=shards", f"data.root={shards}", "data.batch_size=8", "data.validation=16", "data.statistics=64",
             "trainer.device=cpu", "trainer.log_every=2", "trainer.validate_every=4", "trainer.image_every=0",
             f"trainer.run_dir={run_dir}")  # fmt: skip
    return load_recipe("dense", [*small, *overrides])


def test_interrupted_and_resumed_equals_uninterrupted(shards: Path, tmp_path: Path) -> None:
    whole = train(recipe(shards, tmp_path / "whole", "trainer.max_steps=8"))
    interrupted = recipe(shards, tmp_path / "parts", "trainer.max_steps=8", "trainer.checkpoint_every=5")
    kill_after(interrupted, step=6)
    parts = train(interrupted)  # continues at step 5, the last checkpoint before the end
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def kill_after(recipe: Recipe, step: int) -> None:
    """Run until ``step`` and stop there as a crash does: no end-of-run checkpoint, no export."""

    class Crash(Exception):
        pass

    build = run_module.build_trainer

    def crashing(*arguments: object, **options: object) -> object:
        from lightning.pytorch.callbacks import LambdaCallback

        trainer = build(*arguments, **options)

        def check(trainer: object, *_: object) -> None:
            if trainer.global_step == step:
                raise Crash

        trainer.callbacks.append(LambdaCallback(on_train_batch_end=check))
        return trainer

    run_module.build_trainer = crashing
    try:
        with pytest.raises(Crash):
            train(recipe)
    finally:
        run_module.build_trainer = build


def test_training_learns_and_writes_its_run(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = train(recipe(shards, tmp_path, "trainer.max_steps=40", "trainer.validate_every=20",
                          "trainer.image_every=40",
                          "data.limit=8", *PLAIN))  # fmt: skip
    out = capsys.readouterr().out
    assert "images/s" in out and "min left" in out and "validation" in out
    rows = list(csv.DictReader((tmp_path / "logs" / "version_0" / "metrics.csv").read_text().splitlines()))
    distance = [float(r["train/direct"]) for r in rows if r["train/direct"]]
    assert distance[-1] < 0.6 * distance[0]  # eight pictures are soon known by heart
    assert list((tmp_path / "pictures").glob("predictions-*.png")) and (tmp_path / "best.ckpt").is_file()
    assert (tmp_path / "recipe.yaml").read_text().startswith("# python -m facezoo.train")
    assert not list(tmp_path.glob(".*"))  # no temporary left behind
    model = DenseModel.from_pretrained(export)
    assert model.config.n_expression == 3 and model.info["validation"].keys() == {
        "nme68",
        "nme_contour68",
        "mlme",
    }
    assert model.info["trained_on"]["images_seen"] == 320


def test_a_finished_run_exports_again_without_training(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path, "trainer.max_steps=2"))
    weights = (first / "model.safetensors").read_bytes()
    (first / "model.safetensors").unlink()
    again = train(recipe(shards, tmp_path, "trainer.max_steps=2"))
    assert (again / "model.safetensors").read_bytes() == weights


def test_fine_tuning_starts_from_given_weights(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path / "a", "trainer.max_steps=2"))
    tuned = train(
        recipe(shards, tmp_path / "b", "trainer.max_steps=1", f"init={first}", "optim.lr=1e-9", "optim.ema=0")
    )
    one, two = (load_file(folder / "model.safetensors") for folder in (first, tuned))
    weights = [n for n in one if n.endswith("weight")]
    assert all(torch.allclose(one[n].float(), two[n].float(), atol=2e-3) for n in weights)


@pytest.mark.parametrize(
    "overrides",
    [("loss=gaussian", "model.decoder=linear", "loss.vertex_edge=0.1"), ("loss=rle", "model.scale_channels=2"),
     ("loss=rle-exp", "model.decoder=spiral", "model.spiral_factors=[3,2,2]", "model.spiral_length=5")],
)  # fmt: skip
def test_every_loss_and_decoder_trains(shards: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    model = DenseModel.from_pretrained(train(recipe(shards, tmp_path, "trainer.max_steps=2", *overrides)))
    assert all(bool(torch.isfinite(v).all()) for v in model(torch.rand(1, 3, 64, 64)))


def test_not_a_number_stops_and_saves_the_batch(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(FacezooError, match=r"not finite at step \d+.*nonfinite-step"):
        train(
            recipe(
                shards, tmp_path, "trainer.max_steps=30", "optim.lr=1e12", "optim.warmup=0", "optim.clip=0"
            )
        )
    (saved,) = tmp_path.glob("nonfinite-step*.safetensors")
    assert load_file(saved)["images"].shape == (8, 3, 96, 96)


def test_wrong_data_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"model.points={POINTS}"):
        train(recipe(shards, tmp_path, "model.points=100", "trainer.max_steps=1"))
    with pytest.raises(RecipeError, match="no end"):
        train(recipe(shards, tmp_path, "trainer.max_steps=0"))


def test_schedule_over_steps_and_over_time() -> None:
    steps, minutes = TrainerConfig(max_steps=100), TrainerConfig(max_minutes=2)
    assert progress(25, 1e9, steps) == 0.25 and progress(10**9, 30, minutes) == 0.25
    assert progress(50, 90, TrainerConfig(max_steps=100, max_minutes=2)) == 0.75
    assert progress(200, 0, steps) == 1
    optim = OptimConfig(lr=1.0, lr_end=0.1, warmup=0.1)
    rates = [learning_rate(i / 100, optim) for i in range(101)]
    assert (
        rates[10] == pytest.approx(1) and rates[5] == pytest.approx(0.5) and rates[100] == pytest.approx(0.1)
    )
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(0.9, OptimConfig(lr=1.0, schedule="constant")) == 1


def test_weight_average_converges_and_swaps_back() -> None:
    layer = torch.nn.BatchNorm1d(2)
    average = WeightAverage(layer, 0.9)
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.running_mean.fill_(5.0)
    for _ in range(200):
        average.update(layer)
    with torch.no_grad():
        layer.weight.fill_(7.0)
    with average.applied(layer):
        torch.testing.assert_close(layer.weight.detach(), torch.full((2,), 3.0))
        torch.testing.assert_close(layer.running_mean, torch.full((2,), 5.0))
    assert layer.weight.tolist() == [7, 7]
    again = WeightAverage(layer, 0.9)
    again.load_state_dict(average.state_dict())
    assert again.updates == 200 and torch.equal(again.values["weight"], average.values["weight"])
