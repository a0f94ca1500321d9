"""Animations in USDA files: time samples of the pose, and a ``SkelAnimation`` that plays the blend shapes.

USD plays blend shapes only below a ``SkelRoot`` whose mesh is bound to a ``Skeleton``; ours has one joint that rests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.animation import Animation

_CONSTANT = '(\n            elementSize = 1\n            interpolation = "constant"\n        )'
_EYE = "( (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1) )"


def stage_times(animation: Animation) -> str:
    """Return lines of the layer's header: time codes are frames."""
    rate = time_codes_per_second(animation)
    codes = _codes(animation)
    return (
        f"    startTimeCode = {codes[0]}\n    endTimeCode = {codes[-1]}\n"
        f"    timeCodesPerSecond = {_number(rate)}\n    framesPerSecond = {_number(rate)}\n"
    )


def time_codes_per_second(animation: Animation) -> float:
    """Return the rate of the keys: the reciprocal of their shortest distance, 24 for a single one."""
    if len(animation.times) < 2:
        return 24.0
    rate = 1 / float(np.diff(animation.times.astype(np.float64)).min())
    return round(rate) if abs(rate - round(rate)) < 1e-3 * rate else rate


def pose_lines(animation: Animation) -> list[str]:
    """Return the root's time samples: an orientation and a translation."""
    turns = [f"({_join((q[3], *q[:3]))})" for q in animation.rotations]  # USD writes the real part first
    shifts = [f"({_join(t)})" for t in animation.translations]
    return [
        *_samples("    quatf xformOp:orient", animation, turns),
        *_samples("    float3 xformOp:translate", animation, shifts),
        '    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:orient"]',
    ]


def binding_lines(root: str) -> list[str]:
    """Return the mesh's properties that bind it to the skeleton below ``root``."""
    return [
        f"        rel skel:skeleton = </{root}/skeleton>",
        f"        int[] primvars:skel:jointIndices = [0] {_CONSTANT}",
        f"        float[] primvars:skel:jointWeights = [1] {_CONSTANT}",
    ]


def skeleton_lines(root: str, shapes: list[str], animation: Animation) -> list[str]:
    """Return the skeleton and its animation, children of ``root``.

    Args:
        root: name of the file's root prim.
        shapes: identifiers of the blend shapes, in the order of the weights.
        animation: the weights.
    """
    weights = [f"[{_join(row)}]" for row in animation.weights]
    names = ", ".join(f'"{name}"' for name in shapes)
    return [
        '\n    def Skeleton "skeleton" (\n        prepend apiSchemas = ["SkelBindingAPI"]\n    )\n    {',
        '        uniform token[] joints = ["rest"]',
        f"        uniform matrix4d[] bindTransforms = [{_EYE}]",
        f"        uniform matrix4d[] restTransforms = [{_EYE}]",
        f"        rel skel:animationSource = </{root}/skeleton/motion>",
        '\n        def SkelAnimation "motion"\n        {',
        '            uniform token[] joints = ["rest"]',
        "            quatf[] rotations = [(1, 0, 0, 0)]",
        "            half3[] scales = [(1, 1, 1)]",
        "            float3[] translations = [(0, 0, 0)]",
        f"            uniform token[] blendShapes = [{names}]",
        *_samples("            float[] blendShapeWeights", animation, weights),
        "        }",
        "    }",
    ]


def _samples(attribute: str, animation: Animation, values: list[str]) -> list[str]:
    indent = " " * (len(attribute) - len(attribute.lstrip()) + 4)
    rows = [f"{indent}{code}: {value}," for code, value in zip(_codes(animation), values, strict=True)]
    return [f"{attribute}.timeSamples = {{", *rows, f"{indent[4:]}}}"]


def _codes(animation: Animation) -> list[str]:
    codes = animation.times.astype(np.float64) * time_codes_per_second(animation)
    whole = np.round(codes)
    return [_number(w if abs(c - w) < 1e-2 else c) for c, w in zip(codes, whole, strict=True)]


def _join(values: NDArray[np.float32] | tuple[float, ...]) -> str:
    return ", ".join(_number(v) for v in values)


def _number(value: float) -> str:
    """Format in the shortest digits that read back to the same float32."""
    return str(int(value)) if float(value).is_integer() else str(np.float32(value))
