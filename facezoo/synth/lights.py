"""Light on the synthetic people: an environment as spherical harmonics and up to three directional lights.

Directions live in the *view frame*: x to the image's right, y up, z from the subject to the camera. It coincides with
the head frame of an upright frontal head; ``n_view = diag(1, -1, -1) @ R @ n_head`` for a camera rotation R.
Intensities are linear RGB and include the 1/π of a diffuse surface: radiance = albedo · (environment + Σ colour · n·l).
No distribution of real light could be sourced (open_head_facts §5), so a dozen situations are mixed broadly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.errors import unknown_name
from facezoo.render.shading import sh_basis

Array = NDArray[np.float32]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class LightRig:
    """All light that falls on one person.

    Attributes:
        environment: (9, 3) spherical-harmonic irradiance, rows in the order 1, x, y, z, xy, xz, yz, x²-y², 3z²-1 with
            the constants of ``render.sh_basis``.
        directions: (L, 3) unit vectors towards the lights, L from 0 to 3.
        colours: (L, 3) linear RGB.
        softness: (L,) in [0, 1]: 0 is a point of light with hard shadows, 1 a window-sized area.
        situation: the name it was drawn as.
    """

    environment: Array
    directions: Array
    colours: Array
    softness: Array
    situation: str


def _basis(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    return sh_basis(torch.from_numpy(normals)).numpy()


@lru_cache(maxsize=1)
def _sphere() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """200 evenly spread normals (a Fibonacci spiral) and the least-squares projector (9, 200) onto the basis."""
    i = np.arange(200) + 0.5
    z, turn = 1 - 2 * i / 200, i * np.pi * (1 + 5**0.5)
    radius = np.sqrt(1 - z * z)
    normals = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], -1)
    return normals, np.linalg.pinv(_basis(normals)).astype(np.float64)


def blackbody(kelvin: float) -> NDArray[np.float64]:
    """Linear sRGB of a black body, luminance 1 (cubic fit of the Planckian locus, Kim et al. 2002).

    Args:
        kelvin: temperature, clipped to the fit's 1667–25000.

    Returns:
        (3,), negatives (outside sRGB) cut off.
    """
    t = float(np.clip(kelvin, 1667, 25000))
    if t < 4000:
        x = -0.2661239e9 / t**3 - 0.2343589e6 / t**2 + 0.8776956e3 / t + 0.179910
    else:
        x = -3.0258469e9 / t**3 + 2.1070379e6 / t**2 + 0.2226347e3 / t + 0.240390
    if t < 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif t < 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = np.array([x / y, 1.0, (1 - x - y) / y])
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    rgb = np.maximum(matrix @ xyz, 0)
    return rgb / (LUMINANCE @ rgb)


def _towards(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """Unit vector; azimuth 0 = from the camera, positive to the image's right; elevation up. Degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


class _Scene:
    """What a situation fills in: coloured lobes of the environment and directional lights."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.normals, self.projector = _sphere()
        self.irradiance = np.zeros((200, 3))
        self.lights: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []

    def tone(self, kelvin: float, spread: float = 0.15) -> NDArray[np.float64]:
        return blackbody(kelvin * np.exp(self.rng.normal(0, spread)))

    def vivid(self) -> NDArray[np.float64]:
        rgb = self.rng.dirichlet((0.5, 0.5, 0.5)) + 0.03
        return rgb / (LUMINANCE @ rgb) ** 0.6

    def hemisphere(self, sky: NDArray[np.float64], ground: NDArray[np.float64], tilt: float = 15) -> None:
        """Light from all around, ``sky`` from above fading to ``ground`` below."""
        up = _towards(self.rng.uniform(0, 360), 90 - abs(self.rng.normal(0, tilt)))
        t = (0.5 + 0.5 * self.normals @ up)[:, None]
        self.irradiance += t * sky + (1 - t) * ground

    def lobe(self, azimuth: float, elevation: float, colour: NDArray[np.float64]) -> None:
        """A broad source (wall, window, cloud bank) that is part of the environment."""
        self.irradiance += np.maximum(self.normals @ _towards(azimuth, elevation), 0)[:, None] * colour

    def light(self, azimuth: float, elevation: float, colour: NDArray[np.float64], softness: float) -> None:
        self.lights.append((_towards(azimuth, elevation), colour, float(np.clip(softness, 0, 1))))


def _overcast(s: _Scene) -> None:
    s.hemisphere(s.tone(7000) * s.rng.uniform(0.7, 1.1), s.tone(5000) * s.rng.uniform(0.15, 0.5))
    if s.rng.random() < 0.5:
        s.light(s.rng.uniform(-90, 90), s.rng.uniform(30, 80), s.tone(6000) * s.rng.uniform(0.1, 0.5), 1.0)


def _sun(s: _Scene) -> None:
    low = s.rng.random() < 0.3
    height, kelvin = (s.rng.uniform(5, 25), 3400) if low else (s.rng.uniform(25, 75), 5500)
    s.light(
        s.rng.uniform(-130, 130), height, s.tone(kelvin) * s.rng.uniform(0.6, 1.6), s.rng.uniform(0, 0.15)
    )
    s.hemisphere(s.tone(9000) * s.rng.uniform(0.15, 0.5), s.tone(4800) * s.rng.uniform(0.1, 0.4))


def _indoor(s: _Scene) -> None:
    kelvin = s.rng.choice([2900, 3500, 4200, 5500])
    s.hemisphere(s.tone(kelvin) * s.rng.uniform(0.3, 0.7), s.tone(kelvin) * s.rng.uniform(0.1, 0.4))
    for _ in range(int(s.rng.integers(1, 4))):
        s.light(
            s.rng.normal(0, 60),
            s.rng.uniform(10, 80),
            s.tone(kelvin) * s.rng.uniform(0.1, 0.7),
            s.rng.uniform(0.2, 1),
        )


def _window(s: _Scene) -> None:
    side = s.rng.choice([-1, 1])
    s.light(
        side * s.rng.uniform(40, 110),
        s.rng.uniform(-5, 35),
        s.tone(6500) * s.rng.uniform(0.5, 1.4),
        s.rng.uniform(0.5, 1),
    )
    s.hemisphere(s.tone(4500) * s.rng.uniform(0.1, 0.4), s.tone(4500) * s.rng.uniform(0.1, 0.3))


def _flash(s: _Scene) -> None:
    s.light(
        s.rng.normal(0, 5), s.rng.normal(6, 5), s.tone(5500) * s.rng.uniform(0.6, 1.3), s.rng.uniform(0, 0.2)
    )
    s.hemisphere(s.tone(3200) * s.rng.uniform(0.02, 0.2), s.tone(3200) * s.rng.uniform(0.01, 0.1))


def _studio(s: _Scene) -> None:
    side = s.rng.choice([-1, 1])
    s.light(
        side * s.rng.uniform(15, 60),
        s.rng.uniform(10, 50),
        s.tone(5500, 0.05) * s.rng.uniform(0.5, 1),
        s.rng.uniform(0.4, 1),
    )
    s.light(
        -side * s.rng.uniform(20, 80),
        s.rng.uniform(-10, 30),
        s.tone(5500, 0.05) * s.rng.uniform(0.05, 0.5),
        1.0,
    )
    if s.rng.random() < 0.5:
        s.light(
            -side * s.rng.uniform(120, 170),
            s.rng.uniform(10, 50),
            s.tone(5500) * s.rng.uniform(0.3, 1.5),
            0.4,
        )
    s.hemisphere(s.tone(5500) * s.rng.uniform(0.05, 0.3), s.tone(5500) * s.rng.uniform(0.05, 0.2))


def _backlit(s: _Scene) -> None:
    s.light(
        s.rng.choice([-1, 1]) * s.rng.uniform(110, 175),
        s.rng.uniform(0, 50),
        s.tone(5000) * s.rng.uniform(1, 3),
        0.3,
    )
    s.hemisphere(s.tone(7000) * s.rng.uniform(0.2, 0.6), s.tone(5000) * s.rng.uniform(0.1, 0.5))
    s.lobe(180, 20, s.tone(6000) * s.rng.uniform(0.2, 0.8))


def _stage(s: _Scene) -> None:
    for _ in range(int(s.rng.integers(1, 4))):
        s.light(
            s.rng.uniform(-150, 150),
            s.rng.uniform(-20, 70),
            s.vivid() * s.rng.uniform(0.3, 1.2),
            s.rng.uniform(0, 0.5),
        )
    s.hemisphere(s.vivid() * s.rng.uniform(0.05, 0.3), s.vivid() * s.rng.uniform(0.02, 0.2))


def _low_key(s: _Scene) -> None:
    s.light(
        s.rng.uniform(-100, 100),
        s.rng.uniform(-60, 85),
        s.tone(4500, 0.3) * s.rng.uniform(0.8, 1.8),
        s.rng.uniform(0, 0.6),
    )
    s.hemisphere(s.tone(5000) * s.rng.uniform(0.01, 0.1), s.tone(5000) * s.rng.uniform(0.01, 0.08))


def _screen(s: _Scene) -> None:
    s.light(
        s.rng.normal(0, 20),
        s.rng.uniform(-50, 0),
        s.tone(8500, 0.2) * s.rng.uniform(0.3, 1),
        s.rng.uniform(0.5, 1),
    )
    s.hemisphere(s.tone(3500) * s.rng.uniform(0.02, 0.3), s.tone(3500) * s.rng.uniform(0.02, 0.2))


def _flat(s: _Scene) -> None:
    level = s.tone(5500) * s.rng.uniform(0.6, 1.1)
    s.hemisphere(level, level * s.rng.uniform(0.6, 1.0))


def _ceiling(s: _Scene) -> None:
    s.light(
        s.rng.uniform(-180, 180),
        s.rng.uniform(60, 90),
        s.tone(4200) * s.rng.uniform(0.5, 1.3),
        s.rng.uniform(0.2, 0.9),
    )
    s.hemisphere(s.tone(4200) * s.rng.uniform(0.15, 0.4), s.tone(3800) * s.rng.uniform(0.1, 0.4))


_SITUATIONS: dict[str, tuple[Callable[[_Scene], None], float]] = {
    "overcast": (_overcast, 1.6), "sun": (_sun, 1.6), "indoor": (_indoor, 2.4), "window": (_window, 1.2),
    "flash": (_flash, 1.2), "studio": (_studio, 1.5), "backlit": (_backlit, 0.7), "stage": (_stage, 0.35),
    "low_key": (_low_key, 0.5), "screen": (_screen, 0.4), "flat": (_flat, 0.6), "ceiling": (_ceiling, 0.8),
}  # fmt: skip
SITUATIONS = tuple(_SITUATIONS)
_CHANCE = np.array([weight for _, weight in _SITUATIONS.values()])
_CHANCE = _CHANCE / _CHANCE.sum()


def frontal_light(rig: LightRig) -> NDArray[np.float64]:
    """Mean diffuse light on the surfaces that face the camera, shadows ignored.

    Args:
        rig: any rig.

    Returns:
        (3,) linear RGB, luminance about 1 for a well-exposed picture.
    """
    normals = _sphere()[0]
    facing = normals[normals[:, 2] > 0.2]
    light = _basis(facing) @ rig.environment
    return (light + np.maximum(facing @ rig.directions.T, 0) @ rig.colours).mean(0)


def sample_lights(rng: np.random.Generator, situation: str | None = None) -> LightRig:
    """Draw the light of one picture, exposed roughly as an automatic camera would.

    Args:
        rng: the only source of randomness.
        situation: one of ``SITUATIONS``; None draws one.

    Returns:
        The rig; the mean frontal level is log-normal around 1 (spread 1.25), lower when backlit or low-key.

    Raises:
        UnknownNameError: ``situation`` is not in ``SITUATIONS``.
    """
    if situation is not None and situation not in _SITUATIONS:
        raise unknown_name("light situation", situation, SITUATIONS)
    name = situation or SITUATIONS[int(rng.choice(len(SITUATIONS), p=_CHANCE))]
    scene = _Scene(rng)
    _SITUATIONS[name][0](scene)
    count = len(scene.lights)
    rig = LightRig(
        environment=(scene.projector @ scene.irradiance).astype(np.float32),
        directions=np.array([d for d, _, _ in scene.lights], np.float32).reshape(count, 3),
        colours=np.array([c for _, c, _ in scene.lights], np.float32).reshape(count, 3),
        softness=np.array([s for _, _, s in scene.lights], np.float32),
        situation=name,
    )
    # Automatic exposure and white balance: strong for most, weak where the surroundings mislead the meter.
    adapt = 0.75 if name in ("backlit", "low_key", "stage", "screen") else 0.95
    front = np.maximum(frontal_light(rig), 1e-3)
    level = float(LUMINANCE @ front)
    neutral = (front / level) ** -(rng.beta(5, 2) * (0.4 if name == "stage" else 1.0))
    gain = (
        neutral / (LUMINANCE @ (neutral * front)) * level ** (1 - adapt) * np.exp(rng.normal(0, 0.22))
    ).astype(np.float32)
    return LightRig(rig.environment * gain, rig.directions, rig.colours * gain, rig.softness, name)
