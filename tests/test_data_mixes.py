"""Mixes: shares follow the weights, the step alone decides, ranks share, wrong tables fail before any work."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import POINTS, toy_head_arrays, toy_samples, write_toy_shards

from facezoo.config import load_recipe, save_resolved
from facezoo.data.datamodule import DataConfig, FaceDataModule, TrainingBatches
from facezoo.data.mixes import Mix, MixPart, scale_samples, tickets
from facezoo.data.order import EpochOrder
from facezoo.data.shards import to_tensors, write_shard
from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel
from facezoo.training.run import train


class Numbers:
    """A source whose sample n says who it is and that it is n."""

    def __init__(self, owner: int, total: int, side: int = 4) -> None:
        self.owner, self.total, self.side = owner, total, side

    def __len__(self) -> int:
        return self.total

    def read(self, numbers, fields=()) -> dict[str, torch.Tensor]:
        assert self.total == 0 or (min(numbers) >= 0 and max(numbers) < self.total)
        seeds = torch.as_tensor(np.asarray(numbers), dtype=torch.int64) + self.owner * 10**9
        return {"seed": seeds, "images": torch.zeros(len(seeds), 3, self.side, self.side, dtype=torch.uint8)}

    def sizes(self) -> dict[str, int]:
        return {"points": 5, "n_identity": 3, "n_expression": 3, "size": self.side}


def drawn(mix: Mix, count: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    seeds = mix.read(range(first, first + count))["seed"].numpy()
    return seeds // 10**9, seeds % 10**9


def mix_of(*totals: int, weights=None, seed: int = 0) -> Mix:
    return Mix([Numbers(k, n) for k, n in enumerate(totals)], weights or [1.0] * len(totals), seed, size=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of shards of one head, the second with pictures of another side."""
    paths = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    write_toy_shards(paths[0], count=40, per_shard=16)
    head = HeadModel(*toy_head_arrays())
    samples = toy_samples(head, 30, size=64, seed=5)
    samples["seed"] += 1000
    write_shard(paths[1], 0, samples, {"head_id": "toy", "synth_version": "toy", "size": 64})
    return paths


def config(folders: list[Path], **more) -> DataConfig:
    parts = [MixPart("shards", str(folders[0]), weight=3), MixPart("shards", str(folders[1]), weight=1)]
    return DataConfig(
        **({"source": "mix", "mix": parts, "size": 96, "batch_size": 8, "validation": 10} | more)
    )


def test_shares_approach_the_weights() -> None:
    weights = [3.0, 1.0, 0.5]
    mix = mix_of(0, 100, 7, weights=weights, seed=3)
    owners, _ = drawn(mix, 9000)
    for k, weight in enumerate(weights):
        wanted = weight / sum(weights)
        for count in (300, 2000, 9000):
            off = abs(float(np.mean(owners[:count] == k)) - wanted)
            assert off < 3 * (wanted * (1 - wanted) / count) ** 0.5, (k, count)
        assert abs(float(np.mean(owners[:8192] == k)) - wanted) < 3e-4  # whole rounds are exact to a ticket
    first, second = owners[:64].tolist(), owners[64:128].tolist()
    assert first != second and first != sorted(first)  # within a round the order is random


def test_tickets_share_all_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = rng.lognormal(0, 2, rng.integers(1, 9))
        counts = tickets(weights, 4096)
        assert counts.sum() == 4096 and counts.min() >= 1
        assert np.abs(counts - weights / weights.sum() * 4096).max() < len(weights) + 1
    assert tickets([1e-9, 1.0], 4096).tolist() == [1, 4095]


def test_a_sample_comes_again_only_when_all_have_come() -> None:
    mix = mix_of(50, 0, 13, weights=[2, 1, 1])
    owners, numbers = drawn(mix, 5000)
    for k, total in ((0, 50), (2, 13)):
        own = numbers[owners == k]
        passes = [own[i : i + total] for i in range(0, len(own) - total, total)]
        assert all(sorted(one) == list(range(total)) for one in passes)
        assert any(one.tolist() != passes[0].tolist() for one in passes)
    assert numbers[owners == 1].tolist() == list(
        range((owners == 1).sum())
    )  # without end: one after the other


def test_a_number_is_the_same_sample_however_it_is_asked_for() -> None:
    whole = mix_of(50, 0, 9, weights=[1, 2, 3], seed=1)
    seeds = whole.read(range(9000))["seed"]
    asked = np.random.default_rng(0).integers(0, 9000, 500)
    again = mix_of(50, 0, 9, weights=[1, 2, 3], seed=1)
    assert torch.equal(again.read(asked)["seed"], seeds[asked])
    assert torch.equal(
        pickle.loads(pickle.dumps(again)).read(asked)["seed"], seeds[asked]
    )  # a loader process
    other = mix_of(50, 0, 9, weights=[1, 2, 3], seed=2)
    assert not torch.equal(other.read(range(100))["seed"], seeds[:100])


def test_resuming_in_the_middle_goes_on_with_the_same_batches(folders: list[Path]) -> None:
    whole = iter(FaceDataModule(config(folders), seed=4).train_loader())
    steps = [next(whole) for _ in range(12)]
    later = iter(FaceDataModule(config(folders), seed=4).train_loader(start=7))
    for step in steps[7:]:
        batch = next(later)
        assert batch.keys() == step.keys()
        assert all(torch.equal(batch[name], step[name]) for name in step)


@pytest.mark.slow
def test_loader_processes_do_not_change_the_batches(folders: list[Path]) -> None:
    def first(workers: int) -> list[list[int]]:
        loader = iter(FaceDataModule(config(folders, workers=workers), seed=4).train_loader(start=2))
        return [next(loader)["seed"].tolist() for _ in range(3)]

    assert first(0) == first(1)


def test_two_ranks_share_without_repeating() -> None:
    mix = mix_of(450, 0, 300, weights=[2, 1, 1])
    ranks = [
        TrainingBatches(mix_of(450, 0, 300, weights=[2, 1, 1]), 10, 0, rank=r, world=2) for r in range(2)
    ]
    both = [rank.read_step(step)["seed"] for step in range(40) for rank in ranks]
    seen = Counter(torch.cat(both).tolist())
    assert max(seen.values()) == 1  # 800 draws: no source has been passed through yet
    one = TrainingBatches(mix, 20, 0)
    assert sorted(torch.cat(both).tolist()) == sorted(
        torch.cat([one.read_step(step)["seed"] for step in range(40)]).tolist()
    )


def test_one_source_holds_out(folders: list[Path]) -> None:
    for chosen, held_out in ((0, range(30, 40)), (1, range(1020, 1030))):
        mixed = config(folders)
        mixed.mix[chosen].validate = True
        data = FaceDataModule(mixed, seed=0)
        kept = torch.cat([batch["seed"] for batch in data.validation_loader()]).tolist()
        trained = set(data.train.read(range(1000))["seed"].tolist())
        everything = {*range(40), *range(1000, 1030)}
        assert kept == list(held_out) and trained == everything - set(held_out)


def test_pictures_of_another_side_are_scaled_with_their_labels(folders: list[Path]) -> None:
    data = FaceDataModule(config(folders), seed=0)
    batch = data.train.read(range(200))
    assert batch["images"].shape == (200, 3, 96, 96) and batch["images"].dtype == torch.uint8
    assert data.train.sizes() == {"points": POINTS, "n_identity": 3, "n_expression": 3, "size": 96}
    labels = data.train.read(range(200), [name for name in batch if name != "images"])
    assert all(
        torch.equal(labels[name], batch[name]) for name in labels
    )  # also where no picture tells its side
    original = to_tensors(toy_samples(HeadModel(*toy_head_arrays()), 30, size=64, seed=5))
    other = batch["seed"] >= 1000
    rows = batch["seed"][other] - 1000
    for name in ("points", "lm68", "lm68_contour", "box"):
        torch.testing.assert_close(batch[name][other], original[name][rows] * 1.5)
    centre = (batch["K"] @ batch["t"].unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(
        centre[other][:, :2] / 96, (original["K"] @ original["t"].unsqueeze(-1))[rows, :2, 0] / 64
    )


def test_scaling_moves_a_dot_to_where_its_label_goes() -> None:
    for size in (20, 48, 60):
        batch = {
            "images": torch.zeros(1, 3, 40, 40, dtype=torch.uint8),
            "points": torch.tensor([[[22.0, 14.0]]]),
        }
        batch["images"][:, :, 12:16, 20:24] = 255
        out = scale_samples(batch, 40, size)
        weight = out["images"][0, 0].double()
        axis = torch.arange(size).double() + 0.5
        x, y = (weight.sum(0) * axis).sum() / weight.sum(), (weight.sum(1) * axis).sum() / weight.sum()
        torch.testing.assert_close(torch.stack([x, y]).float(), out["points"][0, 0], atol=0.05, rtol=0)


def test_sources_of_different_heads_are_refused(folders: list[Path], tmp_path: Path) -> None:
    samples = toy_samples(HeadModel(*toy_head_arrays()), 12)
    write_shard(tmp_path, 0, samples, {"head_id": "other", "size": 96})
    mixed = config([folders[0], tmp_path])
    with pytest.raises(AssetError, match=r"data\.mix\[1\] shows head 'other'"):
        FaceDataModule(mixed, seed=0)
    wider = Numbers(1, 5)
    wider.sizes = lambda: {"points": 6, "n_identity": 3, "n_expression": 3, "size": 4}  # type: ignore[method-assign]
    with pytest.raises(AssetError, match=r"data\.mix\[1\] has points=6"):
        Mix([Numbers(0, 5), wider], [1, 1], 0, 4).sizes()


def test_a_finite_source_keeps_the_order_it_had() -> None:
    """Runs that were begun before mixes existed go on with the batches they would have seen."""
    order = EpochOrder(10, (3,))
    wanted = np.concatenate([np.random.default_rng([3, epoch]).permutation(10) for epoch in range(3)])
    assert order(np.arange(30)).tolist() == wanted.tolist()
    assert order(np.array([25, 3, 12])).tolist() == wanted[[25, 3, 12]].tolist()


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("[{source: shards, rot: /x}]", "'data.mix[].root'"),
        ("[{source: stream}, {source: shards, root: /x, wieght: 2}]", "'data.mix[].weight'"),
        ("[{source: shard, root: /x}]", "data.mix[0].source 'shard'. Did you mean 'shards'"),
        ("[{source: stream, weight: lots}]", "data.mix[].weight"),
        ("[{source: stream, weight: 0}]", "data.mix[0].weight must be positive"),
        ("[{source: stream, weight: .nan}]", "data.mix[0].weight must be positive"),
        ("[{source: stream}, {source: shards}]", "data.mix[1] needs root"),
        ("[{source: stream}, {source: stream}]", "data.mix[1] and data.mix[0]"),
        ("[{source: shards, root: /x}, {source: shards, root: /x/../x}]", "data.mix[1] and data.mix[0]"),
        ("[{source: stream, validate: true}, {source: shards, root: /x, validate: true}]", "validate"),
        ("[{source: stream, limit: -1}]", "data.mix[0].limit"),
        ("[{weight: 1}]", "shards, stream"),
        ("[stream]", "data.mix[0]"),
        ("stream", "data.mix"),
        ("[]", "data.mix=["),
    ],
)
def test_wrong_tables_name_the_key_and_the_nearest(mix: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("dense", ["data=mix", f"data.mix={mix}"])
    assert message in str(caught.value)


def test_settings_that_a_mix_would_ignore_are_refused() -> None:
    mix = "data.mix=[{source: stream}]"
    for overrides, message in (
        ([mix], "data.source=mix"),
        (["data=mix", mix, "data.limit=5"], "data.limit"),
        (["data=mix", mix, "data.root=/x"], "data.root"),
    ):
        with pytest.raises(InputError, match=message):
            load_recipe("dense", overrides)


def test_a_recipe_with_a_mix_comes_back_from_its_run_folder(tmp_path: Path) -> None:
    mix = "data.mix=[{source: shards, root: /x, weight: 3}, {source: stream, validate: true}]"
    recipe = load_recipe("dense", ["data=mix", mix, "data.mix[1].weight=0.5"])
    assert recipe.data.mix == [MixPart("shards", "/x", 3.0), MixPart("stream", "", 0.5, 0, True)]
    save_resolved(recipe, tmp_path)
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_a_mix_trains(folders: list[Path], tmp_path: Path) -> None:
    mix = f"data.mix=[{{source: shards, root: {folders[0]}, weight: 2}}, {{source: shards, root: {folders[1]}}}]"
    recipe = load_recipe(
        "dense",
        ["model.widths=[8,8,8,8]", "model.depths=[1,1,1,1]", "model.hidden=16", "model.rank=8", "model.scale_rank=4",
         f"model.head={folders[0] / 'toy.safetensors'}", f"model.points={POINTS}", "model.crop_size=32",
         "data=mix", mix, "data.size=64", "data.batch_size=8", "data.validation=8", "data.statistics=32",
         "trainer.device=cpu", "trainer.max_steps=2", "trainer.validate_every=2", "trainer.image_every=0",
         f"trainer.run_dir={tmp_path}"],
    )  # fmt: skip
    assert (train(recipe) / "model.safetensors").is_file()
