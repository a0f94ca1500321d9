"""Face detectors behind one protocol; every box is converted to tight around the iBUG-68 points."""

from __future__ import annotations

import functools
import importlib
from types import MappingProxyType

from facezoo.detect.base import Detections, Detector
from facezoo.detect.boxes import given_boxes
from facezoo.detect.suppress import suppress, survivors
from facezoo.errors import InputError, unknown_name

# name -> (module, class); a detector's module is imported when it is asked for.
DETECTORS = MappingProxyType(
    {
        "open": ("facezoo.detect.open_faces.detector", "OpenDetector"),
        "cascade": ("facezoo.detect.cascade", "CascadeDetector"),
        "whole": ("facezoo.detect.whole", "WholeImage"),
        "yunet": ("facezoo.detect.yunet", "YuNetDetector"),
    }
)
AUTO = "open"

__all__ = [
    "AUTO",
    "DETECTORS",
    "Detections",
    "Detector",
    "given_boxes",
    "load_detector",
    "suppress",
    "survivors",
]


def load_detector(detector: str | Detector = "auto") -> Detector:
    """Return a detector.

    Args:
        detector: ``"auto"`` (the best that needs nothing but the installation), a name of ``DETECTORS``, or an object
            of your own with ``name``, ``recrops`` and ``detect(images)``, which is returned as it is.

    Raises:
        UnknownNameError: no such name.
        InputError: the object is not a detector.
    """
    if isinstance(detector, str):
        name = AUTO if detector == "auto" else detector
        if name not in DETECTORS:
            raise unknown_name("detector", name, ["auto", *DETECTORS])
        return _by_name(name)
    if not isinstance(detector, Detector):
        raise InputError(
            f"a detector must have name, recrops and detect(images), or be one of {', '.join(DETECTORS)}; "
            f"got {type(detector).__name__}."
        )
    return detector


@functools.cache
def _by_name(name: str) -> Detector:
    """Build a detector once a process; they keep no state but their weights."""
    module, class_name = DETECTORS[name]
    found: Detector = getattr(importlib.import_module(module), class_name)()
    return found
