"""Folders: every picture once, files that mirror the folder, going on where a run stopped, failures told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from predict_fakes import picture, toy_model

from facezoo.cli import main
from facezoo.errors import InputError
from facezoo.predicting.launch import process_counts
from facezoo.predicting.ledger import Ledger, Record
from facezoo.predicting.pictures import find_pictures, output_stems
from facezoo.predicting.progress import Progress, duration


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("toy")
    toy_model(folder).save_pretrained(folder / "weights")
    return str(folder / "weights")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, one of them in a sub-folder."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        save(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


def save(path: Path, seed: int, size: int = 96) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(size, size, seed)).save(path)


def predict(photos: Path, out: Path, weights: str, *more: str) -> int:
    return main(
        ["predict", str(photos), "--out", str(out), "--model", weights, "--detector", "whole", "--device", "cpu",
         "--no-fit", *more]
    )  # fmt: skip


def manifest(out: Path) -> dict[str, dict]:
    lines = (out / "manifest.jsonl").read_text().splitlines()
    return {entry["input"]: entry for entry in map(json.loads, lines)}


def told(stderr: str) -> list[str]:
    """Return what was said beside the progress, which a slow machine prints and a fast one does not."""
    return [line for line in stderr.splitlines() if " images/s " not in line]


def stamps(out: Path) -> dict[str, int]:
    return {
        str(p.relative_to(out)): p.stat().st_mtime_ns
        for p in out.rglob("*.json")
        if ".facezoo" not in p.parts
    }


def test_outputs_mirror_the_folder_and_the_manifest_names_them(weights, photos, tmp_path, capsys) -> None:
    (photos / "notes.txt").write_text("no picture")
    (photos / "._a.png").write_bytes(b"what a Mac leaves behind")
    out = tmp_path / "out"
    assert predict(photos, out, weights, "--format", "npz") == 0
    captured = capsys.readouterr()
    assert told(captured.err) == [] and "3 of 3 pictures predicted" in captured.out
    assert f"{photos / 'sub' / 'a.png'}: 1 face" in captured.out  # what a person sees is what a photo shows
    entries = manifest(out)
    assert list(entries) == ["a.png", "b.jpg", "sub/a.png"]
    written = {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and ".facezoo" not in p.parts
    }
    assert written == {"manifest.jsonl", *(name for entry in entries.values() for name in entry["outputs"])}
    assert entries["sub/a.png"]["outputs"] == ["sub/a.json", "sub/a_0.npz", "sub/a_overlay.png"]
    for name, entry in entries.items():
        values = json.loads((out / entry["outputs"][0]).read_text())
        assert values["source"] == str(photos / name) and len(values["faces"]) == entry["faces"] == 1
        assert entry["error"] is None and entry["seconds"] > 0
    assert not list(out.rglob(".facezoo-*")) and not list((out / ".facezoo").glob("work-*"))


def test_broken_pictures_are_listed_and_stop_nobody(weights, photos, tmp_path, capsys) -> None:
    data = (photos / "b.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(data[: len(data) // 2])
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    out = tmp_path / "out"
    assert predict(photos, out, weights) == 1
    captured = capsys.readouterr()
    assert "3 of 5 pictures predicted" in captured.out and "2 failed" in captured.out
    lines = told(captured.err)
    assert len(lines) == 2 and "cut.jpg is damaged or truncated" in lines[0] and "gone.png" in lines[1]
    entries = manifest(out)
    assert [name for name, entry in entries.items() if entry["error"]] == ["cut.jpg", "gone.png"]
    assert not list(out.glob("cut*")) and entries["cut.jpg"]["outputs"] == []
    before = stamps(out)
    (photos / "cut.jpg").write_bytes(data)  # mended: only what failed is done again
    (photos / "gone.png").unlink()
    assert predict(photos, out, weights) == 0
    assert "1 of 4 pictures predicted" in capsys.readouterr().out
    after = stamps(out)
    assert after.keys() - before.keys() == {"cut.json"} and all(
        after[name] == before[name] for name in before
    )
    assert list(manifest(out)) == ["a.png", "b.jpg", "cut.jpg", "sub/a.png"]


def test_a_picture_that_fails_inside_its_batch_leaves_the_others_alone(
    weights, photos, tmp_path, capsys
) -> None:
    table = tmp_path / "boxes.json"
    boxes = {"b.jpg": [[500, 500, 600, 600]], "sub/a.png": [[30, 24, 66, 72], [10, 10, 30, 34]]}
    table.write_text(json.dumps(boxes))
    out = tmp_path / "out"
    assert predict(photos, out, weights, "--boxes", str(table)) == 1
    assert "no boxes for 1 of 3 pictures" in capsys.readouterr().err
    entries = manifest(out)
    assert {name: entry["faces"] for name, entry in entries.items()} == {
        "a.png": 1,
        "b.jpg": 0,
        "sub/a.png": 2,
    }
    assert "b.jpg" in entries["b.jpg"]["error"]


def test_finished_pictures_are_kept_until_they_change_or_are_overwritten(
    weights, photos, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert predict(photos, out, weights) == 0
    first = stamps(out)
    assert predict(photos, out, weights, "--batch-size", "1") == 0  # the batch does not change results
    assert "3 were finished before" in capsys.readouterr().out and stamps(out) == first
    (out / "b.json").unlink()
    save(photos / "a.png", seed=9, size=80)
    assert predict(photos, out, weights) == 0
    second = stamps(out)
    assert {name for name in first if first[name] != second[name]} == {"a.json", "b.json"}
    assert json.loads((out / "a.json").read_text())["image_size"] == [80, 80]
    (photos / "b.jpg").unlink()
    assert predict(photos, out, weights, "--overwrite") == 0
    third = stamps(out)
    assert third.keys() == {"a.json", "sub/a.json"}  # nothing stale stays behind
    assert all(third[name] != second[name] for name in third)


def test_results_of_other_settings_are_not_mixed(weights, photos, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert predict(photos, out, weights) == 0
    first = stamps(out)
    assert predict(photos, out, weights, "--format", "npz,glb") == 2
    (error,) = told(capsys.readouterr().err)
    assert "formats was ['glb'], is ['glb', 'npz']" in error and "--overwrite" in error
    other = tmp_path / "other"
    other.mkdir()
    toy_model(other, noise=0.5).save_pretrained(other / "weights")
    assert predict(photos, out, str(other / "weights")) == 2 and stamps(out) == first
    assert "weights was" in capsys.readouterr().err
    assert predict(photos, out, weights, "--format", "npz", "--overwrite") == 0
    assert not list(out.rglob("*.glb")) and stamps(out) != first


def test_marks_of_unknown_origin_do_not_count(weights, photos, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.json").write_text("{}")
    assert predict(photos, out, weights) == 0
    assert len(json.loads((out / "a.json").read_text())["faces"]) == 1


def test_a_lost_record_is_read_from_its_mark(weights, photos, tmp_path) -> None:
    out = tmp_path / "out"
    assert predict(photos, out, weights) == 0
    first, entries = stamps(out), manifest(out)
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / ".facezoo" / "journal-00001.jsonl").write_bytes(
        lines[0] + lines[1][:-9]
    )  # cut off in the second line
    (out / "manifest.jsonl").unlink()
    assert predict(photos, out, weights) == 0
    again = manifest(out)
    assert stamps(out) == first and again["a.png"] == entries["a.png"]
    for name in ("b.jpg", "sub/a.png"):
        assert again[name] == entries[name] | {"seconds": None}


def test_the_mark_is_the_last_file(weights, photos, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "b_overlay.png").mkdir(parents=True)  # its place is taken: the files of b cannot all be written
    assert predict(photos, out, weights) == 1
    assert not (out / "b.json").exists() and manifest(out)["b.jpg"]["error"]
    (out / "b_overlay.png").rmdir()
    assert predict(photos, out, weights) == 0 and (out / "b.json").exists()


def test_an_output_folder_inside_is_no_input(weights, photos) -> None:
    for _ in range(2):
        assert predict(photos, photos / "results", weights) == 0
        assert list(manifest(photos / "results")) == ["a.png", "b.jpg", "sub/a.png"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "PHOTOS"], "the folder of pictures itself"),
        (["--format", "stl"], "'stl'"),
        (["--detector", "wholes"], "Did you mean 'whole'"),
        (["--devices", "0"], "--devices"),
        (["--num-nodes", "2"], "srun or torchrun"),
        (["--workers", "-1"], "--workers"),
        (["--batch-size", "0"], "--batch-size"),
        (["--boxes", "1,2,3,4"], ".json"),
        (["--json", "--overwrite"], "one folder"),
    ],
)
def test_wrong_options_are_refused_before_any_work(weights, photos, tmp_path, capsys, more, message) -> None:
    more = [str(photos) if word == "PHOTOS" else word for word in more]
    assert predict(photos, tmp_path / "out", weights, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_refused(weights, tmp_path, capsys) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    assert predict(tmp_path / "photos", tmp_path / "out", weights) == 2
    assert "hold no image" in capsys.readouterr().err


def test_two_runs_do_not_write_into_one_folder(weights, photos, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    first = Ledger(out)
    first.begin([], {}, overwrite=False)
    try:
        assert predict(photos, out, weights) == 2
    finally:
        first.release()
    assert "another facezoo" in capsys.readouterr().err
    assert predict(photos, out, weights, "--overwrite") == 0


def test_a_manifest_cannot_make_files_outside_vanish(tmp_path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.jsonl").write_bytes(Record("a.png", 1, ("../precious.txt", str(precious))).line())
    ledger = Ledger(out)
    ledger.begin([], {}, overwrite=True)
    ledger.release()
    assert precious.exists()


def test_no_two_pictures_share_files() -> None:
    assert output_stems(["a.jpg", "b.png", "x/a.jpg"]) == ["a", "b", "x/a"]
    assert output_stems(["a.jpg", "a.png", "b.png"]) == ["a.jpg", "a.png", "b"]
    assert output_stems(["A.jpg", "a.png"]) == ["A.jpg", "a.png"]
    assert output_stems(["a.jpg", "a.jpg.gif", "a.png"]) == ["a.jpg", "a.jpg.gif", "a.png"]
    assert output_stems(["a.jpg", "a_0.jpg"]) == ["a", "a_0"]
    assert output_stems(["a.jpg", "a_0.jpg", "b_0.jpg"], ["json"]) == ["a", "a_0.jpg", "b_0"]


def test_the_listing_is_sorted_and_sized(photos, tmp_path) -> None:
    found = find_pictures(photos, tmp_path / "out", ["glb"])
    assert [p.name for p in found] == ["a.png", "b.jpg", "sub/a.png"]
    assert [p.size for p in found] == [(photos / p.name).stat().st_size for p in found]


@pytest.mark.parametrize(
    ("asked", "environment", "counts"),
    [
        ((None, None), {}, (1, 1)),
        ((3, None), {}, (3, 1)),
        ((None, None), {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (4, 2)),
        ((4, 2), {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (4, 2)),
        ((None, None), {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"}, (4, 2)),
        ((2, None), {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, (2, 1)),
        ((2, 2), {"MASTER_ADDR": "a", "NODE_RANK": "1"}, (2, 2)),
    ],
)
def test_process_counts_follow_the_launcher(asked, environment, counts) -> None:
    assert process_counts(*asked, environment) == counts


@pytest.mark.parametrize(
    ("asked", "environment", "message"),
    [
        ((2, None), {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}, "torchrun"),
        ((None, None), {"SLURM_NTASKS": "8"}, "--ntasks-per-node"),
        ((None, 3), {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"}, "SLURM"),
        ((None, 2), {}, "docs/predicting_folders.md"),
        ((-1, None), {}, "--devices"),
    ],
)
def test_process_counts_refuse_contradictions(asked, environment, message) -> None:
    with pytest.raises(InputError, match=message):
        process_counts(*asked, environment)


def test_progress_counts_all_processes(tmp_path, capsys) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin([], {}, overwrite=False)
    progress = Progress(ledger, 8, every=0.0)
    journals = [(tmp_path / ".facezoo" / f"journal-0000{rank}.jsonl").open("ab", 0) for rank in (0, 1)]
    for journal in journals:
        journal.write(Record("x", 1).line())
    assert progress.count() == 2
    journals[1].write(Record("y", 1).line())
    assert progress.count() == 3
    assert progress.line(2, 4.0) == "2/8 pictures  25.0 %  0.5 images/s  12 s left"
    progress.tick()
    assert capsys.readouterr().err.startswith("3/8 pictures")
    for journal in journals:
        journal.close()
    ledger.release()
    assert [duration(s) for s in (0.2, 61, 7325)] == ["0 s", "1 min 1 s", "2 h 2 min"]
