"""From the dense network's output to faces: landmarks in pixels of the photo, then the head fitted to them."""

from __future__ import annotations

from torch import Tensor

from facezoo.errors import AssetError
from facezoo.fitting import FitResult, FitState, Prior, fit
from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import tight_box
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.module import DenseModel
from facezoo.models.dense.net import DenseOutput
from facezoo.models.dense.spiral import SpiralLevels
from facezoo.models.predict import Crops, FaceModel
from facezoo.types import Face

# The network's errors at neighbouring points move together: 1609 of them tell about as much as 80 independent ones.
_PRIOR_WEIGHT = 20.0
_ITERATIONS = 20


class DenseLandmarks(DenseModel, FaceModel):
    """Predict dense landmarks with confidences from one crop and fit head and camera to them.

    Landmark sets of a face: ``"ibug68"`` (jaw fixed to the head), ``"ibug68_contour"`` (jaw along the visible contour)
    and ``"dense"``; for all of them the confidence is 1 - σ, with σ in sides of the crop.
    """

    def __init__(
        self, config: DenseConfig, levels: SpiralLevels | None = None, pretrained: bool = False
    ) -> None:
        super().__init__(config, levels, pretrained)
        self._head: HeadModel | None = None

    @property
    def head(self) -> HeadModel:
        """The head whose vertices the dense points are; read on first use, never part of a checkpoint.

        Raises:
            AssetError: it is not installed, or has not the vertices and components the network speaks of.
        """
        if self._head is None:
            head, config = load_head(self.config.head), self.config
            wrong = [
                f"{name} {have} < {need}"
                for name, have, need in (
                    ("identity components", head.n_identity, config.n_identity),
                    ("expression components", head.n_expression, config.n_expression),
                )
                if have < need
            ]
            if config.points not in head.topology.subsets:
                wrong.append(f"no subset of {config.points} vertices")
            if wrong:
                raise AssetError(
                    f"head {head.head_id!r} does not fit {self.model_id}: {', '.join(wrong)}. The weights need the "
                    f"head they were trained with, {config.head!r}; reinstall facezoo to mend a damaged one."
                )
            self._head = head.to(self.device)
        return self._head

    def landmarks68(self, output: DenseOutput, crops: Crops) -> Tensor:
        """See :meth:`FaceModel.landmarks68`."""
        return self.to_image(output.landmarks68.float(), crops.affine)

    doubts = "ibug68"

    def confidences(self, output: DenseOutput) -> dict[str, Tensor]:
        """See :meth:`FaceModel.confidences`."""
        sets = {
            "ibug68": output.log_sigma68,
            "ibug68_contour": output.log_sigma_contour68,
            "dense": output.log_sigma,
        }
        side = self.config.sigma_scale
        return {name: (1 - side * log.exp().mean(-1)).clamp(min=0) for name, log in sets.items()}

    def decode(self, output: DenseOutput, crops: Crops, *, fit: bool = True) -> list[Face]:
        """See :meth:`FaceModel.decode`; without a fit, head and camera are the network's own estimate."""
        if not len(crops):
            return []
        output = DenseOutput(*(value.float() for value in output))
        sets = {"ibug68": output.landmarks68, "ibug68_contour": output.contour68, "dense": output.points}
        landmarks = {name: self.to_image(points, crops.affine) for name, points in sets.items()}
        confidence = self.confidences(output)
        params = HeadParams(identity=output.identity, expression=output.expression, jaw=output.jaw)
        R, t = self.pose_in_photo(output, crops.affine, crops.K)
        result: FitResult | None = None
        if fit:
            result = self._fit(
                landmarks["dense"], self.sigma_pixels(output.log_sigma, crops.affine), params, R, t, crops.K
            )
            params, R, t = result.params, result.R, result.t
        vertices = self.head(params).vertices.cpu()
        return self._faces(landmarks, confidence, params.to("cpu"), vertices, R.cpu(), t.cpu(), crops, result)

    def _fit(
        self, points: Tensor, sigma: Tensor, params: HeadParams, R: Tensor, t: Tensor, K: Tensor
    ) -> FitResult:
        return fit(
            self.head,
            points,
            sigma,
            self.head.topology.subset(self.config.points),
            K,
            init=FitState(params, R, t),
            prior=Prior(weight=_PRIOR_WEIGHT),
            n_identity=self.config.n_identity,
            n_expression=self.config.n_expression,
            iterations=_ITERATIONS,
        )

    def _faces(
        self,
        landmarks: dict[str, Tensor],
        confidence: dict[str, Tensor],
        params: HeadParams,
        vertices: Tensor,
        R: Tensor,
        t: Tensor,
        crops: Crops,
        result: FitResult | None,
    ) -> list[Face]:
        """Take the batch apart."""
        landmarks = {name: points.cpu() for name, points in landmarks.items()}
        confidence = {name: values.cpu() for name, values in confidence.items()}
        boxes, K = tight_box(landmarks["ibug68"]), crops.K.cpu()
        return [
            Face(
                box=boxes[i],
                score=1.0,
                landmarks={name: points[i] for name, points in landmarks.items()},
                confidence={name: values[i] for name, values in confidence.items()},
                head_id=self.head.head_id,
                params=params[i],
                vertices=vertices[i],
                camera=Camera(K[i], R[i], t[i], crops.image_sizes[i]),
                fit=None if result is None else result.report(i),
                head=self.head,
            )
            for i in range(len(crops))
        ]
