"""What must hold for arrays and metadata to be one head; see :mod:`facezoo.heads.file` for their meaning."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from facezoo.errors import AssetError
from facezoo.heads.params import JOINT_NAMES

FLAME_VERTICES, FLAME_FACES, JOINTS = 5023, 9976, 5
POSE_FEATURES = 9 * (JOINTS - 1)
_REQUIRED = ("v_template", "faces", "shapedirs", "posedirs", "weights") + tuple(
    f"J_regressor.{part}" for part in ("row", "col", "val")
)
_OPTIONAL = ("uv", "uv_faces", "symmetry", "contour.faces", "contour.bary")
_FAMILIES = re.compile(r"(mask|extra)\..+|landmarks\..+\.(faces|bary)|subset\.\d+")


def check_head(arrays: dict[str, np.ndarray], meta: dict[str, Any], source: str) -> None:
    """Check that arrays and metadata make one head.

    Args:
        arrays: as stored.
        meta: as stored.
        source: what to call the head in an error, usually its path.

    Raises:
        AssetError: naming ``source``, the array, what was found and what was expected.
    """

    def need(condition: bool, message: str) -> None:
        if not condition:
            raise AssetError(f"{source}: {message}")

    def shaped(name: str, *shape: int | None) -> None:
        found = arrays[name].shape
        good = len(found) == len(shape) and all(
            s is None or s == f for s, f in zip(shape, found, strict=True)
        )
        want = ", ".join("n" if s is None else str(s) for s in shape)
        need(good, f"{name} must have shape ({want}), found {found}.")

    def ids(name: str, limit: int) -> None:
        value = arrays[name]
        need(value.dtype.kind in "iu", f"{name} must hold integers, found {value.dtype}.")
        need(
            not value.size or (value.min() >= 0 and value.max() < limit),
            f"{name} must hold ids in [0, {limit}), found {value.min() if value.size else 0}"
            f"..{value.max() if value.size else 0}.",
        )

    missing = [name for name in _REQUIRED if name not in arrays]
    need(not missing, f"lacks {', '.join(missing)}.")
    strange = [n for n in arrays if n not in _REQUIRED and n not in _OPTIONAL and not _FAMILIES.fullmatch(n)]
    need(not strange, f"has arrays no head file has: {', '.join(sorted(strange))}.")
    for name in ("head_id", "licence"):
        need(isinstance(meta.get(name), str) and bool(meta[name]), f"metadata lacks {name}.")
    for name, value in arrays.items():
        if value.dtype.kind == "f":
            need(bool(np.isfinite(value).all()), f"{name} holds NaN or infinity.")

    shaped("v_template", None, 3)
    shaped("faces", None, 3)
    vertices, faces = len(arrays["v_template"]), len(arrays["faces"])
    need(vertices > 0 and faces > 0, "is empty.")
    if meta.get("kind") == "flame":
        need(
            (vertices, faces) == (FLAME_VERTICES, FLAME_FACES),
            f"FLAME has {FLAME_VERTICES} vertices and {FLAME_FACES} faces, found {vertices} and {faces}.",
        )
    shaped("shapedirs", vertices, 3, None)
    shaped("posedirs", POSE_FEATURES, 3 * vertices)
    shaped("weights", vertices, JOINTS)
    need(float(np.abs(arrays["weights"].sum(1) - 1).max()) < 1e-3, "the rows of weights must sum to 1.")
    ids("faces", vertices)
    for part in ("row", "col", "val"):
        shaped(f"J_regressor.{part}", len(arrays["J_regressor.val"]))
    ids("J_regressor.row", JOINTS)
    ids("J_regressor.col", vertices)

    need(("uv" in arrays) == ("uv_faces" in arrays), "uv and uv_faces come together.")
    if "uv" in arrays:
        shaped("uv", None, 2)
        shaped("uv_faces", faces, 3)
        ids("uv_faces", len(arrays["uv"]))
    if "symmetry" in arrays:
        shaped("symmetry", vertices)
        ids("symmetry", vertices)
        mirror = arrays["symmetry"]
        need(bool((mirror[mirror] == np.arange(vertices)).all()), "symmetry must pair vertices both ways.")
    need(("contour.faces" in arrays) == ("contour.bary" in arrays), "contour.faces and .bary come together.")
    for name, value in arrays.items():
        if name.startswith("mask."):
            shaped(name, None)
            ids(name, vertices)
        elif name.startswith("subset."):
            size = int(name.partition(".")[2])
            shaped(name, size)
            ids(name, vertices)
            need(len(np.unique(value)) == size, f"{name} repeats a vertex.")
        elif name.endswith(".faces") and name.startswith(("landmarks.", "contour.")):
            partner = f"{name.removesuffix('.faces')}.bary"
            need(partner in arrays, f"lacks {partner}.")
            if name.startswith("contour."):
                shaped(name, None, None)
            else:
                shaped(name, None)
            ids(name, faces)
            shaped(partner, *value.shape, 3)
            # Official tables hold weights of -1e-13: only the sum is checked.
            total = arrays[partner].sum(-1)
            need(bool((np.abs(total - 1) < 1e-3).all()), f"{partner} must sum to 1 along its last axis.")
        elif name.endswith(".bary"):
            need(f"{name.removesuffix('.bary')}.faces" in arrays, f"{name} has no faces.")
    _check_components(arrays["shapedirs"].shape[2], meta, need)


def _check_components(total: int, meta: dict[str, Any], need: Any) -> None:
    identity = meta.get("n_identity")
    good = isinstance(identity, int) and not isinstance(identity, bool) and 0 <= identity <= total
    need(good, f"metadata n_identity must be in 0..{total}, found {identity!r}.")
    assert isinstance(identity, int)
    sizes = {"identity": identity, "expression": total - identity}
    for role, size in sizes.items():
        names = meta.get(f"{role}_names")
        if names is not None:
            fit = isinstance(names, list) and len(names) == size and all(isinstance(n, str) for n in names)
            need(fit and len(set(names)) == size, f"metadata {role}_names must be {size} different texts.")
        sigma = meta.get(f"{role}_sigma")
        if sigma is not None:
            fit = isinstance(sigma, list) and len(sigma) == size and all(_number(s) and s > 0 for s in sigma)
            need(fit, f"metadata {role}_sigma must be {size} positive numbers.")
    for joint, sigma in meta.get("joint_sigma", {}).items():
        fit = isinstance(sigma, list) and len(sigma) == 3 and all(_number(s) and s > 0 for s in sigma)
        need(
            fit and joint in JOINT_NAMES,
            f"metadata joint_sigma[{joint!r}] must be 3 positive numbers of a joint.",
        )
    bounds = meta.get("expression_bounds")
    if bounds is not None:
        fit = isinstance(bounds, list) and len(bounds) == sizes["expression"]
        fit = fit and all(
            isinstance(b, list) and len(b) == 2 and _number(b[0]) and _number(b[1]) and b[0] < b[1]
            for b in bounds
        )
        need(fit, f"metadata expression_bounds must be {sizes['expression']} pairs [low, high].")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
