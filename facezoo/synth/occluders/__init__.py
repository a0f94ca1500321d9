"""Things in front of a face: hands, cups, microphones, phones, paper, strands, blobs, captions, picture edges.

Each is drawn in two dimensions around a face box and returned as a layer (coverage, colour, contact shadow), so that
the same layer can cover the image and, thresholded, the segmentation. Masks, glasses and hats that follow the head's
surface are three-dimensional and live elsewhere.
"""

from __future__ import annotations

from facezoo.synth.occluders.sample import KINDS, Occlusion, composite, sample_occluder

__all__ = ["KINDS", "Occlusion", "composite", "sample_occluder"]
