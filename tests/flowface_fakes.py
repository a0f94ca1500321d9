"""A FlowFace small enough for tests."""

from __future__ import annotations

TINY = {
    "widths": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "fusion": 8, "features": 8, "uv_size": 16, "uv_factor": 4,
    "uv_levels": 2, "levels": 2, "radius": 2, "hidden": 8, "motion": 8, "iterations": 2, "crop_size": 64,
    "rank": 8, "neck_channels": 8, "neck": 16,
}  # fmt: skip
