"""Procedural noise for the synthetic people: periodic atlases made once a process, then cropped in microseconds.

Making good noise is slow, reading it is not. Every kind of noise exists once, as a 512² periodic *atlas* made from a
fixed seed; what a caller's generator decides is where the atlas is cut, how it is zoomed, mirrored, turned, warped and
stacked. All fields are float32 in [0, 1]; those in ``EQUALISED`` have a flat histogram, so that ``field < p`` covers a
share ``p`` of the area.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from facezoo.errors import unknown_name

ATLAS = 512
"""Side and period of every atlas in texels."""

EQUALISED = ("smooth", "fbm", "rough", "billow", "ridged", "strands", "cells")

Array = NDArray[np.float32]
_SEED = 0x5EED
_POOL = 1 << 20


def _frequencies() -> tuple[Array, Array]:
    fy = np.fft.fftfreq(ATLAS, 1 / ATLAS).astype(np.float32)[:, None]
    return fy, np.fft.rfftfreq(ATLAS, 1 / ATLAS).astype(np.float32)[None]


def _spectral(rng: np.random.Generator, gain: Array) -> Array:
    """Filter white noise by a spectrum (ATLAS, ATLAS // 2 + 1): periodic by construction. Unit variance."""
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((ATLAS, ATLAS), dtype=np.float32)) * gain)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _band(rng: np.random.Generator, cycles: float) -> Array:
    """Noise with features of about ``ATLAS / cycles / 2`` texels."""
    fy, fx = _frequencies()
    return _spectral(rng, np.exp(-0.5 * ((np.hypot(fy, fx) - cycles) / (0.35 * cycles)) ** 2))


def _power_law(rng: np.random.Generator, exponent: float) -> Array:
    fy, fx = _frequencies()
    radius = np.maximum(np.hypot(fy, fx), 1)
    return _spectral(rng, np.where(radius >= 2, radius**-exponent, 0))


def _octaves(rng: np.random.Generator, fold: Callable[[Array], Array]) -> Array:
    return sum(fold(_band(rng, 4.0 * 2**i)) * np.float32(0.6**i) for i in range(6))  # type: ignore[return-value]


def _strands(rng: np.random.Generator) -> Array:
    """Hair- or grain-like streaks that run along the rows' normal (vertically), gently bent."""
    fy, fx = _frequencies()
    streaks = _spectral(rng, np.exp(-((fy / 7) ** 2)) * np.exp(-(((fx - 60) / 55) ** 2))).ravel()
    rows, columns = np.indices((ATLAS, ATLAS))
    bend = np.rint(6 * _band(rng, 5)).astype(np.int64)
    return streaks[rows * ATLAS + (columns + bend) % ATLAS]


def _worley(rng: np.random.Generator, points: int, k: int) -> NDArray[np.float64]:
    """Distances (ATLAS, ATLAS, k) to the k nearest of random points on the torus."""
    tree = cKDTree(rng.random((points, 2)) * ATLAS, boxsize=ATLAS)
    half = np.moveaxis(np.indices((ATLAS, ATLAS)), 0, -1)[::2, ::2].reshape(-1, 2) + 0.5
    distance = tree.query(half, k=k)[0].reshape(ATLAS // 2, ATLAS // 2, k)
    return distance.repeat(2, 0).repeat(2, 1)


def _cracks(rng: np.random.Generator) -> Array:
    near = _worley(rng, 500, 2)
    return np.clip((near[..., 1] - near[..., 0]) / 12, 0, 1).astype(np.float32)


def _spots(rng: np.random.Generator) -> Array:
    """Soft discs of many sizes; the value at a disc's centre is uniform, so a threshold thins them out."""
    out = np.zeros((ATLAS, ATLAS), np.float32)
    for _ in range(3600):
        radius = 0.8 + 2.2 * rng.random() ** 3
        cy, cx = rng.random(2) * ATLAS
        reach = int(radius + 2)
        ys, xs = int(cy) + np.arange(-reach, reach + 1), int(cx) + np.arange(-reach, reach + 1)
        squash = rng.uniform(0.7, 1.4)
        distance = np.hypot((ys[:, None] + 0.5 - cy) * squash, (xs[None] + 0.5 - cx) / squash)
        disc = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32) * rng.uniform(0.05, 1)
        window = np.ix_(ys % ATLAS, xs % ATLAS)
        out[window] = np.maximum(out[window], disc)
    return out


def _equalise(field: Array) -> Array:
    """Replace values by their rank in [0, 1]."""
    rank = np.empty(field.size, np.float32)
    rank[np.argsort(field, axis=None, kind="stable")] = np.linspace(0, 1, field.size, dtype=np.float32)
    return rank.reshape(field.shape)


_MAKERS: dict[str, Callable[[np.random.Generator], Array]] = {
    "smooth": lambda rng: _band(rng, 9),
    "fbm": lambda rng: _power_law(rng, 1.9),
    "rough": lambda rng: _power_law(rng, 1.25),
    "billow": lambda rng: _octaves(rng, np.abs),
    "ridged": lambda rng: -_octaves(rng, lambda n: np.minimum(np.abs(n), 1.2)),
    "strands": _strands,
    "cells": lambda rng: _worley(rng, 260, 1)[..., 0].astype(np.float32),
    "cracks": _cracks,
    "spots": _spots,
}
KINDS = tuple(_MAKERS)


@cache
def atlas(kind: str) -> Array:
    """Return the periodic atlas of one kind of noise, made on first use (0.05–0.3 s) and the same in every process.

    Args:
        kind: one of ``KINDS``.

    Returns:
        (ATLAS, ATLAS) in [0, 1], read-only, periodic along both axes.

    Raises:
        UnknownNameError: ``kind`` is not in ``KINDS``.
    """
    if kind not in _MAKERS:
        raise unknown_name("noise", kind, KINDS)
    field = _MAKERS[kind](np.random.default_rng([_SEED, KINDS.index(kind)]))
    field = _equalise(field) if kind in EQUALISED else np.clip(field, 0, 1)
    field.setflags(write=False)
    return field


@cache
def _sheet(kind: str) -> Image.Image:
    """The atlas twice along each axis: every window of at most one period lies inside."""
    return Image.fromarray(np.tile(atlas(kind), (2, 2)))


@lru_cache(maxsize=1)
def _normals() -> Array:
    pool = np.random.default_rng(_SEED).standard_normal(_POOL, dtype=np.float32)
    pool.setflags(write=False)
    return pool


def white(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw standard normal noise from a fixed pool, thirty times faster than drawing it afresh.

    Args:
        rng: decides where the pool is read.
        shape: at most 2**20 elements, e.g. (H, W) or (3, H, W).

    Returns:
        ``shape``; a read-only view or, for half of the calls, its negative.
    """
    count = int(np.prod(shape))
    if count > _POOL:
        return rng.standard_normal(shape, dtype=np.float32)
    start = int(rng.integers(0, _POOL - count + 1))
    block = _normals()[start : start + count].reshape(shape)
    return -block if rng.random() < 0.5 else block


def crop(rng: np.random.Generator, kind: str, size: tuple[int, int], zoom: float = 1.0) -> Array:
    """Cut a random, randomly mirrored window out of an atlas.

    Args:
        rng: decides place and mirroring (and turning, for kinds without a direction).
        kind: one of ``KINDS``.
        size: (height, width) of the result.
        zoom: pixels per atlas texel: 2 makes features twice as large. Raised where the window would exceed a period.

    Returns:
        (height, width) in [0, 1].
    """
    height, width = size
    zoom = max(zoom, max(size) / ATLAS)
    turn = kind != "strands" and rng.random() < 0.5
    w, h = (height, width) if turn else (width, height)
    x, y = rng.random(2) * ATLAS
    window = (x, y, x + w / zoom, y + h / zoom)
    # Bilinear interpolation shows its lattice from about threefold magnification on.
    method = Image.Resampling.BICUBIC if zoom > 3 else Image.Resampling.BILINEAR
    field = np.asarray(_sheet(kind).resize((w, h), method, box=window))
    if method is Image.Resampling.BICUBIC:
        field = np.clip(field, 0, 1)
    field = field.T if turn else field
    return field[:: 1 if rng.random() < 0.5 else -1, :: 1 if rng.random() < 0.5 else -1]


def warped(
    rng: np.random.Generator, kind: str, size: tuple[int, int], zoom: float = 1.0, strength: float = 20.0
) -> Array:
    """Read an atlas along coordinates bent by smooth noise (domain warping): marble, smoke, cloth.

    Args:
        rng: decides place and bending.
        kind: one of ``KINDS``.
        size: (height, width) of the result.
        zoom: pixels per atlas texel.
        strength: largest displacement in pixels.

    Returns:
        (height, width) in [0, 1].
    """
    scale = np.float32(1 / zoom)
    oy, ox = rng.random(2) * ATLAS
    bend = float(rng.uniform(1.5, 5)) * max(size) / 192
    amount = np.float32(2 * strength / zoom)
    rows = np.arange(size[0], dtype=np.float32)[:, None] * scale + np.float32(oy)
    columns = np.arange(size[1], dtype=np.float32)[None] * scale + np.float32(ox)
    at_row = (crop(rng, "smooth", size, bend) * amount + rows).astype(np.int32) % ATLAS
    at_column = (crop(rng, "smooth", size, bend) * amount + columns).astype(np.int32) % ATLAS
    return atlas(kind).ravel().take(at_row * ATLAS + at_column)


def fractal(
    rng: np.random.Generator,
    size: tuple[int, int],
    feature: float = 64.0,
    octaves: int = 4,
    gain: float = 0.55,
) -> Array:
    """Stack octaves of smooth noise cut independently, so that no two results share a large-scale shape.

    Args:
        rng: decides the window of every octave.
        size: (height, width) of the result.
        feature: size of the coarsest blobs in pixels.
        octaves: number of layers, each half the size of the one before.
        gain: amplitude ratio of successive layers; 0.5 is cloud-like, 0.8 is rough.

    Returns:
        (height, width) in [0, 1], mean about 0.5.
    """
    out = np.zeros(size, np.float32)
    total = 0.0
    for i in range(octaves):
        weight = gain**i
        # A "smooth" blob is about 28 texels across.
        out += crop(rng, "smooth", size, feature / 28 / 2**i) * np.float32(weight)
        total += weight
    # Averaging octaves narrows the histogram; spread it again.
    out *= np.float32(1 / total)
    spread = 1 + 0.45 * (octaves - 1) * min(gain, 1)
    return np.clip((out - 0.5) * np.float32(spread) + 0.5, 0, 1)


def prepare(kinds: tuple[str, ...] = KINDS) -> None:
    """Make the atlases now (about 1.5 s in all), e.g. before worker processes are forked or a clock is started."""
    _normals()
    for kind in kinds:
        _sheet(kind)
