"""Any picture a person may hand over, as upright 8-bit RGB.

Everything that can be wrong with a picture is found here, once, and told in one sentence; what leaves this file is a
contiguous (H, W, 3) uint8 array that no later step has to check.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from facezoo.errors import ImageError, InputError

ImageArray: TypeAlias = NDArray[np.uint8]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
# Above this a file is refused before it is decoded (3 bytes a pixel: 0.5 GB); Pillow's own bound against bombs.
MAX_PIXELS = 178_956_970
# Transparent pixels show this, as a viewer's page would.
_PAPER = (255, 255, 255)
# Float images that were resampled overshoot a little; more than this is not an image in [0, 1].
_OVERSHOOT = 0.01


@dataclass(frozen=True)
class LoadedImage:
    """An upright picture: ``pixels`` (H, W, 3) uint8 RGB and the ``name`` of where it came from."""

    pixels: ImageArray
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


ImageSource: TypeAlias = str | Path | Image.Image | NDArray[np.generic] | Tensor | LoadedImage


def load_image(source: ImageSource) -> LoadedImage:
    """Read one picture.

    Args:
        source: a path; a PIL image of any mode; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16,
            RGB; a tensor (1, H, W) or (3, H, W), uint8 or float in [0, 1]. EXIF orientation is applied to files and
            PIL images; transparency shows white; 16 bits become 8; of an animation the first frame counts. What was
            loaded before comes back as it is.

    Raises:
        ImageError: the file is missing, unreadable, truncated, empty or larger than ``MAX_PIXELS``.
        InputError: an array or tensor of another shape, type or range, NaN and infinity included.
    """
    if isinstance(source, LoadedImage):
        return source
    if isinstance(source, str | Path):
        return LoadedImage(_from_path(Path(source).expanduser()), str(source))
    if isinstance(source, Image.Image):
        return LoadedImage(_from_pil(source, "PIL image"), getattr(source, "filename", "") or "PIL image")
    if isinstance(source, Tensor):
        return LoadedImage(_from_tensor(source), "tensor")
    if isinstance(source, np.ndarray):
        return LoadedImage(_from_array(source), "array")
    raise InputError(
        f"cannot read an image from {type(source).__name__}; give a path, a PIL image, an (H, W, 3) uint8 RGB array, "
        "a (3, H, W) tensor, or a list of them."
    )


def list_images(path: Path) -> list[Path]:
    """List the pictures in a folder, sorted by name; not those in its subfolders.

    Raises:
        ImageError: there is none.
    """
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ImageError(f"the folder {path} holds no image ({', '.join(SUFFIXES)}).")
    return found


def _from_path(path: Path) -> ImageArray:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give its images as a list, or use `facezoo predict {path}`.")
    if not path.exists():
        raise ImageError(f"there is no image file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # MAX_PIXELS is the bound that counts
            with Image.open(path) as image:
                return _from_pil(image, str(path))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image in a format that can be read ({', '.join(SUFFIXES)})."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} has more than {MAX_PIXELS:,} pixels; scale it down first.") from error
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageError(f"{path} is damaged or truncated: {error}.") from error


def _from_pil(image: Image.Image, name: str) -> ImageArray:
    if image.width < 1 or image.height < 1:
        raise ImageError(f"{name} is empty: {image.width} × {image.height} pixels.")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels; scale it down first.")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image), name)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, (*_PAPER, 255))
        image = Image.alpha_composite(paper, rgba)
    return np.array(image.convert("RGB"), dtype=np.uint8)  # Pillow lends its memory read-only


def _from_deep(values: NDArray[np.generic], name: str) -> ImageArray:
    """Bring one channel of 16-bit integers or floats in [0, 1] to 8 bits."""
    if np.issubdtype(values.dtype, np.floating):
        grey = _unit_to_bytes(torch.from_numpy(values.astype(np.float32)), name).numpy()
    else:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ImageError(f"{name} has integer pixels from {low} to {high}; expected 16 bits, 0 to 65535.")
        grey = _halve_bits(values)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _halve_bits(values: NDArray[np.generic]) -> ImageArray:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 · 257


def _from_array(array: NDArray[np.generic]) -> ImageArray:
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = ""
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            hint = " It looks like (C, H, W): use array.transpose(1, 2, 0) or torch.from_numpy(array)."
        elif array.ndim == 4:
            hint = " Pass a batch as list(array)."
        raise InputError(f"an image array must be (H, W, 3), RGB, got shape {shape}.{hint}")
    if 0 in shape:
        raise ImageError(f"the image array is empty: shape {shape}.")
    if array.dtype not in (np.uint8, np.uint16):
        hint = (
            " Scale values in [0, 1] with (array * 255).round().astype('uint8')."
            if array.dtype.kind == "f"
            else ""
        )
        raise InputError(f"an image array must be uint8 (or uint16), got {array.dtype}.{hint}")
    _check_count(shape[0] * shape[1], "the image array")
    pixels = array if array.dtype == np.uint8 else _halve_bits(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        return _from_pil(Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)), "the image array")
    return np.array(
        pixels, dtype=np.uint8, order="C"
    )  # a copy: the result must not change with the caller's array


def _from_tensor(tensor: Tensor) -> ImageArray:
    shape = tuple(tensor.shape)
    if tensor.dim() != 3 or shape[0] not in (1, 3):
        hint = ""
        if tensor.dim() == 4:
            hint = " Pass a batch as list(tensor)."
        elif tensor.dim() == 3 and shape[2] in (1, 3):
            hint = " It looks like (H, W, C): use tensor.permute(2, 0, 1) or tensor.numpy()."
        raise InputError(f"an image tensor must be (3, H, W), RGB, got shape {shape}.{hint}")
    if 0 in shape:
        raise ImageError(f"the image tensor is empty: shape {shape}.")
    _check_count(shape[1] * shape[2], "the image tensor")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = _unit_to_bytes(tensor.float(), "the image tensor")
    elif tensor.dtype != torch.uint8:
        raise InputError(f"an image tensor must be uint8 or float in [0, 1], got {tensor.dtype}.")
    return np.array(tensor.expand(3, -1, -1).permute(1, 2, 0).numpy(), dtype=np.uint8, order="C")


def _unit_to_bytes(values: Tensor, name: str) -> Tensor:
    low, high = (float(v) for v in values.aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):  # aminmax propagates NaN
        raise InputError(f"{name} holds NaN or infinite values.")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        hint = " Divide by 255." if 2 < high <= 255 and low >= 0 else " Undo its normalisation."
        raise InputError(f"{name} must have values in [0, 1], got {low:.3g} to {high:.3g}.{hint}")
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _check_count(pixels: int, name: str) -> None:
    if pixels > MAX_PIXELS:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels; scale it down first.")
