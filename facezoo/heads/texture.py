"""Albedo spaces: a mean texture plus components. The open head's own, and the three that circulate for FLAME."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, from_numpy, nn

from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.heads.file import read_arrays, write_arrays
from facezoo.heads.registry import cache_folder


class _Kind(NamedTuple):
    """How a file is laid out: keys of mean and components, the value of white, the order of channels."""

    main: tuple[str, str]
    specular: tuple[str, str] | None
    white: float
    bgr: bool
    licence: str


_KINDS = {
    # FLAME_texture.npz
    "flame": _Kind(("mean", "tex_dir"), None, 255.0, True, "FLAME texture space: non-commercial research"),
    # albedoModel2020_FLAME_albedoPart.npz; linear light
    "albedo-mm": _Kind(("MU", "PC"), ("specMU", "specPC"), 1.0, False, "AlbedoMM: academic use only"),
    # FLAME_albedo_from_BFM.npz
    "bfm": _Kind(("MU", "PC"), None, 1.0, True, "made of the Basel Face Model: not to be passed on"),
    # facezoo.synth.albedo_basis; linear light, on the open head's UV map
    "open-v1": _Kind(("mean", "basis"), None, 1.0, False, "CC0-1.0"),
}
PACKAGED_TEXTURES = {"open-v1": Path(__file__).parent / "data" / "open-v1-albedo.safetensors.gz"}


def texture_path(kind: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return where the texture space ``kind`` is kept, whether or not it is there."""
    if kind in PACKAGED_TEXTURES:
        return PACKAGED_TEXTURES[kind]
    return cache_folder(cache_dir) / "textures" / f"{kind}.safetensors"


def texture_kind(data: dict[str, NDArray[Any]], source: str) -> str:
    """Tell the three files apart by what they hold, not by their names (which people change).

    Raises:
        AssetError: none of them.
    """
    if {"mean", "tex_dir"} <= data.keys():
        return "flame"
    if {"MU", "PC", "specMU", "specPC"} <= data.keys():
        return "albedo-mm"
    if {"MU", "PC"} <= data.keys():
        return "bfm"
    raise AssetError(f"{source} is no FLAME texture space: it has {', '.join(data)[:200]}.")


def convert_texture(
    data: dict[str, NDArray[Any]],
    meta: dict[str, Any],
    source: str,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a texture space to the cache, components first, so that the leading ones can be read alone.

    Args:
        data: arrays of the npz file.
        meta: what to keep beside it, such as its sources.
        source: the file, for errors.
        cache_dir: other cache than the user's.

    Raises:
        AssetError: shapes that do not belong together.
    """
    kind = texture_kind(data, source)
    main, specular, _, _, licence = _KINDS[kind]
    arrays: dict[str, NDArray[Any]] = {}
    side = 0
    for prefix, keys in (("", main), ("specular_", specular)):
        if keys is None:
            continue
        mean, basis = (data[key] for key in keys)
        side = round((mean.size / 3) ** 0.5)
        n = basis.shape[-1]
        if mean.size != 3 * side * side or basis.size != mean.size * n or basis.dtype.kind != "f":
            raise AssetError(
                f"{source}: {keys[0]} {mean.shape} and {keys[1]} {basis.shape} are no square RGB texture "
                "and its components."
            )
        arrays[f"{prefix}mean"] = mean.reshape(side, side, 3).astype(np.float32)
        arrays[f"{prefix}basis"] = np.ascontiguousarray(
            basis.reshape(side, side, 3, n).transpose(3, 0, 1, 2), np.float32
        )
    path = texture_path(kind, cache_dir)
    write_arrays(path, arrays, {**meta, "licence": licence, "kind": kind, "size": side})
    return path


class TextureSpace(nn.Module):
    """A linear texture space; its arrays are non-persistent buffers like a head's.

    Attributes:
        kind: "open-v1", "flame", "albedo-mm" or "bfm".
        mean: (S, S, 3) in the units of its file: linear RGB for "open-v1".
        basis: (n, S, S, 3), each component one standard deviation long.
        n_components: n.
        licence: of the arrays.
    """

    mean: Tensor
    basis: Tensor
    specular_mean: Tensor | None
    specular_basis: Tensor | None

    def __init__(self, kind: str, arrays: dict[str, Tensor]) -> None:
        """Build from the arrays of a converted file."""
        super().__init__()
        self.kind = kind
        self.licence = _KINDS[kind].licence
        for name in ("mean", "basis", "specular_mean", "specular_basis"):
            self.register_buffer(name, arrays.get(name), persistent=False)
        self.n_components = len(self.basis)

    def forward(self, coefficients: Tensor) -> Tensor:
        """Decode textures for display (sRGB-like), row 0 at the top of the image.

        ``flame`` and ``bfm`` are linear in the coefficients; ``albedo-mm`` adds diffuse and specular albedo
        and applies its authors' display curve (0.6 (d + s))^(1/2.2); none of them is clamped above.
        ``open-v1`` is linear light, clamped to [0, 1] and encoded as sRGB.

        Args:
            coefficients: (B, k), k at most ``n_components``; standard normal over the people.

        Returns:
            (B, 3, S, S) RGB, white = 1.

        Raises:
            InputError: wrong shape.
        """
        if coefficients.ndim != 2 or coefficients.shape[1] > self.n_components:
            raise InputError(
                f"texture coefficients must be (B, k <= {self.n_components}), got "
                f"{tuple(coefficients.shape)}."
            )
        texture = _combine(self.mean, self.basis, coefficients)
        if self.kind == "open-v1":
            from facezoo.render.shading import linear_to_srgb  # here: render's benchmark imports heads

            return linear_to_srgb(texture.permute(0, 3, 1, 2))
        if self.specular_mean is not None and self.specular_basis is not None:
            texture = texture + _combine(self.specular_mean, self.specular_basis, coefficients)
            # A negative albedo shows as black; the floor keeps the slope of the power finite there.
            texture = (0.6 * texture).clamp(min=1e-8) ** (1 / 2.2)
        form = _KINDS[self.kind]
        texture = texture.permute(0, 3, 1, 2) / form.white
        return texture.flip(1) if form.bgr else texture


def load_texture(
    kind: str = "open-v1", components: int | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> TextureSpace:
    """Load the packaged texture space, or a converted one.

    Args:
        kind: "open-v1" (the open head's), "flame", "albedo-mm" or "bfm".
        components: read only the first ones (DECA uses 50 of "bfm"'s 199); None = all.
        cache_dir: other cache than the user's.

    Raises:
        UnknownNameError: no such kind.
        AssetError: not installed, or damaged.
    """
    if kind not in _KINDS:
        raise unknown_name("texture space", kind, _KINDS)
    path = texture_path(kind, cache_dir)
    if kind in PACKAGED_TEXTURES:
        return TextureSpace(kind, _packaged(path, components))
    if not path.is_file():
        raise AssetError(
            f"texture space {kind!r} is not installed (looked for {path}); put its .npz next to the FLAME "
            "model and run "
            "`facezoo assets add flame PATH`."
        )
    try:
        with safe_open(str(path), "pt") as file:
            arrays = {
                name: file.get_slice(name)[:components] if name.endswith("basis") else file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118  safe_open is no dict
            }
    except SafetensorError as error:
        raise AssetError(
            f"{path} is damaged ({error}); run `facezoo assets add flame PATH` again."
        ) from error
    return TextureSpace(kind, arrays)


def _packaged(path: Path, components: int | None) -> dict[str, Tensor]:
    """Read a packaged space: components are int8 times one scale each."""
    if not path.is_file():
        raise AssetError(
            f"the packaged albedo basis {path} is missing: reinstall facezoo, or in a source checkout build it "
            "with `python -m facezoo.synth albedo`."
        )
    stored, _ = read_arrays(path)
    arrays = {name: from_numpy(array) for name, array in stored.items()}
    if not {"mean", "basis", "basis_scale"} <= arrays.keys():
        raise AssetError(f"{path} is no albedo basis; build it again with `python -m facezoo.synth albedo`.")
    scale = arrays["basis_scale"][:components, None, None, None]
    return {"mean": arrays["mean"].float(), "basis": arrays["basis"][:components] * scale}


def _combine(mean: Tensor, basis: Tensor, coefficients: Tensor) -> Tensor:
    flat = coefficients @ basis[: coefficients.shape[1]].flatten(1)
    return mean + flat.unflatten(1, mean.shape)
