"""From SynergyNet's output to faces: landmarks, camera and pose agree with each other and with AFLW's angles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synergynet_fakes import tiny_config, write_landmark_head

from facezoo.geometry.rotations import euler_to_matrix
from facezoo.models.synergynet.net import SynergyOutput
from facezoo.models.synergynet.predict import SynergyFaces


class Seeker(SynergyFaces):
    """A network that sees where the one bright square of a picture is, and notes how large it was."""

    def forward(self, images: torch.Tensor) -> SynergyOutput:
        bright = images[:, 0] > 0.5
        rows, columns = (torch.arange(images.shape[-1]).float() + 0.5 for _ in range(2))
        weight = bright.float().sum((1, 2)).clamp(min=1)
        x = (bright * columns).sum((1, 2)) / weight
        y = (bright * rows[:, None]).sum((1, 2)) / weight
        side = weight.sqrt()
        self.seen = [*getattr(self, "seen", []), side.tolist()]
        corners = torch.linspace(-0.5, 0.5, 68)
        points = torch.stack([corners, corners.flip(0), corners * 0], 1) * side[:, None, None]
        points = points + torch.stack([x, y, x * 0], 1)[:, None]
        params = torch.zeros(len(images), sum(self.config.sizes))
        return SynergyOutput(params, params, points, points, points[..., :2])


class Oracle(SynergyFaces):
    """A network that answers with a given pose and codes, in the middle of every crop."""

    def answer(self, yaw: float, pitch: float, roll: float, scale: float = 300.0) -> None:
        angles = (torch.tensor([float(np.radians(a))]) for a in (yaw, pitch, roll))
        pose = torch.cat([scale * euler_to_matrix(*angles)[0], torch.tensor([[30.0], [28.0], [0.0]])], 1)
        codes = torch.linspace(-1, 1, 6)
        self.params = self.net.space.whiten(torch.cat([pose.flatten(), codes])[None])

    def forward(self, images: torch.Tensor) -> SynergyOutput:
        params = self.params.expand(len(images), -1)
        landmarks = self.net.space.reconstruct(params)
        return SynergyOutput(params, params, landmarks, landmarks, landmarks[..., :2])


@pytest.fixture(scope="module", params=["clean", "official"])
def oracle(request, tmp_path_factory) -> Oracle:
    head = write_landmark_head(tmp_path_factory.mktemp("head"))
    changes = {"compat": "official", "jaw": False} if request.param == "official" else {"contour": True}
    return Oracle(tiny_config(head, **changes)).eval()


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [(35, 0, 0), (-35, 0, 0), (0, 25, 0), (0, -25, 0), (0, 0, 20), (0, 0, -20), (50, -15, 10)],
)
def test_pose_and_camera_of_a_face(oracle, yaw, pitch, roll):
    oracle.answer(yaw, pitch, roll)
    boxes = torch.tensor([[40.0, 30, 90, 95], [200.0, 10, 240, 60]])
    faces = oracle.predict(np.zeros((120, 300, 3), np.uint8), boxes=boxes)
    for face in faces:
        assert tuple(face.pose) == pytest.approx((yaw, pitch, roll), abs=1e-3)
        shown = face.camera.project(face.head.landmarks(face.vertices[None], "ibug68")[0])
        torch.testing.assert_close(shown, face.landmarks["ibug68_3dmm"], atol=2e-3, rtol=0)
        dense = face.camera.project(face.vertices[face.head.topology.subset(oracle.config.points)])
        torch.testing.assert_close(dense, face.landmarks["dense"], atol=2e-3, rtol=0)
    # AFLW's signs, seen in the picture: what comes out of the face points left for yaw > 0, up for pitch > 0
    out, up = (faces[0].camera.R @ torch.tensor(v) for v in ([0.0, 0, 1], [0.0, 1, 0]))
    if yaw and not pitch:
        assert (float(out[0]) < 0) == (yaw > 0)
    if pitch and not yaw:
        assert (float(out[1]) < 0) == (pitch > 0)
    if roll and not yaw:
        assert (float(up[0]) > 0) == (roll > 0)


def test_faces_follow_their_boxes(oracle):
    oracle.answer(10, 5, 0)
    image = np.zeros((300, 300, 3), np.uint8)
    near, far = oracle.predict(image, boxes=torch.tensor([[50.0, 50, 100, 100], [150.0, 120, 250, 220]]))
    assert set(near.landmarks) >= {"ibug68", "ibug68_3dmm", "dense"}
    assert ("ibug68_contour" in near.landmarks) == oracle.config.contour
    # the second crop is twice as large and elsewhere
    side = oracle.config.crop_scale
    expected = (near.landmarks["ibug68"] - 75) / (50 * side) * (100 * side) + torch.tensor([200.0, 170.0])
    torch.testing.assert_close(far.landmarks["ibug68"], expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_second_look_mends_a_wrong_box(tmp_path, looks):
    network = Seeker(tiny_config(write_landmark_head(tmp_path), looks=looks)).eval()
    image = np.zeros((200, 200, 3), np.uint8)
    image[60:120, 80:140] = 255
    true = torch.tensor([[80.0, 60, 140, 120]])
    wide, exact = torch.tensor([[60.0, 50, 150, 140]]), network.crop.size / network.crop.scale
    face = network.predict(image, boxes=wide)[0]
    torch.testing.assert_close(face.box[None], true, atol=1.5, rtol=0)
    assert len(network.seen) == looks
    assert network.seen[0][0] == pytest.approx(exact * 60 / 90, abs=1.5)
    if looks == 2:  # now the square fills as much of the crop as a face in an exact box
        assert network.seen[1][0] == pytest.approx(exact, abs=1.5)
    network.seen = []
    network.predict(image, boxes=true)
    assert len(network.seen) == 1  # nothing would move


def test_faces_save_themselves(oracle, tmp_path):
    oracle.answer(0, 0, 0)
    image = np.full((120, 120, 3), 90, np.uint8)
    prediction = oracle.predict(image, boxes=torch.tensor([30.0, 30, 90, 90]))
    for suffix in (".glb", ".json", ".npz"):
        assert prediction[0].save(tmp_path / f"face{suffix}").stat().st_size > 500
    assert prediction.overlay().size[0] >= 120
