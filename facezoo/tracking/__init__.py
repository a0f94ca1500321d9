"""Faces through videos: follow, fit one head a person to all frames, write."""

from facezoo.tracking.options import SolveOptions
from facezoo.tracking.run import track
from facezoo.tracking.track import PersonTrack, Track

__all__ = ["PersonTrack", "SolveOptions", "Track", "track"]
