"""The embedded SynergyNet on rendered people: rotations that were drawn come back, each axis with its sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.catalog import CATALOG
from facezoo.geometry.rotations import matrix_to_euler

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    if not CATALOG["synergynet"].weights:
        pytest.skip("no weights of synergynet are embedded yet")
    from facezoo.models.load import load

    return load("synergynet", device="cpu")


def test_rendered_rotations_come_back_with_their_signs(network):
    from facezoo.evaluation.groups import spread_seeds
    from facezoo.synth.engine import render_sample

    samples = [render_sample(seed) for seed in spread_seeds(40)]
    boxes = [torch.from_numpy(s.box)[None] for s in samples]
    faces = [p[0] for p in network.predict([s.image for s in samples], boxes=boxes)]
    found = np.array([tuple(face.pose) for face in faces])
    turned = torch.from_numpy(np.stack([s.R for s in samples]).astype(np.float32))
    angles = matrix_to_euler(torch.diag(torch.tensor([1.0, -1, -1])) @ turned)
    truth = torch.rad2deg(torch.stack(angles, 1)).numpy()
    kept = np.abs(truth[:, 0]) < 60  # beyond, pitch and roll turn about nearly the same axis
    for axis, name in enumerate(("yaw", "pitch", "roll")):
        a, b = found[kept, axis], truth[kept, axis]
        assert np.corrcoef(a, b)[0, 1] > 0.7, name
        clear = np.abs(b) > 15
        assert (np.sign(a[clear]) == np.sign(b[clear])).mean() > 0.9, name
        assert np.abs(a - b).mean() < 10, name
