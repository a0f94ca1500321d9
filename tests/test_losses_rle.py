"""Residual log-likelihood: released code to 1e-5 (parity pack ``rle``), densities, gradients."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facezoo.errors import InputError
from facezoo.losses import RealNVP, rle_loss
from facezoo.models.dense.decoders import LinearDecoder

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PACK = SHARED / "parity" / "rle"
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason=f"parity pack {PACK} is not there")


def seeded(name: str, shape: list[int], rule: str) -> Tensor:
    """Return the pack's deterministic weight for a name of the official state dict."""
    values = (
        np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
        .standard_normal(shape)
        .astype(np.float32)
    )
    if rule.startswith("weight"):
        return torch.from_numpy(values / np.float32(np.sqrt(np.prod(shape[1:]))))
    return torch.from_numpy(np.float32(0.1) * values)


def official_parts() -> tuple[LinearDecoder, RealNVP]:
    """Return our head and flow with the pack's weights."""
    keys = json.loads((PACK / "keys.json").read_text())["state_dict"]
    values = {name: seeded(name, shape, rule) for name, shape, _, rule in keys if name != "flow.mask"}
    flow = RealNVP()
    own = {k: v for k, v in values.items() if k.startswith("flow.")}
    missing, unexpected = flow.load_state_dict({k[5:]: v for k, v in own.items()}, strict=False)
    assert missing == ["mask"] and not unexpected
    head = LinearDecoder(512, 20, 2, normalize=True)
    head.load_state_dict(
        {
            "coordinates.weight": values["fc_coord.linear.weight"],
            "coordinates.bias": values["fc_coord.linear.bias"],
            "scales.weight": values["fc_sigma.linear.weight"],
            "scales.bias": values["fc_sigma.linear.bias"],
        }
    )
    return head, flow


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_file(Path(PACK) / "pack.safetensors")


@needs_pack
def test_flow_matches_released_code(pack: dict[str, Tensor]) -> None:
    _, flow = official_parts()
    x = pack["flow.x"].clone().requires_grad_()
    z, log_det = flow.to_latent(x)
    log_prob = flow.log_prob(x)
    log_prob.sum().backward()
    for ours, name in ((z, "z"), (log_det, "log_det"), (log_prob, "log_prob"), (x.grad, "grad_x")):
        torch.testing.assert_close(ours, pack[f"flow.{name}"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(flow.to_data(pack["flow.x"]), pack["flow.forward_of_x"], rtol=1e-5, atol=1e-5)


@needs_pack
def test_head_and_loss_match_released_code(pack: dict[str, Tensor]) -> None:
    head, flow = official_parts()
    mean, raw = head(pack["feature_map"].mean((2, 3)))
    sigma = raw.sigmoid()
    mean.retain_grad(), sigma.retain_grad()
    torch.testing.assert_close(mean, pack["mu"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sigma, pack["sigma"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((1 - sigma).mean(2, keepdim=True), pack["score"], rtol=1e-5, atol=1e-5)
    target, weight = (pack[k].view(3, 20, 2) for k in ("target", "target_weight"))
    loss = rle_loss(mean, sigma, target, flow, weight, compat=True)
    loss.backward()
    torch.testing.assert_close(loss, pack["loss"][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean.grad, pack["grad_mu"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sigma.grad, pack["grad_sigma"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        head.coordinates.bias.grad, pack["grad.fc_coord.linear.bias"], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(flow.s[0][0].weight.grad, pack["grad.flow.s.0.0.weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flow.t[5][4].bias.grad, pack["grad.flow.t.5.4.bias"], rtol=1e-4, atol=1e-5)


@needs_pack
def test_loss_from_given_points_matches_released_code(pack: dict[str, Tensor]) -> None:
    _, flow = official_parts()
    arguments = [pack[f"direct.{k}"] for k in ("mu", "sigma", "gt")]
    weight = pack["target_weight"].view(3, 20, 2)
    candidates = [
        [rle_loss(*arguments, flow, w, compat=True, size_average=s) for s in (True, False)]
        for w in (None, weight)
    ]
    wanted = (pack["direct.loss"][0], pack["direct.loss_sum"][0])
    assert any(
        all(torch.allclose(o, w, rtol=1e-5) for o, w in zip(c, wanted, strict=True)) for c in candidates
    )


@pytest.mark.parametrize("density", ["laplace", "gaussian"])
def test_base_density_integrates_to_one(density: str) -> None:
    """With a flow that is the identity's normal, the loss minus the flow's part is -log of a density on the plane."""
    flow = RealNVP().double()
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    mean = torch.stack([x, y], -1).view(-1, 1, 2)
    sigma = torch.tensor([0.7, 1.3], dtype=torch.float64).expand_as(mean)
    zero = torch.zeros_like(mean)
    with torch.no_grad():
        nll = torch.stack(
            [
                rle_loss(m[None], s[None], z[None], flow, density=density)
                for m, s, z in zip(mean[:2], sigma[:2], zero[:2], strict=True)
            ]
        )
        error = mean / sigma
        per_point = torch.log(sigma).sum(-1)[:, 0] - flow.log_prob(error)[:, 0]
        if density == "laplace":
            per_point += (2**0.5 * error.abs() + 0.5 * np.log(2)).sum(-1)[:, 0]
        else:
            per_point += (0.5 * error.square() + 0.5 * np.log(2 * np.pi)).sum(-1)[:, 0]
        torch.testing.assert_close(nll, per_point[:2])
        total = torch.exp(-(per_point + flow.log_prob(error)[:, 0])).sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(total) - 1) < 0.01


def test_flow_inverts_itself_and_passes_gradcheck() -> None:
    torch.manual_seed(0)
    flow = RealNVP().double()
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(flow.to_data(flow.to_latent(x)[0]), x)
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: flow.to_latent(v[None])[0][0], p) for p in x.detach()]
    )
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], flow.to_latent(x)[1].detach())
    mean, target = (
        torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 3, 2, dtype=torch.float64),
    )
    sigma = (torch.rand(2, 3, 2, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, s: rle_loss(m, s, target, flow), (mean, sigma))


def test_bad_input_is_refused() -> None:
    flow, points = RealNVP(), torch.zeros(1, 2, 2)
    with pytest.raises(InputError, match=r"\(B, N, 2\)"):
        rle_loss(points, torch.ones(1, 2, 1), points, flow)
    with pytest.raises(InputError, match="laplace"):
        rle_loss(points, points + 1, points, flow, density="cauchy")
    with pytest.raises(InputError, match="even"):
        RealNVP(couplings=3)
