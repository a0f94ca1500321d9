"""The released checkpoint becomes a model folder: a file of its layout, about a small face model in micrometres."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aflw_files import VERTICES, face_model, whitening, write_face_model
from synergynet_official import PACK, official_state

from facezoo.cli import main as cli
from facezoo.errors import AssetError
from facezoo.heads.bfm import add_bfm
from facezoo.models.synergynet.__main__ import main
from facezoo.models.synergynet.convert import read_checkpoint
from facezoo.models.synergynet.predict import SynergyFaces


@pytest.fixture(scope="module")
def model():
    return face_model(np.random.default_rng(0))


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Return best.pth.tar and the head that the user's files made."""
    if not PACK.exists():
        pytest.skip(f"parity pack synergynet is not at {PACK}")
    folder = tmp_path_factory.mktemp("official")
    write_face_model(folder / "3dmm_data", model)
    mean, std = whitening()
    state = official_state() | {
        "param_mean": torch.from_numpy(mean), "param_std": torch.from_numpy(std),
        "u": torch.zeros(3 * VERTICES, 1), "w_shp": torch.zeros(3 * VERTICES, 40),
        "w_exp": torch.zeros(3 * VERTICES, 10),
        "u_base": torch.zeros(204, 1), "w_shp_base": torch.zeros(204, 40), "w_exp_base": torch.zeros(204, 10),
    }  # fmt: skip
    path = folder / "best.pth.tar"
    torch.save({"epoch": 80, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return path, add_bfm(folder / "3dmm_data", cache_dir=folder)


def test_converted_weights_compute_in_the_files_units(model, files, tmp_path, capsys):
    checkpoint, head = files
    assert main(["convert", f"checkpoint={checkpoint}", f"head={head}", f"out={tmp_path / 'out'}"]) == 0
    network = SynergyFaces.from_pretrained(tmp_path / "out")
    params = torch.randn(2, 62, generator=torch.Generator().manual_seed(0)) * 0.5
    mean, std = whitening()
    found = network.net.space.reconstruct(params).numpy()
    for i in range(2):  # by the published formulas, in micrometres
        raw = params[i].double().numpy() * std + mean
        S = (
            model["u_shp"] + model["w_shp_sim"] @ raw[12:52, None] + model["w_exp_sim"] @ raw[52:, None]
        ).reshape(-1, 3)
        P = raw[:12].reshape(3, 4)
        V = S[model["keypoints_sim"][::3] // 3] @ P[:, :3].T + P[:, 3]
        V[:, 1] = 121 - V[:, 1]
        np.testing.assert_allclose(found[i], V, atol=2e-3)
    stored = {tuple(v.shape) for v in network.state_dict().values()}
    assert (3 * VERTICES, 40) not in stored and (
        VERTICES,
        3,
        50,
    ) not in stored  # the basis stays with the user
    capsys.readouterr()
    face = network.predict(np.zeros((200, 200, 3), np.uint8), boxes=[50, 50, 150, 150])[0]
    assert face.head_id == network.net.space.head.head_id and set(face.landmarks) >= {"ibug68", "ibug68_3dmm"}
    assert torch.equal(face.landmarks["ibug68"], face.landmarks["ibug68_3dmm"])  # no refinement at test time


def test_what_is_no_checkpoint_is_refused(files, tmp_path, capsys):
    checkpoint, head = files
    (tmp_path / "bad.pth.tar").write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(AssetError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "bad.pth.tar")
    torch.save({"state_dict": {"module.x": torch.zeros(1)}}, tmp_path / "other.pth.tar")
    assert (
        main(["convert", f"checkpoint={tmp_path / 'other.pth.tar'}", f"head={head}", f"out={tmp_path}"]) == 2
    )
    assert "no SynergyNet checkpoint" in capsys.readouterr().err
    assert main(["convert", "checkpoint=x"]) == 2
    assert "head=" in capsys.readouterr().err


def test_whiten_command(tmp_path, capsys):
    assert main(["whiten", "head=open-v1", f"out={tmp_path / 'w.safetensors'}", "people=60"]) == 0
    text = capsys.readouterr().out
    assert "shape" in text and "30:" in text and (tmp_path / "w.safetensors").is_file()
    assert main(["whiten", "heads=open-v1"]) == 2
    assert "Did you mean 'head'?" in capsys.readouterr().err


@pytest.mark.slow
def test_bench_command_names_every_way(tmp_path, capsys):
    from synergynet_fakes import tiny_config, write_landmark_head

    from facezoo.evaluation.synergynet_bench import bench_synergynet
    from facezoo.models.synergynet.module import SynergyModel

    SynergyModel(tiny_config(write_landmark_head(tmp_path))).save_pretrained(tmp_path / "tiny")
    rows = bench_synergynet(str(tmp_path / "tiny"), "cpu", 0.05)["images/s"]
    ways = {row["way"] for row in rows}
    assert ways == {
        "cpu eager", "cpu channels-last", "cpu channels-last, dense mesh", "cpu compiled", "cpu ONNX"
    }  # fmt: skip
    for row in rows:
        assert isinstance(row["images/s"], str) or row["images/s"] > 0
    assert all(isinstance(r["images/s"], float) for r in rows if "eager" in r["way"] or "mesh" in r["way"])
    assert cli(["bench", "synergynet", "--model", "dense-1609.open-v1", "--device", "cpu"]) == 2
    assert "is no SynergyNet" in capsys.readouterr().err
