"""Shards and the training order: exact round trip, damaged files, batches by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import POINTS, toy_head_arrays, toy_samples, write_toy_shards
from torch.utils.data import DataLoader

from facezoo.data.datamodule import DataConfig, FaceDataModule, TrainingBatches
from facezoo.data.shards import FIELDS, ShardFolder, write_shard
from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    write_toy_shards(path, count=50, per_shard=20)
    return path


def test_rows_come_back_exactly_in_any_order(folder: Path) -> None:
    shards = ShardFolder(folder)
    samples = toy_samples(HeadModel(*toy_head_arrays()), 50)
    rows = [49, 0, 20, 19, 20, 33]
    batch = shards.read(rows)
    assert len(shards) == 50 and set(batch) == set(FIELDS)
    for name, value in batch.items():
        assert np.array_equal(value.numpy(), samples[name][rows].astype(value.numpy().dtype)), name
    assert batch["images"].dtype == torch.uint8 and batch["identity"].dtype == torch.float32
    assert shards.sizes() == {"points": POINTS, "n_identity": 3, "n_expression": 3, "size": 96}


def test_damaged_shards_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no shard"):
        ShardFolder(tmp_path)
    data = (folder / "shard-00000.safetensors").read_bytes()
    for broken in (data[:-100], data[:4], b"\xff" * 64):
        (tmp_path / "shard-00000.safetensors").write_bytes(broken)
        with pytest.raises(AssetError, match=r"shard-00000.*not a complete shard"):
            ShardFolder(tmp_path)


def test_writing_checks_fields(tmp_path: Path) -> None:
    samples = toy_samples(HeadModel(*toy_head_arrays()), 3)
    with pytest.raises(InputError, match="missing: \\['box'\\]"):
        write_shard(tmp_path, 0, {k: v for k, v in samples.items() if k != "box"}, {})
    with pytest.raises(InputError, match="'t' of a shard"):
        write_shard(tmp_path, 0, {**samples, "t": samples["t"][:2]}, {})
    with pytest.raises(InputError, match="uint8"):
        write_shard(tmp_path, 0, {**samples, "images": samples["images"].astype(np.float32)}, {})
    write_shard(tmp_path, 0, samples, {"head_id": "toy", "size": 96})
    write_shard(tmp_path, 1, samples, {"head_id": "other", "size": 96})
    with pytest.raises(AssetError, match="head_id"):
        ShardFolder(tmp_path)


def test_batches_depend_on_the_step_alone_and_cover_the_data(folder: Path) -> None:
    data = FaceDataModule(DataConfig("shards", str(folder), batch_size=7, validation=8), seed=3)
    whole = iter(data.train_loader())
    steps = [next(whole)["seed"] for _ in range(13)]
    later = iter(data.train_loader(start=5))
    assert all(torch.equal(next(later)["seed"], steps[5 + i]) for i in range(3))
    seen = torch.cat(steps)
    assert sorted(seen[:42].tolist()) == list(
        range(42)
    )  # one epoch: every training sample once, none held out
    assert seen[:42].tolist() != seen[42:84].tolist()
    held_out = torch.cat([b["seed"] for b in data.validation_loader()])
    assert held_out.tolist() == list(range(42, 50))


def test_ranks_and_workers_share_without_repeating(folder: Path) -> None:
    source = FaceDataModule(DataConfig("shards", str(folder), validation=10), seed=0).train
    ranks = [TrainingBatches(source, 5, 0, rank=r, world=2) for r in range(2)]
    both = torch.cat([r.read_step(s)["seed"] for s in range(4) for r in ranks])
    assert sorted(both.tolist()) == list(range(40))
    single = TrainingBatches(source, 10, 0)
    assert sorted(torch.cat([r.read_step(2)["seed"] for r in ranks]).tolist()) == sorted(
        single.read_step(2)["seed"].tolist()
    )


def test_stream_samples_are_seeds_and_reserved_ones_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import facezoo.synth.engine as engine

    head = HeadModel(*toy_head_arrays())
    asked: list[int] = []

    def render(seeds: list[int], size: int) -> dict[str, np.ndarray]:
        asked.extend(seeds)
        return {**toy_samples(head, len(seeds), size), "seed": np.array(seeds)}

    monkeypatch.setattr(engine, "render_batch", render)
    labels = FaceDataModule(DataConfig("stream", size=32, validation=6, workers=0), seed=0).label_batches(5)
    assert "images" not in next(labels) and not asked  # statistics cost no rendering
    data = FaceDataModule(DataConfig("stream", size=32, batch_size=4, validation=6, workers=0), seed=0)
    first = next(iter(data.train_loader(start=2)))
    assert first["seed"].tolist() == [1_000_008, 1_000_009, 1_000_010, 1_000_011]
    loader = data.validation_loader()
    held_out = [b["seed"].tolist() for b in loader]
    assert held_out == [b["seed"].tolist() for b in loader]
    assert [s for batch in held_out for s in batch] == list(engine.VALIDATION_SEEDS)[:6]
    assert len([s for s in asked if s in engine.VALIDATION_SEEDS]) == 6  # rendered once, then kept


class Numbers:
    """An endless source whose samples are their numbers."""

    def __len__(self) -> int:
        return 0

    def read(self, numbers: Sequence[int] | np.ndarray, fields: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"seed": torch.as_tensor(np.asarray(numbers))}


def test_an_endless_source_never_repeats_across_ranks_workers_and_restarts() -> None:
    seen: list[int] = []
    for world, start, end in ((3, 0, 4), (2, 4, 9)):  # stopped after four steps, continued with two processes
        before = len(seen)
        for rank in range(world):
            batches = TrainingBatches(Numbers(), 5, 0, start, rank, world, stop=end, seen=before)
            loader = iter(DataLoader(batches, batch_size=None, num_workers=2 if rank == 1 else 0))
            for _ in range(start, end):
                seen += next(loader)["seed"].tolist()
            assert next(loader) == {}  # what is fetched ahead of the end costs nothing
    assert sorted(seen) == list(range(4 * 3 * 5 + 5 * 2 * 5))


@pytest.mark.parametrize(
    ("planned", "held_out", "measured"), [(0, 256, 2048), (1280, 80, 320), (64, 64, 256)]
)
def test_a_short_run_renders_and_measures_fewer_people(planned: int, held_out: int, measured: int) -> None:
    data = FaceDataModule(DataConfig("stream", validation=256, workers=0), seed=0, planned=planned)
    assert data.held_out == held_out
    shares = [np.concatenate(data.validation_loader(rank, 3).batches.numbers) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(held_out))
    data.train = Numbers()
    assert sum(len(batch["seed"]) for batch in data.label_batches(2048)) == measured


def test_held_out_shards_are_never_fewer(folder: Path) -> None:
    data = FaceDataModule(DataConfig("shards", str(folder), validation=20), seed=0, planned=16)
    assert data.held_out == 20 and len(data.train) == 30


def test_too_few_samples_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.validation"):
        FaceDataModule(DataConfig("shards", str(folder), validation=50), seed=0)
