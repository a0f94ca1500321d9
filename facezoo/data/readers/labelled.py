"""Readers of photographs sorted by people, whose 68 points our own detector has set."""

from __future__ import annotations

from pathlib import Path

from facezoo.data.photo_labels import COMMAND, FILE, PhotoLabels
from facezoo.data.readers.base import FaceSample, ReaderInfo
from facezoo.data.readers.portraits import INFOS
from facezoo.errors import AssetError
from facezoo.geometry.crop import tight_box


class LabelledReader:
    """One face a picture. Label sets: ``original`` (3D jaw), ``contour`` (visible jaw)."""

    layout = ""

    def __init__(self, folder: Path, labels: Path | None = None) -> None:
        """Open the labels.

        Args:
            folder: the data set as it was unpacked.
            labels: its label file, by default ``labels.safetensors`` in it.

        Raises:
            AssetError: there is none, or it is of another data set.
        """
        self.folder = folder
        path = labels or folder / FILE
        if not path.is_file():
            raise AssetError(
                f"the photographs in {folder} have no labels yet: '{COMMAND} root={folder} out={path}' writes them once"
            )
        self.labels = PhotoLabels(path)
        if self.labels.meta["layout"] != self.layout:
            raise AssetError(f"{path} labels {self.labels.meta['layout']}, not {self.layout}")
        self.info: ReaderInfo = INFOS[self.layout]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        labels = self.labels.read([index])
        sets = {"original": labels.lm68[0], "contour": labels.lm68_contour[0]}
        person = int(self.labels.arrays["person"][index])
        return FaceSample(
            self.folder / self.labels.name(index), sets, tight_box(sets["original"]), person=person
        )


class VggFace2Reader(LabelledReader):
    """VGGFace2: Cao et al. 2018."""

    layout = "vggface2"


class CelebAReader(LabelledReader):
    """CelebA: Liu et al. 2015, the uncropped pictures."""

    layout = "celeba"


class VoxCeleb2Reader(LabelledReader):
    """Frames of VoxCeleb2: Chung et al. 2018."""

    layout = "voxceleb2"
