"""Published numbers of other methods, printed beside measured ones; none of them was measured here."""

from __future__ import annotations

from typing import NamedTuple


class YawRow(NamedTuple):
    """NME in percent of 68 sparse points by |yaw|, and the unweighted mean of the three bins."""

    method: str
    to_30: float
    to_60: float
    to_90: float
    mean: float


class PoseRow(NamedTuple):
    """Mean absolute errors in degrees."""

    method: str
    yaw: float
    pitch: float
    roll: float
    mean: float


# AFLW2000-3D, original labels, boxes made from the true landmarks; Wu et al. 2021, table 1, and the papers it cites.
AFLW2000_NME = (
    YawRow("ESR", 4.60, 6.70, 12.67, 7.99),
    YawRow("3DDFA", 3.43, 4.24, 7.17, 4.94),
    YawRow("DenseCorr", 3.62, 6.06, 9.56, 6.41),
    YawRow("3DSTN", 3.15, 4.33, 5.98, 4.49),
    YawRow("3D-FAN", 3.16, 3.53, 4.60, 3.76),
    YawRow("3DDFA-PAMI", 2.84, 3.57, 4.96, 3.79),
    YawRow("PRNet", 2.75, 3.51, 4.61, 3.62),
    YawRow("2DASL", 2.75, 3.46, 4.45, 3.55),
    YawRow("3DDFA-V2 (MR)", 2.75, 3.49, 4.53, 3.59),
    YawRow("3DDFA-V2 (MRS)", 2.63, 3.42, 4.48, 3.51),
    YawRow("SynergyNet", 2.65, 3.30, 4.27, 3.41),
    YawRow("SynergyNet, MindSpore port", 2.656, 3.316, 4.268, 3.413),
)

# AFLW2000-3D, faces with all three true angles within 99 degrees (1,969). img2pose's truth is its own and is left out.
AFLW2000_POSE = (
    PoseRow("FAN (12 points)", 6.36, 12.30, 8.71, 9.12),
    PoseRow("HopeNet", 6.47, 6.56, 5.44, 6.16),
    PoseRow("SSR-Net-MD", 5.14, 7.09, 5.89, 6.01),
    PoseRow("FSA-Net", 4.50, 6.08, 4.64, 5.07),
    PoseRow("QuatNet", 3.97, 5.62, 3.92, 4.50),
    PoseRow("3DDFA-TPAMI", 4.33, 5.98, 4.30, 4.87),
    PoseRow("2DASL", 3.85, 5.06, 3.50, 4.13),
    PoseRow("3DDFA-V2", 4.06, 5.26, 3.48, 4.27),
    PoseRow("6DRepNet", 3.63, 4.91, 3.37, 3.97),
    PoseRow("9D-EfficientNet", 3.57, 4.69, 3.28, 3.85),
    PoseRow("DAD-3DNet", 3.08, 4.76, 3.15, 3.66),
    PoseRow("RankPose", 2.99, 4.75, 3.25, 3.66),
    PoseRow("VGGHeads", 3.00, 4.91, 3.37, 3.76),
    PoseRow("SynergyNet", 3.42, 4.09, 2.55, 3.35),
    PoseRow("SynergyNet, MindSpore port", 3.57, 4.06, 2.54, 3.39),
)

# AFLW, 21 points, mean of the three bins.
AFLW_NME = (("3DDFA-V2", 4.43), ("SynergyNet", 4.06))
