"""Sequences: read in every format, stabilised, written, drawn; a frame that cannot be trusted is flagged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stabilizer_fakes import head, moves, performance, wild_model

from facezoo.cli import main
from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.mesh.io import read_mesh, write_mesh
from facezoo.mesh.io.sequence import MeshSequence, read_sequence, write_sequence, write_sequence_npz
from facezoo.mesh.mesh import Mesh
from facezoo.models.stabilizer import RigidTransform
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.predict import SkullStabilizer
from facezoo.models.stabilizer.regions import regions
from facezoo.viz.stabilized import heat_map, strip


@pytest.fixture(scope="module")
def frames() -> tuple[MeshSequence, RigidTransform]:
    return performance()


@pytest.fixture(scope="module")
def aligner() -> SkullStabilizer:
    """A model whose network says nothing: Procrustes on the upper face, which is enough to test what is built on it."""
    model = wild_model()
    for parameter in (*model.net.pose.parameters(), *model.net.direct.parameters()):
        torch.nn.init.zeros_(parameter)
    return model


def small(count: int, seed: int = 0) -> MeshSequence:
    rng = np.random.default_rng(seed)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    vertices = rng.normal(size=(count, 4, 3)).astype(np.float32)
    return MeshSequence(
        tuple(f"f{i}" for i in range(count)), vertices, Mesh(vertices=vertices[0], faces=faces)
    )


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".npz", ".glb"])
def test_a_folder_comes_back_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    given = small(12)
    assert len(write_sequence(tmp_path, given, suffix)) == 12
    found = read_sequence(tmp_path)
    assert found.names == given.names  # f2 before f10
    assert np.allclose(found.vertices, given.vertices, atol=1e-6)
    assert np.array_equal(found.mesh.faces, given.mesh.faces)


def test_one_file_of_all_frames_comes_back(tmp_path: Path) -> None:
    given = small(3)
    assert np.array_equal(
        read_sequence(write_sequence_npz(tmp_path / "all.npz", given)).vertices, given.vertices
    )
    assert read_sequence(tmp_path).names == given.names  # a folder that holds nothing but that file


def test_morph_targets_are_frames(tmp_path: Path) -> None:
    given = small(3)
    targets = {"smile": given.vertices[1] - given.vertices[0], "frown": given.vertices[2] - given.vertices[0]}
    file = write_mesh(
        tmp_path / "a.glb", Mesh(vertices=given.vertices[0], faces=given.mesh.faces, morph_targets=targets)
    )
    found = read_sequence(file)
    assert found.names == ("face", "smile", "frown") and np.allclose(
        found.vertices, given.vertices, atol=1e-6
    )


def test_what_is_no_sequence_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="there is no"):
        read_sequence(tmp_path / "gone")
    with pytest.raises(AssetError, match="holds no meshes"):
        read_sequence(tmp_path)
    write_sequence(tmp_path, small(2), ".obj")
    triangle = Mesh(vertices=np.eye(3), faces=np.array([[0, 1, 2]]))
    write_mesh(tmp_path / "f2.obj", triangle)
    with pytest.raises(AssetError, match=r"f2\.obj has 3 vertices"):
        read_sequence(tmp_path)
    write_mesh(tmp_path / "f3.ply", triangle)
    with pytest.raises(AssetError, match="several kinds"):
        read_sequence(tmp_path)
    with pytest.raises(UnknownNameError, match="sequence format"):
        read_sequence(tmp_path / "f2.obj")
    np.savez(tmp_path / "bad.npz", vertices=np.zeros((2, 4, 3)))
    with pytest.raises(AssetError, match="needs arrays"):
        read_sequence(tmp_path / "bad.npz")
    with pytest.raises(UnknownNameError, match="mesh format"):
        write_sequence(tmp_path, small(1), "stl")


def test_a_rigid_performance_is_held_still(aligner: SkullStabilizer) -> None:
    motion = moves(9)
    still = head().v_template.expand(9, -1, -1)
    result = aligner.stabilize(motion.apply(still), 4)
    assert float((result.vertices - result.vertices[4]).abs().max()) < 1e-5
    assert torch.allclose(result.vertices[4], motion.apply(still)[4], atol=1e-6)  # the reference stays
    expected = motion[4:5] @ motion.inverse()
    assert float(distances(result.transforms, expected, motion.apply(still)).max()) < 0.02
    assert result.trusted.all() and float(result.consistency.max()) < 0.01
    assert result.reference == 4 and result.anchors[0] == 4 and len(set(result.anchors)) == 5


def test_a_performance_loses_its_head_motion(
    frames: tuple[MeshSequence, RigidTransform], aligner: SkullStabilizer
) -> None:
    sequence, motion = frames
    result = aligner.stabilize(sequence)
    true = motion[result.reference : result.reference + 1] @ motion.inverse()  # type: ignore[operator]
    cranium = regions(head()).cranium
    before = float(
        distances(RigidTransform.identity((12,)), true, torch.from_numpy(sequence.vertices))[
            :, cranium
        ].mean()
    )
    after = float(distances(result.transforms, true, torch.from_numpy(sequence.vertices))[:, cranium].mean())
    assert before > 15 and after < 3


def test_the_reference_may_be_a_mesh_of_its_own(
    frames: tuple[MeshSequence, RigidTransform], aligner: SkullStabilizer
) -> None:
    sequence, _ = frames
    away = moves(1, seed=3)
    neutral = away.apply(head().v_template[None])[0]
    result = aligner.stabilize(sequence, neutral, anchors=3)
    assert result.reference is None and len(result.anchors) == 2
    cranium = regions(head()).cranium
    assert float((result.vertices[:, cranium] - neutral[cranium]).norm(dim=-1).mean()) < 0.004


def test_stabilising_does_not_depend_on_where_the_frames_lie(
    frames: tuple[MeshSequence, RigidTransform],
) -> None:
    model, (sequence, _) = wild_model(), frames
    vertices = torch.from_numpy(sequence.vertices)
    first = model.stabilize(vertices, 0)
    moved = moves(12, seed=5).apply(vertices)
    second = model.stabilize(moved, 0)
    place = moves(12, seed=5)[0]
    assert float((place.apply(first.vertices) - second.vertices).norm(dim=-1).max()) < 1e-4
    assert torch.allclose(first.consistency, second.consistency, atol=0.02)


def test_a_frame_of_somebody_else_is_not_trusted(frames: tuple[MeshSequence, RigidTransform]) -> None:
    model, (sequence, _) = wild_model(seed=1), frames
    vertices = torch.from_numpy(sequence.vertices).clone()
    rng = torch.Generator().manual_seed(0)
    good = model.stabilize(vertices, 0, anchors=4).consistency
    vertices[7] += 0.02 * torch.randn(vertices.shape[1:], generator=rng)  # a registration gone wrong
    bad = model.stabilize(vertices, 0, anchors=4).consistency
    assert float(bad[7]) > 2 * float(good[7])


def test_a_bad_registration_is_not_trusted(
    aligner: SkullStabilizer, frames: tuple[MeshSequence, RigidTransform]
) -> None:
    vertices = torch.from_numpy(frames[0].vertices).clone()
    assert aligner.stabilize(vertices, 0).trusted.all()
    left = (head().v_template[:, 0] > 0).float()[:, None]
    vertices[7] += 0.012 * left * torch.tensor([0.0, 1.0, 0.0])  # half the face slid up
    result = aligner.stabilize(vertices, 0)
    assert float(result.rest[7]) > 3 and result.trusted.tolist() == [i != 7 for i in range(12)]


def test_one_way_is_no_agreement(
    aligner: SkullStabilizer, frames: tuple[MeshSequence, RigidTransform]
) -> None:
    result = aligner.stabilize(frames[0], anchors=1)
    assert result.consistency.isnan().all() and result.trusted.all()
    single = aligner.stabilize(torch.from_numpy(frames[0].vertices[:1]))
    assert torch.allclose(single.vertices, torch.from_numpy(frames[0].vertices[:1]), atol=1e-6)


def test_smoothing_takes_out_jitter_and_leaves_real_motion(
    frames: tuple[MeshSequence, RigidTransform],
) -> None:
    model = wild_model(seed=2)
    sequence, motion = performance(40)
    vertices = torch.from_numpy(sequence.vertices)
    rng = torch.Generator().manual_seed(1)
    noisy = vertices + 5e-4 * torch.randn(vertices.shape, generator=rng)

    def shake(smooth: int) -> float:
        found = model.stabilize(noisy, 0, anchors=1, smooth=smooth).transforms
        added = found @ motion  # nearly constant where stabilising works
        places = added.apply(head().v_template.expand(40, -1, -1))
        return float((places[2:] - 2 * places[1:-1] + places[:-2]).norm(dim=-1).mean())

    assert shake(9) < 0.8 * shake(0)
    for window in (4, 3, -5):
        with pytest.raises(InputError, match="odd number"):
            model.stabilize(noisy, smooth=window)


def test_bad_references_are_refused(
    aligner: SkullStabilizer, frames: tuple[MeshSequence, RigidTransform]
) -> None:
    with pytest.raises(InputError, match="there are 12 frames"):
        aligner.stabilize(frames[0], 12)
    with pytest.raises(InputError, match="at least 1"):
        aligner.stabilize(frames[0], anchors=0)
    with pytest.raises(InputError, match="one topology"):
        aligner.stabilize([frames[0].frame(0), small(1).mesh])


@pytest.fixture(scope="module")
def written(
    frames: tuple[MeshSequence, RigidTransform],
    aligner: SkullStabilizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a model and a folder of frames."""
    root = tmp_path_factory.mktemp("cli")
    aligner.save_pretrained(root / "model")
    some = MeshSequence(frames[0].names[:6], frames[0].vertices[:6], frames[0].mesh)
    write_sequence(root / "frames", some, ".ply")
    return root


def test_the_command_writes_meshes_motion_and_pictures(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = written / "out"
    command = [
        "stabilize",
        str(written / "frames"),
        "--out",
        str(out),
        "--model",
        str(written / "model"),
        "--device",
        "cpu",
    ]
    assert main([*command, "--reference", "frame2", "--format", "npz", "--anchors", "3"]) == 0
    assert "reference frame2" in capsys.readouterr().out
    motion = json.loads((out / "motion.json").read_text())
    assert [f["name"] for f in motion["frames"]] == [f"frame{i}" for i in range(6)]
    assert motion["reference"] == "frame2" and motion["frames"][2]["mm"] == pytest.approx(0, abs=1e-3)
    for frame in (0, 5):
        before = read_mesh(written / "frames" / f"frame{frame}.ply").vertices
        after = read_mesh(out / "meshes" / f"frame{frame}.npz").vertices
        matrix = np.array(motion["frames"][frame]["matrix"])
        assert np.allclose(before @ matrix[:3, :3].T + matrix[:3, 3], after, atol=1e-5)
    for name in ("before_after.png", "heat_map.png"):
        assert np.asarray(Image.open(out / name)).std() > 5


def test_the_command_refuses_what_is_not_there(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [
        "stabilize",
        str(written / "frames"),
        "--out",
        str(written / "no"),
        "--model",
        str(written / "model"),
    ]
    assert main([*base, "--reference", "frame99"]) == 2
    assert "no frame (frame0 ... frame5)" in capsys.readouterr().err
    assert main([*base[:1], str(written / "gone"), *base[2:]]) == 2
    assert main([*base[:-1], "dense-1609", "--device", "cpu"]) == 2
    assert "does not stabilise meshes" in capsys.readouterr().err
    assert not (written / "no").exists()


def test_pictures_show_what_moves() -> None:
    faces = head().topology.faces.numpy()
    still = head().v_template.expand(4, -1, -1).numpy()
    swaying = moves(4).apply(head().v_template.expand(4, -1, -1)).numpy()
    sheet = np.asarray(strip(swaying, still, faces, columns=4, side=60)).astype(int)
    top, bottom = sheet[18:78], sheet[96:156]
    tiles = [bottom[:, 60 * i : 60 * i + 60] for i in range(4)]
    assert all(np.array_equal(tiles[0], tile) for tile in tiles)
    assert np.abs(top[:, :60] - top[:, 60:120]).max() > 50
    heat = np.asarray(heat_map(swaying, still, faces, side=80)).astype(int)
    inside = heat[18 + 40, [40, 120]]
    assert inside[0][0] > inside[1][0] and inside[0][1] > inside[1][1]  # yellow moves, dark blue does not
