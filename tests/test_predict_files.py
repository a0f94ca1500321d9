"""Faces as files: every format, whole or not at all, and the numbers in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from predict_fakes import picture, tight_toy_box, toy_model

from facezoo.errors import InputError, UnknownNameError
from facezoo.heads import HeadParams, load_head
from facezoo.mesh.io import read_glb, read_mesh
from facezoo.types import Face, Prediction
from facezoo.viz import save as save_module
from facezoo.viz.overlay import STYLES, confidence_colour


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    model = toy_model(tmp_path_factory.mktemp("toy"))
    boxes = [tight_toy_box(), [2.0, 2, 20, 22]]
    prediction = model.predict(picture(), boxes=boxes)
    prediction.source = "folder/photo.one.jpg"
    return prediction


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_meshes_read_back(found: Prediction, tmp_path: Path, suffix: str) -> None:
    face = found[0]
    path = face.save(tmp_path / f"face{suffix}")
    assert face.vertices is not None
    assert face.head is not None
    mesh = read_mesh(path)
    assert np.allclose(mesh.vertices, face.vertices, atol=1e-6)
    assert np.array_equal(mesh.faces, face.head.topology.faces)


def test_a_glb_carries_every_expression_by_name(found: Prediction, tmp_path: Path) -> None:
    face = found[0]
    assert face.params is not None
    assert face.head is not None
    mesh = read_glb(face.save(tmp_path / "face.glb"))
    assert list(mesh.morph_targets) == ["browLeft", "browRight", "pout"]
    expression = face.params.expression
    assert expression is not None
    more = expression + torch.tensor([[0.0, 0.7, 0.0]])
    rest = {name: value for name, value in face.params.items() if name != "expression"}
    wanted = face.head(HeadParams(expression=more, **rest)).vertices[0]
    assert np.allclose(mesh.vertices + 0.7 * mesh.morph_targets["browRight"], wanted, atol=1e-6)


def test_the_jaw_is_a_morph_target_too(tmp_path: Path) -> None:
    head = load_head("open-v1")
    params = HeadParams(identity=torch.zeros(1, head.n_identity), jaw=torch.tensor([[0.05, 0.0, 0.0]]))
    face = Face(
        torch.tensor([0.0, 0, 9, 9]),
        1.0,
        {},
        head_id="open-v1",
        params=params,
        vertices=head(params).vertices[0],
    )
    mesh = face.mesh()
    assert set(mesh.morph_targets) >= {*head.params["expression"].names, "jawOpen"}
    joint, axis, degrees = head.meta["joint_shapes"]["jawOpen"]
    assert (joint, axis) == ("jaw", 0)
    opened = torch.tensor([[0.05 + np.deg2rad(degrees), 0.0, 0.0]]).float()
    wanted = head(HeadParams(identity=params.identity, jaw=opened)).vertices[0]
    assert np.allclose(mesh.vertices + mesh.morph_targets["jawOpen"], wanted, atol=1e-6)


def test_usda_is_text(found: Prediction, tmp_path: Path) -> None:
    assert found[0].save(tmp_path / "face.usda").read_text().startswith("#usda 1.0")


def test_npz_holds_every_array(found: Prediction, tmp_path: Path) -> None:
    face = found[0]
    with np.load(face.save(tmp_path / "face.npz"), allow_pickle=False) as arrays:
        assert face.vertices is not None
        assert face.camera is not None
        assert np.array_equal(arrays["vertices"], face.vertices)
        assert np.array_equal(arrays["landmarks.dense"], face.landmarks["dense"])
        assert np.array_equal(arrays["camera.K"], face.camera.K)
        assert arrays["params.identity"].shape == (3,)
        assert str(arrays["head_id"]) == "toy"


def test_json_holds_what_a_program_needs(found: Prediction, tmp_path: Path) -> None:
    face = found[0]
    values = json.loads(face.save(tmp_path / "face.json").read_text())
    assert values["head_id"] == "toy"
    assert np.allclose(values["landmarks"]["ibug68"], face.landmarks["ibug68"], rtol=1e-5)
    camera = values["camera"]
    assert face.camera is not None
    assert face.vertices is not None
    # the file alone is enough to put the mesh on the picture
    xyz = face.vertices.numpy() @ np.array(camera["R"]).T + np.array(camera["t"])
    uv = xyz @ np.array(camera["K"]).T
    assert np.allclose(uv[:, :2] / uv[:, 2:], face.camera.project(face.vertices), atol=1e-2)
    assert face.pose is not None
    assert values["pose_deg"]["yaw"] == pytest.approx(face.pose.yaw, abs=1e-3)
    assert values["fit"]["converged"] is True


def test_upper_case_suffixes_and_new_folders_work(found: Prediction, tmp_path: Path) -> None:
    assert found[0].save(tmp_path / "new" / "deep" / "FACE.PLY").is_file()


@pytest.mark.parametrize("name", ["face.stl", "face", "face.glbx"])
def test_an_unknown_suffix_lists_the_known(found: Prediction, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"\.glb"):
        found[0].save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_landmarks_alone_have_no_mesh_but_numbers(tmp_path: Path) -> None:
    face = Face(torch.tensor([0.0, 0, 9, 9]), 0.5, {"ibug68": torch.rand(68, 2) * 9})
    assert face.pose is None
    with pytest.raises(InputError, match=r"no mesh|no head"):
        face.save(tmp_path / "face.glb")
    assert list(tmp_path.iterdir()) == []
    assert json.loads(face.save(tmp_path / "face.json").read_text())["camera"] is None
    assert face.overlay(picture()).size[0] % 96 == 0


def test_a_prediction_writes_overlay_numbers_and_meshes(found: Prediction, tmp_path: Path) -> None:
    files = found.save(tmp_path / "out", formats=("glb", "obj"))
    names = {path.name for path in files}
    assert names == {
        "photo.one.json", "photo.one_overlay.png", "photo.one_0.glb", "photo.one_0.obj", "photo.one_1.glb",
        "photo.one_1.obj",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    values = json.loads((tmp_path / "out" / "photo.one.json").read_text())
    assert len(values["faces"]) == 2
    assert values["image_size"] == [96, 96]


def test_an_error_half_way_leaves_nothing(
    found: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail_the_second_time(face: Face, path: Path, image: object) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise InputError("no more")
        return path

    monkeypatch.setattr(save_module, "save_face", fail_the_second_time)
    with pytest.raises(InputError, match="no more"):
        found.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(found: Prediction, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for call in (
        lambda: found.save(tmp_path / "file"),
        lambda: found[0].save(tmp_path / "file" / "face.glb"),
    ):
        with pytest.raises(InputError, match=r"cannot write"):
            call()
    with pytest.raises(UnknownNameError, match="stl"):
        found.save(tmp_path / "out", formats=("stl",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_on_the_face_only(found: Prediction, style: str) -> None:
    drawn = np.asarray(found.overlay(style, scale=1))
    assert drawn.shape == (96, 96, 3)
    changed = (drawn != found.image).any(-1)
    assert changed.any()
    assert not changed[92:, 92:].any()


def test_drawing_is_in_the_right_place(found: Prediction) -> None:
    for scale in (1, 3):
        drawn = np.asarray(
            Prediction(found.faces[:1], np.zeros_like(found.image)).overlay("landmarks", scale=scale)
        )
        points = (found[0].landmarks["ibug68"] * scale).long()
        lit = sum(bool(drawn[y, x].any()) for x, y in points.tolist())
        assert lit == 68


def test_an_unknown_style_names_the_known(found: Prediction) -> None:
    with pytest.raises(UnknownNameError, match="mesh"):
        found.overlay("meshes")


def test_confidence_runs_from_red_to_green() -> None:
    low, high = confidence_colour(0.0), confidence_colour(1.0)
    assert low[0] > low[1]
    assert high[1] > high[0]
    reds = [confidence_colour(value)[0] for value in np.linspace(0.96, 1, 9)]
    assert reds == sorted(reds, reverse=True)


def test_a_notebook_shows_the_picture(found: Prediction) -> None:
    assert found._repr_png_().startswith(b"\x89PNG\r\n")


def test_faces_slice_and_count(found: Prediction) -> None:
    assert len(found) == 2
    assert found[-1] is found.faces[1]
    assert found[:1] == found.faces[:1]
    with pytest.raises(IndexError, match="2 faces found"):
        found[2]
