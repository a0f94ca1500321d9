"""HeadModel: any head with FLAME's mathematics, from coefficients to posed vertices."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from facezoo.errors import InputError
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import lbs
from facezoo.heads.check import JOINTS, check_head
from facezoo.heads.contour import contour_landmarks
from facezoo.heads.params import JOINT_NAMES, HeadOutput, HeadParams, ParamSpec, Role
from facezoo.heads.topology import ContourTable, LandmarkSet, Topology

# Root, neck, jaw, left eye, right eye: the jaw and both eyes hang off the neck joint.
PARENTS = (-1, 0, 1, 1, 1)

# Prior widths in radians for heads whose file gives none: the neck turns mostly sideways, the jaw mostly
# opens, the eyes do not roll. The root rotation and the translation stay free.
_JOINT_SIGMA = {
    "neck": (0.30, 0.40, 0.20),
    "jaw": (0.20, 0.05, 0.03),
    "left_eye": (0.20, 0.30, 0.02),
    "right_eye": (0.20, 0.30, 0.02),
}
_CACHED_SUBSETS = 8


class HeadRows(NamedTuple):
    """The arrays of a head for some vertices only: V' rows in the order asked for.

    Attributes:
        template: (V', 3).
        shapedirs: (V', 3, n).
        posedirs: (36, 3 V').
        weights: (V', 5).
    """

    template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    weights: Tensor


class HeadModel(nn.Module):
    """A head with linear identity and expression, pose correctives and five joints (Li et al. 2017, FLAME).

    All arrays are non-persistent buffers, so no checkpoint ever carries a licensed basis.

    Attributes:
        v_template: (V, 3) metres, y up, z out of the face, x to the subject's left.
        shapedirs: (V, 3, n_identity + n_expression), scaled so that coefficients are standard deviations.
        posedirs: (36, 3 V).
        J_regressor: (5, V).
        weights: (V, 5).
        parents: [-1, 0, 1, 1, 1].
        joint_template: (5, 3) joints of the mean head.
        joint_dirs: (5, 3, n) displacement of the joints by each component: joints never need all vertices.
        topology: what the vertices mean.
        params: name -> :class:`ParamSpec`, one for every field of :class:`HeadParams`.
        head_id: name of the head, e.g. "open-v1".
        licence: its licence, e.g. "CC0-1.0".
        meta: the metadata of the head file.
        extra: arrays of the head file beyond the head itself (e.g. how identities are sampled).
    """

    v_template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    J_regressor: Tensor
    weights: Tensor
    parents: Tensor
    joint_template: Tensor
    joint_dirs: Tensor

    def __init__(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Build a head from the arrays and the metadata of a head file.

        Args:
            arrays: as :func:`facezoo.heads.file.read_head` gives them.
            meta: its metadata.

        Raises:
            AssetError: the arrays do not make a head.
        """
        super().__init__()
        check_head(arrays, meta, str(meta.get("head_id", "the given head")))
        self.meta = meta
        self.head_id: str = meta["head_id"]
        self.licence: str = meta["licence"]
        self.n_identity: int = meta["n_identity"]
        self.n_expression: int = arrays["shapedirs"].shape[2] - self.n_identity

        for name in ("v_template", "shapedirs", "posedirs", "weights"):
            self.register_buffer(name, _floats(arrays[name]), persistent=False)
        regressor = np.zeros((JOINTS, len(arrays["v_template"])))
        # Repeated entries add up, as in every sparse format.
        np.add.at(
            regressor, (arrays["J_regressor.row"], arrays["J_regressor.col"]), arrays["J_regressor.val"]
        )
        self.register_buffer("J_regressor", _floats(regressor), persistent=False)
        self.register_buffer("parents", torch.tensor(PARENTS), persistent=False)
        # In double precision: the sums over thousands of vertices are done once and for all.
        template = regressor @ arrays["v_template"].astype(np.float64)
        used = np.flatnonzero(regressor.any(0))
        directions = np.einsum(
            "jv,vcn->jcn", regressor[:, used], arrays["shapedirs"][used].astype(np.float64)
        )
        self.register_buffer("joint_template", _floats(template), persistent=False)
        self.register_buffer("joint_dirs", _floats(directions), persistent=False)

        self.extra = {
            name.removeprefix("extra."): value for name, value in arrays.items() if name.startswith("extra.")
        }
        self.topology = _topology(arrays)
        self.params = _param_specs(meta, self.n_identity, self.n_expression)
        self._rows: list[tuple[tuple[Any, ...], Tensor, HeadRows]] = []

    @property
    def n_vertices(self) -> int:
        """Return V."""
        return self.v_template.shape[0]

    def rows(self, vertices: Tensor | None = None) -> HeadRows:
        """Return the arrays for some vertices, gathered once and kept for the next call with the same tensor.

        Args:
            vertices: (V',) long vertex ids on the head's device; None = all.

        Raises:
            InputError: not one-dimensional long ids, or an id outside the head.
        """
        if vertices is None:
            return HeadRows(self.v_template, self.shapedirs, self.posedirs, self.weights)
        # The tensor object is the key (and kept, so that its id stays its own); its version catches in-place
        # edits, the buffers' own ids and versions catch a move or an edit of the head.
        buffers = (self.v_template, self.shapedirs, self.posedirs, self.weights)
        key = tuple((id(t), 0 if t.is_inference() else t._version) for t in (vertices, *buffers))
        for position, (known, _, rows) in enumerate(self._rows):
            if known == key:
                self._rows.append(self._rows.pop(position))
                return rows
        if vertices.dtype != torch.long or vertices.ndim != 1 or vertices.numel() == 0:
            raise InputError(
                f"vertices must be a non-empty (V',) long tensor of ids, got {vertices.dtype} "
                f"{tuple(vertices.shape)}."
            )
        if int(vertices.min()) < 0 or int(vertices.max()) >= self.n_vertices:
            raise InputError(
                f"vertices must be ids in [0, {self.n_vertices}), "
                f"got {int(vertices.min())}..{int(vertices.max())}."
            )
        with torch.inference_mode(False):  # kept for later calls, which may want gradients
            rows = HeadRows(
                self.v_template[vertices],
                self.shapedirs[vertices],
                self.posedirs.unflatten(1, (-1, 3))[:, vertices].flatten(1),
                self.weights[vertices],
            )
        self._rows = [*self._rows[1 - _CACHED_SUBSETS :], (key, vertices, rows)]
        return rows

    def forward(self, params: HeadParams, vertices: Tensor | None = None) -> HeadOutput:
        """Pose the head.

        Args:
            params: what to show; fewer coefficients than the head has stand for zeros at the end.
            vertices: (V',) long ids of the vertices wanted; only their rows of the bases are multiplied.
                Pass the same tensor each time: its rows are gathered once.

        Returns:
            Vertices (B, V', 3) and posed joints (B, 5, 3), metres.

        Raises:
            InputError: a parameter of the wrong shape or type.
        """
        size = params.batch_size
        given = {name: self._checked(name, value) for name, value in params.items()}
        rows = self.rows(vertices)
        identity, expression = given.get("identity"), given.get("expression")

        def shaped(base: Tensor, directions: Tensor) -> Tensor:
            base = lbs.blend(base, directions[..., : self.n_identity], identity)
            return lbs.blend(base, directions[..., self.n_identity :], expression).expand(size, -1, -1)

        with torch.autocast(self.v_template.device.type, enabled=False):  # bfloat16 would cost millimetres
            shape = shaped(rows.template, rows.shapedirs)
            joints = shaped(self.joint_template, self.joint_dirs)
            if any(name in given for name in JOINT_NAMES):
                zero = self.v_template.new_zeros(1, 3)
                pose = torch.stack([given.get(name, zero).expand(size, -1) for name in JOINT_NAMES], 1)
                rotations = axis_angle_to_matrix(pose)
                if any(name in given for name in JOINT_NAMES[1:]):
                    shape = shape + (lbs.pose_feature(rotations) @ rows.posedirs).unflatten(1, (-1, 3))
                joints, world, offsets = lbs.kinematic_chain(rotations, joints, PARENTS)
                shape = lbs.skin(shape, rows.weights, world, offsets)
            translation = given.get("translation")
            if translation is not None:
                shape, joints = shape + translation[:, None], joints + translation[:, None]
        return HeadOutput(shape, joints)

    def landmarks(self, vertices: Tensor, name: str) -> Tensor:
        """Read a named landmark set off posed vertices.

        Args:
            vertices: (B, V, 3) all vertices.
            name: key of ``topology.landmarks``.

        Returns:
            (B, N, 3).

        Raises:
            UnknownNameError: no such set.
            InputError: ``vertices`` is not (B, V, 3).
        """
        points = self.topology.landmark_set(name)
        self._check_vertices(vertices)
        corners = vertices[:, self.topology.faces[points.faces]]  # (B, N, 3, 3)
        return (corners * points.bary[..., None]).sum(2)

    def contour_landmarks(self, vertices: Tensor, rotation: Tensor, convention: str) -> Tensor:
        """Read FLAME's 68 landmarks with the jaw line a camera sees: 17 contour points, then 51 others.

        Args:
            vertices: (B, V, 3) all vertices.
            rotation: (B, 3, 3) of the head relative to the camera, see :meth:`head_rotation`.
            convention: "smplx" or "deca", the sign of the yaw (:func:`facezoo.heads.contour.contour_row`).

        Returns:
            (B, 68, 3).

        Raises:
            InputError: the head has no contour table, or a wrong shape or convention.
        """
        table = self.topology.contour
        if table is None or "ibug51" not in self.topology.landmarks:
            raise InputError(
                f"head {self.head_id!r} has no contour table; add FLAME's landmark_embedding.npy next to "
                "the model "
                "and run `facezoo assets add flame PATH` again."
            )
        self._check_vertices(vertices)
        contour = contour_landmarks(vertices, self.topology.faces, table, rotation, convention)
        return torch.cat([contour, self.landmarks(vertices, "ibug51")], 1)

    @staticmethod
    def head_rotation(params: HeadParams) -> Tensor:
        """Return root times neck, the head's rotation in the model's frame.

        DECA selects its contour by this product; smplx leaves the neck out (pass
        ``HeadParams(rotation=...)`` alone to repeat that).

        Returns:
            (B, 3, 3).
        """
        given = [v for v in (params.rotation, params.neck) if v is not None]
        if not given:
            raise InputError("head_rotation needs params.rotation or params.neck.")
        matrices = [axis_angle_to_matrix(v) for v in given]
        return matrices[0] @ matrices[1] if len(matrices) == 2 else matrices[0]

    def shared_copy(self) -> HeadModel:
        """Return a head that shares this one's arrays but can be moved or converted on its own."""
        twin = copy.copy(self)
        twin._buffers = dict(self._buffers)
        twin._rows = []
        return twin

    def extra_repr(self) -> str:
        """Describe the head in one line."""
        return (
            f"{self.head_id!r}, vertices={self.n_vertices}, identity={self.n_identity}, "
            f"expression={self.n_expression}, licence={self.licence!r}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HeadModel:
        super()._apply(fn, recurse)
        self._rows = []
        self.topology = self.topology.map(fn)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": []}

    def _check_vertices(self, vertices: Tensor) -> None:
        if vertices.ndim != 3 or vertices.shape[1:] != (self.n_vertices, 3):
            raise InputError(
                f"vertices must be (B, {self.n_vertices}, 3) of head {self.head_id!r}, got "
                f"{tuple(vertices.shape)}."
            )

    def _checked(self, name: str, value: Tensor) -> Tensor:
        size = self.params[name].size
        partial = self.params[name].role in ("identity", "expression")
        if not (value.shape[1] == size or (partial and value.shape[1] < size)):
            raise InputError(
                f"HeadParams.{name} must be (B, {'k <= ' if partial else ''}{size}) for head "
                f"{self.head_id!r}, "
                f"got {tuple(value.shape)}."
            )
        dtype = self.v_template.dtype
        if not value.is_floating_point() or (value.dtype == torch.float64 and dtype != torch.float64):
            raise InputError(
                f"HeadParams.{name} is {value.dtype} but the head is {dtype}: use params.to({dtype}) or "
                "head.double()."
            )
        return value.to(dtype)


def _floats(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32, order="C"))


def _ids(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.int64, order="C"))


def _topology(arrays: dict[str, np.ndarray]) -> Topology:
    def family(prefix: str, suffix: str = "") -> list[str]:
        return sorted(
            n.removeprefix(prefix).removesuffix(suffix)
            for n in arrays
            if n.startswith(prefix) and n.endswith(suffix)
        )

    return Topology(
        faces=_ids(arrays["faces"]),
        uv=_floats(arrays.get("uv", np.zeros((0, 2)))),
        uv_faces=_ids(arrays.get("uv_faces", np.zeros((0, 3)))),
        masks={n: _ids(arrays[f"mask.{n}"]) for n in family("mask.")},
        landmarks={
            n: LandmarkSet(_ids(arrays[f"landmarks.{n}.faces"]), _floats(arrays[f"landmarks.{n}.bary"]))
            for n in family("landmarks.", ".faces")
        },
        symmetry=_ids(arrays["symmetry"]) if "symmetry" in arrays else None,
        subsets={int(n): _ids(arrays[f"subset.{n}"]) for n in family("subset.")},
        contour=ContourTable(_ids(arrays["contour.faces"]), _floats(arrays["contour.bary"]))
        if "contour.faces" in arrays
        else None,
    )


def _param_specs(meta: dict[str, Any], n_identity: int, n_expression: int) -> dict[str, ParamSpec]:
    specs: dict[str, ParamSpec] = {}
    roles: tuple[tuple[Role, str, int], ...] = (
        ("identity", "shape", n_identity),
        ("expression", "expr", n_expression),
    )
    for role, short, size in roles:
        names = meta.get(f"{role}_names") or [f"{short}{i:03d}" for i in range(size)]
        sigma = torch.tensor(meta.get(f"{role}_sigma") or [1.0] * size, dtype=torch.float32)
        bounds = meta.get("expression_bounds") if role == "expression" else None
        specs[role] = ParamSpec(
            role, size, role, sigma, tuple(names), None if bounds is None else torch.tensor(bounds).float()
        )
    widths = {**_JOINT_SIGMA, **meta.get("joint_sigma", {})}
    for name in (*JOINT_NAMES, "translation"):
        sigma = torch.tensor(widths.get(name, (math.inf,) * 3), dtype=torch.float32)
        kind: Role = "translation" if name == "translation" else "rotation"
        specs[name] = ParamSpec(name, 3, kind, sigma, tuple(f"{name}_{axis}" for axis in "xyz"))
    return specs
