"""DECA: a head, its albedo, camera and light from one image, and wrinkles that move with expression.

Feng, Feng, Black and Bolkart, "Learning an Animatable Detailed 3D Face Model from In-The-Wild Images", SIGGRAPH 2021.
"""

from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.net import DecaNet, DecaOutput

__all__ = ["DecaConfig", "DecaNet", "DecaOutput"]
