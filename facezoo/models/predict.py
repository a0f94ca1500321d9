"""From pictures to faces: what every method that reads single images shares.

One call, in order: load → detect → crop → network → crop anew from the network's own landmarks, as often as the
detector's boxes deserve → decode (which may fit a head) → one box a face. A method adds a network and two
functions, :meth:`FaceModel.landmarks68` and :meth:`FaceModel.decode`; it never sees a file, a detector or a list.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
import torch
from torch import Tensor

from facezoo.data.cut import window
from facezoo.data.images import ImageArray, ImageSource, LoadedImage, load_image
from facezoo.detect import Detections, Detector, given_boxes, load_detector, survivors
from facezoo.detect.boxes import BoxesLike
from facezoo.errors import ImageError, InputError
from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import CropSpec, tight_box
from facezoo.models.base import ZooModel
from facezoo.models.second_look import confirm
from facezoo.types import Face, Prediction

if TYPE_CHECKING:
    from facezoo.tracking.track import Track

# A crop is taken anew until its square moves by less than this share of its side.
_SETTLED = 0.02
# A new box whose side is not within this factor of the old one is a network lost on something that is no face.
_WILDEST = 4.0


@dataclass(frozen=True)
class Crops:
    """A batch of crops and the way back to the pictures they were cut from.

    Attributes:
        pixels: (B, 3, S, S) RGB in [0, 1].
        boxes: (B, 4) tight boxes the crops were made from, pixels of the picture.
        affine: (B, 2, 3) picture pixels to crop pixels.
        K: (B, 3, 3) assumed intrinsics of the pictures, pixels.
        image_sizes: (height, width) of each crop's picture.
    """

    pixels: Tensor
    boxes: Tensor
    affine: Tensor
    K: Tensor
    image_sizes: list[tuple[int, int]]

    @staticmethod
    def cut(spec: CropSpec, images: Sequence[ImageArray], boxes: Tensor) -> Crops:
        """Cut one face out of each image; only the pixels around it are converted, however large the image.

        Args:
            spec: crop geometry of the network.
            images: B pictures (H, W, 3) uint8 RGB; the same one may come several times.
            boxes: (B, 4) tight boxes.
        """
        sizes = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        parts: list[Tensor] = []
        local = boxes.clone()
        for i, (image, square) in enumerate(zip(images, spec.square(boxes).tolist(), strict=True)):
            height, width = sizes[i]
            # The resampler averages whole blocks of pixels and reads up to three beyond the square.
            block = max(1, int((square[2] - square[0]) / spec.size))
            x0, x1 = window(square[0], square[2], block, width)
            y0, y1 = window(square[1], square[3], block, height)
            parts.append(torch.from_numpy(image[y0:y1, x0:x1].astype(np.float32) / 255).permute(2, 0, 1))
            local[i] -= torch.tensor([x0, y0, x0, y0], dtype=local.dtype)
        intrinsics = [Camera.default_K(*size) for size in sizes]
        return Crops(
            pixels=spec.crop(parts, local),
            boxes=boxes,
            affine=spec.affine(boxes),
            K=torch.stack(intrinsics) if intrinsics else torch.zeros(0, 3, 3),
            image_sizes=sizes,
        )

    def to(self, device: torch.device) -> Crops:
        """Move the tensors."""
        return Crops(
            self.pixels.to(device),
            self.boxes.to(device),
            self.affine.to(device),
            self.K.to(device),
            self.image_sizes,
        )

    def rows(self, chosen: list[int]) -> Crops:
        """Return some of the crops."""
        sizes = [self.image_sizes[i] for i in chosen]
        return Crops(self.pixels[chosen], self.boxes[chosen], self.affine[chosen], self.K[chosen], sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)


class FaceModel(ZooModel):
    """A method that reads faces from single pictures.

    Attributes:
        model_id: what predictions are signed with: the catalogue's full id, or the folder the weights came from.
        doubts: landmark set whose confidence tells false alarms; without one dense-1609 looks at finds first.
    """

    model_id: str = "untitled"
    doubts: ClassVar[str] = ""

    @property
    def least_recrops(self) -> int:
        """How often every face is cropped anew from its own landmarks, even where the caller gave the box."""
        return 0

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so where the network runs."""
        return next(self.parameters()).device

    @abstractmethod
    def landmarks68(self, output: Any, crops: Crops) -> Tensor:
        """Return the iBUG-68 landmarks (B, 68, 2) in pixels of the pictures.

        Args:
            output: what ``forward`` returned for ``crops.pixels``.
            crops: the crops.
        """

    @abstractmethod
    def decode(self, output: Any, crops: Crops, *, fit: bool = True) -> list[Face]:
        """Turn a batch of network outputs into faces in picture coordinates.

        Args:
            output: what ``forward`` returned for ``crops.pixels``.
            crops: the crops.
            fit: False leaves out whatever optimises after the network.

        Returns:
            One face a crop, with ``box`` tight around its landmarks and score 1.
        """

    def is_face(self, face: Face) -> bool:
        """Tell whether what a detector found is a face, seen from what the network made of it.

        False alarms get wide scales. The least mean confidence of the set ``doubts`` travels with the weights
        (``least_confidence`` in config.json), because it depends on their calibration; without a set: always.
        """
        return not self.doubts or self._trusts(face.confidence[self.doubts])

    def confidences(self, output: Any) -> dict[str, Tensor]:
        """Return the confidence (B, N) in [0, 1] of each landmark set that has one; ``doubts`` must be among them.

        Args:
            output: what ``forward`` returned, in float32.
        """
        return {}

    def _trusts(self, confidence: Tensor) -> bool:
        return float(confidence.mean()) >= float(self.info.get("least_confidence", 0.0))

    def track(self, source: Any, **options: Any) -> Track:
        """Follow the faces of a video and fit one head a person; see :func:`facezoo.tracking.track`."""
        from facezoo.tracking import track  # lies to the right, as it draws and writes

        return track(self, source, **options)

    @overload
    def predict(
        self,
        source: ImageSource,
        *,
        boxes: BoxesLike | None = None,
        detector: str | Detector = "auto",
        batch_size: int = 16,
        fit: bool = True,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        source: list[Any] | tuple[Any, ...],
        *,
        boxes: Sequence[BoxesLike | None] | None = None,
        detector: str | Detector = "auto",
        batch_size: int = 16,
        fit: bool = True,
    ) -> list[Prediction]: ...
    @torch.no_grad()
    def predict(
        self,
        source: ImageSource | list[Any] | tuple[Any, ...],
        *,
        boxes: Any = None,
        detector: str | Detector = "auto",
        batch_size: int = 16,
        fit: bool = True,
    ) -> Prediction | list[Prediction]:
        """Find and reconstruct every face of a picture, or of each picture of a list.

        Args:
            source: a path, PIL image, (H, W, 3) uint8 RGB array, (3, H, W) tensor (uint8 or float in [0, 1]), or a
                list of them.
            boxes: faces to read instead of detecting them: (4,) or (N, 4) x0, y0, x1, y1 in pixels, tight around brows
                to chin; for a list one entry a picture, None where the detector should look.
            detector: ``"auto"``, ``"open"``, ``"cascade"``, ``"whole"``, ``"yunet"`` or an object like them.
            batch_size: pictures loaded and faces computed at a time.
            fit: False stops after the network: no optimisation.

        Returns:
            A :class:`Prediction`, or for a list one each, in order. A picture without a face gives an empty one.

        Raises:
            ImageError: a picture cannot be read.
            InputError: arguments of a wrong type, shape or value.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        batch = isinstance(source, list | tuple)  # an array or a tensor is one picture
        sources: list[Any] = [*source] if isinstance(source, list | tuple) else [source]
        if not batch:
            boxes = [boxes]
        elif boxes is None:
            boxes = [None] * len(sources)
        elif len(boxes) != len(sources):
            raise InputError(
                f"got boxes for {len(boxes)} pictures but {len(sources)} pictures; give one entry each."
            )
        finder = load_detector(detector) if any(given is None for given in boxes) else None
        self.eval()
        predictions: list[Prediction] = []
        for start in range(0, len(sources), batch_size):
            stop = min(start + batch_size, len(sources))
            images = [_load(sources[i], i if batch else None) for i in range(start, stop)]
            predictions += self._predict_images(images, list(boxes[start:stop]), finder, batch_size, fit)
        return predictions if batch else predictions[0]

    def _predict_images(
        self,
        images: list[LoadedImage],
        boxes: list[BoxesLike | None],
        finder: Detector | None,
        batch_size: int,
        fit: bool,
    ) -> list[Prediction]:
        """Predict one chunk of pictures with its faces side by side."""
        searched = [given is None for given in boxes]
        unknown = [image.pixels for image, search in zip(images, searched, strict=True) if search]
        answers = iter(finder.detect(unknown) if finder is not None and unknown else [])
        found = [
            next(answers) if given is None else given_boxes(given, image.size, image.name)
            for image, given in zip(images, boxes, strict=True)
        ]
        recrops = finder.recrops if finder is not None else 0
        doubtful = [search and not getattr(finder, "certain", False) for search in searched]
        if not self.doubts and any(doubtful):
            asked = [i for i, doubt in enumerate(doubtful) if doubt]
            pictures, finds = [images[i].pixels for i in asked], [found[i] for i in asked]
            confirmed = confirm(pictures, finds, recrops, self.device, batch_size)
            for i, detections in zip(asked, confirmed, strict=True):
                found[i] = detections
            recrops = 0  # the judge's boxes are as good as this method's own
        owner = [i for i, detections in enumerate(found) for _ in detections.boxes]
        start = torch.cat([detections.boxes for detections in found])
        passes = torch.tensor([recrops if searched[i] else 0 for i in owner], dtype=torch.long)
        faces: list[Face] = []
        for first in range(0, len(owner), batch_size):
            part = slice(first, first + batch_size)
            pictures, doubted = [images[i].pixels for i in owner[part]], [doubtful[i] for i in owner[part]]
            faces += self.read(pictures, start[part], passes[part], fit, doubted)
        predictions, queue = [], iter(faces)
        for image, detections, search, doubt in zip(images, found, searched, doubtful, strict=True):
            own = [next(queue) for _ in detections.boxes]
            for face, score in zip(own, detections.scores.tolist(), strict=True):
                face.score = score
            name = finder.name if finder is not None and search else "given"
            kept = _one_each([face for face in own if self.is_face(face)]) if doubt else own
            predictions.append(Prediction(kept, image.pixels, image.name, self.model_id, name))
        return predictions

    def read(
        self,
        images: list[ImageArray],
        boxes: Tensor,
        passes: Tensor,
        fit: bool,
        doubted: Sequence[bool] = (),
    ) -> list[Face]:
        """Read one face of each image (H, W, 3), given its box (B, 4), cropping anew up to ``passes`` (B,) times.

        Where ``doubted`` is True and the network sees no face, nothing is fitted: the caller will drop that one.
        """
        spec, passes = self.crop, passes.clamp(min=self.least_recrops)
        crops = Crops.cut(spec, images, boxes)
        output = self._forward(crops)
        for done in range(int(passes.max()) if len(passes) else 0):
            landmarks = self.landmarks68(output, crops.to(self.device)).float().cpu()
            fresh = _sane(tight_box(landmarks), crops)
            moved = (spec.square(fresh) - spec.square(crops.boxes)).abs().amax(1)
            side = spec.square(crops.boxes)[:, 2] - spec.square(crops.boxes)[:, 0]
            again = torch.nonzero((passes > done) & (moved > _SETTLED * side))[:, 0]
            if not len(again):
                break
            part = Crops.cut(spec, [images[i] for i in again.tolist()], fresh[again])
            output = _replace_rows(output, self._forward(part), again)
            crops = _merge(crops, part, again)
        crops = crops.to(self.device)
        if not (fit and self.doubts and any(doubted)):
            return self.decode(output, crops, fit=fit)
        confidence = self.confidences(type(output)(*(value.float() for value in output)))[self.doubts].cpu()
        fitted = [not doubt or self._trusts(row) for doubt, row in zip(doubted, confidence, strict=True)]
        faces: dict[int, Face] = {}
        for yes in (True, False):
            rows = [i for i, chosen in enumerate(fitted) if chosen == yes]
            part_output = type(output)(*(value[rows] for value in output))
            faces |= zip(rows, self.decode(part_output, crops.rows(rows), fit=yes), strict=True)
        return [faces[i] for i in range(len(crops))]

    def _forward(self, crops: Crops) -> Any:
        return self(crops.pixels.to(self.device))


def _load(source: ImageSource, index: int | None) -> LoadedImage:
    try:
        return load_image(source)
    except (ImageError, InputError) as error:
        if index is None or isinstance(source, str):
            raise
        raise type(error)(f"picture {index} of the list: {error}") from error


def _sane(fresh: Tensor, crops: Crops) -> Tensor:
    """Keep the old box where the new one is no box, is far off in size, or leaves the picture."""
    old = crops.boxes
    extent = (fresh[:, 2:] - fresh[:, :2]).clamp(min=1e-6).prod(1).sqrt()
    ratio = extent / (old[:, 2:] - old[:, :2]).prod(1).sqrt()
    limit = torch.tensor([[w, h] for h, w in crops.image_sizes], dtype=fresh.dtype).reshape(-1, 2)
    centre = (fresh[:, :2] + fresh[:, 2:]) / 2
    good = torch.isfinite(fresh).all(1) & (ratio > 1 / _WILDEST) & (ratio < _WILDEST)
    good &= ((centre > 0) & (centre < limit)).all(1) & (fresh[:, 2:] - fresh[:, :2] > 1).all(1)
    return torch.where(good[:, None], fresh, old)


def _replace_rows(output: Any, part: Any, rows: Tensor) -> Any:
    """Return the NamedTuple ``output`` with some rows of every tensor taken from ``part``."""
    fields = []
    for whole, new in zip(output, part, strict=True):
        whole = whole.clone()
        whole[rows.to(whole.device)] = new
        fields.append(whole)
    return type(output)(*fields)


def _merge(crops: Crops, part: Crops, rows: Tensor) -> Crops:
    pixels, boxes, affine = crops.pixels.clone(), crops.boxes.clone(), crops.affine.clone()
    pixels[rows], boxes[rows], affine[rows] = part.pixels, part.boxes, part.affine
    return Crops(pixels, boxes, affine, crops.K, crops.image_sizes)


def _one_each(faces: list[Face]) -> list[Face]:
    """Drop faces that landmarks drew onto another face; surest first."""
    if len(faces) < 2:
        return faces
    boxes = torch.stack([face.box.float().cpu() for face in faces])
    scores = torch.tensor([face.score for face in faces])
    return [faces[i] for i in survivors(Detections(boxes, scores)).tolist()]
