"""Where one person's wrinkles lie: every group that an expression folds, as valleys of that person's own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.synth.relief.canvas import Canvas
from facezoo.synth.relief.drive import GROUPS
from facezoo.synth.skin_paint.arrays import Array, smooth_step

_UNIT = 0.296  # texture distance of the eyes' centres, about 62 mm across the face


class Folds:
    """One person's wrinkles in the making.

    Attributes:
        maps: by name of :data:`GROUPS`, (S, S) metres when the group is folded as far as it goes.
    """

    def __init__(self, rng: np.random.Generator, canvas: Canvas, age: float) -> None:
        self.rng, self.canvas = rng, canvas
        self.old = float(np.clip((age - 16) / 52, 0, 1.2) * np.exp(rng.normal(0, 0.2)))
        # Young skin folds too, less deep and into fewer lines; a person's skin is thick or thin all over.
        self.depth = (0.0005 + 0.0005 * self.old) * float(np.exp(rng.normal(0, 0.18)))
        if age < 14:
            self.depth *= 0.55
        self.maps = {name: np.zeros(canvas.mask.shape, np.float32) for name in GROUPS}
        self._forehead()
        for side, name in ((1, "Left"), (-1, "Right")):
            self._glabella(side, self.maps["glabella" + name])
            self._eye(side, self.maps["crows_feet" + name], self.maps["under_eye" + name])
            self._nose(side, self.maps["bunny" + name])
            self._cheek(side, self.maps["nasolabial" + name], self.maps["smile" + name])
            self._mouth_corner(side, self.maps["marionette" + name])
        self._procerus()
        self._chin()
        self._purse()

    def _count(self, young: float, old: float) -> int:
        return int(self.rng.poisson(max(young + (old - young) * min(self.old, 1.0) - 1, 0.0))) + 1

    def _line(
        self, out: Array, points: NDArray, depth: float = 1.0, width: float = 0.0011, loose: float = 0.008, **shape: object
    ) -> None:  # fmt: skip
        """Carve one line, a little elsewhere and of another depth in every person."""
        rng = self.rng
        points = np.asarray(points, float) + rng.normal(0, loose * _UNIT, np.shape(points))
        phase, rate, sway = rng.uniform(0, 2 * np.pi, 2), rng.uniform(3, 12, 2), rng.uniform(0.05, 0.2, 2)

        def along(t: Array) -> Array:
            return (
                1 + sway[0] * np.sin(rate[0] * t + phase[0]) + sway[1] * np.sin(2 * rate[1] * t + phase[1])
            ).astype(np.float32)

        self.canvas.carve(
            out, points, self.depth * depth * float(np.exp(rng.normal(0, 0.22))), width * float(np.exp(rng.normal(0, 0.12))),
            along=along, **shape,  # type: ignore[arg-type]
        )  # fmt: skip

    def _forehead(self) -> None:
        rng = self.rng
        brow, hairline = 0.752, 0.848
        count = min(self._count(2.6, 4.6), 6)
        whole = np.zeros_like(self.canvas.mask)
        gap = (hairline - brow) / (count + 0.6)
        bow, dip = rng.normal(0.008, 0.006), rng.uniform(0.0, 0.010)
        for i in range(count):
            height = brow + gap * (i + 0.6) + rng.normal(0, 0.12 * gap)
            half = rng.uniform(0.15, 0.205) * (1 - 0.05 * i)
            x = np.linspace(-1, 1, 9)
            # Lines follow the brows: an arch over each, a dip between them.
            arch = bow * (1 - x**2) - dip * np.exp(-((x / 0.3) ** 2)) + 0.006 * np.sin(np.pi * np.abs(x))
            centre = 0.5 + rng.normal(0, 0.012)
            if rng.random() < 0.35:  # broken into two
                cut = rng.uniform(-0.25, 0.25)
                for part in (x[x < cut + 0.2], x[x > cut - 0.2]):
                    if len(part) > 3:
                        y = height + np.interp(part, x, arch) + rng.normal(0, 0.004)
                        self._line(whole, np.stack([centre + half * part, y], 1), 0.9, 0.00125, 0.004)
                continue
            self._line(
                whole, np.stack([centre + half * x, height + arch], 1), 1.0, 0.00125, 0.004, ends=(0.2, 0.2)
            )
        u = ((np.arange(whole.shape[1]) + 0.5) / whole.shape[1]).astype(np.float32)
        left, right = smooth_step(u, 0.50, 0.62), smooth_step(u, 0.50, 0.38)
        self.maps["foreheadLeft"] += whole * left
        self.maps["foreheadRight"] += whole * right
        self.maps["forehead_middle"] += whole * (1 - left - right)

    def _glabella(self, side: int, out: Array) -> None:
        rng = self.rng
        for i in range(1 + (rng.random() < 0.25 + 0.3 * self.old)):
            x = side * (rng.uniform(0.026, 0.04) + 0.02 * i)
            y = np.linspace(0.700, rng.uniform(0.748, 0.766), 4)
            lean = side * rng.normal(0.006, 0.005)
            self._line(
                out,
                np.stack([0.5 + x + lean * np.linspace(0, 1, 4) ** 2, y], 1),
                1.15 - 0.5 * i,
                0.0012,
                0.005,
                bulge=(0.25, 0.25),
            )

    def _eye(self, side: int, feet: Array, under: Array) -> None:
        rng = self.rng
        corner = np.array([0.5 + side * 0.203, 0.652])
        count = min(self._count(2.6, 5.0), 7)
        angles = np.linspace(-0.75, 0.55, count) if count > 1 else np.zeros(1)
        for angle in angles + rng.normal(0, 0.09, count):
            length = rng.uniform(0.045, 0.075 + 0.03 * min(self.old, 1))
            t = np.linspace(0, 1, 4)
            # They spread like a fan and bend downwards on the cheek, upwards on the temple.
            bend = angle + np.sign(angle) * 0.35 * t
            ray = np.stack([side * np.cos(bend), np.sin(bend)], 1)
            start = corner + np.array([side * np.cos(angle), np.sin(angle)]) * rng.uniform(0.016, 0.03)
            self._line(
                feet,
                start + ray * (t * length)[:, None],
                0.75,
                0.00095,
                0.004,
                ends=(0.25, 0.5),
                bulge=(0.22, 0.22),
            )
        centre = np.array([0.5 + side * 0.147, 0.63])
        for i in range(min(self._count(1.6, 3.2), 4)):
            x = np.linspace(-0.9, rng.uniform(0.5, 1.0), 5)
            sag = (0.012 + 0.011 * i + 0.004 * rng.random()) * (1 - 0.45 * x**2)
            self._line(
                under,
                centre + np.stack([side * x * (0.045 + 0.004 * i), -sag], 1),
                0.6,
                0.00095,
                0.005,
                bulge=(0.2, 0.2),
            )

    def _nose(self, side: int, out: Array) -> None:
        rng = self.rng
        for i in range(min(self._count(2.2, 3.2), 4)):
            top = np.array([0.5 + side * rng.uniform(0.012, 0.02), 0.638 - 0.021 * i])
            t = np.linspace(0, 1, 4)[:, None]
            reach = np.array([side * rng.uniform(0.035, 0.05), -rng.uniform(0.012, 0.028)])
            self._line(
                out,
                top + reach * t + np.array([0, 0.006]) * np.sin(np.pi * t),
                0.8,
                0.001,
                0.004,
                bulge=(0.25, 0.25),
            )

    def _cheek(self, side: int, fold: Array, smile: Array) -> None:
        rng = self.rng
        x = np.array([0.102, 0.128, 0.151, 0.168, 0.177, 0.178]) + rng.normal(0, 0.004)
        y = np.array([0.505, 0.482, 0.447, 0.404, 0.362, 0.322])
        y[-2:] -= 0.025 * min(self.old, 1) * rng.random()
        # The cheek bulges over the fold: one bank is high.
        bulge = (0.55, 0.08) if side > 0 else (0.08, 0.55)
        course = np.stack([0.5 + side * x, y], 1) + rng.normal(0, 0.001, (6, 2))
        self._line(fold, course, 1.0, 0.0013, 0.0, bulge=bulge, ends=(0.2, 0.65))
        self._line(fold, course, 0.45, 0.0034, 0.0, bulge=bulge, ends=(0.35, 0.65))
        for i in range(min(self._count(1.2, 3.2), 4)):  # brackets beside the mouth
            t = np.linspace(-1, 1, 5)
            where = np.array([0.5 + side * (0.196 + 0.019 * i), 0.365 + 0.012 * i])
            curve = np.stack([side * 0.012 * (1 - t**2), t * rng.uniform(0.03, 0.05)], 1)
            self._line(smile, where + curve, 0.85 - 0.12 * i, 0.0012, 0.005, bulge=bulge[::-1])
        if rng.random() < 0.3:
            self.canvas.dome(
                smile,
                np.array([0.5 + side * rng.uniform(0.195, 0.22), rng.uniform(0.345, 0.39)]),
                -1.2 * self.depth,
                0.0026,
            )

    def _mouth_corner(self, side: int, out: Array) -> None:
        x = side * (np.array([0.146, 0.154, 0.160, 0.162]) + self.rng.normal(0, 0.003))
        y = np.array([0.343, 0.318, 0.290, self.rng.uniform(0.245, 0.27)])
        bulge = (0.35, 0.1) if side > 0 else (0.1, 0.35)
        self._line(out, np.stack([0.5 + x, y], 1), 1.0, 0.0014, 0.004, bulge=bulge, ends=(0.25, 0.5))

    def _procerus(self) -> None:
        for i in range(self._count(1.0, 1.8)):
            x = np.linspace(-1, 1, 5)
            y = 0.672 + 0.02 * i - 0.005 * (1 - x**2)
            self._line(
                self.maps["procerus"],
                np.stack([0.5 + 0.03 * x, y], 1),
                0.9,
                0.0012,
                0.005,
                bulge=(0.25, 0.25),
            )

    def _chin(self) -> None:
        rng, out = self.rng, self.maps["chin"]
        x = np.linspace(-1, 1, 7)
        y = 0.288 - 0.012 * x**2
        self._line(
            out, np.stack([0.5 + rng.uniform(0.055, 0.075) * x, y], 1), 1.0, 0.0018, 0.003, bulge=(0.1, 0.35)
        )
        for row in range(4):  # the skin of an orange
            for column in range(7):
                across = (column - 3 + 0.5 * (row % 2) + rng.normal(0, 0.18)) * 0.021
                spot = np.array([0.5 + across, 0.268 - 0.0115 * row + rng.normal(0, 0.0018)])
                fade = float(np.exp(-((across / 0.055) ** 2)))
                self.canvas.dome(
                    out, spot, -self.depth * fade * rng.uniform(0.15, 0.75), rng.uniform(0.0012, 0.0018)
                )

    def _purse(self) -> None:
        rng, out = self.rng, self.maps["purse"]
        for u in np.linspace(0.415, 0.585, 9) + rng.normal(0, 0.006, 9):
            lean = (u - 0.5) * 0.25
            foot, length = 0.414 - 0.25 * abs(u - 0.5), rng.uniform(0.022, 0.036)
            points = np.array(
                [[u, foot], [u + lean * 0.25, foot + length / 2], [u + lean * 0.4, foot + length]]
            )
            self._line(out, points, 0.6, 0.0009, 0.003, ends=(0.05, 0.6))
            if rng.random() < 0.6:
                foot = 0.312 + 0.12 * abs(u - 0.5)
                points = np.array(
                    [[u, foot], [u + lean * 0.2, foot - length / 3], [u + lean * 0.3, foot - length * 0.7]]
                )
                self._line(out, points, 0.4, 0.0009, 0.003, ends=(0.05, 0.6))
