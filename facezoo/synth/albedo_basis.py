"""Build the open head's linear albedo basis: principal components of painted people, in texture space.

People are drawn and painted as for synthetic pictures, less what is no skin (dyed hair, carnival paint); each has a
mirrored twin, so that the mean is symmetric and leading components are symmetric or antisymmetric (late ones of nearly
equal width mix). Colours are linear RGB, a component is one standard deviation long; a sum of them can fall below 0 where
skin is dark (at -2 of the first), so that users clamp. :func:`facezoo.heads.texture.load_texture` reads the file as "open-v1".
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon2mask

from facezoo.errors import InputError
from facezoo.heads.file import write_arrays
from facezoo.heads.texture import texture_path
from facezoo.synth.skin_paint import FaceLayout, paint_albedo, sample_traits

SIZE = 128
PEOPLE = 600
COMPONENTS = 60
SCALP_WEIGHT = 0.1
"""How much a texel under the hair counts: hair is there to cover it, and its colour would lead every component."""
_STREAM = 1001  # keeps these people apart from those of the training pictures


class AlbedoBasis(NamedTuple):
    """Mean and components of painted skin, linear RGB.

    Attributes:
        mean: (S, S, 3).
        basis: (n, S, S, 3), each one standard deviation long, the widest first.
        explained: (n,) share of the people's variance that the components up to this one hold.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    explained: NDArray[np.float64]


def paint_people(layout: FaceLayout, people: range, size: int = SIZE) -> NDArray[np.float32]:
    """Paint people at twice the size and average skin texels two by two.

    Args:
        layout: of the head, of any resolution.
        people: their numbers; a number is a person, whatever else is painted.
        size: S.

    Returns:
        (N, S, S, 3) linear RGB; a texel without skin has the colour of the nearest one that has some.
    """
    skin = _at_size(layout.mask, 2 * size)
    cover = _halved(skin[..., None].astype(np.float32))
    rows, columns = distance_transform_edt(cover[..., 0] == 0, return_distances=False, return_indices=True)
    textures = np.empty((len(people), size, size, 3), np.float32)
    for texture, person in zip(textures, people, strict=True):
        rng = np.random.default_rng([_STREAM, person])
        traits = sample_traits(rng, paint=False)
        albedo = paint_albedo(rng, layout, 2 * size, replace(traits, hair=traits.body_hair)).albedo
        texture[:] = (_halved(albedo * skin[..., None]) / np.maximum(cover, 0.25))[rows, columns]
    return textures


def texel_weights(layout: FaceLayout, size: int = SIZE) -> NDArray[np.float32]:
    """Say how much each texel counts: 1 on bare skin, little under the hair, 0 outside, (S, S)."""
    outline = np.asarray(layout.scalp, float)
    scalp = polygon2mask((size, size), np.stack([(1 - outline[:, 1]) * size, outline[:, 0] * size], -1))
    return np.where(scalp, SCALP_WEIGHT, 1.0).astype(np.float32) * _at_size(layout.mask, size)


def fit_basis(textures: NDArray[np.float32], weights: NDArray[np.float32], components: int) -> AlbedoBasis:
    """Find the principal components, exactly, from the small matrix of products between people.

    With rows ``x`` of centred textures and texel weights ``w``, the eigenvectors ``u`` of ``x w xᵀ`` give the
    components ``xᵀ u / √(N - 1)`` (Sirovich and Kirby 1987): orthogonal under ``w``, one standard deviation long.

    Args:
        textures: (N, S, S, 3).
        weights: (S, S), at least 0.
        components: fewer than N.

    Raises:
        InputError: shapes that do not belong together, or too few textures.
    """
    n = len(textures)
    if textures.ndim != 4 or textures.shape[1:3] != weights.shape or not 0 < components < n:
        raise InputError(
            f"{components} components need more textures (N, S, S, 3) than that and weights (S, S), got "
            f"{textures.shape} and {weights.shape}."
        )
    mean = textures.mean(0, dtype=np.float64).astype(np.float32)
    centred = (textures - mean).reshape(n, -1)
    scaled = centred * np.repeat(np.sqrt(weights).ravel(), textures.shape[3])
    variance, people = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    variance, people = variance[::-1].clip(min=0), people[:, ::-1]
    basis = (people[:, :components].T.astype(np.float32) @ centred) / np.float32(np.sqrt(n - 1))
    # An eigenvector's sign is arbitrary: more of a component is lighter.
    basis *= np.where(basis.sum(1) < 0, -1, 1)[:, None].astype(np.float32)
    explained = variance.cumsum()[:components] / variance.sum()
    return AlbedoBasis(mean, basis.reshape(components, *mean.shape), explained)


def build_albedo(
    layout: FaceLayout,
    path: str | os.PathLike[str] | None = None,
    people: int = PEOPLE,
    size: int = SIZE,
    components: int = COMPONENTS,
) -> Path:
    """Paint, reduce and write the albedo file; the same bytes every time on one machine.

    Components are stored as int8 with one scale each: the error is far below what the missing components leave.

    Args:
        layout: of the open head; left and right must mirror each other.
        path: target; None = the packaged file.
        people: how many to paint.
        size: S.
        components: n.

    Returns:
        The path written.
    """
    target = texture_path("open-v1") if path is None else Path(path)
    textures = paint_people(layout, range(people), size)
    twins = np.concatenate([textures, textures[:, :, ::-1]])
    mean, basis, explained = fit_basis(twins, texel_weights(layout, size), components)
    scale = np.abs(basis).max((1, 2, 3)) / 127
    meta: dict[str, Any] = {
        "kind": "open-v1", "licence": "CC0-1.0", "size": size, "people": people,
        "explained_variance": [round(float(share), 5) for share in explained],
    }  # fmt: skip
    arrays = {
        "mean": mean.astype(np.float16),
        "basis": np.rint(basis / scale[:, None, None, None]).astype(np.int8),
        "basis_scale": scale.astype(np.float32),
    }
    write_arrays(target, arrays, meta)
    return target


def _at_size(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Read a mask at the centres of other texels, as the painter does."""
    pick = np.minimum((np.arange(size) + 0.5) * mask.shape[0] / size, mask.shape[0] - 1).astype(int)
    return np.asarray(mask, bool)[np.ix_(pick, pick)]


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average (2 S, 2 S, C) two by two."""
    s, _, c = image.shape
    return image.reshape(s // 2, 2, s // 2, 2, c).mean((1, 3))
