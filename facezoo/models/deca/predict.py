"""From the networks' output to faces: the head with its camera in the photo, and the displacement that details it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facezoo.data.images import ImageSource, load_image
from facezoo.errors import InputError
from facezoo.geometry.crop import CropSpec, invert_affine, tight_box
from facezoo.heads import HeadParams
from facezoo.heads.texture import load_texture
from facezoo.mesh import Mesh, vertex_normals
from facezoo.models.deca.camera import weak_camera
from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.module import DecaModel
from facezoo.models.deca.net import DecaOutput
from facezoo.models.deca.painter import FacePainter
from facezoo.models.deca.texture import complete_texture
from facezoo.models.deca.uv_detail import UvSurface, detailed_mesh
from facezoo.models.predict import Crops, FaceModel
from facezoo.render import bake_uv, interpolate, uv_fragments
from facezoo.types import Face


class Deca(DecaModel, FaceModel):
    """Predict heads with albedo, light and, where the weights have it, animatable detail.

    A face's camera is a weak one, its vertices stand in the head's frame. ``face.detail`` holds ``"albedo"`` (n,),
    ``"light"`` (9, 3), ``"code"`` (d,) and ``"displacement"`` (1, H, W) in metres, masked to the face.
    """

    def __init__(self, config: DecaConfig, pretrained: bool = False) -> None:
        super().__init__(config, pretrained)
        self._surface: UvSurface | None = None

    @property
    def surface(self) -> UvSurface:
        """The head's texture layout at the resolution of the displacement."""
        if self._surface is None:
            surface = UvSurface(self.net.space.head, self.config.detail_size, official=self.config.official)
            self._surface = surface.to(self.device)
        assert self._surface is not None
        return self._surface

    def landmarks68(self, output: DecaOutput, crops: Crops) -> Tensor:
        """See :meth:`FaceModel.landmarks68`."""
        return self.to_image(output.landmarks68.float(), crops.affine)

    @torch.no_grad()
    def decode(self, output: DecaOutput, crops: Crops, *, fit: bool = True) -> list[Face]:
        """See :meth:`FaceModel.decode`; nothing is fitted after the network, so ``fit`` changes nothing."""
        if not len(crops):
            return []
        space, size = self.net.space, self.config.crop_size
        landmarks = self.landmarks68(output, crops).cpu()
        codes = self.net.split(output.codes.float())
        head = space.head(space.head_params(codes, turned=False))
        camera = weak_camera(codes.camera, codes.pose[:, :3], space.joint(codes), size)
        inverse = invert_affine(crops.affine)
        params = HeadParams(identity=codes.shape, expression=codes.expression, jaw=codes.pose[:, 3:]).to(
            "cpu"
        )
        boxes, vertices, camera = tight_box(landmarks), head.vertices.cpu(), camera.to("cpu")
        maps = {"albedo": codes.albedo, "light": codes.light}
        if self.config.detail:
            maps |= {
                "code": output.detail.float(),
                "displacement": self.surface.exported(output.displacement.float()),
            }
        kept = {name: value.cpu() for name, value in maps.items()}
        return [
            Face(
                box=boxes[i],
                score=1.0,
                landmarks={"ibug68": landmarks[i]},
                head_id=space.head.head_id,
                params=params[i],
                vertices=vertices[i],
                camera=camera[i].warped(inverse[i].cpu(), crops.image_sizes[i]),
                detail={name: value[i] for name, value in kept.items()},
                head=space.head,
            )
            for i in range(len(crops))
        ]

    @torch.no_grad()
    def animate(
        self,
        face: Face,
        expression: Sequence[float] | Tensor | None = None,
        jaw: Sequence[float] | Tensor | None = None,
    ) -> Face:
        """Show a predicted face with another expression and jaw, under its own wrinkles.

        Args:
            face: predicted by this model.
            expression: (n,) instead of the face's own.
            jaw: (3,) axis-angle instead of the face's own.

        Returns:
            A new face: the same person, camera, albedo and light; vertices and displacement follow.

        Raises:
            InputError: the face is not one of this model's, or a shape does not fit.
        """
        if face.params is None or face.params.identity is None or face.detail is None:
            raise InputError("animate needs a face that this model predicted.")
        shown = {}
        for name, value, own in (
            ("expression", expression, face.params.expression), ("jaw", jaw, face.params.jaw),
        ):  # fmt: skip
            assert own is not None
            row = own if value is None else torch.as_tensor(value).reshape(1, -1).to(own)
            if row.shape != own.shape:
                raise InputError(f"{name} must be ({own.shape[1]},), got {tuple(row.shape[1:])}.")
            shown[name] = row
        params = HeadParams(identity=face.params.identity, **shown)
        detail = dict(face.detail)
        if "code" in detail and self.net.decoder is not None:
            given = (shown["jaw"], shown["expression"], detail["code"][None])
            made = self.net.decoder(*(value.to(self.device) for value in given))
            detail["displacement"] = self.surface.exported(made)[0].cpu()
        vertices = self.net.space.head(params.to(self.device)).vertices[0].cpu()
        landmarks = dict(face.landmarks)
        if face.camera is not None and not self.net.space.moving_contour:
            points = self.net.space.head.landmarks(vertices[None].to(self.device), "ibug68")[0].cpu()
            landmarks["ibug68"] = face.camera.project(points)
        return Face(
            box=tight_box(landmarks["ibug68"]),
            score=face.score,
            landmarks=landmarks,
            head_id=face.head_id,
            params=params,
            vertices=vertices,
            camera=face.camera,
            detail=detail,
            track_id=face.track_id,
            head=face.head,
        )

    def transfer(self, source: Face, target: Face) -> Face:
        """Show ``source``'s person, with that person's own wrinkles, making ``target``'s face."""
        if target.params is None or target.params.expression is None or target.params.jaw is None:
            raise InputError("the target must have an expression and a jaw; predict it with this model.")
        return self.animate(source, target.params.expression[0], target.params.jaw[0])

    def detailed_mesh(self, face: Face, *, levels: int = 2, image: ImageSource | None = None) -> Mesh:
        """Return a face's head, subdivided and displaced.

        Args:
            face: predicted by this model.
            levels: of subdivision.
            image: the picture; given, its colours become the texture.

        Raises:
            InputError: the face carries no displacement.
        """
        if face.vertices is None or face.detail is None or "displacement" not in face.detail:
            raise InputError("this face carries no displacement: its weights have no detail branch.")
        texture = self.texture(face, image) if image is not None else None
        return detailed_mesh(
            self.net.space.head, face.vertices, face.detail["displacement"], levels=levels, texture=texture
        )

    @torch.no_grad()
    def texture(self, face: Face, image: ImageSource, size: int = 512) -> NDArray[np.uint8]:
        """Unwrap the picture onto the whole head, see :func:`~facezoo.models.deca.texture.complete_texture`.

        Args:
            face: predicted by this model in ``image``.
            image: the picture.
            size: side of the texture in texels.

        Returns:
            (size, size, 3) sRGB, for the head's texture coordinates.

        Raises:
            InputError: the face is not one of this model's, or the picture has another size.
        """
        if face.vertices is None or face.camera is None or face.detail is None or "light" not in face.detail:
            raise InputError("texture needs a face that this model predicted.")
        loaded, head = load_image(image), self.net.space.head
        if loaded.size != face.camera.image_size:
            raise InputError(
                f"the picture is {loaded.size[1]} × {loaded.size[0]} pixels, but the face was found in one of "
                f"{face.camera.image_size[1]} × {face.camera.image_size[0]}."
            )
        topology, vertices = head.topology, face.vertices.to(self.device)
        painter = FacePainter(head, load_texture(self.config.texture, self.config.n_albedo)).to(self.device)
        layout = uv_fragments(topology.uv.float(), topology.uv_faces, (size, size))
        camera = face.camera.to(self.device)
        turn = camera.R * camera.R.new_tensor([1.0, -1.0, -1.0])[:, None]
        normals = functional.normalize(vertex_normals(vertices[None] @ turn.mT, topology.faces), dim=-1)
        albedo = painter.albedo(face.detail["albedo"][None].to(self.device))
        albedo = functional.interpolate(albedo, size=(size, size), mode="bilinear", align_corners=False)
        unwrapped = interpolate(layout, topology.faces, normals)
        model = painter.lit(albedo, unwrapped, face.detail["light"][None].to(self.device))
        spec = CropSpec(size=size, scale=2.0, padding="edge")
        crops = Crops.cut(spec, [loaded.pixels], face.box[None].float().cpu()).to(self.device)
        near = camera.warped(crops.affine[0], (size, size))
        screen = torch.cat([near.project(vertices), near.to_camera(vertices)[:, 2:]], 1)
        photo, seen = bake_uv(
            crops.pixels, screen[None], topology.faces, topology.uv.float(), topology.uv_faces, (size, size),
            layout=layout,
        )  # fmt: skip
        whole = complete_texture(photo[0], seen[0], model[0])
        return (whole * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
