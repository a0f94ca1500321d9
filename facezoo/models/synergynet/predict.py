"""From SynergyNet's output to faces: landmarks in pixels of the photo, the head's parameters and a weak camera."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import invert_affine, tight_box
from facezoo.models.predict import Crops, FaceModel
from facezoo.models.synergynet.module import SynergyModel
from facezoo.models.synergynet.net import SynergyOutput
from facezoo.models.synergynet.space import complete_rotation, polar_rows
from facezoo.types import Face


class SynergyFaces(SynergyModel, FaceModel):
    """Predict head parameters and a scaled orthographic pose from one crop; nothing is optimised after the network.

    Landmark sets of a face: ``"ibug68"`` (refined), ``"ibug68_3dmm"`` (of the head as predicted), ``"ibug68_contour"``
    where the network was trained for it, ``"dense"`` (vertices of the head) where the head has the subset.
    """

    @property
    def least_recrops(self) -> int:
        """See :class:`FaceModel`: ``config.looks`` crops in all."""
        return self.config.looks - 1

    def landmarks68(self, output: SynergyOutput, crops: Crops) -> Tensor:
        """See :meth:`FaceModel.landmarks68`."""
        return self._to_image(output.refined, crops)

    def decode(self, output: SynergyOutput, crops: Crops, *, fit: bool = True) -> list[Face]:
        """See :meth:`FaceModel.decode`; ``fit`` changes nothing."""
        if not len(crops):
            return []
        space, head = self.net.space, self.net.space.head
        output = SynergyOutput(*(value.float() for value in output))
        sets = {"ibug68": output.refined, "ibug68_3dmm": output.landmarks}
        if self.config.contour:
            sets["ibug68_contour"] = output.contour
        if self.config.points in head.topology.subsets:
            sets["dense"] = space.reconstruct_dense(output.params, head.topology.subset(self.config.points))
        landmarks = {name: self._to_image(points, crops).cpu() for name, points in sets.items()}
        pose, shape, expression = space.split(space.unwhiten(output.params))
        params = space.head_params(shape, expression)
        vertices, params = head(params).vertices.cpu(), params.to("cpu")
        cameras = self._cameras(pose, crops)
        boxes = tight_box(landmarks["ibug68"])
        return [
            Face(
                box=boxes[i],
                score=1.0,
                landmarks={name: points[i] for name, points in landmarks.items()},
                head_id=head.head_id,
                params=params[i],
                vertices=vertices[i],
                camera=cameras[i],
                head=head,
            )
            for i in range(len(crops))
        ]

    def _to_image(self, points: Tensor, crops: Crops) -> Tensor:
        """Move points (B, N, 2 or 3) from crop pixels to pixels of the photo, (B, N, 2)."""
        return self.to_image(self.net.space.to_crop_units(points.float()), crops.affine)

    def _cameras(self, pose: Tensor, crops: Crops) -> list[Camera]:
        """Return the weak camera of each photo; its rotation is the one nearest to the predicted affine map."""
        rows, scale = polar_rows(pose[:, :2, :3])
        axes = torch.diag(pose.new_tensor([1.0, -1.0, -1.0]))  # y up, z to the viewer -> OpenCV
        turn = axes @ complete_rotation(rows)
        K = torch.eye(3, device=pose.device).repeat(len(pose), 1, 1)
        K[:, 0, 0] = K[:, 1, 1] = scale
        origin = self.net.space.place(pose, pose.new_zeros(len(pose), 1, 3))
        K[:, :2, 2] = (self.net.space.to_crop_units(origin)[:, 0] + 0.5) * self.config.crop_size
        camera = Camera(K, turn, pose.new_tensor([0.0, 0.0, 1.0]).expand(len(pose), 3), (1, 1), "weak")
        camera = camera.warped(invert_affine(crops.affine)).to("cpu")
        return [
            Camera(camera.K[i], camera.R[i], camera.t[i], size, "weak")
            for i, size in enumerate(crops.image_sizes)
        ]
