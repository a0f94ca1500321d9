"""FlowFace learns: it takes a batch in by heart, with and without what this project adds to the paper's form."""

from __future__ import annotations

import pytest
import torch

from facezoo.data.augment import Augment
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors
from facezoo.data.statistics import measure_targets
from facezoo.models.flowface.config import FlowFaceConfig, FlowFaceLossConfig
from facezoo.models.flowface.net import START_SIGMA
from facezoo.models.flowface.predict import FlowFace
from facezoo.synth.engine import label_batch, render_batch

SMALL = {
    "widths": [16, 16, 32, 64], "depths": [1, 1, 1, 1], "fusion": 32, "features": 32, "uv_size": 16, "uv_factor": 1,
    "levels": 2, "radius": 2, "hidden": 24, "motion": 16, "crop_size": 64, "rank": 32, "neck_channels": 16, "neck": 64,
}  # fmt: skip
PAPER = {"first_guess": "mean", "image_context": "none", "local_features": False}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "left"), [({}, 0.06), (PAPER, 0.2)])
def test_a_batch_is_learned_by_heart(form: dict, left: float) -> None:
    torch.manual_seed(0)
    model = FlowFace.for_training(FlowFaceConfig(**SMALL, **form))
    plain = Augment(model.crop, Mirror.of_head(model.head, 1609), None)
    others = plain.targets(to_tensors(label_batch(range(100, 164), 96)))
    model.start_from(measure_targets([model.targets(others)], rank=model.config.rank))
    batch = plain(to_tensors(render_batch(range(16), 96)))
    truth, _, _ = model.labels(batch)
    face = model.head.topology.subset(1609)
    mean = float((model.net.guess.mean[:, :2] - truth)[:, face].norm(dim=2).mean())
    criterion = model.criterion(FlowFaceLossConfig())
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(250):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, 2 * (1 - step / 250))
        output = model(batch.images)
        loss = torch.stack(list(criterion(output, batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    error = (output.points - truth)[:, face].norm(dim=2).detach()
    assert 0.1 < mean < 0.3 and float(error.mean()) < left * mean
    assert (
        float(output.log_sigma[:, face].detach().exp().mean()) < 0.8 * START_SIGMA
    )  # and it knows that it does
