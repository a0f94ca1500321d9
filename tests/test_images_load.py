"""Any picture comes out as upright 8-bit RGB, or as one sentence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facezoo.data import images
from facezoo.data.images import list_images, load_image
from facezoo.errors import ImageError, InputError

RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)


def stored_for(orientation: int) -> np.ndarray:
    """Return the pixels that a camera stores with an EXIF orientation so that a viewer shows RGB."""
    return {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(np.ascontiguousarray(stored_for(orientation)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "turned.png").pixels, RGB)


@pytest.mark.parametrize("kind", ["path", "text", "pil", "array", "tensor", "float tensor"])
def test_every_source_gives_the_same_pixels(tmp_path: Path, kind: str) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    chw = torch.from_numpy(RGB).permute(2, 0, 1)
    source = {
        "path": tmp_path / "a.png",
        "text": str(tmp_path / "a.png"),
        "pil": Image.fromarray(RGB),
        "array": RGB,
        "tensor": chw,
        "float tensor": chw / 255,
    }[kind]
    loaded = load_image(source)
    assert np.array_equal(loaded.pixels, RGB)
    assert loaded.pixels.flags.c_contiguous
    assert loaded.pixels.dtype == np.uint8
    assert loaded.size == (7, 5)


def test_what_was_loaded_comes_back_as_it_is() -> None:
    loaded = load_image(RGB)
    assert load_image(loaded) is loaded


def test_the_result_does_not_change_with_the_callers_array() -> None:
    mine = RGB.copy()
    loaded = load_image(mine).pixels
    mine[:] = 0
    assert np.array_equal(loaded, RGB)


def test_modes_become_rgb(tmp_path: Path) -> None:
    grey = RGB[:, :, 0]
    deep = grey.astype(np.uint16) * 257
    three = np.repeat(grey[:, :, None], 3, 2)
    assert np.array_equal(load_image(Image.fromarray(grey)).pixels, three)
    assert np.array_equal(load_image(grey).pixels, three)
    assert np.array_equal(load_image(grey[:, :, None]).pixels, three)
    assert np.array_equal(load_image(deep).pixels, three)
    assert np.array_equal(load_image(torch.from_numpy(grey)[None]).pixels, three)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_image(tmp_path / "deep.png").pixels, three)
    assert np.array_equal(load_image(Image.fromarray(deep.astype(np.int32))).pixels, three)
    assert np.array_equal(load_image(Image.fromarray((grey / 255).astype(np.float32))).pixels, three)
    assert np.array_equal(
        load_image(Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8)).convert("1")).pixels[..., 0],
        np.where(grey > 99, 255, 0),
    )
    palette = Image.fromarray(RGB).quantize(35)
    assert np.array_equal(load_image(palette).pixels, np.asarray(palette.convert("RGB")))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 60)).convert("CMYK").save(buffer, format="JPEG", quality=95)
    buffer.seek(0)
    assert np.abs(load_image(Image.open(buffer)).pixels.astype(int) - (200, 30, 60)).max() <= 4


def test_transparency_shows_white() -> None:
    alpha = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    assert np.array_equal(load_image(alpha).pixels, RGB)
    alpha[..., 3] = 0
    for source in (alpha, Image.fromarray(alpha)):
        assert (load_image(source).pixels == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.info["transparency"] = 0
    assert (load_image(palette).pixels == 255).all()


def test_one_pixel_is_a_picture() -> None:
    assert load_image(np.zeros((1, 1, 3), np.uint8)).size == (1, 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image file .*nowhere\.jpg"):
        load_image(tmp_path / "nowhere.jpg")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.jpg is not an image"):
        load_image(tmp_path / "a.jpg")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png"):
        load_image(tmp_path / "empty.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"cut\.{suffix} is damaged or truncated"):
        load_image(path)


def test_more_pixels_than_allowed_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    for source in (tmp_path / "a.png", RGB, torch.from_numpy(RGB).permute(2, 0, 1)):
        with pytest.raises(ImageError, match="more than 34 pixels"):
            load_image(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (RGB.transpose(2, 0, 1), "looks like"),
        (RGB[None], r"list\(array\)"),
        (RGB.astype(np.float32) / 255, "uint8"),
        (RGB.astype(np.int64), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (torch.zeros(4, 5, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(1, 3, 4, 5), r"list\(tensor\)"),
        (torch.zeros(3, 0, 5), "empty"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "int64"),
        (torch.full((3, 4, 5), float("nan")), "NaN"),
        (torch.full((3, 4, 5), float("inf")), "infinite"),
        (torch.full((3, 4, 5), 255.0), "Divide by 255"),
        (torch.full((3, 4, 5), -1.0), "normalisation"),
        (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "NaN"),
        (Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "16 bits"),
        (None, "NoneType"),
        (b"bytes", "bytes"),
        (7, "int"),
    ],
)
def test_wrong_input_is_one_sentence(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_image(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_single_nan_among_good_pixels_is_found() -> None:
    tensor = torch.rand(3, 40, 40)
    tensor[1, 20, 20] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        load_image(tensor)


def test_folders_list_their_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        list_images(tmp_path)
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
