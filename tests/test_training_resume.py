"""A run that is stopped at any moment and continued is the run that was never stopped: numbers, weights, log."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path

import pytest
import torch
from dense_fakes import write_toy_shards
from safetensors.torch import load_file
from training_toys import SIGKILL, SIGTERM, Crash, Dropout, Seen, Stop, assert_same, rows, state, toy_recipe

from facezoo.errors import AssetError, RecipeError
from facezoo.training.run import train

STEPS = ("trainer.max_steps=9", "trainer.checkpoint_every=3")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_toy_shards(path, count=60, per_shard=30)
    return path


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nine steps, validated after 4, 8 and 9."""
    path = tmp_path_factory.mktemp("whole")
    train(toy_recipe(shards, path, *STEPS), [Dropout()])
    return path


def assert_same_run(one: Path, two: Path) -> None:
    assert_same(state(one), state(two))
    assert_same(rows(one), rows(two))
    assert_same(
        load_file(one / "export" / "model.safetensors"), load_file(two / "export" / "model.safetensors")
    )


@pytest.mark.parametrize(
    ("step", "phase", "goes_on_at"),
    [
        (1, "on_train_batch_end", 0),  # before there is a checkpoint
        (4, "on_train_batch_end", 3),  # before the step's validation
        (4, "on_validation_batch_end", 3),  # within it, while the averages are in the model
        (4, "on_validation_end", 4),  # just after a checkpoint
        (7, "on_after_backward", 6),
    ],
)
def test_stopped_and_continued_is_the_uninterrupted_run(
    shards: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], step, phase, goes_on_at
) -> None:
    recipe = toy_recipe(shards, tmp_path, *STEPS)
    with pytest.raises(Crash):
        train(recipe, [Dropout(), Stop(step, phase)])
    capsys.readouterr()
    train(toy_recipe(shards, tmp_path, *STEPS), [Dropout()])
    out = capsys.readouterr().out
    assert (f"at step {goes_on_at}" in out) == (goes_on_at > 0)
    assert_same_run(whole, tmp_path)
    assert [r["step"] for r in rows(whole)] == ["2", "4", "4", "6", "8", "8", "9", "9"]


def test_a_signal_ends_the_step_and_saves(shards: Path, whole: Path, tmp_path: Path) -> None:
    before = signal.getsignal(SIGTERM)
    with pytest.raises(SystemExit) as caught:
        train(toy_recipe(shards, tmp_path, *STEPS), [Dropout(), Stop(4, "on_after_backward", SIGTERM)])
    assert caught.value.code == 128 + SIGTERM and signal.getsignal(SIGTERM) is before
    assert state(tmp_path)["step"] == 5  # no checkpoint was due
    train(toy_recipe(shards, tmp_path, *STEPS), [Dropout()])
    assert_same_run(whole, tmp_path)


def test_progress_goes_on_with_the_time_spent(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images a second are of this process, the time left is of the whole run."""
    steps = ("trainer.max_steps=8", "trainer.validate_every=100", "trainer.checkpoint_every=4", "optim.ema=0")
    with pytest.raises(Crash):
        train(toy_recipe(shards, tmp_path, *steps), [Stop(5)])
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    saved["facezoo"]["seconds"] = 6000.0
    torch.save(saved, tmp_path / "last.ckpt")
    capsys.readouterr()
    train(toy_recipe(shards, tmp_path, *steps))
    lines = [line for line in capsys.readouterr().out.splitlines() if "min left" in line]
    assert [line.split()[1] for line in lines] == ["6", "8"]
    assert float(lines[0].split()[-3]) == pytest.approx(6000 * 0.25 / 0.75 / 60, abs=0.2)
    six, eight = (r for r in rows(tmp_path, clocks=True) if r["step"] in ("6", "8") and r["seconds"])
    assert float(six["seconds"]) > 6000 and (int(six["images"]), int(eight["images"])) == (48, 64)
    took = float(eight["seconds"]) - float(six["seconds"])
    assert float(lines[1].split()[-5]) == pytest.approx(16 / took, rel=0.2)


def test_a_finished_run_can_be_made_longer(shards: Path, tmp_path: Path) -> None:
    constant = ("optim.schedule=constant", "optim.warmup=0", "trainer.validate_every=2")
    train(toy_recipe(shards, tmp_path / "two", "trainer.max_steps=4", *constant), [Seen(tmp_path / "seen")])
    train(toy_recipe(shards, tmp_path / "two", "trainer.max_steps=7", *constant), [Seen(tmp_path / "seen")])
    train(toy_recipe(shards, tmp_path / "one", "trainer.max_steps=7", *constant))
    assert_same_run(tmp_path / "one", tmp_path / "two")
    assert sorted(step for _, step in Seen.read(tmp_path / "seen")) == list(range(7))


def test_another_batch_size_neither_repeats_nor_leaves_out_samples(shards: Path, tmp_path: Path) -> None:
    """44 samples train; 3 steps of 8 and 4 of 5 make one epoch."""
    seen = Seen(tmp_path / "seen")
    run = tmp_path / "run"
    train(toy_recipe(shards, run, "trainer.max_steps=3"), [seen])
    train(toy_recipe(shards, run, "trainer.max_steps=7", "data.batch_size=5"), [seen])
    numbers = [n for _, batch in sorted(Seen.read(tmp_path / "seen").items()) for n in batch]
    assert sorted(numbers) == list(range(44))


def test_starting_over_keeps_the_former_run(shards: Path, tmp_path: Path) -> None:
    for resume in ("auto", "never", "never"):
        train(toy_recipe(shards, tmp_path, "trainer.max_steps=2", f"trainer.resume={resume}"))
    assert [r["step"] for r in rows(tmp_path)] == ["2", "2"]
    for old in ("earlier-1", "earlier-2"):
        assert rows(tmp_path / old) == rows(tmp_path)
        assert_same(state(tmp_path / old), state(tmp_path))


def test_another_network_is_refused_and_other_changes_are_told(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(toy_recipe(shards, tmp_path, "trainer.max_steps=2"))
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(RecipeError, match=r"at step 2 with model\.hidden=32 .*16.*resume=never"):
        train(toy_recipe(shards, tmp_path, "trainer.max_steps=4", "model.hidden=16"))
    with pytest.raises(RecipeError, match=r"loss\.name"):
        train(toy_recipe(shards, tmp_path, "trainer.max_steps=4", "loss=gaussian"))
    assert (tmp_path / "last.ckpt").read_bytes() == before
    capsys.readouterr()
    train(toy_recipe(shards, tmp_path, "trainer.max_steps=3", "optim.lr=0.001", "optim.ema=0"))
    out = capsys.readouterr().out
    assert "goes on with optim.lr=0.001 in place of 0.002" in out and "model." not in out.split("training")[0]
    assert "lr: 0.002" in (tmp_path / "recipe-until-0000002.yaml").read_text()
    assert "lr: 0.001" in (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "last.ckpt").write_bytes(before[: len(before) // 2])
    with pytest.raises(AssetError, match=r"last\.ckpt cannot be read.*resume=never"):
        train(toy_recipe(shards, tmp_path, "trainer.max_steps=4"))


def long_run(shards: Path, run_dir: Path, *overrides: str) -> None:
    train(
        toy_recipe(shards, run_dir, "trainer.max_steps=80", "trainer.checkpoint_every=5", *overrides),
        [Dropout()],
    )


@pytest.mark.slow
def test_killed_at_any_moment(shards: Path, tmp_path: Path) -> None:
    """A process is killed from outside, three times, without being asked when it would suit it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["facezoo.training.run", "training_toys"])
    chance = random.Random()
    for _ in range(3):
        seen = rows(tmp_path / "killed") if (tmp_path / "killed" / "metrics.csv").exists() else []
        process = context.Process(target=long_run, args=(shards, tmp_path / "killed"))
        process.start()
        while process.is_alive():  # let it get somewhere, then anywhere further
            process.join(0.05)
            file = tmp_path / "killed" / "metrics.csv"
            if file.exists() and len(file.read_text().splitlines()) > len(seen) + chance.randrange(2, 12):
                break
        process.join(chance.random() * 0.2)
        process.kill()
        process.join()
        assert process.exitcode == -SIGKILL, "it ended before it was killed"
    process = context.Process(target=long_run, args=(shards, tmp_path / "killed"))
    process.start()
    process.join()
    assert process.exitcode == 0
    long_run(shards, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*"))
