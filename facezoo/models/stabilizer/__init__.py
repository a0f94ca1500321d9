"""Skull stabilizer: the rigid transform that brings the skulls of two registered meshes of one person together.

Source: Bednarik et al. 2024, "Learning to Stabilize Faces", arXiv 2411.15074.
"""

from facezoo.models.stabilizer.config import PairConfig, StabilizerConfig, StabilizerLossConfig
from facezoo.models.stabilizer.module import StabilizerModel
from facezoo.models.stabilizer.rigid import RigidTransform

__all__ = ["PairConfig", "RigidTransform", "StabilizerConfig", "StabilizerLossConfig", "StabilizerModel"]
