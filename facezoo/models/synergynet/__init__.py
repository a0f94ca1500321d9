"""SynergyNet: 3DMM parameters from an image, helped while training by landmarks that refine and are read back.

Wu, Xu and Neumann, "Synergy between 3DMM and 3D Landmarks for Accurate 3D Facial Geometry", 3DV 2021.
"""

from facezoo.models.synergynet.config import SynergyConfig
from facezoo.models.synergynet.net import SynergyNet, SynergyOutput

__all__ = ["SynergyConfig", "SynergyNet", "SynergyOutput"]
