"""Validation metrics as torchmetrics, so that they reduce over devices and uneven batches."""

from facezoo.metrics.landmarks import MeanLandmarkError, MeanReprojectionError, NormalizedMeanError
from facezoo.metrics.mesh import MeanVertexError

__all__ = ["MeanLandmarkError", "MeanReprojectionError", "MeanVertexError", "NormalizedMeanError"]
