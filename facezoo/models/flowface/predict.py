"""From FlowFace's output to faces: all vertices in pixels of the photo, then the head fitted to them."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.fitting import FitResult, Prior, fit
from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import tight_box
from facezoo.geometry.crop_pose import split_crop_camera
from facezoo.heads import HeadParams
from facezoo.models.flowface.module import FlowFaceModel
from facezoo.models.flowface.net import FlowFaceOutput
from facezoo.models.flowface.relief import relief_to_mesh
from facezoo.models.predict import Crops, FaceModel
from facezoo.types import Face

# Errors of neighbouring vertices move together: 1609 of them tell about as much as 80 independent ones.
_PRIOR_WEIGHT = 20.0
_ITERATIONS = 20


class FlowFace(FlowFaceModel, FaceModel):
    """Predict where every vertex of the head lies, with its uncertainty, and fit head and camera to the face's.

    Landmark sets of a face: ``"ibug68"``, ``"dense"`` (the face's subset) and ``"vertices"`` (all); the confidence of
    the last two is 1 - σ, with σ in sides of the crop. Without a fit the mesh is the network's own relief, if it finds
    depth.
    """

    def landmarks68(self, output: FlowFaceOutput, crops: Crops) -> Tensor:
        """See :meth:`FaceModel.landmarks68`."""
        return self.to_image(output.landmarks68.float(), crops.affine)

    doubts = "dense"

    def confidences(self, output: FlowFaceOutput) -> dict[str, Tensor]:
        """See :meth:`FaceModel.confidences`."""
        sure = (1 - output.log_sigma[..., 0].exp() * self.config.sigma_scale).clamp(min=0)
        return {"dense": sure[:, self.head.topology.subset(self.config.points)], "vertices": sure}

    def decode(self, output: FlowFaceOutput, crops: Crops, *, fit: bool = True) -> list[Face]:
        """See :meth:`FaceModel.decode`; without a fit, the mesh is the relief that the network sees."""
        if not len(crops):
            return []
        output = FlowFaceOutput(*(value.float() for value in output))
        face_ids = self.head.topology.subset(self.config.points)
        points = self.to_image(output.points, crops.affine)
        zoom = torch.linalg.det(crops.affine[:, :, :2]).abs().sqrt()[:, None]
        share = output.log_sigma[..., 0].exp() * self.config.sigma_scale
        sigma = share * self.config.crop_size / zoom
        landmarks = {
            "ibug68": self.landmarks68(output, crops),
            "dense": points[:, face_ids],
            "vertices": points,
        }
        confidence = self.confidences(output)
        result: FitResult | None = None
        if fit:
            result = self._fit(points[:, face_ids], sigma[:, face_ids], face_ids, crops.K)
            vertices, R, t = self.head(result.params).vertices, result.R, result.t
        elif self.config.depth:
            vertices, R, t = self._relief(output, share, crops)
        else:
            vertices = None
        boxes = tight_box(landmarks["ibug68"]).cpu()
        faces = []
        for i in range(len(crops)):
            params: HeadParams | None = None
            report = None
            if result is not None:
                params = result.params[i].to("cpu")
                report = result.report(i)
            camera = None
            if vertices is not None:
                camera = Camera(crops.K[i].cpu(), R[i].cpu(), t[i].cpu(), crops.image_sizes[i])
            faces.append(
                Face(
                    box=boxes[i],
                    score=1.0,
                    landmarks={name: value[i].cpu() for name, value in landmarks.items()},
                    confidence={name: value[i].cpu() for name, value in confidence.items()},
                    head_id=self.head.head_id,
                    params=params,
                    vertices=None if vertices is None else vertices[i].cpu(),
                    camera=camera,
                    fit=report,
                    head=self.head,
                )
            )
        return faces

    def _fit(self, points: Tensor, sigma: Tensor, ids: Tensor, K: Tensor) -> FitResult:
        return fit(
            self.head,
            points,
            sigma,
            ids,
            K,
            prior=Prior(weight=_PRIOR_WEIGHT),
            n_identity=min(self.config.n_identity, self.head.n_identity),
            n_expression=min(self.config.n_expression, self.head.n_expression),
            iterations=_ITERATIONS,
        )

    def _relief(self, output: FlowFaceOutput, share: Tensor, crops: Crops) -> tuple[Tensor, Tensor, Tensor]:
        """Return vertices in the head frame, R and t in the photo's camera."""
        size = self.config.crop_size
        crop_K, turn = split_crop_camera(crops.K, crops.affine)
        vertices, R, t = relief_to_mesh(
            (output.points + 0.5) * size,
            output.depth[..., 0] * size,
            crop_K,
            self.head.v_template,
            share.square().reciprocal(),
        )
        return vertices, turn.mT @ R, (turn.mT @ t[..., None])[..., 0]
