"""Carry vertex attributes to pixels: the barycentric mean of a face's three corners, differentiable in both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facezoo.errors import InputError
from facezoo.render.rasterizer import Fragments
from facezoo.render.threads import one_thread

_CPU_PIXELS, _CUDA_PIXELS = 1 << 16, 1 << 24  # pixels handled at once; on a CPU about what its cache holds


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Interpolate attributes of vertices at every pixel, perspective-correct.

    Args:
        fragments: of `rasterize`, (B, H, W).
        faces: (F, 3) integer, the faces that were rasterised, or another list of the same length that indexes other
            corners, such as a topology's uv_faces.
        attributes: (B, V, C) or (V, C) float.

    Returns:
        (B, H, W, C); 0 where no face is seen. Gradients flow to the attributes and to `fragments.bary`, once.

    Raises:
        InputError: for shapes that do not fit.
    """
    batch = fragments.face_index.shape[0]
    if attributes.ndim not in (2, 3) or (attributes.ndim == 3 and attributes.shape[0] not in (1, batch)):
        raise InputError(
            f"interpolate: attributes must be (B, V, C) or (V, C) with B = {batch}, got {tuple(attributes.shape)}."
        )
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise InputError(f"interpolate: faces must be (F, 3), got {tuple(faces.shape)}.")
    dtype = torch.promote_types(fragments.bary.dtype, attributes.dtype)
    if attributes.ndim == 3 and attributes.shape[0] == 1:
        attributes = attributes[0]
    with one_thread(not attributes.is_cuda):
        return _Interpolate.apply(
            fragments.face_index, fragments.bary.to(dtype), faces.to(torch.int64), attributes.to(dtype)
        )


class _Interpolate(torch.autograd.Function):
    """One fused weighted gather forwards; hand-written backwards, five times as fast as embedding_bag's own."""

    @staticmethod
    def forward(ctx, face_index: Tensor, bary: Tensor, faces: Tensor, attributes: Tensor):
        ctx.save_for_backward(face_index, bary, faces, attributes)
        batch, height, width = face_index.shape
        count, channels = attributes.shape[-2:]
        # Empty pixels read a row of zeros, so that a NaN at some vertex cannot reach them.
        padded = torch.nn.functional.pad(attributes, (0, 0, 0, 1))
        corners = torch.cat((faces, faces.new_full((1, 3), count)))
        result = bary.new_empty(batch, height * width, channels)
        for part in _parts(face_index):
            index = face_index[part].reshape(-1)
            index = corners.index_select(0, torch.where(index < 0, faces.shape[0], index))
            table = padded
            if attributes.ndim == 3:
                table = padded[part].reshape(-1, channels)
                if part.stop - part.start > 1:
                    first = torch.arange(0, table.shape[0], count + 1, device=index.device)
                    index = (index.view(-1, height * width * 3) + first.unsqueeze(1)).view(-1, 3)
            result[part] = torch.nn.functional.embedding_bag(
                index, table, per_sample_weights=bary[part].reshape(-1, 3), mode="sum"
            ).view(-1, height * width, channels)
        return result.view(batch, height, width, channels)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        face_index, bary, faces, attributes = ctx.saved_tensors
        _, for_bary, _, for_attributes = ctx.needs_input_grad
        grad_bary = torch.zeros(bary.shape, dtype=bary.dtype, device=bary.device) if for_bary else None
        rows = attributes if attributes.ndim == 3 else attributes.unsqueeze(0)
        grad_rows = rows.new_zeros(rows.shape[0], rows.shape[2], rows.shape[1])
        with one_thread(not grad.is_cuda):
            for part in _parts(face_index):
                own = part if attributes.ndim == 3 else slice(0, 1)
                seen = _Seen(face_index[part], faces, rows.shape[1], own.stop - own.start, grad[part])
                if grad_bary is not None:
                    seen.into_bary(rows[own], grad_bary[part])
                if for_attributes:
                    seen.into_attributes(bary[part], grad_rows[own])
        grad_attributes = grad_rows.transpose(1, 2).reshape(attributes.shape) if for_attributes else None
        return None, grad_bary, None, grad_attributes


class _Seen:
    """The covered pixels of some images, with the gradient of each channel there."""

    def __init__(self, face_index: Tensor, faces: Tensor, vertices: int, tables: int, grad: Tensor):
        """Gather the covered pixels; `tables` is how many attribute tables the images have: one each, or 1."""
        flat = face_index.reshape(-1)
        self.pixel = (flat >= 0).nonzero().view(-1)
        face = flat.index_select(0, self.pixel)
        table = self.pixel.div(flat.shape[0] // tables, rounding_mode="floor")
        self.slot = face + table * faces.shape[0]  # the face among all tables' faces
        first = torch.arange(0, tables * vertices, vertices, device=flat.device).view(tables, 1)
        self.corners = [(faces[:, k] + first).view(-1) for k in range(3)]  # vertices of all tables' faces
        grad = grad.reshape(-1, grad.shape[-1])
        self.grad = [grad[:, c].index_select(0, self.pixel) for c in range(grad.shape[-1])]

    def into_bary(self, rows: Tensor, out: Tensor) -> None:
        """Write the gradient of the barycentrics; (b, V, C) attributes, (b, H, W, 3) out."""
        planes = rows.reshape(-1, rows.shape[-1]).t().contiguous()
        for k, corner in enumerate(self.corners):
            vertex = corner.index_select(0, self.slot)
            total = out.new_zeros(self.pixel.shape[0])
            for plane, grad in zip(planes, self.grad, strict=True):
                total.addcmul_(grad, plane.index_select(0, vertex))
            out.view(-1, 3)[:, k].scatter_(0, self.pixel, total)

    def into_attributes(self, bary: Tensor, out: Tensor) -> None:
        """Add the gradient of the attributes; (., H, W, 3) barycentrics, (b, C, V) out.

        Summed over each face's pixels first: the faces are far fewer, and a face's sum then goes to its corners.
        """
        bary = bary.reshape(-1, 3)
        tables, channels, vertices = out.shape
        for k, corner in enumerate(self.corners):
            weight = bary[:, k].index_select(0, self.pixel)
            total = weight.new_zeros(channels, corner.shape[0])
            for plane, grad in zip(total, self.grad, strict=True):
                plane.scatter_add_(0, self.slot, grad * weight)
            sums = weight.new_zeros(channels, tables * vertices).index_add_(1, corner, total)
            out += sums.view(channels, tables, vertices).transpose(0, 1)


def _parts(face_index: Tensor) -> list[slice]:
    """Slices of the batch to handle at once."""
    batch, height, width = face_index.shape
    most = _CUDA_PIXELS if face_index.is_cuda else _CPU_PIXELS
    step = max(1, most // (height * width))
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]
