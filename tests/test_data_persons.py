"""Batches of several pictures a person: whole groups, nobody split from training to validation, exact resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import toy_head_arrays, toy_samples, write_toy_head

from facezoo.config import load_recipe
from facezoo.data.datamodule import FIRST_TRAINING_SEED, DataConfig, FaceDataModule, TrainingBatches
from facezoo.data.mixes import MixPart
from facezoo.data.order import PersonOrder, hold_out
from facezoo.data.shards import write_shard
from facezoo.errors import InputError, RecipeError
from facezoo.heads import HeadModel

COUNT = 60


def people_of(rng: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Return persons in no order: some with one picture, some with many, some unknown."""
    return rng.choice([-1, 3, 5, 8, 13, 40, 41], count, p=[0.1, 0.3, 0.25, 0.15, 0.1, 0.07, 0.03])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Shards of people in no order, with displacement."""
    path = tmp_path_factory.mktemp("people")
    write_toy_head(path)
    person = people_of(np.random.default_rng(2))
    samples = toy_samples(HeadModel(*toy_head_arrays()), COUNT, size=32)
    samples |= {"person": person, "displacement": np.ones((COUNT, 8, 8), np.float16)}
    for number in range(3):
        part = {k: v[number * 20 : (number + 1) * 20] for k, v in samples.items()}
        write_shard(path, number, part, {"head_id": "toy", "size": 32})
    return path, person


def config(root: Path, **more) -> DataConfig:
    return DataConfig(**({"source": "shards", "root": str(root), "batch_size": 6, "validation": 8} | more))


@pytest.mark.parametrize("pictures", [2, 3, 4])
def test_a_pass_shows_whole_groups_and_each_picture_once(pictures: int) -> None:
    for seed in range(5):
        persons = people_of(np.random.default_rng(seed))
        order = PersonOrder(persons, pictures, (seed,))
        counts = {p: int((persons == p).sum()) for p in set(persons.tolist()) - {-1}}
        assert order.total == sum(n // pictures * pictures for n in counts.values())
        passes = order(np.arange(3 * order.total)).reshape(3, -1)
        for one in passes:
            groups = one.reshape(-1, pictures)
            assert len(set(one.tolist())) == order.total  # nothing twice
            assert (persons[groups] == persons[groups[:, :1]]).all() and (persons[one] >= 0).all()
            for p, n in counts.items():
                assert (persons[groups[:, 0]] == p).sum() == n // pictures
        assert passes[0].tolist() != passes[1].tolist()
        asked = np.array([order.total + 5, 0, 2 * order.total - 1, 7])
        assert PersonOrder(persons, pictures, (seed,))(asked).tolist() == passes.ravel()[asked].tolist()


def test_pictures_that_wait_come_in_other_passes() -> None:
    persons = np.repeat([0, 1], [5, 7])
    order = PersonOrder(persons, 4, (0,))
    assert order.total == 8
    assert set(order(np.arange(20 * 8)).tolist()) == set(range(12))
    with pytest.raises(InputError, match="at most 7 pictures each, none of them 8"):
        PersonOrder(persons, 8, (0,))
    with pytest.raises(InputError, match="whom they show"):
        PersonOrder(np.full(5, -1), 2, (0,))


def test_nobody_is_on_both_sides() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        persons = people_of(rng) if seed % 2 else np.sort(people_of(rng))
        count = int(rng.integers(1, 20))
        train, held = hold_out(COUNT, count, persons)
        assert len(held) == count and not set(train) & set(held)
        known = persons[held][persons[held] >= 0]
        assert not set(known.tolist()) & set(persons[train].tolist())
        lost = set(range(COUNT)) - set(train) - set(held)
        assert set(persons[list(lost)].tolist()) <= set(known.tolist())  # only pictures of those held out
    assert [part.tolist() for part in hold_out(5, 2, None)] == [[0, 1, 2], [3, 4]]
    assert [part.tolist() for part in hold_out(5, 2, np.full(5, -1))] == [[0, 1, 2], [3, 4]]
    assert [part.tolist() for part in hold_out(4, 0, np.arange(4))] == [[0, 1, 2, 3], []]
    # in order of people, what is held out is what always was
    assert hold_out(12, 4, np.repeat([0, 1, 2], 4))[1].tolist() == [8, 9, 10, 11]


def test_batches_hold_people_side_by_side_and_go_on_where_they_stopped(folder) -> None:
    root, person = folder
    data = FaceDataModule(config(root, pictures=3), seed=4)
    whole = iter(data.train_loader())
    steps = [next(whole) for _ in range(12)]
    for batch in steps:
        assert torch.equal(batch["person"], torch.from_numpy(person)[batch["seed"]])
        groups, rows = batch["person"].view(2, 3), batch["seed"].view(2, 3)
        assert (groups == groups[:, :1]).all() and all(len(set(r.tolist())) == 3 for r in rows)
        assert batch["displacement"].shape == (6, 8, 8) and batch["displacement"].dtype == torch.float32
    later = iter(FaceDataModule(config(root, pictures=3), seed=4).train_loader(start=7))
    for batch in steps[7:]:
        again = next(later)
        assert all(torch.equal(again[name], batch[name]) for name in batch)
    seen = {p for batch in steps for p in batch["person"].tolist()}
    held = list(data.validation_loader())
    held_people = {p for batch in held for p in batch["person"].tolist()} - {-1}
    assert sum(len(batch["seed"]) for batch in held) == 8 and held_people and not held_people & seen
    assert "displacement" in held[0]


def test_ranks_share_people_and_a_changed_number_keeps_groups_whole(folder) -> None:
    root, _ = folder
    source = FaceDataModule(config(root, pictures=2), seed=0).train
    ranks = [TrainingBatches(source, 4, 0, rank=r, world=2, pictures=2) for r in range(2)]
    both = torch.cat([r.read_step(s)["seed"] for s in range(3) for r in ranks])
    assert len(set(both.tolist())) == len(both)
    single = TrainingBatches(source, 8, 0, pictures=2)
    assert sorted(both.tolist()) == sorted(
        torch.cat([single.read_step(s)["seed"] for s in range(3)]).tolist()
    )
    odd = TrainingBatches(source, 4, 0, start=1, seen=5, pictures=2).read_step(1)["person"].view(2, 2)
    assert (odd == odd[:, :1]).all()


def test_data_that_does_not_know_people_is_refused_with_the_cure(folder, tmp_path: Path) -> None:
    samples = toy_samples(HeadModel(*toy_head_arrays()), 12, size=32)
    write_shard(tmp_path, 0, samples, {"head_id": "toy", "size": 32})
    with pytest.raises(InputError, match=r"do not say whom they show; give data .* data\.pictures=1"):
        FaceDataModule(config(tmp_path, pictures=2), seed=0)
    with pytest.raises(InputError, match=r"people have at most"):
        FaceDataModule(config(folder[0], pictures=50, batch_size=50), seed=0)
    with pytest.raises(InputError, match=r"no multiple of data\.pictures=4; set data\.batch_size=8"):
        config(folder[0], pictures=4)
    alone = {**samples, "person": np.zeros(12, np.int64)}
    write_shard(tmp_path, 0, alone, {"head_id": "toy", "size": 32})
    with pytest.raises(InputError, match="holds out everybody"):
        FaceDataModule(config(tmp_path), seed=0)


def test_a_stream_of_people_begins_with_a_person_and_ends_with_one() -> None:
    config = DataConfig("stream", relief=True, pictures=3, batch_size=6, limit=10, validation=4, workers=0)
    data = FaceDataModule(config, seed=0)
    persons = data.train.persons()
    assert persons is not None and [int((persons == p).sum()) for p in np.unique(persons)] == [3, 3, 3, 1]
    order = PersonOrder(persons, 3, (0,))
    assert order.total == 9 and set(order(np.arange(9)).tolist()) == set(range(9))
    assert data.train.first % 3 == 0 and data.train.first >= FIRST_TRAINING_SEED
    endless = FaceDataModule(DataConfig("stream", relief=True, pictures=3, batch_size=6, workers=0), seed=0)
    assert endless.train.first == data.train.first and endless.train.persons() is None
    with pytest.raises(InputError, match=r"without relief every picture .* data\.relief=true"):
        DataConfig("stream", pictures=2)
    with pytest.raises(InputError, match=r"--relief --pictures 4"):
        DataConfig("shards", "/x", relief=True)


@pytest.mark.slow
def test_streamed_people_have_relief_and_neighbours_are_one_person() -> None:
    config = DataConfig("stream", size=64, relief=True, pictures=2, batch_size=4, validation=2, workers=0)
    data = FaceDataModule(config, seed=0)
    batch = next(iter(data.train_loader(start=1)))
    first, second = batch["person"].view(2, 2)
    assert first[0] == first[1] != second[0] == second[1]
    assert torch.equal(batch["identity"][0], batch["identity"][1])
    assert not torch.equal(batch["expression"][0], batch["expression"][1])
    assert not torch.equal(batch["identity"][0], batch["identity"][2])
    side = batch["displacement"].shape[-1]
    assert (
        batch["displacement"].shape == (4, side, side) and 0.01 < float(batch["displacement"].abs().max()) < 5
    )
    held = torch.cat([b["person"] for b in data.validation_loader()])
    assert len(set(held.tolist())) == 2 and not set(held.tolist()) & set(batch["person"].tolist())
    mix = [MixPart("stream", limit=4, validate=True)]
    mixed = FaceDataModule(DataConfig("mix", mix=mix, size=64, relief=True, validation=1, workers=0), seed=0)
    assert mixed.train.read([0, 1])["displacement_known"].tolist() == [1, 1]


def test_loss_and_data_agree() -> None:
    with pytest.raises(RecipeError, match=r"loss\.pictures=3 .* data\.pictures=1; set data\.pictures=3"):
        load_recipe("deca", ["loss.pictures=3"])
    recipe = load_recipe(
        "deca", ["loss.pictures=3", "data.pictures=3", "data.batch_size=9", "data.relief=true"]
    )
    assert recipe.data.pictures == recipe.loss.pictures == 3
    assert (
        load_recipe("deca", ["data.pictures=2", "data.relief=true"]).loss.pictures == 1
    )  # people side by side, nothing exchanged


def test_a_mix_keeps_people_whole_apart_and_says_what_is_known(folder, tmp_path: Path) -> None:
    root, _ = folder
    samples = toy_samples(HeadModel(*toy_head_arrays()), 40, size=64, seed=5)
    samples |= {"seed": samples["seed"] + 1000, "person": np.repeat([3, 5, 7, 9], 10)}
    write_shard(tmp_path, 0, samples, {"head_id": "toy", "size": 64})
    parts = [MixPart("shards", str(root), weight=1), MixPart("shards", str(tmp_path), weight=2)]
    mixed = DataConfig("mix", mix=parts, size=32, batch_size=6, pictures=3, validation=6)
    data = FaceDataModule(mixed, seed=1)
    loader = iter(data.train_loader())
    batches = [next(loader) for _ in range(20)]
    owners: dict[int, set[bool]] = {}
    for batch in batches:
        groups = batch["person"].view(-1, 3)
        assert (groups == groups[:, :1]).all()
        second = batch["seed"] >= 1000
        for person, other in zip(batch["person"].tolist(), second.tolist(), strict=True):
            owners.setdefault(person, set()).add(other)
        assert batch["displacement"].shape == (6, 8, 8)
        assert torch.equal(batch["displacement_known"], (~second).float())
        assert not batch["displacement"][second].any() and batch["displacement"][~second].all()
    assert all(
        len(found) == 1 for found in owners.values()
    )  # person 3 of one folder is not person 3 of the other
    share = float(np.mean([float((b["seed"] >= 1000).float().mean()) for b in batches]))
    assert 0.45 < share < 0.85
    again = FaceDataModule(mixed, seed=1).train.read(range(24, 30))
    assert all(torch.equal(again[name], batches[4][name]) for name in again)
