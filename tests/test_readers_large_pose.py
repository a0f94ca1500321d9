"""Readers of AFLW2000-3D, 300W-LP, AFLW and 3DDFA's packing on small data sets of the same format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from aflw_files import face_model, whitening, write_face_model, write_pictures
from PIL import Image
from scipy.io import savemat

from facezoo.data.pack_300wlp import main as pack
from facezoo.data.readers import open_reader
from facezoo.data.readers.aflw21 import GROUPS, to_21
from facezoo.data.readers.w3ddfa import PackedCrops
from facezoo.data.shards import FIELDS, ShardFolder
from facezoo.errors import AssetError
from facezoo.geometry.rotations import matrix_to_euler
from facezoo.heads import load_head
from facezoo.heads.bfm import add_bfm

ANGLES = [(5.0, 20.0, -10.0), (-15.0, -50.0, 5.0), (0.0, 75.0, 30.0)]


@pytest.fixture(scope="module")
def model():
    return face_model(np.random.default_rng(0))


@pytest.fixture(scope="module")
def bfm(model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("bfm")
    write_face_model(folder / "3dmm_data", model)
    return str(add_bfm(folder / "3dmm_data", cache_dir=folder))


def test_aflw2000_points_pose_and_second_labels(model, tmp_path):
    truth = write_pictures(tmp_path, model, ANGLES)
    original = np.stack([t.points for t in truth]).astype(np.float32)
    order = [2, 0, 1]
    np.save(tmp_path / "AFLW2000-3D.pts68.npy", original[order])
    np.save(tmp_path / "AFLW2000-3D-Reannotated.pts68.npy", original[order, :2] + 3)
    (tmp_path / "AFLW2000-3D_crop.list").write_text("".join(f"{truth[i].name}.jpg\n" for i in order))
    reader = open_reader("aflw2000", tmp_path)
    assert len(reader) == 3
    for i, (pitch, yaw, roll) in enumerate(ANGLES):
        sample = reader[i]
        wanted = torch.from_numpy(
            truth[i].points[:2].T - 0.5
        ).float()  # files count from 1, centres lie at .5
        torch.testing.assert_close(sample.labels["original"], wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(sample.labels["reannotated"], wanted + 3, atol=1e-3, rtol=0)
        assert sample.yaw_deg == pytest.approx(yaw, abs=1e-4)
        assert sample.pose_deg.tolist() == pytest.approx([yaw, pitch, roll], abs=1e-4)
        assert sample.path.is_file()


def test_aflw2000_rows_of_another_order_are_noticed(model, tmp_path):
    truth = write_pictures(tmp_path, model, ANGLES)
    np.save(
        tmp_path / "AFLW2000-3D.pts68.npy", np.stack([truth[i].points for i in (2, 0, 1)]).astype(np.float32)
    )
    reader = open_reader("aflw2000", tmp_path)
    with pytest.raises(AssetError, match=r"row 0 is not image00000.*crop\.list"):
        reader[0]


def test_damaged_label_files_are_named(model, tmp_path):
    write_pictures(tmp_path, model, ANGLES[:1])
    reader = open_reader("aflw2000", tmp_path)
    (tmp_path / "image00000.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(AssetError, match=r"image00000\.mat cannot be read as a MATLAB file"):
        reader[0]
    savemat(tmp_path / "image00000.mat", {"pt2d": np.zeros((2, 21))})
    with pytest.raises(AssetError, match="lacks Pose_Para, Shape_Para, Exp_Para"):
        reader[0]
    with pytest.raises(AssetError, match="does not hold AFLW2000-3D"):
        open_reader("aflw2000", tmp_path / "empty")


def test_300wlp_folders_and_separate_landmarks(model, tmp_path):
    truth = write_pictures(tmp_path / "AFW", model, ANGLES[:2], points=False)
    pts = tmp_path / "landmarks" / "AFW"
    pts.mkdir(parents=True)
    savemat(
        pts / f"{truth[1].name}_pts.mat",
        {"pts_3d": truth[1].points[:2].T + 1, "pts_2d": truth[1].points[:2].T},
    )
    reader = open_reader("300w-lp", tmp_path)
    assert len(reader) == 2  # the _pts.mat is no picture
    first, second = reader[0], reader[1]
    assert set(first.labels) == {"contour"}
    assert set(second.labels) == {"original", "contour"}
    torch.testing.assert_close(second.labels["original"], second.labels["contour"] + 1, atol=1e-3, rtol=0)


def test_aflw_groups_and_visibility(tmp_path):
    rng = np.random.default_rng(0)
    names, count = ["a.jpg", "b.jpg"], 2
    (tmp_path / "test.data" / "AFLW_GT_crop").mkdir(parents=True)
    (tmp_path / "test.configs").mkdir()
    for name in names:
        Image.fromarray(np.zeros((120, 120, 3), np.uint8)).save(
            tmp_path / "test.data" / "AFLW_GT_crop" / name
        )
    (tmp_path / "test.data" / "AFLW_GT_crop.list").write_text("\n".join(names))
    points = rng.uniform(100, 300, (count, 2, 68))
    visible = rng.random((count, 21)) < 0.7
    mean = np.stack([points[:, :, list(g)].mean(2) for g in GROUPS], 2)
    roi = np.array([[90.0, 80, 330, 320], [50, 60, 350, 360]])
    tables = {
        "yaws": rng.uniform(-90, 90, count), "roi_box": roi, "pts68": points,
        "pts21": np.where(visible[:, None], mean, -1.0),
    }  # fmt: skip
    for key, value in tables.items():
        name = f"AFLW_GT_crop_{key}.npy" if key in ("yaws", "roi_box") else f"AFLW_GT_{key}.npy"
        np.save(tmp_path / "test.configs" / name, value.astype(np.float32))
    reader = open_reader("aflw", tmp_path)
    for i in range(count):
        sample = reader[i]
        assert sample.visible21.tolist() == visible[i].tolist()
        own = to_21(sample.labels["original"])[sample.visible21]
        torch.testing.assert_close(own, sample.points21[sample.visible21], atol=1e-3, rtol=0)
        x0, _, x1, _ = roi[i]
        assert float(sample.labels["original"][0, 0]) == pytest.approx(
            (points[i, 0, 0] - x0) * 120 / (x1 - x0) - 0.5, abs=1e-3
        )
    np.save(tmp_path / "test.configs" / "AFLW_GT_pts21.npy", np.zeros((3, 2, 21)))
    with pytest.raises(AssetError, match=r"AFLW_GT_pts21\.npy has shape"):
        open_reader("aflw", tmp_path)


def test_raw_300wlp_becomes_shards(model, bfm, tmp_path):
    truth = write_pictures(tmp_path / "AFW", model, ANGLES, points=False)
    assert pack([f"root={tmp_path}", f"out={tmp_path / 'out'}", f"head={bfm}"]) == 0
    folder = ShardFolder(tmp_path / "out")
    assert len(folder) == 3 and folder.meta["head_id"] == load_head(bfm).head_id
    batch = folder.read(range(3), tuple(FIELDS))
    for i, (pitch, yaw, roll) in enumerate(ANGLES):
        points = torch.from_numpy(truth[i].points[:2].T - 0.5).float()
        box = torch.cat([points.amin(0), points.amax(0)])
        side = 2 * (box[2:] - box[:2]).prod().sqrt()
        stored = (points - (box[:2] + box[2:]) / 2 + side / 2) * 176 / side
        torch.testing.assert_close(batch["lm68"][i], stored, atol=0.05, rtol=0)
        # the stored camera shows the stored head where the labels are
        head = load_head(bfm)
        from facezoo.heads import HeadParams

        params = HeadParams(identity=batch["identity"][i : i + 1], expression=batch["expression"][i : i + 1])
        camera = head.landmarks(head(params).vertices, "ibug68")[0] @ batch["R"][i].mT + batch["t"][i]
        pixel = camera @ batch["K"][i].mT
        assert float((pixel[:, :2] / pixel[:, 2:] - stored).abs().max()) < 1.0  # 10 m away, not orthographic
        angles = matrix_to_euler(torch.diag(torch.tensor([1.0, -1, -1])) @ batch["R"][i])
        assert torch.rad2deg(torch.stack(angles)).tolist() == pytest.approx([yaw, pitch, roll], abs=1e-2)


def test_3ddfa_packing(model, bfm, tmp_path):
    mean, std = whitening()
    rng = np.random.default_rng(3)
    params = rng.normal(size=(2, 101)).astype(np.float32) * 0.3
    params[:, :12] = 0
    crops = tmp_path / "crops"
    crops.mkdir()
    for name in ("x.jpg", "y.jpg"):
        Image.fromarray(rng.integers(0, 255, (120, 120, 3)).astype(np.uint8)).save(crops / name)
    (tmp_path / "list").write_text("x.jpg\ny.jpg\n")
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(params, 2))
    (tmp_path / "white.pkl").write_bytes(pickle.dumps({"param_mean": mean, "param_std": std}, 2))
    files = [crops, tmp_path / "list", tmp_path / "params.pkl", tmp_path / "white.pkl"]
    packed = PackedCrops(*files)
    np.testing.assert_allclose(packed[1].pose, mean[:12].reshape(3, 4), rtol=1e-6)
    np.testing.assert_allclose(packed[1].shape, params[1, 12:52] * std[12:52], rtol=1e-5)
    given = [f"{k}={v}" for k, v in zip(("crops", "list", "params", "whitening"), files, strict=True)]
    assert pack([*given, f"out={tmp_path / 'out'}", f"head={bfm}"]) == 0
    batch = ShardFolder(tmp_path / "out").read([0, 1], tuple(FIELDS))
    # straight from the formula: V = P S + t, y = 121 - V_y, pixels from 1
    raw = params[1, :62] * std + mean
    S = (
        model["u_shp"] + model["w_shp_sim"] @ raw[12:52, None] + model["w_exp_sim"] @ raw[52:, None]
    ).reshape(-1, 3)
    moved = S[model["keypoints_sim"][::3] // 3] @ raw[:12].reshape(3, 4)[:, :3].T + raw[[3, 7, 11]]
    wanted = np.stack([moved[:, 0], 121 - moved[:, 1]], 1) - 0.5
    np.testing.assert_allclose(batch["lm68"][1].numpy(), wanted, atol=0.02)
    (tmp_path / "list").write_text("x.jpg\n")
    with pytest.raises(AssetError, match=r"2 rows but .* 1 lines"):
        PackedCrops(*files)


class Boom:
    """What a hostile pickle would hold."""

    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_runs_code_is_refused(bfm, tmp_path, capsys):
    (tmp_path / "list").write_text("x.jpg\n")
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(Boom(), 2))
    (tmp_path / "white.pkl").write_bytes(
        pickle.dumps({"param_mean": np.zeros(62), "param_std": np.ones(62)}, 2)
    )
    with pytest.raises(AssetError):
        PackedCrops(tmp_path, tmp_path / "list", tmp_path / "params.pkl", tmp_path / "white.pkl")
    assert "executed" not in capsys.readouterr().out


def test_bfm_head_and_its_errors(model, bfm, tmp_path):
    head = load_head(bfm)
    points = head.landmarks(head.v_template[None], "ibug68")[0].numpy()
    wanted = model["u_shp"].reshape(-1, 3)[model["keypoints_sim"][::3] // 3] * 1e-6
    np.testing.assert_allclose(points, wanted, atol=1e-6)
    assert "academic" in head.licence
    with pytest.raises(AssetError, match=r"u_shp\.npy cannot be read.*3dmm_data"):
        add_bfm(tmp_path)
