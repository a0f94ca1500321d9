"""The open head's albedo basis: its file, its builder and what a basis must do."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from facezoo.errors import AssetError, InputError
from facezoo.heads import texture
from facezoo.heads.file import read_arrays, read_meta
from facezoo.heads.texture import load_texture, texture_path
from facezoo.synth.albedo_basis import build_albedo, fit_basis, paint_people, texel_weights
from facezoo.synth.layout import stage
from facezoo.synth.skin_paint import FaceLayout

SIZE = 32
PEOPLE = 12


@pytest.fixture(scope="module")
def layout() -> FaceLayout:
    return stage().layout


@pytest.fixture(scope="module")
def built(layout: FaceLayout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("albedo") / "small.safetensors.gz"
    return build_albedo(layout, path, people=PEOPLE, size=SIZE, components=10)


def remaining(textures: np.ndarray, mean: np.ndarray, basis: np.ndarray, weights: np.ndarray) -> list[float]:
    """Weighted squared error that 0, 1, 2, … components leave of the textures' distance to the mean."""
    w = np.repeat(np.sqrt(weights).ravel(), 3).astype(float)
    x, b = (textures - mean).reshape(len(textures), -1) * w, basis.reshape(len(basis), -1) * w
    errors = [float((x**2).sum())]
    for k in range(1, len(b) + 1):
        coefficients = np.linalg.lstsq(b[:k].T, x.T, rcond=None)[0]
        errors.append(float(((x.T - b[:k].T @ coefficients) ** 2).sum()))
    return errors


# ---- the packaged file ----------------------------------------------------------------------------------------------


def test_the_packaged_basis() -> None:
    space = load_texture("open-v1")
    assert space.licence == "CC0-1.0"
    assert read_meta(texture_path("open-v1"))["licence"] == "CC0-1.0"
    assert space.n_components >= 50
    n, side = space.n_components, space.mean.shape[0]
    assert space.mean.shape == (side, side, 3) and space.basis.shape == (n, side, side, 3) and side >= 128
    assert space.mean.dtype == space.basis.dtype == torch.float32
    assert not space.state_dict()
    assert texture_path("open-v1").stat().st_size <= 2_500_000
    explained = read_meta(texture_path("open-v1"))["explained_variance"]
    assert len(explained) == n and explained == sorted(explained) and 0.8 < explained[-1] <= 1
    # Skin absorbs blue most, in the mean at the tip of the nose and everywhere else that is no hair.
    red, green, blue = space.mean[side // 2, side // 2]
    assert red > green > blue > 0.02
    # Wider components come first.
    width = space.basis.square().mean((1, 2, 3))
    assert width[0] > 3 * width[5] > 3 * width[50]


def test_the_packaged_basis_mirrors() -> None:
    space = load_texture("open-v1")
    torch.testing.assert_close(space.mean, space.mean.flip(1), atol=2e-4, rtol=0)
    # Nearly: the hair's outline, drawn on texels, is not the same on both sides to the last one.
    for component in space.basis[:12]:
        likeness = (component * component.flip(1)).sum() / component.square().sum()
        assert abs(likeness) > 0.97


def test_samples_are_colours() -> None:
    space = load_texture("open-v1")
    z = torch.randn(6, space.n_components, generator=torch.Generator().manual_seed(0))
    image = space(z)
    assert image.shape == (6, 3, *space.mean.shape[:2])
    assert image.min() >= 0 and image.max() <= 1
    # The clamp must not do the work: a basis in the wrong units would be black and white.
    assert ((image > 0) & (image < 1)).float().mean() > 0.85
    assert (image[0] - image[1]).abs().mean() > 0.01
    few = load_texture("open-v1", components=7)
    assert few.n_components == 7
    torch.testing.assert_close(few(z[:, :7]), space(z[:, :7]))
    with pytest.raises(InputError, match="k <= 7"):
        few(z)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gone.safetensors.gz"
    monkeypatch.setitem(texture.PACKAGED_TEXTURES, "open-v1", path)
    with pytest.raises(AssetError, match=r"gone.*python -m facezoo.synth albedo"):
        load_texture("open-v1")
    path.write_bytes(b"\x1f\x8bno gzip")
    with pytest.raises(AssetError, match="damaged"):
        load_texture("open-v1")
    texture.write_arrays(path, {"mean": np.zeros(3, np.float32)}, {})
    with pytest.raises(AssetError, match="no albedo basis"):
        load_texture("open-v1")


# ---- the builder ----------------------------------------------------------------------------------------------------


def test_the_build_is_deterministic(layout: FaceLayout, built: Path, tmp_path: Path) -> None:
    again = build_albedo(layout, tmp_path / "b.safetensors.gz", people=PEOPLE, size=SIZE, components=10)
    assert again.read_bytes() == built.read_bytes()
    assert read_meta(built)["people"] == PEOPLE
    # A person does not depend on who is painted before.
    np.testing.assert_array_equal(
        paint_people(layout, range(3, 5), SIZE)[1], paint_people(layout, range(4, 5), SIZE)[0]
    )


def test_more_components_reconstruct_better(
    layout: FaceLayout, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(texture.PACKAGED_TEXTURES, "open-v1", built)
    space = load_texture("open-v1")
    weights = texel_weights(layout, SIZE)
    mean, basis = space.mean.numpy(), space.basis.numpy()
    known = remaining(paint_people(layout, range(PEOPLE), SIZE), mean, basis, weights)
    assert all(b < a for a, b in pairwise(known))
    # Quantised components leave what exact ones leave.
    np.testing.assert_allclose(
        1 - known[-1] / known[0], read_meta(built)["explained_variance"][-1], atol=0.02
    )
    strangers = remaining(paint_people(layout, range(100, 104), SIZE), mean, basis, weights)
    assert strangers[-1] < 0.5 * strangers[0]


def test_texels_without_skin_continue_their_neighbours(layout: FaceLayout) -> None:
    outside = ~layout.mask.reshape(SIZE, -1, SIZE, layout.mask.shape[0] // SIZE).any((1, 3))
    assert outside.any()
    texture_ = paint_people(layout, range(1), SIZE)[0]
    skin = texture_[~outside].reshape(-1, 3)
    for colour in texture_[outside]:
        assert np.abs(skin - colour).max(1).min() < 1e-6
    assert (texel_weights(layout, SIZE)[outside] == 0).all()


def test_components_are_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    shape = (8, 8, 3)
    directions = np.linalg.qr(rng.normal(size=(192, 3)))[0].T.reshape(3, *shape)
    spread = np.array([3.0, 2.0, 1.0])
    z = rng.normal(size=(400, 3))
    textures = (0.5 + np.einsum("nk,k,k...->n...", z, spread, directions)).astype(np.float32)
    mean, basis, explained = fit_basis(textures, np.ones((8, 8), np.float32), 3)
    np.testing.assert_allclose(mean, textures.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.sqrt((basis**2).sum((1, 2, 3))), spread, rtol=0.1)
    np.testing.assert_allclose(explained[-1], 1, atol=1e-6)
    flat = basis.reshape(3, -1)
    np.testing.assert_allclose(flat @ flat.T, np.diag(np.diag(flat @ flat.T)), atol=1e-3)
    coefficients = (textures - mean).reshape(400, -1) @ np.linalg.pinv(flat)
    np.testing.assert_allclose(coefficients.std(0, ddof=1), 1, rtol=1e-3)


def test_what_cannot_be_fitted_is_refused() -> None:
    textures, weights = np.zeros((4, 8, 8, 3), np.float32), np.ones((8, 8), np.float32)
    with pytest.raises(InputError, match="need more textures"):
        fit_basis(textures, weights, 4)
    with pytest.raises(InputError, match="need more textures"):
        fit_basis(textures, weights[:4], 2)


def test_stored_components_are_small_integers(built: Path) -> None:
    arrays, _ = read_arrays(built)
    assert arrays["basis"].dtype == np.int8 and arrays["mean"].dtype == np.float16
    assert (np.abs(arrays["basis"]).max((1, 2, 3)) == 127).all()
