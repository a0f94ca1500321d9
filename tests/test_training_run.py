"""A run: learns, averages weights, clips gradients, keeps its schedule, exports what was validated."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from dense_fakes import POINTS, write_toy_shards
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import nn
from training_toys import PLAIN, rows, toy_recipe

from facezoo.data.datamodule import FaceDataModule
from facezoo.errors import RecipeError
from facezoo.models.dense.module import DenseModel
from facezoo.training.ema import WeightAverage
from facezoo.training.initialise import build_model
from facezoo.training.run import train
from facezoo.training.schedule import learning_rate, progress
from facezoo.training.settings import OptimConfig, TrainerConfig


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_toy_shards(path, count=120, per_shard=60)
    return path


def test_training_learns_and_writes_its_run(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = train(toy_recipe(shards, tmp_path, "trainer.max_steps=40", "trainer.validate_every=20",
                          "trainer.image_every=40",
                          "data.limit=8", *PLAIN))  # fmt: skip
    out = capsys.readouterr().out
    assert "images/s" in out and "min left" in out and "validation" in out
    distance = [float(r["train/direct"]) for r in rows(tmp_path) if r["train/direct"]]
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
    first = train(toy_recipe(shards, tmp_path, "trainer.max_steps=2"))
    weights = (first / "model.safetensors").read_bytes()
    (first / "model.safetensors").unlink()
    again = train(toy_recipe(shards, tmp_path, "trainer.max_steps=2"))
    assert (again / "model.safetensors").read_bytes() == weights


def test_fine_tuning_starts_from_given_weights(shards: Path, tmp_path: Path) -> None:
    first = train(toy_recipe(shards, tmp_path / "a", "trainer.max_steps=2"))
    tuned = train(
        toy_recipe(
            shards, tmp_path / "b", "trainer.max_steps=1", f"init={first}", "optim.lr=1e-9", "optim.ema=0"
        )
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
    model = DenseModel.from_pretrained(train(toy_recipe(shards, tmp_path, "trainer.max_steps=2", *overrides)))
    assert all(bool(torch.isfinite(v).all()) for v in model(torch.rand(1, 3, 64, 64)))


def test_wrong_data_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"model.points={POINTS}"):
        train(toy_recipe(shards, tmp_path, "model.points=100", "trainer.max_steps=1"))
    with pytest.raises(RecipeError, match="no end"):
        train(toy_recipe(shards, tmp_path, "trainer.max_steps=0"))


class Watch(Callback):
    """Keep what every step left behind."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.weights: list[torch.Tensor] = []

    def on_fit_start(self, trainer, pl_module) -> None:
        self.start = pl_module.model.net.params.weight.detach().clone()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(float(nn.utils.get_total_norm(gradients)))
        self.weights.append(pl_module.model.net.params.weight.detach().clone())
        if pl_module.average is not None:
            self.average = pl_module.average.values["net.params.weight"].clone()


def test_each_step_is_clipped_averaged_and_follows_the_schedule(shards: Path, tmp_path: Path) -> None:
    watch = Watch()
    train(toy_recipe(shards, tmp_path, "trainer.max_steps=8", "trainer.log_every=1", "trainer.validate_every=100",
                     "optim.clip=0.5", "optim.warmup=0.25", "optim.ema=0.15",
                     "trainer.precision=32"), [watch])  # fmt: skip
    log = [r for r in rows(tmp_path) if r["lr"]]
    before = [float(r["train/gradient_norm"]) for r in log]
    assert min(before) > 0.5  # so clipping had something to do
    assert watch.norms == pytest.approx([0.5] * 8, rel=1e-4)
    optim = OptimConfig(warmup=0.25)
    rates = [float(r["lr"]) for r in log]
    assert rates == pytest.approx([learning_rate(step / 8, optim) for step in range(8)])
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[7] > 0
    average = watch.start
    for n, weights in enumerate(watch.weights, start=1):
        average = average.lerp(weights, 1 - min(0.15, (1 + n) / (10 + n)))
    torch.testing.assert_close(watch.average, average)
    assert not torch.allclose(watch.average, watch.weights[-1], rtol=1e-3)


def test_the_validated_weights_are_the_exported_ones(shards: Path, tmp_path: Path) -> None:
    """In float32, as predictions are made, whatever the precision of the training."""
    recipe = toy_recipe(
        shards, tmp_path, "trainer.max_steps=6", "trainer.precision=bf16", "publish.half=false"
    )
    model = DenseModel.from_pretrained(train(recipe))
    data, plain = FaceDataModule(recipe.data, recipe.seed), build_model(recipe)[1]
    plain.config = None
    metrics = model.metrics()
    with torch.no_grad():
        for batch in data.validation_loader():
            crops = plain(batch)
            model.update_metrics(metrics, model(crops.images), crops)
    measured = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert model.info["validation"] == pytest.approx(measured, rel=1e-5)
    logged = [r for r in rows(tmp_path) if r["val/nme68"]][-1]
    assert float(logged["val/nme68"]) == model.info["validation"]["nme68"]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(shards: Path, tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("torch.compile needs a C++ compiler")
    steps = ("trainer.max_steps=3", "trainer.log_every=1", "trainer.precision=32")
    for name in ("true", "false"):
        train(toy_recipe(shards, tmp_path / name, *steps, f"trainer.compile={name}"))
    losses = [
        [float(r["train/loss"]) for r in rows(tmp_path / n) if r["train/loss"]] for n in ("true", "false")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


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
