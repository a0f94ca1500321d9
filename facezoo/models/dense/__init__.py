"""Dense landmarks with confidences on the face of a head model, and a first estimate of its parameters."""

from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.net import DenseNet, DenseOutput

__all__ = ["DenseConfig", "DenseNet", "DenseOutput"]
