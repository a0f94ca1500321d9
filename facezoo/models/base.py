"""What every method's model shares: a configuration, weights on disk, losses and metrics for training.

A :class:`ZooModel` is a plain module, not a LightningModule, so that loading and predicting never import the training
framework; :class:`facezoo.training.module.TrainingModule` wraps any of them for training.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor, nn

from facezoo.data.augment import Augment, CropBatch
from facezoo.data.mirror import Mirror
from facezoo.data.statistics import TargetStatistics
from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.geometry.crop import CropSpec, apply_affine, invert_affine
from facezoo.heads import load_head
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.signature import Signature, crop_signature

if TYPE_CHECKING:
    from torchmetrics import Metric  # takes as long to import as torch itself, and only training needs it

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class ZooModel(nn.Module):
    """Base of all methods.

    Attributes:
        config_class: dataclass of the method's configuration.
        loss_class: dataclass of the method's loss weights.
        method: name in recipes and config.json.
        body: fields of the configuration that a re-headed model shares with its parent.
        units: units of the outputs, for exported files.
        info: free description stored with the weights: licences, training data, metrics, lineage.
        frozen: full names of the modules that do not train, see :meth:`freeze`.
    """

    config_class: ClassVar[type]
    loss_class: ClassVar[type]
    method: ClassVar[str]
    body: ClassVar[frozenset[str]] = frozenset()
    units: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.info: dict[str, Any] = {}
        self.frozen: tuple[str, ...] = ()

    @property
    def crop(self) -> CropSpec:
        """How crops are cut: square, ``crop_scale`` times the tight box; methods that read meshes have no crops."""
        c = self.config
        mean, std = (c.mean[0], c.mean[1], c.mean[2]), (c.std[0], c.std[1], c.std[2])
        padding: Literal["zeros", "edge"] = "edge" if c.crop_padding == "edge" else "zeros"
        return CropSpec(size=c.crop_size, scale=c.crop_scale, padding=padding, mean=mean, std=std)

    def to_image(self, points: Tensor, affine: Tensor) -> Tensor:
        """Move points (B, N, 2) from crop units to photo pixels; ``affine`` (B, 2, 3) is photo to crop pixels."""
        return apply_affine((points + 0.5) * self.config.crop_size, invert_affine(affine))

    def weights_digest(self) -> str:
        """Return the SHA-256 of all weights: the same name may stand for weights trained further."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @abstractmethod
    def forward(self, images: Tensor) -> NamedTuple:  # type: ignore[valid-type]
        """Map crops (B, 3, S, S) in [0, 1] to a NamedTuple of tensors: no input or output, traceable."""

    def signature(self) -> Signature:
        """Say what :meth:`forward` reads and returns, for exported files; overridden where it reads no crops."""
        return crop_signature(self.crop, self.units)

    def example_inputs(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Return inputs that an export is traced and compared with, in the order of :meth:`signature`.

        Args:
            batch: first size of each.
            seed: the same inputs for the same seed.

        Returns:
            Values between 0 and 1; overridden where the network takes no such numbers.
        """
        random = torch.Generator().manual_seed(seed)
        shapes = [given.shape for given in self.signature().inputs.values()]
        return tuple(torch.rand(batch, *shape, generator=random) for shape in shapes)

    @classmethod
    def data_module(cls, recipe: Any, *, processes: int, planned: int) -> Any:
        """Open the training data; a method whose data are no pictures has a data module of its own.

        Args:
            recipe: resolved.
            processes: training processes that share this machine.
            planned: samples that the run will see, 0 if unknown.
        """
        from facezoo.data.datamodule import FaceDataModule  # here: predicting does without

        return FaceDataModule(recipe.data, recipe.seed, processes=processes, planned=planned)

    def augmentation(self, recipe: Any, *, training: bool = True) -> Any:
        """Return what turns stored samples into network inputs and targets, on the training device."""
        mirror = Mirror.of_head(load_head(recipe.model.head), recipe.model.points)
        return Augment(self.crop, mirror, recipe.data.augment if training else None)

    def inputs(self, batch: Any) -> tuple[Tensor, ...]:
        """Return what :meth:`forward` takes of a batch that :meth:`augmentation` made."""
        return (batch.images,)

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

    @property
    def measured(self) -> tuple[str, ...]:
        """Optional fields of samples that :meth:`targets` needs besides the labels that all have."""
        return ()

    @abstractmethod
    def start_from(self, statistics: TargetStatistics) -> None:
        """Initialise output layers from statistics of the training targets."""

    def inherit(self, name: str, own: Tensor, given: Tensor, parent: Self) -> Tensor | None:
        """Return what a tensor of this model takes over from a parent of other sizes.

        A method overrides it where rows mean something: the rows of landmarks that both have, say.

        Args:
            name: in the state dict of both.
            own: this model's value, which remains where the parent has nothing to give.
            given: the parent's.
            parent: the model whose weights are inherited.

        Returns:
            ``given``, a tensor shaped like ``own`` made from both, or None to keep ``own``.
        """
        return given if given.shape == own.shape else None

    def freeze(self, parts: Iterable[str]) -> None:
        """Keep parts from training: their parameters get no gradient, and they stay in eval mode.

        Eval mode means that batch statistics neither move nor depend on the batch, and that nothing is dropped out.

        Args:
            parts: module names as :meth:`named_modules` lists them; the name of an only child may be left out
                (``features.backbone`` for ``net.features.backbone``). All modules below are meant. Parts that were
                frozen before are free again unless named.

        Raises:
            UnknownNameError: no such module; the message names the nearest.
        """
        children = [name for name, _ in self.named_children()]
        outer = f"{children[0]}." if len(children) == 1 else ""
        modules = {name.removeprefix(outer): name for name, _ in self.named_modules() if name}
        chosen = []
        for part in parts:
            if part.removeprefix(outer) not in modules:
                known = [n for n in modules if "." not in n and n != outer[:-1]]
                near = difflib.get_close_matches(part, modules, n=1, cutoff=0.4)
                raise unknown_name("module", part, [*near, *(n for n in known if n not in near)])
            chosen.append(modules[part.removeprefix(outer)])
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(True)
        self.frozen = tuple(dict.fromkeys(chosen))
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of everything that is not frozen."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

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
