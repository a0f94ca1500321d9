"""docs/training.md and docs/publishing.md from end to end, in real processes: what a reader copies is what runs here.

Train, SIGKILL, resume, fine-tune from the result, publish to a Hub on localhost, load it elsewhere and predict. The
commands are the pages' own; only sizes are added, so that a training takes seconds.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import skimage.data
import torch
from doc_blocks import Block, blocks
from hub_server import TOKEN, HubServer, sha256
from PIL import Image

from facezoo.config import load_recipe

STEPS = ["train", "resume", "fine-tune", "publish", "load"]
MAX_STEPS = 40
TINY = [
    "model.widths=[8,8,8,8]", "model.depths=[1,1,1,1]", "model.neck_channels=4", "model.hidden=16", "model.rank=4",
    "model.scale_rank=4", "model.crop_size=32", "data.size=64", "data.batch_size=2", "data.limit=4",
    "data.validation=2", "data.workers=0", "data.statistics=4", f"trainer.max_steps={MAX_STEPS}",
    "trainer.max_minutes=0", "trainer.checkpoint_every=1", "trainer.validate_every=20", "trainer.image_every=0",
    "trainer.log_every=10", "trainer.device=cpu",
]  # fmt: skip
PATIENCE = 1200


class Workplace:
    """A folder with its own home and its own cache of the Hub, where commands run as a reader types them."""

    def __init__(self, folder: Path, hub: HubServer, **variables: str) -> None:
        folder.mkdir()
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        self.environment = {
            **kept,
            "HF_ENDPOINT": hub.url(),
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **variables,
        }

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        """Start a command; trainings become tiny."""
        program = {"python": [], "facezoo": ["-m", "facezoo"]}[words[0]]
        trains = "facezoo.train" in words or words[:2] == ["facezoo", "train"]
        return subprocess.Popen(
            [sys.executable, *program, *words[1:], *(TINY if trains else [])],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, words: list[str]) -> str:
        """Run a command to its end, which must be a good one, and return what it printed."""
        process = self.start(words)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, f"{' '.join(words)}\n{out}"
        return out

    def kill_after_a_checkpoint(self, words: list[str]) -> Path:
        """Start a training, SIGKILL it as soon as it has saved something, and return the run's folder."""
        process = self.start(words)
        deadline = time.monotonic() + PATIENCE
        while not (found := list(self.folder.glob("runs/*/last.ckpt"))):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert process.returncode == -9, "the training was over before it could be killed"
        return found[0].parent


def walkthrough() -> dict[str, Block]:
    """Return the marked blocks of both pages by step."""
    marked = [block for page in ("training.md", "publishing.md") for block in blocks(page) if block.step]
    assert [block.step for block in marked] == STEPS
    return {block.step: block for block in marked}


def test_the_pages_tell_one_story() -> None:
    """What takes minutes to find out below, seen in a moment: each step is there once and follows from the last."""
    steps = walkthrough()
    (train,), (resume,), (tune,) = (steps[name].commands("python", "facezoo") for name in STEPS[:3])
    assert train == resume
    first, second = (load_recipe("dense", [*words[4:], *TINY]) for words in (train, tune))
    assert [words[3] for words in (train, tune)] == ["recipe=dense"] * 2
    assert first.init.scratch
    assert second.init.weights == f"{first.trainer.run_dir}/export"
    assert second.trainer.run_dir != first.trainer.run_dir
    dry, done = steps["publish"].commands("facezoo")
    assert dry == [*done, "--dry-run"]
    assert done[1:3] == ["publish", second.trainer.run_dir]
    assert f'facezoo.load("{done[-1]}")' in steps["load"].text


def saved_step(run: Path) -> int:
    return int(torch.load(run / "last.ckpt", weights_only=True)["global_step"])


@pytest.mark.slow
def test_from_nothing_to_a_stranger_who_predicts(tmp_path: Path) -> None:
    steps = walkthrough()
    (train,) = steps["train"].commands("python", "facezoo")
    (resume,) = steps["resume"].commands("python", "facezoo")
    (tune,) = steps["fine-tune"].commands("python", "facezoo")
    with HubServer() as hub:
        lab = Workplace(tmp_path / "lab", hub, HF_TOKEN=TOKEN)

        run = lab.kill_after_a_checkpoint(train)
        killed_at = saved_step(run)
        assert 0 < killed_at < MAX_STEPS
        assert not (run / "export").exists()
        assert f"at step {killed_at}" in lab.finish(resume)
        assert saved_step(run) == MAX_STEPS
        with (run / "metrics.csv").open(newline="") as file:
            numbers = [int(row["step"]) for row in csv.DictReader(file)]
        assert numbers == sorted(numbers)
        assert numbers[-1] == MAX_STEPS

        lab.finish(tune)
        (tuned,) = (path.parent for path in lab.folder.glob("runs/*/export") if path.parent != run)
        config = json.loads((tuned / "export" / "config.json").read_text())
        parent = sha256((run / "export" / "model.safetensors").read_bytes())
        assert [one["sha256"] for one in config["lineage"]["parents"]] == [parent]
        assert all(config["licences"].values())
        assert json.loads((tuned / "init.json").read_text())["values"]["new"] == 0

        for words in steps["publish"].commands("facezoo"):
            lab.finish(words)
        ((repo, published),) = hub.repos.items()
        files = published.commits[published.refs["main"]]
        assert files["model.safetensors"] == (tuned / "export" / "model.safetensors").read_bytes()
        assert parent in files["README.md"].decode()

        stranger = Workplace(tmp_path / "stranger", hub)
        Image.fromarray(skimage.data.astronaut()).save(stranger.folder / "photo.jpg")
        out = stranger.finish(["python", "-c", steps["load"].text])
        assert f"{repo}@{published.refs['main']}" in out
        assert (stranger.folder / "face.glb").read_bytes()[:4] == b"glTF"
        assert list((stranger.folder / "hub").rglob("model.safetensors"))
