"""Several cameras that look at the same people at the same time: their names and calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from facezoo.errors import InputError

RigLike: TypeAlias = "str | Path | Mapping[str, Any] | Rig"
_HOW = (
    'give a JSON file {"NAME": {"K": 3 × 3 pixels, "extrinsics": 4 × 4 world to camera, OpenCV axes, metres}, ...} '
    "with the name of every video (without its ending), or 'uncalibrated'."
)


class Rig(NamedTuple):
    """Cameras in order.

    Attributes:
        names: C names.
        K: (C, 3, 3), None where it is not known.
        extrinsics: (C, 4, 4) world to camera, None where they are not known.
    """

    names: tuple[str, ...]
    K: Tensor | None = None
    extrinsics: Tensor | None = None


def read_rig(given: RigLike, names: Sequence[str]) -> Rig:
    """Read a calibration.

    Args:
        given: a JSON file or what is in it, ``"uncalibrated"``, or a rig.
        names: of the cameras, in the order of the videos.

    Raises:
        InputError: it cannot be read, lacks a camera, or its matrices are none.
    """
    if isinstance(given, Rig):
        if len(given.names) != len(names):
            raise InputError(f"the rig has {len(given.names)} cameras for {len(names)} videos.")
        return given
    if given == "uncalibrated":
        return Rig(tuple(names))
    values = given
    if isinstance(given, str | Path):
        try:
            values = json.loads(Path(given).expanduser().read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the cameras of {given} ({error}); {_HOW}") from error
    if not isinstance(values, Mapping):
        raise InputError(f"cameras are a table by name; {_HOW}")
    K, extrinsics = [], []
    for name in names:
        if name not in values:
            raise InputError(
                f"cameras has no {name!r}, it has {', '.join(map(str, values)) or 'none'}; {_HOW}"
            )
        K.append(_matrix(values[name], name, "K", 3))
        extrinsics.append(_matrix(values[name], name, "extrinsics", 4))
    R = torch.stack(extrinsics)[:, :3, :3]
    if not torch.allclose(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-3) or bool(
        (torch.linalg.det(R) < 0).any()
    ):
        raise InputError(f"extrinsics hold no rotations: R Rᵀ must be the identity and det R = 1; {_HOW}")
    return Rig(tuple(names), torch.stack(K), torch.stack(extrinsics))


def _matrix(camera: Any, name: str, key: str, size: int) -> Tensor:
    try:
        matrix = torch.tensor(camera[key], dtype=torch.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"camera {name!r} has no matrix {key!r} ({error}); {_HOW}") from error
    if matrix.shape != (size, size) or not bool(torch.isfinite(matrix).all()):
        raise InputError(f"{key} of camera {name!r} must be {size} × {size} numbers; {_HOW}")
    return matrix
