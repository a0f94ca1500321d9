"""What users get from DECA: every file of a face, the transfer strip, scores of the relief."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_deca_net import SMALL

from facezoo.errors import InputError
from facezoo.evaluation.deca_ablation import table
from facezoo.evaluation.relief import MEAN, NONE, OTHER, OWN, SAME, TRUTH, evaluate_relief
from facezoo.evaluation.relief_picture import draw_relief
from facezoo.mesh import read_mesh
from facezoo.models.deca.__main__ import main
from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.outputs import HEIGHT, height_picture, write_outputs
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.strip import photo, tile, transfer_strip

CAMERA = slice(205, 208)


@pytest.fixture(scope="module")
def model() -> Deca:
    torch.manual_seed(0)
    config = DecaConfig(**{**SMALL, "detail_rank": 2, "detail_channels": [4] * 4, "max_displacement": 0.002})
    model = Deca(config).eval()
    with torch.no_grad():
        model.net.codes_std.fill_(0.1)
        model.net.codes_mean[CAMERA] = torch.tensor([8.0, 0, 0])
        model.net.codes_std[CAMERA] = 0.02
        model.net.codes_mean[-27:-24] = 2.8
    return model


@pytest.fixture(scope="module")
def wrinkled(model: Deca) -> Deca:
    """The same with horizontal lines."""
    other = Deca(model.config).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.net.decoder.basis[:] = 1e-3 * torch.sin(torch.arange(64.0) * torch.pi / 2)[:, None]
        other.net.decoder.layers[-1].bias[:] = 1.0
    return other


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (90, 120, 3), dtype=np.uint8)


BOX = torch.tensor([30.0, 20, 90, 80])


def test_every_output_is_written_and_can_be_read(wrinkled: Deca, picture: np.ndarray, tmp_path: Path) -> None:
    face = wrinkled.predict(picture, boxes=BOX)[0]
    written = {path.name for path in write_outputs(wrinkled, face, picture, tmp_path, levels=1)}
    assert written == {
        "face.glb", "face.obj", "face.npz", "albedo.png", "detailed.glb", "detailed.obj", "normals.png",
        "displacement.png",
    }  # fmt: skip
    assert {"face.mtl", "detailed.mtl"} <= {path.name for path in tmp_path.iterdir()}
    head = wrinkled.net.space.head
    coarse, detailed = (read_mesh(tmp_path / f"{name}.glb") for name in ("face", "detailed"))
    assert len(coarse.faces) == len(head.topology.faces) and len(detailed.faces) == 4 * len(coarse.faces)
    assert coarse.morph_targets and coarse.texture is not None and coarse.texture.shape == (512, 512, 3)
    np.testing.assert_array_equal(coarse.texture, wrinkled.texture(face, picture))
    assert b"normalTexture" in (tmp_path / "face.glb").read_bytes()
    assert b"normalTexture" not in (tmp_path / "detailed.glb").read_bytes()  # its geometry has it already
    levels = np.asarray(Image.open(tmp_path / "displacement.png")).astype(float)
    stored = (levels / 65535 * 2 - 1) * HEIGHT
    np.testing.assert_allclose(stored, face.detail["displacement"][0].numpy(), atol=2e-7)
    assert np.abs(stored).max() > 1e-3
    normals = np.asarray(Image.open(tmp_path / "normals.png")).astype(int)
    assert normals[0, 0].tolist() == [128, 128, 255]  # nothing there, or flat
    red, green = np.abs(normals[..., :2] - 128).reshape(-1, 2).T
    assert np.median(green[green > 20]) > 3 * np.median(red[green > 20])  # lines run across
    arrays = np.load(tmp_path / "face.npz")
    assert arrays["detail.light"].shape == (9, 3) and arrays["detail.displacement"].shape == (1, 64, 64)


def test_height_pictures_keep_sign_and_limits() -> None:
    given = np.array([[0, HEIGHT, -HEIGHT, 2 * HEIGHT]], np.float32)
    levels = np.asarray(Image.open(io.BytesIO(height_picture(given))))
    assert levels.tolist() == [[32768, 65535, 0, 65535]]


def test_tiles_show_relief_in_the_photo_s_frame(wrinkled: Deca, picture: np.ndarray) -> None:
    face = wrinkled.predict(picture, boxes=BOX)[0]
    fine, flat = (tile(wrinkled, face, detailed, size=96).astype(float) for detailed in (True, False))
    head = (flat < 255).all(-1)
    assert 0.2 < head.mean() < 0.9
    np.testing.assert_array_equal(head, (fine < 255).all(-1))  # relief shades, it moves nothing
    assert np.abs(fine - flat)[head].mean() > 2
    assert photo(picture, face, 96).shape == (96, 96, 3)
    opened = wrinkled.animate(face, jaw=[0.4, 0, 0])
    lower = np.abs(tile(wrinkled, opened, frame=face, size=96).astype(float) - fine).mean((1, 2))
    assert lower[60:].mean() > 4 * lower[:40].mean()  # the jaw moved, the brow did not


def test_strip_wants_detail_and_faces(model: Deca, picture: np.ndarray, tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match="no face found"):
        transfer_strip(model, picture, picture)
    coarse = Deca(DecaConfig(**{**SMALL, "detail": 0}))
    with pytest.raises(InputError, match="recipe deca-detail"):
        transfer_strip(coarse, picture, picture)
    assert main(["transfer", "source=a.jpg", "target=b.jpg"]) == 2
    assert "out=strip.png" in capsys.readouterr().err
    assert main(["transfer", "source=a.jpg", "target=b.jpg", "out=s.png", "model=dense-1609"]) == 2
    assert "no DECA model" in capsys.readouterr().err


@pytest.mark.slow
def test_transfer_command_writes_a_strip(wrinkled: Deca, tmp_path: Path) -> None:
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    wrinkled.save_pretrained(tmp_path / "model")
    words = [f"{name}={tmp_path / 'a.png'}" for name in ("source", "target")]
    assert main(["transfer", *words, f"out={tmp_path / 's.png'}", f"model={tmp_path / 'model'}"]) == 0
    assert Image.open(tmp_path / "s.png").size == (5 * 256, 3 * (256 + 18))


def test_scores_of_a_model_without_wrinkles_are_those_of_none(model: Deca) -> None:
    report = evaluate_relief(model, 2, size=96)
    assert (report.people, report.pictures) == (2, 4)
    for way in (OWN, SAME, OTHER):
        np.testing.assert_equal(
            tuple(report.alone[way]), tuple(report.alone[NONE])
        )  # no fold may be in view: NaN
    none, mean = report.alone[NONE], report.alone[MEAN]
    assert 0.3 < none.normal < 20 and 0.01 < none.height < 1
    assert none.fold_normal > 6 > none.normal or np.isnan(none.fold_normal)
    assert mean.height < none.height  # the mean was taken over these very people
    # On a wrong head the true relief is not perfect, but nothing is nearer.
    assert report.whole[TRUTH].height == 0 and report.whole[TRUTH].normal < report.whole[NONE].normal
    assert report.energy["face"].by_person == report.energy["face"].own == 0
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert stored["alone"][NONE]["normal"] == pytest.approx(none.normal, abs=1e-3)
    assert any(line.startswith(MEAN) for line in report.lines())
    sheet = draw_relief(model, report.faces)
    assert sheet.size == (4 * 256, 2 * (256 + 18))
    rows = table({"codes exchanged": [report, report], "codes not exchanged": [report]})
    assert rows[2].startswith("| codes exchanged | 2 |") and "± 0.00" in rows[2] and "±" not in rows[3]
    assert len({row.count("|") for row in rows}) == 1
    with pytest.raises(InputError, match="between 2 and"):
        evaluate_relief(model, 1)
