"""The Multiface reader on a small folder written in the published layout, and clips made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facezoo.data.readers.multiface import MultifaceReader, read_krt
from facezoo.errors import AssetError, UnknownNameError
from facezoo.evaluation.tracking_multiface import multiface_clips
from facezoo.metrics.ssme import ssme

SEQUENCES = {
    "E001_Neutral_Eyes_Open": ["000102", "000105", "000108"],
    "SEN_all_your_wishes": ["002001", "002004", "002007"],
}
SIZE = (96, 64)  # height, width
CORNERS = np.array(
    [[-60, -90, 0], [60, -90, 0], [-60, 90, 0], [60, 90, 0], [0, 0, 40]], np.float32
)  # millimetres
TRIANGLES = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def write_person(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Write one person; return what was written, by sequence and camera."""
    K = np.array([[150.0, 0, 32], [0, 150, 48], [0, 0, 1]])
    flip = np.diag([1.0, -1, -1])
    cameras = {
        "400002": np.hstack((flip, [[5.0], [3.0], [900.0]])),
        "400070": np.hstack((flip @ turn(0.4), [[0.0], [0.0], [950.0]])),
    }
    blocks = []
    for name, pose in cameras.items():
        rows = [*K, np.zeros(5), *pose]
        blocks.append("\n".join([name, *(" ".join(f"{v:.9g}" for v in row) for row in rows)]) + "\n\n")
    root.mkdir(parents=True)
    (root / "KRT").write_text("".join(blocks))
    lines, truth = [], {}
    for s, (sequence, frames) in enumerate(SEQUENCES.items()):
        meshes = root / "tracked_mesh" / sequence
        meshes.mkdir(parents=True)
        for i, frame in enumerate(frames):
            lines.append(f"{sequence} {frame}")
            own = CORNERS + np.float32(i)
            pose = np.hstack((turn(0.1 * i), [[4.0 * i], [2.0], [-3.0 * s]]))
            own.tofile(meshes / f"{frame}.bin")
            np.savetxt(meshes / f"{frame}_transform.txt", pose)
            text = [f"v {x} {y} {z}" for x, y, z in own] + ["vt 0 0"]
            text += ["f " + " ".join(f"{v + 1}/1" for v in face) for face in TRIANGLES]
            (meshes / f"{frame}.obj").write_text("\n".join(text) + "\n")
            for name, camera in cameras.items():
                folder = root / "images" / sequence / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", SIZE[::-1], (90 + 40 * i, 80, 70)).save(folder / f"{frame}.png")
                # the authors' own way to a picture: intrin @ [R_C R_f | R_C t_f + t_C], in millimetres
                M = K @ np.hstack(
                    (camera[:, :3] @ pose[:, :3], (camera[:, :3] @ pose[:, 3] + camera[:, 3])[:, None])
                )
                uvw = np.hstack((own, np.ones((5, 1)))) @ M.T
                truth.setdefault(sequence, {}).setdefault(name, []).append(uvw[:, :2] / uvw[:, 2:])
    (root / "frame_list.txt").write_text("\n".join([*lines, "E099_Never_Tracked 000001"]) + "\n")
    return {s: {c: np.stack(v) for c, v in views.items()} for s, views in truth.items()}


def test_meshes_project_where_the_authors_matrices_put_them(tmp_path: Path) -> None:
    truth = write_person(tmp_path / "m")
    reader = MultifaceReader(tmp_path / "m")
    assert reader.sequences == SEQUENCES and list(reader.cameras) == ["400002", "400070"]
    np.testing.assert_array_equal(np.sort(reader.faces.numpy(), 1), np.sort(TRIANGLES, 1))
    for sequence, views in truth.items():
        for camera, pixels in views.items():
            frames = reader.frames(sequence, camera)
            assert frames == SEQUENCES[sequence]
            for frame, want in zip(frames, pixels, strict=True):
                point = reader.seen(sequence, frame, camera)
                assert 0.8 < float(point[:, 2].mean()) < 1.0  # metres before the camera
                uvw = point @ reader.cameras[camera].K.mT
                np.testing.assert_allclose((uvw[:, :2] / uvw[:, 2:]).numpy(), want, atol=1e-3)
    with pytest.raises(UnknownNameError, match="400002"):
        reader.frames("E001_Neutral_Eyes_Open", "400003")


def test_clips_scale_pictures_and_cameras_alike(tmp_path: Path) -> None:
    truth = write_person(tmp_path / "m")
    np.savez(tmp_path / "areas.npz", face=np.arange(5), nose=np.array([0, 1, 4]))
    clips = list(multiface_clips(tmp_path / "m", ["SEN_all_your_wishes"], ["400002", "400070"], side=48,
                                 regions=tmp_path / "areas.npz"))  # fmt: skip
    assert [clip.name for clip in clips] == ["SEN_all_your_wishes/400002", "SEN_all_your_wishes/400070"]
    for clip, camera in zip(clips, ("400002", "400070"), strict=True):
        assert clip.size == (48, 32) and clip.kind == "SEN" and len(clip.images) == 3
        assert (
            np.asarray(clip.images[1]).shape == (48, 32, 3)
            and int(np.asarray(clip.images[1])[5, 5, 0]) == 130
        )
        pixels = torch.stack([clip.truth.project(clip.truth.vertices[t], t) for t in range(3)])
        np.testing.assert_allclose(pixels.numpy(), truth["SEN_all_your_wishes"][camera] / 2, atol=1e-3)
        got = ssme(clip.truth, clip.truth, clip.size, [1, 2], clip.regions)
        assert got.mean < 1e-3 and got.coverage == 1.0 and set(got.regions) == {"face", "nose"}
    whole = next(multiface_clips(tmp_path / "m"))
    assert whole.size == SIZE and len(whole.regions["face"]) == 5


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="KRT"):
        MultifaceReader(tmp_path)
    write_person(tmp_path / "m")
    reader = MultifaceReader(tmp_path / "m")
    (tmp_path / "m" / "tracked_mesh" / "SEN_all_your_wishes" / "002004.bin").write_bytes(b"\0" * 24)
    with pytest.raises(AssetError, match="2 vertices"):
        reader.vertices("SEN_all_your_wishes", "002004")
    text = (tmp_path / "m" / "KRT").read_text()
    (tmp_path / "short").write_text(text.rpartition("\n0 0 0")[0][:-40])
    with pytest.raises(AssetError, match="KRT file"):
        read_krt(tmp_path / "short")
    np.savez(tmp_path / "areas.npz", face=np.array([7]))
    with pytest.raises(AssetError, match="below 5"):
        next(multiface_clips(tmp_path / "m", regions=tmp_path / "areas.npz"))
