"""The head's coarse surface: a loft over horizontal rows from the crown to the base of the neck.

Coordinates are millimetres in the frame of ``label68_convention``: origin at the mean of the four eye corners, x to
the subject's left, y up, z out of the face. A surface point has two chart coordinates: the azimuth θ (0 = front,
π = back) and the mean arc length s from the crown.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

# One row a line: front (y, z), side (x, y, z), back (y, z), squareness of the front and of the back half.
# Sizes follow the mixed means of ANSUR II and NIOSH: breadth 151, length 195, tragion to top 129, neck girth 360 mm.
ROWS = np.array(
    [
        [115.0, -80.0, 0.0, 115.0, -80.0, 115.0, -80.0, 2.0, 2.0],
        [112.5, -52.0, 27.0, 113.0, -80.0, 111.5, -108.0, 2.0, 2.0],
        [104.0, -24.0, 47.0, 104.5, -82.0, 101.0, -134.0, 2.0, 2.0],
        [90.0, -3.0, 61.0, 90.0, -85.0, 84.0, -153.0, 2.0, 2.0],
        [73.0, 8.5, 70.5, 70.0, -89.0, 62.0, -166.0, 2.0, 2.0],
        [50.0, 18.0, 75.2, 45.0, -92.0, 36.0, -171.0, 2.05, 2.05],
        [21.0, 22.0, 74.6, 17.0, -92.0, 8.0, -169.0, 2.1, 2.1],
        [1.0, 18.5, 72.0, -3.0, -88.0, -16.0, -160.0, 2.15, 2.1],
        [-20.0, 16.0, 70.0, -22.0, -80.0, -40.0, -147.0, 2.15, 2.1],
        [-45.0, 18.0, 66.5, -42.0, -73.0, -62.0, -138.0, 2.15, 2.05],
        [-66.0, 18.0, 63.0, -60.0, -70.0, -80.0, -134.0, 2.1, 2.0],
        [-88.0, 13.0, 58.5, -76.0, -68.0, -97.0, -133.0, 2.0, 2.0],
        [-104.0, 12.0, 55.0, -89.0, -69.0, -110.0, -134.0, 1.95, 2.0],
        [-114.0, 2.0, 53.0, -100.0, -73.0, -121.0, -135.0, 1.95, 2.0],
        [-117.5, -18.0, 52.5, -110.0, -77.0, -131.0, -136.0, 2.0, 2.0],
        [-123.0, -34.0, 53.0, -121.0, -80.0, -142.0, -137.0, 2.0, 2.0],
        [-140.0, -40.0, 54.5, -138.0, -84.0, -156.0, -139.0, 2.0, 2.0],
        [-168.0, -40.0, 58.0, -163.0, -90.0, -176.0, -144.0, 2.0, 2.0],
        [-190.0, -36.0, 66.0, -184.0, -94.0, -192.0, -150.0, 2.0, 2.0],
    ]
)


class Loft:
    """Evaluate the coarse surface and its conformal chart."""

    def __init__(self, rows: np.ndarray = ROWS) -> None:
        front = rows[:, [0, 1]]
        side = rows[:, [2, 3, 4]]
        back = rows[:, [5, 6]]
        steps = (
            np.linalg.norm(np.diff(front, axis=0), axis=1)
            + 2 * np.linalg.norm(np.diff(side, axis=0), axis=1)
            + np.linalg.norm(np.diff(back, axis=0), axis=1)
        ) / 4
        self.row_s = np.concatenate([[0.0], np.cumsum(steps)])
        self.length = float(self.row_s[-1])
        # Near the pole sizes grow like s, so interpolate over s itself; PCHIP never overshoots a row.
        self._row = PchipInterpolator(self.row_s, rows, axis=0)
        fine = np.linspace(0, self.length, 4001)
        r = self._row(fine)
        rho = np.maximum((r[:, 2] + (r[:, 1] - r[:, 6]) / 2) / 2, 1e-6)
        # Conformal disc radius: d(log R) = ds / rho; R ~ s at the pole.
        integrand = np.where(fine > 5.0, 1 / rho, 0.0)
        log_radius = np.concatenate([[0], np.cumsum((integrand[1:] + integrand[:-1]) / 2 * np.diff(fine))])
        radius = np.where(fine > 5.0, 5.0 * np.exp(log_radius), np.maximum(fine, 1e-9))
        self._fine, self._rho, self._radius = fine, rho, radius / radius[-1]

    def __call__(self, theta: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Surface points (N, 3) in mm at azimuths (N,) and arc lengths (N,)."""
        theta = np.asarray(theta, float)
        yf, zf, xs, ys, zs, yb, zb, pf, pb = np.moveaxis(self._row(np.clip(s, 0, self.length)), -1, 0)
        c, n = np.cos(theta), np.sin(theta)
        is_front = c >= 0
        p = np.where(is_front, pf, pb)
        r = (np.abs(n) ** p + np.abs(c) ** p) ** (-1 / p)
        depth = np.where(is_front, zf - zs, zs - zb)
        y_end = np.where(is_front, yf, yb)
        return np.stack([xs * n * r, ys + (y_end - ys) * c * c, zs + depth * c * r], -1)

    def disc(self, theta: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Conformal disc coordinates (N, 2): (right half is θ > 0, front is -y), radius 1 at the neck's base."""
        radius = np.interp(s, self._fine, self._radius)
        return np.stack([radius * np.sin(theta), -radius * np.cos(theta)], -1)

    def from_disc(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Azimuth and arc length of disc points (N, 2)."""
        radius = np.linalg.norm(xy, axis=-1)
        return np.arctan2(xy[..., 0], -xy[..., 1]), np.interp(radius, self._radius, self._fine)

    def mm_per_disc(self, s: np.ndarray) -> np.ndarray:
        """Millimetres on the surface per unit of the disc at arc length s."""
        return np.interp(s, self._fine, self._rho) / np.maximum(np.interp(s, self._fine, self._radius), 1e-9)
