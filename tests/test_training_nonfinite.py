"""A loss or gradient that is not finite stops the run before a checkpoint has it; what is needed to see why is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dense_fakes import toy_samples, write_toy_head
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from training_toys import Seen, state, toy_recipe

from facezoo.data.shards import write_shard
from facezoo.errors import AssetError, FacezooError
from facezoo.heads import load_head
from facezoo.training.nonfinite import FiniteWatch, main
from facezoo.training.run import train

BAD = 11  # the sample whose label is not a number


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    samples = toy_samples(load_head(write_toy_head(path)), 60)
    samples["points"][BAD, 3, 1] = np.nan
    write_shard(path, 0, samples, {"head_id": "toy", "size": 96})
    return path


def finite(run_dir: Path) -> bool:
    return all(bool(v.isfinite().all()) for v in state(run_dir)["weights"].values())


class Lazy(Callback):
    """Look as rarely as a run on a GPU does."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.watch.every = 20


class BrokenGradient(Callback):
    """Make the gradient of a step infinite, as a square root at zero does."""

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == 3:
            gradient = next(p.grad for p in pl_module.parameters() if p.grad is not None)
            gradient[(0,) * gradient.dim()] = torch.inf


@pytest.mark.parametrize("lazy", [False, True])
def test_a_bad_sample_is_found(
    spoiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lazy: bool
) -> None:
    recipe = toy_recipe(spoiled, tmp_path / "run", "trainer.max_steps=30", "trainer.checkpoint_every=1", "seed=5",
                        "data.statistics=16")  # fmt: skip
    seen = Seen(tmp_path / "seen")
    with pytest.raises(FacezooError, match=r"the loss is not finite at step \d+") as caught:
        train(recipe, [seen, *([Lazy()] if lazy else [])])
    steps = Seen.read(tmp_path / "seen")
    step = next(step for (_, step), batch in sorted(steps.items()) if BAD in batch)
    file = tmp_path / "run" / f"nonfinite-step{step:08d}.json"
    message = str(caught.value)
    assert f"at step {step}" in message and f"facezoo.training.nonfinite {file}" in message
    assert "optim.lr=0.0005" in message
    saved, batch = json.loads(file.read_text()), load_file(file.with_suffix(".safetensors"))
    assert (saved["step"], saved["seed"], saved["samples"]) == (step, 5, steps[0, step])
    assert batch["seed"].tolist() == steps[0, step] and batch["images"].shape == (8, 3, 96, 96)
    assert "batch_size: 8" in saved["recipe"] and {"torch", "git"} <= saved["versions"].keys()
    assert state(tmp_path / "run")["step"] == step and finite(tmp_path / "run")  # the last one before it

    assert main([str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (points,) = (line for line in lines if line.startswith("points"))
    assert points.split()[-1] == "1" and lines[-1] == str(file.with_suffix(".png"))
    assert file.with_suffix(".png").stat().st_size > 10_000
    assert main([str(tmp_path / "none.json")]) == 2 and "is not the .json file" in capsys.readouterr().err


def test_a_bad_label_is_told_before_the_first_step(spoiled: Path, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=rf"points of sample {BAD} is not finite"):
        train(toy_recipe(spoiled, tmp_path, "trainer.max_steps=30"))


def test_a_rate_that_is_too_high_is_told_and_the_run_goes_on_with_a_lower_one(
    spoiled: Path, tmp_path: Path
) -> None:
    fixed = ("trainer.max_steps=12", "trainer.checkpoint_every=1", "data.limit=8", "optim.warmup=0")
    high = ("optim.lr=1e12", "optim.clip=0", "trainer.precision=bf16")
    with pytest.raises(
        FacezooError, match=r"optim\.lr=2\.5e\+11 optim\.clip=1 trainer\.precision=32$"
    ) as caught:
        train(toy_recipe(spoiled, tmp_path, *fixed, *high))
    assert "loss " in str(caught.value) and finite(tmp_path)
    stopped = state(tmp_path)["step"]
    # From weights that a rate of 1e12 moved there is no way back; from the checkpoint before it there is.
    train(toy_recipe(spoiled, tmp_path, *fixed, "optim.lr=1e-4", "trainer.resume=never"))
    assert stopped < state(tmp_path)["step"] == 12 and finite(tmp_path)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(spoiled: Path, tmp_path: Path) -> None:
    fixed = ("trainer.max_steps=9", "trainer.checkpoint_every=1", "data.limit=8")
    with pytest.raises(FacezooError, match=r"the gradient is not finite at step 3 \(dense"):
        train(toy_recipe(spoiled, tmp_path, *fixed), [BrokenGradient()])
    assert state(tmp_path)["step"] == 3 and finite(tmp_path)
    train(toy_recipe(spoiled, tmp_path, *fixed))
    assert state(tmp_path)["step"] == 9


def test_the_first_of_several_bad_steps_is_the_one_named() -> None:
    watch = FiniteWatch(torch.device("cpu"), rank=1, world=4)
    watch.look(torch.tensor(1.0), 5)
    watch.world = 1  # nobody else to ask
    assert watch.found() is None
    watch.world = 4
    watch.look(torch.tensor(torch.inf), 7, gradient=True)
    watch.look(torch.tensor(torch.nan), 6)
    watch.look(torch.tensor(torch.nan), 8)
    assert watch._first.tolist() == [6 * 4 + 1, 7 * 4 + 1]
