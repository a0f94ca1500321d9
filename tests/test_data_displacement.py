"""Displacement maps and people's numbers in crops: exact under flips, empty and free where the data has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from dense_fakes import POINTS, toy_head_arrays, toy_samples
from torch import Tensor
from torch.nn import functional as F

from facezoo.data.augment import Augment, AugmentConfig, CropBatch, one_side
from facezoo.data.mirror import Mirror, texture_mirror
from facezoo.data.shards import to_tensors
from facezoo.geometry.crop import CropSpec
from facezoo.heads import HeadModel, load_head

SIDE = 32


@pytest.fixture(scope="module")
def samples() -> dict[str, Tensor]:
    arrays = toy_samples(HeadModel(*toy_head_arrays()), 12)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(12, SIDE, SIDE, generator=generator).half().numpy()
    return to_tensors({**arrays, "displacement": maps, "person": torch.arange(12) // 3})


def crops(batch: dict[str, Tensor], flip: float, mirror: Mirror | None = None, seed: int = 0) -> CropBatch:
    head = HeadModel(*toy_head_arrays())
    mirror = mirror or replace(Mirror.of_head(head, POINTS), texture=True)
    return Augment(CropSpec(24), mirror, AugmentConfig(flip=flip))(batch, seed)


def at_corners(maps: Tensor, uv: Tensor) -> Tensor:
    """Read a map (S, S) at texture coordinates (N, 2): row 0 is v = 1, column 0 is u = 0."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], 1)
    return F.grid_sample(maps[None, None], grid[None, None], align_corners=False)[0, 0, 0]


def test_the_open_heads_texture_is_its_own_mirror_image() -> None:
    """What a flipped map says of a corner is what the map says of the mirrored vertex: a mole changes sides."""
    topology = load_head().topology
    assert texture_mirror(topology) and topology.symmetry is not None
    vertex, row = topology.faces.flatten(), topology.uv_faces.flatten()
    once = torch.bincount(torch.stack([vertex, row], 1).unique(dim=0)[:, 0]) == 1  # off the seams
    place = torch.zeros(len(topology.symmetry), dtype=torch.long)
    place[vertex] = row
    maps = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    given, flipped = (at_corners(m, topology.uv[place]) for m in (maps, maps.flip(-1)))
    torch.testing.assert_close(flipped[once], given[topology.symmetry][once], atol=1e-3, rtol=0)
    assert float((given[topology.symmetry] - given)[once].abs().mean()) > 0.5  # so it is not symmetric itself
    shifted = replace(topology, uv=topology.uv + torch.tensor([0.01, 0.0]))
    assert not texture_mirror(shifted) and not texture_mirror(replace(topology, symmetry=None))


def test_maps_are_metres_and_follow_the_flip(samples: dict[str, Tensor]) -> None:
    plain, flipped = crops(samples, 0.0), crops(samples, 1.0)
    wanted = samples["displacement"][:, None] / 1000
    assert plain.displacement.shape == (12, 1, SIDE, SIDE) and plain.displacement.dtype == torch.float32
    torch.testing.assert_close(plain.displacement, wanted)
    torch.testing.assert_close(flipped.displacement, wanted.flip(-1))
    assert plain.displacement_known.tolist() == flipped.displacement_known.tolist() == [1] * 12
    assert torch.equal(plain.person, torch.arange(12) // 3) and plain.person.dtype == torch.int64


def test_damage_and_turning_leave_the_head_as_it_is(samples: dict[str, Tensor]) -> None:
    mirror = replace(Mirror.of_head(HeadModel(*toy_head_arrays()), POINTS), texture=True)
    wild = AugmentConfig(flip=0, flip_vertical=1, cutout=1, noise=1, jpeg=1, rotation=40)
    turned = Augment(CropSpec(24), mirror, wild)(samples, 1)
    torch.testing.assert_close(turned.displacement, samples["displacement"][:, None] / 1000)


def test_a_texture_without_mirror_image_is_unknown_when_flipped(samples: dict[str, Tensor]) -> None:
    mirror = replace(Mirror.of_head(HeadModel(*toy_head_arrays()), POINTS), texture=False)
    assert not Mirror.of_head(
        HeadModel(*toy_head_arrays()), POINTS
    ).texture  # the sheet has no texture at all
    assert crops(samples, 1.0, mirror).displacement_known.tolist() == [0] * 12
    assert crops(samples, 0.0, mirror).displacement_known.tolist() == [1] * 12


def test_pictures_of_one_person_are_flipped_together(samples: dict[str, Tensor]) -> None:
    seen = set()
    for seed in range(4):
        batch = crops(samples, 0.5, seed=seed)
        flipped = (batch.displacement != samples["displacement"][:, None] / 1000).flatten(1).any(1)
        people = flipped.view(4, 3)
        assert torch.equal(people, people[:, :1].expand(4, 3))
        seen |= set(people[:, 0].tolist())
    assert seen == {True, False}
    alone = torch.tensor([True, False, True, False])
    assert torch.equal(one_side(alone, torch.full((4,), -1)), alone)
    assert one_side(alone, torch.tensor([7, 7, -1, -1])).tolist() == [True, True, True, False]


def test_data_without_them_costs_and_changes_nothing(samples: dict[str, Tensor]) -> None:
    bare = {k: v for k, v in samples.items() if k not in ("displacement", "person")}
    batch = crops(bare, 0.5)
    assert batch.displacement.shape == (12, 1, 0, 0) and batch.displacement_known.tolist() == [0] * 12
    assert batch.person.tolist() == [-1] * 12
    both = CropBatch(*(torch.cat([part, part]) for part in batch))  # as criteria double a batch
    assert both.displacement.shape == (24, 1, 0, 0)
    other = crops({**samples, "person": torch.full((12,), -1)}, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(batch[:14], other[:14], strict=True))
