"""Rasterise triangle meshes in plain torch, on CPU or CUDA, with gradients to the vertices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.render.scanline import EDGE_ON, Corners, draw, gather_corners, padded_faces
from facezoo.render.threads import one_thread

# Images are drawn in chunks of about this many triangles and pixels: on a CPU what keeps intermediates in its cache.
_CPU_TRIANGLES, _CPU_PIXELS = 40_000, 1 << 18
_CUDA_TRIANGLES, _CUDA_PIXELS = 4_000_000, 1 << 24
_TINY, _HUGE = 1e-30, 1e29


class Fragments(NamedTuple):
    """What each pixel of a batch of images shows.

    Attributes:
        face_index: (B, H, W) int64, the face seen, -1 where there is none.
        bary: (B, H, W, 3) perspective-correct barycentrics in the order of the face's corners, >= 0 with sum 1; 0
            where there is no face. Differentiable.
        depth: (B, H, W) camera depth z, 0 where there is no face. Differentiable.
    """

    face_index: Tensor
    bary: Tensor
    depth: Tensor


def rasterize(
    vertices_screen: Tensor, faces: Tensor, size: tuple[int, int], cull_backfaces: bool = False
) -> Fragments:
    """Find the nearest face of each pixel and the point of it that the pixel's centre sees.

    Which face is seen is decided in float32 and carries no gradient. Barycentrics and depth are differentiable, once,
    with respect to the vertices, in the vertices' dtype, with the visible face held fixed.

    A face is dropped when a corner is not finite, nearer than 1e-6 (or behind the camera; nothing is clipped) or
    farther than 2^20 pixels from the origin, and when it is edge-on. Among faces at the same depth the lowest index
    wins. Two runs give the same bits; only gradients on CUDA are summed in no fixed order.

    Args:
        vertices_screen: (B, V, 3) or (V, 3) float; x, y in pixels, centres at .5, y down; z > 0 camera depth.
        faces: (F, 3) integer, shared by the batch.
        size: (H, W) pixels.
        cull_backfaces: drop faces whose outside (from where their corners run counter-clockwise) is turned away.

    Returns:
        The fragments, always with a batch dimension.

    Raises:
        InputError: for wrong shapes, dtypes, devices or face indices.
    """
    vertices, faces, (height, width) = _checked(vertices_screen, faces, size)
    with one_thread(not vertices.is_cuda):
        return Fragments(*_Rasterize.apply(vertices, faces, height, width, cull_backfaces))


@torch.no_grad()
def rasterize_depth(vertices_screen: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw only 1/z: (B, H, W) float32, 0 where there is no face; arguments as for `rasterize`, half its time."""
    vertices, faces, size = _checked(vertices_screen, faces, size)
    padded = padded_faces(faces, vertices.shape[1])
    result = vertices.new_zeros(vertices.shape[0], *size, dtype=torch.float32)
    with one_thread(not vertices.is_cuda):
        for part in _chunks(vertices, faces, size):
            corners = gather_corners(vertices[part].to(torch.float32), padded)
            result[part] = draw(corners, part.stop - part.start, size).inverse_depth
    return result


def _checked(
    vertices: Tensor, faces: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    if vertices.ndim == 2:
        vertices = vertices.unsqueeze(0)
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise InputError(f"rasterize: vertices_screen must be (B, V, 3), got {tuple(vertices.shape)}.")
    if vertices.dtype not in (torch.float32, torch.float64):
        vertices = vertices.to(torch.float32)
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point() or faces.dtype == torch.bool:
        raise InputError(f"rasterize: faces must be (F, 3) integers, got {tuple(faces.shape)} {faces.dtype}.")
    if faces.device != vertices.device:
        raise InputError(
            f"rasterize: vertices are on {vertices.device} but faces on {faces.device}; move one with .to(device)."
        )
    if faces.numel() and not faces.is_cuda:
        low, high = (int(end) for end in faces.aminmax())
        if low < 0 or high >= vertices.shape[1]:
            raise InputError(
                f"rasterize: faces refer to vertices {low}..{high}, but there are {vertices.shape[1]}."
            )
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise InputError(f"rasterize: size must be (H, W), both at least 1, got {tuple(size)}.")
    return vertices, faces.to(torch.int64), (height, width)


def _chunks(vertices: Tensor, faces: Tensor, size: tuple[int, int]) -> Iterator[slice]:
    """Slices of the batch to draw together."""
    batch = vertices.shape[0]
    triangles, pixels = (_CUDA_TRIANGLES, _CUDA_PIXELS) if vertices.is_cuda else (_CPU_TRIANGLES, _CPU_PIXELS)
    step = max(1, min(triangles // max(1, faces.shape[0]), pixels // (size[0] * size[1])))
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


class _Rasterize(torch.autograd.Function):
    """Visibility in float32, then barycentrics and depth in the vertices' dtype."""

    @staticmethod
    def forward(ctx, vertices: Tensor, faces: Tensor, height: int, width: int, cull: bool):
        batch, size = vertices.shape[0], (height, width)
        face_index = torch.full((batch, *size), -1, dtype=torch.int64, device=vertices.device)
        bary = vertices.new_zeros(batch, *size, 3)
        depth = vertices.new_zeros(batch, *size)
        padded = padded_faces(faces, vertices.shape[1])
        for part in _chunks(vertices, faces, size):
            images = part.stop - part.start
            corners = gather_corners(vertices[part].to(torch.float32), padded)
            drawn = draw(corners, images, size, cull)
            if vertices.dtype != torch.float32:
                corners = gather_corners(vertices[part], padded)
            where = (part, slice(*drawn.rows), slice(*drawn.columns))
            number = drawn.triangle[:, where[1], where[2]].neg()
            _barycentrics(corners, number, (drawn.rows[0], drawn.columns[0]), bary[where], depth[where])
            first = torch.arange(
                1, images * padded.shape[1], padded.shape[1], dtype=torch.int32, device=faces.device
            )
            face_index[where] = number.sub_(first.view(-1, 1, 1)).clamp_(min=-1)
        ctx.save_for_backward(vertices, faces, face_index, bary, depth)
        ctx.mark_non_differentiable(face_index)
        return face_index, bary, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, _: Tensor, grad_bary: Tensor, grad_depth: Tensor):
        vertices, faces, face_index, bary, depth = ctx.saved_tensors
        batch, count, _ = vertices.shape
        padded = padded_faces(faces, count)
        grad = vertices.new_zeros(3, batch * count)
        with one_thread(not vertices.is_cuda):
            for part in _chunks(vertices, faces, face_index.shape[1:]):
                corners = gather_corners(vertices[part], padded)
                total = _corner_gradients(
                    corners, face_index[part], bary[part], depth[part], grad_bary[part], grad_depth[part]
                )
                images = part.stop - part.start
                total = total.view(3, 3, images, -1)[..., 1:]  # without the dummy faces
                first = torch.arange(0, images * count, count, device=faces.device).unsqueeze(1)
                for corner in range(3):
                    vertex = (faces[:, corner] + first).view(-1)
                    grad[:, part.start * count : part.stop * count].index_add_(
                        1, vertex, total[corner].reshape(3, -1)
                    )
        return grad.t().reshape(batch, count, 3), None, None, None, None


def _slopes(corners: Corners) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How the screen barycentrics of corners 1 and 2 change along x and y: a1, b1, a2, b2, (T,) each."""
    d1, d2 = corners.xy[1] - corners.xy[0], corners.xy[2] - corners.xy[0]
    (x1, y1), (x2, y2) = d1.unbind(-1), d2.unbind(-1)
    area = x1 * y2 - x2 * y1
    scale = area.reciprocal().masked_fill_((area.abs() > EDGE_ON).logical_not_(), 0.0)
    return y2 * scale, (x2 * scale).neg_(), (y1 * scale).neg_(), x1 * scale


def _barycentrics(
    corners: Corners, number: Tensor, origin: tuple[int, int], bary: Tensor, depth: Tensor
) -> None:
    """Write barycentrics and depth of the pixels of a rectangle.

    Every pixel of the rectangle is computed, the empty ones from the dummy triangle: gathering the covered ones first
    and scattering the results afterwards takes longer on a face. Barycentrics are clamped to the triangle, which
    mends rounding at the borders of slivers; gradients ignore that.

    Args:
        corners: of the triangles, in the dtype of the result.
        number: (b, h, w) int32, the triangle of each pixel.
        origin: row and column of the rectangle's first pixel.
        bary: (b, h, w, 3), depth (b, h, w): written.
        depth: see bary.
    """
    index, shape = number.view(-1), number.shape

    def of_pixel(values: Tensor) -> Tensor:
        return values.index_select(0, index).view(shape)

    centre_y, centre_x = (
        torch.arange(extent, dtype=depth.dtype, device=depth.device).add_(start + 0.5)
        for extent, start in zip(shape[1:], origin, strict=True)
    )
    x = centre_x - of_pixel(corners.x[0].contiguous())
    y = centre_y.unsqueeze(1) - of_pixel(corners.y[0].contiguous())
    a1, b1, a2, b2 = _slopes(corners)
    l1 = of_pixel(a1).mul_(x).add_(of_pixel(b1).mul_(y)).clamp_(0, 1)
    l2 = x.mul_(of_pixel(a2)).add_(y.mul_(of_pixel(b2))).clamp_(min=0)
    l0 = 1 - l1
    l2 = torch.minimum(l2, l0)
    l0 -= l2
    for weight, w in zip((l0, l1, l2), corners.w.unbind(0), strict=True):
        weight.mul_(of_pixel(w))
    z = (
        (l0 + l1).add_(l2).add_(_TINY).reciprocal_()
    )  # 1 / _TINY for the dummy, whose barycentrics become 0 with it
    for corner, weight in enumerate((l0, l1, l2)):
        torch.mul(weight, z, out=bary[..., corner])
    depth.copy_(functional.threshold(z.neg_(), -_HUGE, 0.0, inplace=True).neg_())


def _corner_gradients(
    corners: Corners, face_index: Tensor, bary: Tensor, depth: Tensor, grad_bary: Tensor, grad_depth: Tensor
) -> Tensor:
    """Sum the gradients of all pixels into the corners (3) x coordinates (3) of their triangles: (3, 3, T).

    Moving corner j by d changes the screen barycentrics l at a fixed point as moving the point by -l_j d does, so
    dl_i/dx_j = -l_j a_i with a_i = dl_i/dx. With u_i = l_i w_i, 1/z = sum u and b_i = u_i z, the factors of z cancel:
    dL/dx_j = -z_j sum_pixels b_j sum_i e_i w_i a_i and dL/dz_j = -w_j sum_pixels b_j e_j, where
    e_i = dL/db_i - sum_k b_k dL/db_k - z dL/dz.
    """
    images, height, width = face_index.shape
    triangles = corners.w.shape[1]
    flat = face_index.reshape(-1)
    pixel = (flat >= 0).nonzero().view(-1)
    image = pixel.div(height * width, rounding_mode="floor")
    number = flat.index_select(0, pixel).add_(image.mul_(triangles // images)).add_(1)

    def of_pixel(values: Tensor) -> Tensor:
        return values.reshape(-1).index_select(0, pixel)

    weight = [of_pixel(bary[..., k]) for k in range(3)]
    error = [of_pixel(grad_bary[..., k]) for k in range(3)]
    mean = of_pixel(grad_depth).mul_(of_pixel(depth))
    for b, g in zip(weight, error, strict=True):
        mean.addcmul_(b, g)
    for g in error:
        g.sub_(mean)

    a1, b1, a2, b2 = _slopes(corners)
    w = corners.w
    motion = []
    for s1, s2 in ((a1, a2), (b1, b2)):
        total = ((s1 + s2).neg_() * w[0]).index_select(0, number).mul_(error[0])
        total.addcmul_((s1 * w[1]).index_select(0, number), error[1])
        motion.append(total.addcmul_((s2 * w[2]).index_select(0, number), error[2]))
    result = w.new_zeros(3, 3, triangles)
    for j in range(3):
        for axis, value in enumerate((*motion, error[j])):
            result[j, axis].scatter_add_(0, number, weight[j] * value)
    scale = torch.where(w > 0, w, 1.0).reciprocal().neg_().unsqueeze(1).repeat(1, 3, 1)
    scale[:, 2] = -w
    return result.mul_(scale)
