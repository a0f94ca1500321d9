"""What every method's model shares: a configuration, weights on disk, losses and metrics for training.

A :class:`ZooModel` is a plain module, not a LightningModule, so that loading and predicting never import the training
framework; :class:`facezoo.training.module.TrainingModule` wraps any of them for training.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import TargetStatistics
from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.geometry.crop import CropSpec
from facezoo.mesh.io.atomic import write_bytes

if TYPE_CHECKING:
    from torchmetrics import Metric  # takes as long to import as torch itself, and only training needs it

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class ZooModel(nn.Module):
    """Base of all methods.

    Attributes:
        config_class: dataclass of the method's configuration.
        loss_class: dataclass of the method's loss weights.
        method: name in recipes and config.json.
        info: free description stored with the weights: licence, training data, metrics, lineage.
    """

    config_class: ClassVar[type]
    loss_class: ClassVar[type]
    method: ClassVar[str]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.info: dict[str, Any] = {}

    @property
    @abstractmethod
    def crop(self) -> CropSpec:
        """How crops are cut for this model."""

    @abstractmethod
    def forward(self, images: Tensor) -> NamedTuple:  # type: ignore[valid-type]
        """Map crops (B, 3, S, S) in [0, 1] to a NamedTuple of tensors: no input or output, traceable."""

    @abstractmethod
    def criterion(self, weights: Any) -> nn.Module:
        """Build the loss: a module from (output, CropBatch) to a dict of weighted scalar terms whose sum is minimised.

        It is a module of its own because it may have parameters (a flow) and head tables that no checkpoint carries.
        """

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return fresh validation metrics by name; the first is the one that picks the best checkpoint (lower wins)."""

    @abstractmethod
    def update_metrics(self, metrics: dict[str, Metric], output: Any, batch: CropBatch) -> None:
        """Feed one validation batch to the metrics."""

    @abstractmethod
    def preview_points(self, output: Any) -> Tensor:
        """Return points (B, N, 2) in crop units that training pictures show."""

    @abstractmethod
    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return point targets (B, N, 2) and parameter targets (B, P) for :meth:`start_from`."""

    @abstractmethod
    def start_from(self, statistics: TargetStatistics) -> None:
        """Initialise output layers from statistics of the training targets."""

    def save_pretrained(
        self, folder: str | Path, *, half: bool = False, info: dict[str, Any] | None = None
    ) -> str:
        """Write config.json and model.safetensors atomically.

        Args:
            folder: created when missing.
            half: store floating-point weights as float16 (they are loaded back as float32).
            info: description that is stored in config.json; overrides :attr:`info`.

        Returns:
            sha256 of the weights file.
        """
        folder = Path(folder)
        tensors = {}
        for name, value in self.state_dict().items():
            value = value.detach().cpu().contiguous()
            tensors[name] = value.half() if half and value.is_floating_point() else value
        data = serialize(tensors, {"format": "pt"})
        digest = hashlib.sha256(data).hexdigest()
        config = {
            "method": self.method,
            "config": dataclasses.asdict(self.config),
            "weights": {"file": WEIGHTS_FILE, "sha256": digest, "dtype": "float16" if half else "float32"},
            **(self.info if info is None else info),
        }
        write_bytes(folder / WEIGHTS_FILE, data)
        write_bytes(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
        return digest

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, sha256: str | None = None) -> Self:
        """Load a model from a folder that :meth:`save_pretrained` wrote; nothing is ever downloaded.

        Args:
            folder: holds config.json and model.safetensors.
            sha256: expected digest of the weights; by default the one in config.json is checked.

        Returns:
            The model in eval mode, float32, on the CPU.

        Raises:
            AssetError: a file is missing, damaged, of another method, or has another digest.
        """
        folder = Path(folder)
        content = read_config(folder)
        if content.get("method") != cls.method:
            raise AssetError(
                f"{folder / CONFIG_FILE} describes method {content.get('method')!r}, not {cls.method!r}"
            )
        known = {f.name for f in dataclasses.fields(cls.config_class)}
        for key in content["config"]:
            if key not in known:
                raise AssetError(f"{folder / CONFIG_FILE}: {unknown_name('configuration key', key, known)}")
        try:
            model = cls(cls.config_class(**content["config"]))
        except (InputError, TypeError) as error:
            raise AssetError(f"{folder / CONFIG_FILE}: {error}") from error
        weights = content.get("weights", {})
        path = folder / weights.get("file", WEIGHTS_FILE)
        tensors = _read_weights(path, sha256 or weights.get("sha256"))
        try:
            model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        except RuntimeError as error:
            raise AssetError(f"{path} does not fit {folder / CONFIG_FILE}: {error}") from error
        model.info = {k: v for k, v in content.items() if k not in ("method", "config", "weights")}
        return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check ``config.json`` of a model folder."""
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise AssetError(f"{folder} is no model folder: {CONFIG_FILE} is missing") from error
    except (OSError, ValueError) as error:
        raise AssetError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise AssetError(f"{path} has no 'config' section; expected what save_pretrained writes")
    return content


def _read_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AssetError(f"weights {path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise AssetError(
            f"weights {path} are damaged or were changed: sha256 {digest[:16]}..., expected {sha256[:16]}...; "
            "get the file again (for embedded weights: pip install --force-reinstall facezoo)"
        )
    try:
        return deserialize(data)
    except SafetensorError as error:
        raise AssetError(f"weights {path} are not a safetensors file: {error}") from error


def count_parameters(model: nn.Module) -> int:
    """Return the number of values a checkpoint of ``model`` stores, buffers included."""
    return sum(v.numel() for v in model.state_dict().values())
