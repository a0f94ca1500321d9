"""From a clean render to a picture as cameras, phones, scanners and web sites leave it.

The order is a camera's: optics (defocus, motion, fringes, vignetting), exposure and white balance in linear light,
sensor noise, then the processing of camera and publisher (tone curve, sharpening, monochrome, resizing, JPEG).
Nothing here moves the picture: labels stay valid to a small fraction of a pixel.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facezoo.errors import ImageError, InputError
from facezoo.mesh.io.colour import linear_to_srgb, srgb_to_linear
from facezoo.synth import noise

Array = NDArray[np.float32]
_LEVELS = 256


@dataclass(frozen=True)
class SensorParams:
    """What one camera does to a picture; the defaults do nothing. Lengths are shares of the longer image side."""

    defocus: float = 0.0
    """Gaussian-like blur, sigma."""
    motion: float = 0.0
    """Length of a straight motion trail."""
    motion_angle: float = 0.0
    """Direction of the trail, radians."""
    fringe: float = 0.0
    """Lateral chromatic aberration: red grows and blue shrinks by this factor."""
    vignetting: float = 0.0
    """Light lost in the corners, 0–1."""
    exposure: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Gain of red, green, blue in linear light: exposure times white balance."""
    gamma: float = 1.0
    contrast: float = 1.0
    """Slope of the S-curve around mid grey."""
    black: float = 0.0
    """Haze: the level that black is lifted to."""
    saturation: float = 1.0
    tint: tuple[float, float, float] | None = None
    """Colour of a monochrome print, (1, 1, 1) = grey; None keeps colours."""
    noise_read: float = 0.0
    """Standard deviation of signal-independent noise, sRGB units."""
    noise_shot: float = 0.0
    """Standard deviation of photon noise at full signal."""
    noise_grain: float = 1.0
    """Size of the grain in pixels; above 1 the noise is correlated, as after a camera's own denoising."""
    noise_colour: float = 1.0
    """0 = the channels share one noise, 1 = independent."""
    scale: float = 1.0
    """Resolution that survives: the picture is shrunk by this factor and enlarged again."""
    nearest: bool = False
    """Enlarge in blocks."""
    sharpen: float = 0.0
    """Unsharp masking; above 1 leaves halos."""
    jpeg: int = 0
    """Quality 1–95; 0 = not compressed."""
    jpeg_twice: int = 0
    """Quality of an earlier compression, on the shrunken picture."""
    levels: int = _LEVELS
    """Number of grey levels kept a channel."""
    scratches: float = 0.0
    """Dust, scratches and stains of an old print, 0–1."""


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sample_sensor(rng: np.random.Generator, severity: float | None = None) -> SensorParams:
    """Draw a camera.

    Args:
        rng: the only source of randomness.
        severity: 0 = a good camera, 1 = a bad one; None draws it: most are clean-ish (median 0.2), one in ten is bad.

    Returns:
        The parameters, log-uniform in strength; how often each defect occurs and how far it goes grow with severity.

    Raises:
        InputError: ``severity`` is outside [0, 1].
    """
    if severity is None:
        severity = float(rng.random() ** 2.3)
    if not 0 <= severity <= 1:
        raise InputError(f"severity must be in [0, 1], got {severity!r}.")
    s = severity

    def happens(often: float, bad: float) -> bool:
        return bool(rng.random() < often + (bad - often) * s)

    cast = rng.normal(0, 0.03 + 0.10 * s, 3)
    stops = rng.normal(0, 0.25 + 0.35 * s)
    params = SensorParams(
        exposure=tuple(float(v) for v in np.exp(cast - cast.mean() + np.log(2) * stops)),  # type: ignore[arg-type]
        gamma=float(np.exp(rng.normal(0, 0.06 + 0.15 * s))),
        contrast=float(np.exp(rng.normal(0.03, 0.08 + 0.2 * s))),
        saturation=float(np.clip(rng.normal(1, 0.12 + 0.25 * s), 0, 2)),
        jpeg=int(np.clip(95 - _log(rng, 2, 12 + 78 * s), 8, 95)) if rng.random() < 0.85 else 0,
    )
    changes: dict[str, object] = {}
    if happens(0.35, 0.8):
        changes["defocus"] = _log(rng, 0.001, 0.004 + 0.016 * s)
    if happens(0.04, 0.25):
        changes |= {
            "motion": _log(rng, 0.006, 0.015 + 0.06 * s),
            "motion_angle": float(rng.uniform(0, np.pi)),
        }
    if happens(0.1, 0.3):
        changes["fringe"] = float(rng.normal(0, 0.002 + 0.003 * s))
    if happens(0.2, 0.4):
        changes["vignetting"] = float(rng.uniform(0.05, 0.3 + 0.4 * s))
    if happens(0.6, 0.95):
        changes |= {
            "noise_read": _log(rng, 0.002, 0.008 + 0.06 * s),
            "noise_shot": _log(rng, 0.004, 0.012 + 0.10 * s),
            "noise_grain": float(rng.choice([1.0, 1.0, 1.6, 2.5])),
            "noise_colour": float(rng.random()),
        }
    if happens(0.1, 0.6):
        changes |= {"scale": 1 / _log(rng, 1.15, 1.6 + 5 * s), "nearest": happens(0.01, 0.12)}
    if happens(0.12, 0.3):
        changes["sharpen"] = _log(rng, 0.2, 1 + 2 * s)
    if happens(0.05, 0.15):
        changes["black"] = float(rng.uniform(0, 0.05 + 0.2 * s))
    if happens(0.05, 0.35):
        changes["jpeg_twice"] = int(rng.uniform(60 - 50 * s, 92))
    if happens(0.01, 0.08):
        changes["levels"] = int(_log(rng, 6, 40))
    if rng.random() < 0.07:
        warm = rng.random() < 0.35
        brown = float(rng.uniform(0.04, 0.18)) if warm else 0.0
        changes["tint"] = (1.0, 1 - brown, 1 - 2.3 * brown)
        if rng.random() < 0.4:  # an old photograph
            changes |= {"scratches": float(rng.random()), "black": float(rng.uniform(0, 0.2)), "noise_grain": 2.0,
                        "noise_read": _log(rng, 0.01, 0.06), "noise_colour": 0.0}  # fmt: skip
    return replace(params, **changes)  # type: ignore[arg-type]


def _curves(p: SensorParams) -> NDArray[np.uint8]:
    """One table (3, 256) sRGB -> sRGB for exposure, white balance, gamma, contrast and haze."""
    linear = srgb_to_linear(np.linspace(0, 1, _LEVELS, dtype=np.float32))
    v = linear_to_srgb(linear[None] * np.array(p.exposure)[:, None]).astype(np.float64) ** p.gamma
    if p.contrast != 1:
        # A smooth S through 0, 0.5 and 1: soft shoulders instead of clipping.
        v = np.clip(v, 1e-6, 1 - 1e-6)
        v = 1 / (1 + ((1 - v) / v) ** p.contrast)
    v = p.black + (1 - p.black) * v
    if p.levels < _LEVELS:
        v = np.round(v * (p.levels - 1)) / (p.levels - 1)
    return np.clip(v * 255 + 0.5, 0, 255).astype(np.uint8)


def _trail(image: Image.Image, length: float, angle: float) -> Image.Image:
    """Average copies shifted along a straight line whose middle is the pixel itself."""
    pad = int(np.ceil(length / 2))
    pixels = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    w, h = image.size
    count = int(np.ceil(length)) + 1
    # Opposite shifts come in pairs (rint is odd), so that the centre of gravity stays.
    along = np.linspace(-length / 2, length / 2, count)
    shifts = np.rint(np.stack([along * np.sin(angle), along * np.cos(angle)], -1)).astype(int) + pad
    total = np.zeros((h, w, 3), np.uint16)
    for dy, dx in shifts:
        total += pixels[dy : dy + h, dx : dx + w]
    return Image.fromarray((total // count).astype(np.uint8))


def _fringes(image: Image.Image, amount: float) -> Image.Image:
    """Scale red up and blue down about the centre."""
    w, h = image.size
    red, green, blue = image.split()
    planes = []
    for plane, factor in ((red, 1 - amount), (blue, 1 + amount)):
        grid = (factor, 0, (w - w * factor) / 2, 0, factor, (h - h * factor) / 2)
        scaled = plane.transform(image.size, Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR)
        # Where a shrunken plane has nothing to show, keep the old one.
        edge = 1 + int(abs(amount) * max(w, h))
        if min(w, h) > 2 * edge:
            inner = (edge, edge, w - edge, h - edge)
            plane.paste(scaled.crop(inner), inner)
        planes.append(plane)
    return Image.merge("RGB", (planes[0], green, planes[1]))


@lru_cache(maxsize=16)
def _corner_loss(h: int, w: int) -> Array:
    """Squared distance from the centre (h, 3 w), 1 in the corners, repeated for three channels."""
    y, x = np.linspace(-1, 1, h, dtype=np.float32), np.linspace(-1, 1, w, dtype=np.float32)
    return ((y[:, None] ** 2 + x[None] ** 2) / 2).repeat(3, 1).astype(np.float32)


def _noise(rng: np.random.Generator, p: SensorParams, h: int, w: int) -> Array:
    """Unit-variance noise (h, 3 w), interleaved channels."""
    if p.noise_grain > 1:
        gh, gw = int(np.ceil(h / p.noise_grain)), int(np.ceil(w / p.noise_grain))
        planes = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(noise.white(rng, (gh, gw)))).resize(
                    (w, h), Image.Resampling.BILINEAR
                )
            )
            for _ in range(3 if p.noise_colour > 0.3 else 1)
        ]
        field = np.stack(planes * (3 // len(planes)), -1).reshape(h, 3 * w)
        return (field * 1.5).astype(np.float32)  # interpolation lowers the variance
    if p.noise_colour < 0.3:
        return noise.white(rng, (h, w)).repeat(3, 1)
    return noise.white(rng, (h, 3 * w))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2)
    return Image.open(buffer)


def _scratch(rng: np.random.Generator, image: Image.Image, amount: float) -> Image.Image:
    w, h = image.size
    stain = noise.crop(rng, "fbm", (h, w), 2)
    dust = noise.crop(rng, "spots", (h, w), 0.8) > 1 - 0.25 * amount
    lines = (noise.crop(rng, "strands", (1, w), 1)[0] > 1 - 0.03 * amount)[None] & (stain > 0.4)
    mark = Image.fromarray((dust | lines).astype(np.uint8) * np.uint8(180))
    image.paste((235, 230, 220) if rng.random() < 0.7 else (25, 22, 20), (0, 0), mark)
    fade = Image.fromarray((stain * np.float32(110 * amount)).astype(np.uint8))
    image.paste((205, 185, 150), (0, 0), fade)
    return image


def apply_sensor(
    rng: np.random.Generator, image: NDArray[np.floating], params: SensorParams | None = None
) -> Array:
    """Degrade a picture.

    Args:
        rng: draws the noise (and the camera, when ``params`` is None).
        image: (height, width, 3) sRGB in [0, 1].
        params: a camera from :func:`sample_sensor`; reuse it for all frames of a clip.

    Returns:
        (height, width, 3) sRGB in [0, 1], in steps of 1/255, same geometry.

    Raises:
        ImageError: ``image`` is not (H, W, 3).
    """
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        raise ImageError(f"expected an image of shape (height, width, 3), got {image.shape}.")
    p = sample_sensor(rng) if params is None else params
    h, w = image.shape[:2]
    side = max(h, w)
    picture = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
    if p.motion * side > 1:
        picture = _trail(picture, p.motion * side, p.motion_angle)
    if p.fringe:
        picture = _fringes(picture, p.fringe)
    small = (max(4, round(w * p.scale)), max(4, round(h * p.scale)))
    # Blurring after shrinking is the same lens at a fraction of the price.
    if small != (w, h):
        picture = picture.resize(small, Image.Resampling.BOX if p.nearest else Image.Resampling.BILINEAR)
    sigma = p.defocus * max(small)
    if sigma > 0.15:
        picture = picture.filter(ImageFilter.BoxBlur(sigma * 1.1)).filter(ImageFilter.BoxBlur(sigma * 0.8))
    if p.vignetting or p.noise_read or p.noise_shot:
        picture = _expose(rng, picture, p)
    picture = picture.point(_curves(p).ravel().tolist())
    if p.saturation != 1 and p.tint is None:
        picture = Image.blend(picture.convert("L").convert("RGB"), picture, p.saturation)
    if p.scratches:
        picture = _scratch(rng, picture, p.scratches)
    if p.jpeg_twice:
        picture = _jpeg(picture, p.jpeg_twice)
    if small != (w, h):
        picture = picture.resize((w, h), Image.Resampling.NEAREST if p.nearest else Image.Resampling.BICUBIC)
    if p.sharpen:
        soft = picture.filter(ImageFilter.BoxBlur(1 + side / 300))
        picture = Image.blend(soft, picture, 1 + p.sharpen)
    if p.tint is not None:
        picture = (
            picture.convert("L").convert("RGB").point([int(i * t) for t in p.tint for i in range(_LEVELS)])
        )
    if p.jpeg:
        picture = _jpeg(picture, p.jpeg)
    return np.asarray(picture).astype(np.float32) * (1 / 255)


def _expose(rng: np.random.Generator, picture: Image.Image, p: SensorParams) -> Image.Image:
    """Vignetting and sensor noise. Photon noise falls in dark areas, where the sRGB curve stretches it again."""
    w, h = picture.size
    v = np.asarray(picture).reshape(h, 3 * w).astype(np.float32)
    if p.vignetting:
        v *= 1 - np.float32(p.vignetting) * _corner_loss(h, w)
    if p.noise_read or p.noise_shot:
        # In sRGB units the photon noise sqrt(L) dV/dL is nearly flat over the mid-tones (L ~ V^2.2): sigma ~ V^-0.1.
        sigma = np.float32(255 * p.noise_read) + np.sqrt(v) * np.float32(np.sqrt(255) * p.noise_shot * 0.5)
        v += sigma * _noise(rng, p, h, w)
    return Image.fromarray(np.clip(v, 0, 255).astype(np.uint8).reshape(h, w, 3))


def describe(params: SensorParams) -> str:
    """Name what a camera does, for logs and contact sheets: only the values that differ from a perfect one."""
    perfect = SensorParams()
    changed = ((f.name, getattr(params, f.name)) for f in fields(params))
    return ", ".join(f"{name}={value}" for name, value in changed if value != getattr(perfect, name))
