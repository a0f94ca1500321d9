"""Relief: wrinkles lie where their muscles fold the skin, the person's own stay, and picture and truth agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import toy_head_arrays, toy_samples

from facezoo.data.shards import FIELDS, OPTIONAL, ShardFolder, check_arrays, write_shard
from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel, load_head
from facezoo.mesh.normals import vertex_normals
from facezoo.models.deca.uv_detail import UvSurface, dense_faces
from facezoo.render.bump import bumped_normals, texture_gradient, texture_tangents
from facezoo.synth import render_batch, render_sample
from facezoo.synth.engine import Sample, relief_look, relief_traits
from facezoo.synth.layout import stage
from facezoo.synth.portrait import FACES, people_aged, portrait
from facezoo.synth.relief import GROUPS, Relief, drives, sample_relief, stored
from facezoo.synth.relief.drive import shares
from facezoo.synth.skin_paint import sample_traits

NAMES = load_head("open-v1").params["expression"].names
PERSON = 17


def _traits(age: float):
    return sample_traits(np.random.default_rng(0), age=age)


def _face(**weights: float) -> np.ndarray:
    return np.array(
        [weights.get(n, weights.get(n.removesuffix("Left").removesuffix("Right"), 0.0)) for n in NAMES],
        np.float32,
    )


def _energy(field: np.ndarray, u: tuple[float, float], v: tuple[float, float]) -> float:
    """Mean absolute value within a rectangle of texture coordinates, millimetres."""
    n = len(field)
    part = field[round((1 - v[1]) * n) : round((1 - v[0]) * n), round(u[0] * n) : round(u[1] * n)]
    return float(np.abs(part).mean() * 1000)


FOREHEAD = ((0.35, 0.65), (0.76, 0.84))
CHIN = ((0.42, 0.58), (0.22, 0.29))
LEFT_CROW = ((0.71, 0.78), (0.61, 0.70))
RIGHT_CROW = ((0.22, 0.29), (0.61, 0.70))


@pytest.fixture(scope="module")
def relief() -> Relief:
    return sample_relief(PERSON, _traits(50))


@pytest.fixture(scope="module")
def pictures() -> list[Sample]:
    return [
        render_sample(s, 96, relief=True, pictures=2) for s in (2 * PERSON, 2 * PERSON + 1, 2 * PERSON + 2)
    ]


def test_same_seed_same_relief_and_people_differ(relief: Relief) -> None:
    again, other = sample_relief(PERSON, _traits(50)), sample_relief(PERSON + 1, _traits(50))
    assert np.array_equal(relief.static, again.static)
    assert np.array_equal(relief.folds, again.folds)
    assert np.abs(relief.folds - other.folds).max() > 2e-4


def test_pictures_of_a_person_share_face_and_static_relief(pictures: list[Sample]) -> None:
    one, two, stranger = pictures
    assert (one.person, two.person, stranger.person) == (PERSON, PERSON, PERSON + 1)
    assert np.array_equal(one.identity, two.identity)
    assert not np.array_equal(one.identity, stranger.identity)
    assert not np.array_equal(one.expression, two.expression)
    assert not np.array_equal(one.R, two.R)
    own = sample_relief(PERSON, relief_traits(PERSON))
    for picture in (one, two):
        pull = np.tensordot(drives(picture.expression, NAMES), own.folds, 1)
        assert (
            np.abs(picture.displacement.astype(float) - stored(own.static + pull).astype(float)).max() < 1e-3
        )
    assert np.abs(one.displacement.astype(float) - stranger.displacement.astype(float)).max() > 0.05


def test_a_face_at_rest_shows_the_static_relief_alone(relief: Relief) -> None:
    assert not drives(_face(), NAMES).any()
    assert np.array_equal(relief.displacement(_face(), NAMES), relief.static)


def test_every_group_moves_with_shapes_of_the_head(relief: Relief) -> None:
    for k, group in enumerate(GROUPS):
        assert set(shares(group)) <= set(NAMES), group
        pull = drives(_face(**dict.fromkeys(shares(group), 1.0)), NAMES)
        assert 0.6 < pull[k] < 1
        assert relief.folds[k].min() < -1e-4, group


def test_raised_brows_fold_the_forehead_and_not_the_chin(relief: Relief) -> None:
    change = relief.displacement(_face(browInnerUp=1, browOuterUp=1), NAMES) - relief.static
    assert _energy(change, *FOREHEAD) > 0.03
    assert _energy(change, *CHIN) == 0
    change = relief.displacement(_face(mouthShrugLower=1), NAMES) - relief.static
    assert _energy(change, *FOREHEAD) == 0
    assert _energy(change, *CHIN) > 0.03


def test_sides_move_by_themselves(relief: Relief) -> None:
    change = relief.displacement(_face(eyeSquintLeft=1, cheekSquintLeft=1), NAMES) - relief.static
    assert _energy(change, *LEFT_CROW) > 0.01
    assert _energy(change, *RIGHT_CROW) == 0


def test_depth_is_that_of_skin_and_grows_with_age() -> None:
    rest, all_at_once = [], []
    for age in (20, 75):
        people = [sample_relief(k, _traits(age)) for k in range(2)]
        for depths, face in ((rest, _face()), (all_at_once, np.ones(len(NAMES)))):
            depths.append(np.mean([-np.quantile(p.displacement(face, NAMES), 0.001) for p in people]) * 1000)
    assert rest[0] < 0.35 < rest[1] < 1.0
    assert 0.3 < all_at_once[0] < all_at_once[1] < 1.5


def test_eyes_lips_and_scalp_are_smooth(relief: Relief) -> None:
    whole = np.abs(relief.static) + np.abs(relief.folds).sum(0)
    layout, n = stage().layout, len(whole)
    for outline in (layout.eye_left, layout.eye_right, layout.lip_upper, layout.lip_lower):
        u, v = np.mean(outline, 0)
        assert whole[int((1 - v) * n), int(u * n)] == 0
    assert whole[: int(0.12 * n)].max() == 0
    inside = whole[relief.mask > 0]
    assert (inside > 0).mean() > 0.9


def test_without_relief_nothing_changes(pictures: list[Sample]) -> None:
    plain = render_sample(4 * PERSON, 96)
    assert (plain.displacement, plain.person, plain.skin) == (None, -1, None)
    render_sample(4 * PERSON, 96, relief=True, pictures=4)
    for again in (render_sample(4 * PERSON, 96), render_sample(4 * PERSON, 96, relief=False)):
        assert np.array_equal(plain.image, again.image)
        assert np.array_equal(plain.points, again.points)
    assert set(render_batch([4 * PERSON], 96)) == set(FIELDS)
    with pytest.raises(InputError, match="relief=True"):
        render_sample(0, 96, pictures=4)


def test_pictures_say_where_skin_is_seen(pictures: list[Sample]) -> None:
    for picture in pictures:
        assert picture.skin.shape == (24, 24)
        assert picture.skin.dtype == np.uint8
    assert max(p.skin.max() for p in pictures) > 200


def test_the_picture_shows_the_folds() -> None:
    number = people_aged([26], range(80))[0]  # young: hardly a line at rest
    face = FACES["brows raised"]
    with_, without = (portrait(number, face, 112, relief=r, yaw=0.0).astype(float) for r in (True, False))
    change = np.abs(with_ - without).mean(-1)
    above_the_nose, below = change[:50], change[62:]
    assert above_the_nose.max() > 8
    assert above_the_nose.mean() > 2 * below.mean()


def test_shards_carry_relief_or_leave_it_out(tmp_path: Path) -> None:
    plain = toy_samples(HeadModel(*toy_head_arrays()), 5)
    rng = np.random.default_rng(0)
    extra = {
        "displacement": rng.normal(0, 0.3, (5, 16, 16)).astype(np.float16),
        "person": np.array([7, 7, 7, 8, 8]),
        "skin": rng.integers(0, 256, (5, 8, 8), dtype=np.uint8),
    }
    meta = {"head_id": "toy", "size": 96}
    write_shard(tmp_path / "plain", 0, plain, meta)
    write_shard(tmp_path / "relief", 0, {**plain, **extra}, meta)
    assert set(ShardFolder(tmp_path / "plain").read([0, 3])) == set(FIELDS)
    folder = ShardFolder(tmp_path / "relief")
    assert folder.optional == tuple(OPTIONAL)
    batch = folder.read([4, 0])
    for name, value in extra.items():
        assert np.array_equal(batch[name].numpy(), value[[4, 0]].astype(batch[name].numpy().dtype)), name
    assert (batch["displacement"].dtype, batch["person"].dtype, batch["skin"].dtype) == (
        torch.float32,
        torch.int64,
        torch.uint8,
    )
    assert set(folder.read([0], ("images", "person"))) == {"images", "person"}
    with pytest.raises(InputError, match="displacement"):
        check_arrays({**plain, "displacement": extra["displacement"][:2]})
    write_shard(tmp_path / "plain", 1, {**plain, **extra}, meta)
    with pytest.raises(AssetError, match="one kind"):
        ShardFolder(tmp_path / "plain")


def test_rendered_relief_fits_the_shards(pictures: list[Sample]) -> None:
    arrays = render_batch([2 * PERSON], 96, relief=True, pictures=2)
    assert check_arrays(arrays) == 1
    assert arrays["displacement"].shape == (1, 128, 128)
    assert np.array_equal(arrays["displacement"][0], pictures[0].displacement)
    assert np.array_equal(arrays["images"][0].transpose(1, 2, 0), pictures[0].image)


def _grid(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texture coordinates (n², 2) of texel centres, row 0 at the top, and faces."""
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    v, u = torch.meshgrid(1 - centres, centres, indexing="ij")
    return torch.stack([u, v], -1).reshape(-1, 2), dense_faces(n, n)


def test_normal_of_a_tilted_plane_is_exact() -> None:
    uv, faces = _grid(12)
    # A plane of 0.2 m by 0.3 m, sheared in the texture.
    across, up = torch.tensor([0.2, 0.05, 0.0]).double(), torch.tensor([0.0, 0.3, 0.0]).double()
    points = uv[:, :1] * across + uv[:, 1:] * up
    slope = torch.tensor([0.3, -0.7, 0.0]).double()  # metres of height a metre across x and up y
    height = (points @ slope).reshape(12, 12)
    tangents = texture_tangents(points, faces, uv, faces)
    assert torch.allclose(tangents[40], torch.cat([across, up]), atol=1e-9)
    gradient = texture_gradient(height)[:, 1:-1, 1:-1].reshape(2, -1).T
    inner = tangents.reshape(12, 12, 6)[1:-1, 1:-1].reshape(-1, 6)
    flat = torch.tensor([[0.0, 0.0, 1.0]]).double().expand(len(inner), 3)
    expected = torch.tensor([-0.3, 0.7, 1.0]).double()
    assert torch.allclose(
        bumped_normals(flat, inner, gradient), (expected / expected.norm()).expand(len(inner), 3), atol=1e-9
    )


def test_shading_normals_are_those_of_the_displaced_surface(relief: Relief) -> None:
    """Bump mapping on the head against the normals of a dense mesh that really is displaced."""
    head = load_head("open-v1")
    surface = UvSurface(head, len(relief.static), mask=torch.from_numpy(relief.mask))
    position, normal = surface.maps(head.v_template[None])
    field = torch.from_numpy(relief.displacement(_face(browOuterUp=1, browInnerUp=1, mouthSmile=1), NAMES))
    bumped_mesh = surface.normals(position + field * normal, normal)
    smooth_mesh = surface.normals(position, normal)
    topology = head.topology
    tangents = texture_tangents(head.v_template, topology.faces, topology.uv, topology.uv_faces)
    corner = topology.uv_faces[surface.face_index[0].clamp(min=0)]
    at_texel = (tangents[corner] * surface.bary[0][..., None]).sum(-2).reshape(-1, 6)
    flat = smooth_mesh[0].reshape(3, -1).T
    ours = bumped_normals(flat, at_texel, texture_gradient(field).reshape(2, -1).T)

    def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.rad2deg(torch.arccos((a * b).sum(1).clamp(-1, 1)))

    truth = bumped_mesh[0].reshape(3, -1).T
    turned, error = angle(truth, flat), angle(truth, ours)
    folded = (turned > 4) & (torch.from_numpy(relief.mask).reshape(-1) > 0.99)
    assert folded.sum() > 500
    assert float(error[folded].mean()) < 0.2 * float(turned[folded].mean())


def test_vertex_normals_of_a_wavy_cylinder_agree() -> None:
    n = 96
    uv, faces = _grid(n)
    angle, radius = uv[:, 0] * 2.0, 0.08
    out = torch.stack([torch.sin(angle), torch.zeros_like(angle), torch.cos(angle)], 1)
    points = out * radius + torch.stack([torch.zeros_like(angle), uv[:, 1] * 0.2, torch.zeros_like(angle)], 1)
    height = 0.0005 * torch.sin(uv[:, 0] * 40) * torch.cos(uv[:, 1] * 30)
    truth = vertex_normals(points + height[:, None] * out, faces)
    ours = bumped_normals(
        out,
        texture_tangents(points, faces, uv, faces),
        texture_gradient(height.reshape(n, n)).reshape(2, -1).T,
    )
    inner = torch.zeros(n, n, dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    degrees = torch.rad2deg(torch.arccos((truth * ours).sum(1).clamp(-1, 1)))[inner.reshape(-1)]
    turned = torch.rad2deg(torch.arccos((truth * out).sum(1).clamp(-1, 1)))[inner.reshape(-1)]
    assert float(turned.mean()) > 3
    assert float(degrees.max()) < 0.5


def test_look_has_the_picture_s_relief(pictures: list[Sample]) -> None:
    look, _ = relief_look(PERSON, pictures[0].expression)
    assert np.array_equal(stored(look.relief), pictures[0].displacement)
