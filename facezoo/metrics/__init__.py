"""Validation metrics as torchmetrics, so that they reduce over devices and uneven batches."""

from facezoo.metrics.dense import DenseNME
from facezoo.metrics.landmarks import MeanLandmarkError, MeanReprojectionError, NormalizedMeanError
from facezoo.metrics.mesh import MeanVertexError
from facezoo.metrics.pose import GeodesicPoseError, PoseMeanError
from facezoo.metrics.yaw_bins import YawBinNME

__all__ = [
    "DenseNME",
    "GeodesicPoseError",
    "MeanLandmarkError",
    "MeanReprojectionError",
    "MeanVertexError",
    "NormalizedMeanError",
    "PoseMeanError",
    "YawBinNME",
]
