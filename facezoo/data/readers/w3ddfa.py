"""300W-LP as 3DDFA packs it for training: 120 px crops, a list of their names, and a pickle of whitened parameters.

``train_aug_120x120.zip`` and ``train.configs.zip`` of cleardusk/3DDFA; SynergyNet trains on the same files. Row i of
the pickle belongs to line i of the list; its first 62 columns are pose (3×4, row-major), 40 shape and 10 expression
coefficients.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError
from facezoo.heads.bfm import POSE, read_whitening
from facezoo.heads.pickle_safe import read_pickle

SIZE = 120
PARAMETERS = 62


class PackedCrop(NamedTuple):
    """One crop.

    Attributes:
        path: the picture.
        pose: (3, 4) micrometres to crop pixels, y up; the first pixel counts as 1.
        shape, expression: (40,), (10,) coefficients, not whitened.
    """

    path: Path
    pose: NDArray[np.float64]
    shape: NDArray[np.float64]
    expression: NDArray[np.float64]


class PackedCrops:
    """The crops in the order of their list."""

    def __init__(self, pictures: Path, listing: Path, params: Path, whitening: Path) -> None:
        """Read list and labels.

        Args:
            pictures: folder of the crops.
            listing: text file, a name a line.
            params: pickled array (N, 62 or more).
            whitening: pickle with mean and standard deviation.

        Raises:
            AssetError: a file is missing or damaged, or they do not belong together.
        """
        self.pictures = pictures
        try:
            self.names = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise AssetError(f"{listing} cannot be read: {error.strerror or error}") from error
        values = np.asarray(read_pickle(params))
        if values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] < PARAMETERS:
            raise AssetError(f"{params} holds {values.dtype} {values.shape}, expected floats (N, 62 or more)")
        if len(values) != len(self.names):
            raise AssetError(f"{params} has {len(values)} rows but {listing} {len(self.names)} lines")
        mean, std = read_whitening(whitening)
        if min(len(mean), len(std)) < PARAMETERS:
            raise AssetError(f"{whitening} holds {min(len(mean), len(std))} values, expected {PARAMETERS}")
        self._raw = values[:, :PARAMETERS].astype(np.float64) * std[:PARAMETERS] + mean[:PARAMETERS]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> PackedCrop:
        raw = self._raw[index]
        shape = raw[POSE : POSE + 40]
        return PackedCrop(
            self.pictures / self.names[index], raw[:POSE].reshape(3, 4), shape, raw[POSE + 40 :]
        )
