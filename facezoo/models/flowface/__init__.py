"""FlowFace: a map from the head's texture to the picture, found by recurrent updates."""

from facezoo.models.flowface.config import FlowFaceConfig
from facezoo.models.flowface.net import FlowFaceNet, FlowFaceOutput

__all__ = ["FlowFaceConfig", "FlowFaceNet", "FlowFaceOutput"]
