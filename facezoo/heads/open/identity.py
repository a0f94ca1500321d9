"""Who people are: semantic controls calibrated to published head sizes, and the components they become.

A head is ``template + fields · controls``. Controls follow a prior conditioned on the twelve measures of
``anthropometry``: for each sex the measures have exactly the published means and covariance (to first order), and what
they leave undetermined keeps the prior's spread. The principal axes of the mixed population are the head's
identity components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import anatomy as an
from . import anthropometry as ap
from .fields import MouthFrame, smoothstep
from .template import Template

N_IDENTITY = 100
RANDOM_FIELDS = (
    (42.0, 26, 2.0),
    (24.0, 40, 1.1),
    (13.0, 40, 0.45),
)  # scale mm, count, joint standard deviation mm
ASYMMETRIC_SHARE = 0.22
ASYMMETRIC_GAIN = 0.5


def semantic_controls(t: Template) -> dict[str, np.ndarray]:
    """Fields (V, 3) in mm at one standard deviation of each control."""
    m = MouthFrame(t)
    v = m.v
    x, y, z = v.T
    ax = np.abs(x)
    b, pl, vec = m.bump, m.plateau, m.vector
    up_head = smoothstep((y + 60) / 120)
    lower = smoothstep((-y - 40) / 30)
    chin_w = b((0, -102, 8), (24, 16, 26))
    mouth = b((0, -66, 20), (30, 16, 26))
    nose = b((0, -26, 30), (15, 20, 22))
    c: dict[str, np.ndarray] = {}
    c["size"] = (v - [0, -20, -70]) * 0.022
    c["breadth"] = np.stack([x * 0.032, 0 * x, 0 * x], -1)
    c["cranial_breadth"] = np.stack([x * 0.045 * smoothstep((y + 5) / 40), 0 * x, 0 * x], -1)
    c["cranial_length"] = np.stack([0 * x, 0 * x, (z + 40) * 0.045 * smoothstep((-z - 40) / 60)], -1)
    c["vault_height"] = np.stack([0 * x, np.clip(y - 10, 0, None) * 0.05, 0 * x], -1)
    c["face_length"] = np.stack(
        [0 * x, (y - 3) * 0.045 * smoothstep((3 - y) / 25) * smoothstep((z + 90) / 60), 0 * x], -1
    )
    c["midface_length"] = vec(smoothstep((-y - 4) / 36) * smoothstep((z + 80) / 60), dy=-3.2)
    c["lower_face_length"] = vec(smoothstep((-y - 48) / 50) * smoothstep((z + 80) / 60), dy=-4.5)
    c["zygoma_breadth"] = vec(b((66, -18, -42), (20, 20, 26)), dx=2.8)
    c["gonial_breadth"] = vec(b((57, -76, -56), (20, 22, 26)), dx=4.8)
    c["jaw_body"] = vec(b((42, -92, -28), (16, 16, 20)), dx=2.6, dy=-0.6)
    c["frontal_breadth"] = vec(b((54, 28, -12), (16, 18, 24)), dx=2.4)
    c["forehead_breadth"] = vec(b((54, 58, -20), (20, 18, 30)), dx=2.4)
    c["forehead_slope"] = vec(b((0, 62, 8), (50, 22, 34)), dz=3.6)
    c["forehead_bulge"] = vec(b((0, 40, 20), (34, 18, 26)), dz=2.0)
    c["temple"] = vec(b((63, 26, -30), (14, 22, 22)), dx=2.0)
    c["occiput"] = vec(b((0, 20, -170), (60, 42, 36)), dz=-4.5)
    c["crown"] = vec(b((0, 112, -110), (60, 34, 50)), dy=4.0)
    c["brow_ridge"] = vec(b((14, 19, 18), (24, 7, 16)), dz=1.6)
    c["brow_outer_ridge"] = vec(b((46, 15, 2), (13, 8, 14)), dz=1.3, dx=0.5)
    c["brow_height"] = vec(b((32, 20, 10), (24, 9, 22)), dy=2.0)
    eye = pl((31.6, 0.6, -4.0), 15.0, 9.0)
    c["eye_spacing"] = vec(eye, dx=1.7)
    c["eye_height"] = vec(eye, dy=1.3)
    c["eye_depth"] = vec(eye, dz=1.4)
    lid = pl((31.6, 0.6, 4.0), 8.0, 6.0) * (z > -12)
    c["fissure_length"] = vec(lid * np.clip((ax - 31.0) / 12.0, -1.2, 1.2), dx=1.25)
    c["fissure_height"] = vec(lid * np.clip((y - 0.6) / 5.5, -1.3, 1.3), dy=0.85)
    c["canthal_tilt"] = vec(lid * np.clip((ax - 31.0) / 12.0, -1.2, 1.2), dy=1.0)
    c["epicanthus"] = vec(b((19.5, 1.0, 4.0), (4.5, 5, 6)), dx=0.5, dy=-0.9, dz=0.9)
    c["lid_fold"] = vec(b((32, 10.5, 8), (13, 4.5, 9)), dy=-1.0, dz=1.3)
    c["eye_bag"] = vec(b((31, -11.5, 6), (11, 4.0, 9)), dz=1.1)
    c["cheekbone"] = vec(b((46, -20, 0), (15, 12, 18)), dz=1.9, dx=1.3)
    c["infraorbital"] = vec(b((30, -18, 8), (12, 10, 14)), dz=1.6)
    c["cheek_fat"] = vec(b((42, -56, -2), (17, 20, 22)), dx=3.4, dz=2.8)
    c["jowl"] = vec(b((38, -88, -10), (15, 13, 18)), dx=1.8, dy=-1.6, dz=1.0)
    c["submental_fat"] = vec(b((0, -119, -22), (34, 14, 24)), dy=-4.2, dz=1.2)
    c["nasolabial"] = vec(b((27, -52, 12), (7, 13, 12)), dz=1.2)
    c["nose_length"] = vec(b((0, -40, 36), (14, 10, 18)), dy=-2.0)
    c["nose_projection"] = vec(b((0, -34, 40), (12, 11, 18)), dz=2.4)
    c["nose_bridge"] = vec(b((0, -6, 24), (7, 12, 14)), dz=1.9)
    c["nose_hump"] = vec(b((0, -15, 32), (6, 6.5, 12)), dz=1.2)
    c["nose_root_breadth"] = vec(b((9, 1, 12), (5.5, 10, 10)), dx=1.05)
    c["nose_dorsum_breadth"] = vec(b((9, -18, 24), (6, 10, 14)), dx=0.9)
    c["nose_wing_breadth"] = vec(b((16, -37, 22), (7, 8, 12)), dx=2.1)
    c["nose_tip_breadth"] = vec(b((8, -33, 37), (5, 7, 9)), dx=1.0)
    c["nose_tip_height"] = vec(b((0, -35, 42), (9, 8, 10)), dy=1.5)
    c["nostril_height"] = vec(b((15, -41, 24), (6, 5, 9)), dy=0.9)
    c["columella"] = vec(b((0, -43, 34), (4.5, 4, 8)), dy=-0.9)
    c["nose_deviation"] = np.stack([nose * 0.5, 0 * x, 0 * x], -1)
    c["philtrum"] = vec(smoothstep((-y - 46) / 10) * mouth, dy=-1.5)
    c["mouth_breadth"] = vec(b((25, -67, 10), (11, 9, 16)), dx=2.1)
    c["mouth_height"] = vec(mouth, dy=1.1)
    c["upper_lip"] = vec(b((0, -59, 26), (17, 4.2, 14)) * m.upper, dy=1.15, dz=0.7)
    c["lower_lip"] = vec(b((0, -74.5, 24), (17, 4.2, 14)) * m.lower, dy=-1.3, dz=0.7)
    c["lip_projection"] = vec(b((0, -66, 26), (18, 9, 16)), dz=1.5)
    c["upper_lip_projection"] = vec(b((0, -61, 26), (16, 6, 14)) * m.upper, dz=1.0)
    c["mouth_corner_height"] = vec(b((25, -67, 10), (9, 8, 14)), dy=1.2)
    c["cupid"] = vec(b((5.5, -57, 26), (4.0, 3.2, 8)) * m.upper, dy=0.7)
    c["muzzle"] = vec(b((0, -64, 16), (32, 26, 26)), dz=2.0)
    c["chin_projection"] = vec(chin_w, dz=2.8)
    c["chin_height"] = vec(b((0, -108, 6), (26, 13, 24)), dy=-2.0)
    c["chin_breadth"] = vec(b((19, -102, 6), (11, 11, 18)), dx=2.4)
    c["chin_cleft"] = vec(b((0, -103, 17), (3.6, 6, 8)), dz=-0.6)
    c["labiomental"] = vec(b((0, -86, 18), (17, 5.5, 12)), dz=1.1)
    c["jaw_shift"] = vec(lower * smoothstep((z + 70) / 60), dz=2.2)
    c["jaw_deviation"] = np.stack([lower * smoothstep((z + 70) / 60) * 0.6, 0 * x, 0 * x], -1)
    c["jaw_angle"] = vec(b((56, -80, -52), (16, 16, 22)), dy=-3.2)
    c["face_flatness"] = vec(
        smoothstep((ax - 22) / 34) * smoothstep((z + 60) / 60) * (1 - up_head * 0.3), dz=2.0
    )
    neck = smoothstep((-y - 105) / 30)
    c["neck_girth"] = np.stack([x * 0.075 * neck, 0 * x, (z + 86) * 0.07 * neck], -1)
    c["neck_forward"] = vec(neck, dz=4.0)
    ear = np.char.startswith(t.part.astype(str), "ear")
    root = smoothstep((ax - 68) / 14) * ear
    c["ear_length"] = np.stack([0 * x, (y + 6) * 0.065 * ear, 0 * x], -1)
    c["ear_breadth"] = np.stack([0 * x, 0 * x, (z + 76) * 0.075 * ear * smoothstep((-z - 74) / 20)], -1)
    c["ear_protrusion"] = vec(root, dx=2.6, dz=0.9)
    c["ear_height"] = vec(pl((74, -6, -88), 26, 14), dy=2.6)
    c["earlobe"] = vec(b((76, -33, -84), (14, 7, 14)) * ear, dy=-1.6)
    return c


def random_fields(t: Template, seed: int = 20) -> np.ndarray:
    """Smooth fields (N, V, 3) in mm at one standard deviation: sums of Gaussians at several scales, mostly mirrored."""
    rng = np.random.default_rng(seed)
    v = t.vertices
    mirror = t.mirror
    out = []
    for scale, count, sigma in RANDOM_FIELDS:
        for k in range(count):
            n = 90 if scale > 30 else 160
            centres = v[rng.integers(0, 3931, n)] + rng.normal(0, 6, (n, 3))
            weights = rng.normal(0, 1, (n, 3))
            d2 = ((v[:, None] - centres[None]) ** 2).sum(-1)
            f = np.exp(-0.5 * d2 / scale**2) @ weights
            if k >= count * ASYMMETRIC_SHARE:
                f = f + f[mirror] * [-1, 1, 1]
                gain = 1.0
            else:
                f = f - f[mirror] * [-1, 1, 1]
                gain = ASYMMETRIC_GAIN
            f *= gain * sigma / np.sqrt(count) / np.sqrt((f[:3931] ** 2).sum(1).mean())
            out.append(f)
    return np.array(out)


def rigid_eyes(fields: np.ndarray, t: Template, keep: np.ndarray) -> np.ndarray:
    """Make fields (N, V, 3) carry each eyeball rigidly; skin on the lids follows it except for fields in ``keep``."""
    out = fields.copy()
    for side, flip in (("left", 1.0), ("right", -1.0)):
        centre = an.EYE_CENTRE * [flip, 1, 1]
        ball = t.part == f"eyeball_{side}"
        bag = (t.part == f"eye_{side}") & (t.ring >= 2)
        d = np.linalg.norm(t.vertices - centre, axis=1)
        w = np.exp(-0.5 * (np.clip(d - 13.2, 0, None) / 4.0) ** 2)
        near = np.exp(-0.5 * (d / 14.0) ** 2) * (t.part == "skin")
        move = (fields * near[None, :, None]).sum(1) / near.sum()
        # Lid controls shape the lids and leave the ball; everything else takes ball and lids along.
        move[keep] = 0
        blend = np.where(keep[:, None], (ball | bag)[None].astype(float), np.where(ball | bag, 1.0, w)[None])
        out = out * (1 - blend[..., None]) + move[:, None] * blend[..., None]
    return out


@dataclass
class Identity:
    """The population: mean shift, components and where each sex lies among them.

    ``mean`` (V, 3) and ``components`` (V, 3, n) are in mm; coefficients are standard normal over the mixed population.
    ``sex_mean`` (2, n) and ``sex_chol`` (2, n, n) describe the coefficients of men and women.
    """

    mean: np.ndarray
    components: np.ndarray
    sex_mean: np.ndarray
    sex_chol: np.ndarray


def build_identity(t: Template) -> Identity:
    """Calibrate the controls and extract the principal components; deterministic."""
    semantic = semantic_controls(t)
    lids = ("fissure_length", "fissure_height", "canthal_tilt", "epicanthus", "lid_fold", "eye_bag")
    fields = np.concatenate([np.array(list(semantic.values())), random_fields(t)])
    keep = np.zeros(len(fields), bool)
    keep[[list(semantic).index(n) for n in lids]] = True
    fields = rigid_eyes(fields, t, keep)
    points = ap.measuring_points(t)

    mean_controls = np.zeros(len(fields))
    shape = t.vertices
    target = (ap.MEAN["male"] + ap.MEAN["female"]) / 2
    jacobian = np.zeros((len(ap.MEASURES), len(fields)))
    for _ in range(4):  # measures are distances: linearise at the calibrated mean
        shape = t.vertices + np.einsum("nvk,n->vk", fields, mean_controls)
        at = ap.measure(shape, points)
        for k, f in enumerate(fields):
            jacobian[:, k] = ap.measure(shape + 0.5 * f, points) - ap.measure(shape - 0.5 * f, points)
        gain = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T)
        mean_controls = mean_controls + gain @ (target - at)

    project = np.eye(len(fields)) - gain @ jacobian
    controls_mean, controls_cov = [], []
    for sex in ap.SEXES:
        controls_mean.append(gain @ (ap.MEAN[sex] - target))
        controls_cov.append(project @ project.T + gain @ ap.covariance(sex) @ gain.T)
    mu = np.array(controls_mean)
    mixed = np.mean(controls_cov, 0) + np.einsum("si,sj->ij", mu, mu) / 2
    flat = fields.reshape(len(fields), -1)
    # Principal axes of fieldsᵀ · controls without forming the 15,069² covariance.
    chol = np.linalg.cholesky(mixed + 1e-9 * np.eye(len(mixed)))
    gram = chol.T @ (flat @ flat.T) @ chol
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:N_IDENTITY]
    values, vectors = values[order], vectors[:, order]
    vectors *= np.where(np.abs(vectors).max(0) == vectors.max(0), 1.0, -1.0)
    basis = chol @ vectors  # controls of one standard deviation of each component
    components = (flat.T @ basis).reshape(-1, 3, N_IDENTITY)
    to_coefficients = vectors.T @ np.linalg.inv(chol)
    sex_mean = mu @ to_coefficients.T
    sex_chol = []
    for cov in controls_cov:
        c = to_coefficients @ cov @ to_coefficients.T
        sex_chol.append(np.linalg.cholesky((c + c.T) / 2 + 1e-7 * np.eye(N_IDENTITY)))
    mean = np.einsum("nvk,n->vk", fields, mean_controls)
    return Identity(mean, components, sex_mean, np.array(sex_chol))
