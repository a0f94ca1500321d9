"""The model card of an export: README.md with the Hub's metadata, made of measured results and stated licences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facezoo.catalog import TASKS, Licences
from facezoo.errors import AssetError
from facezoo.hub.cache import appear
from facezoo.hub.evidence import Evidence, collect, launch_command, recipe_text
from facezoo.hub.exported import CARD, CONFIG, Export
from facezoo.hub.names import repo_name
from facezoo.hub.provenance import Provenance, provenance

# SPDX ids in lower case that the Hub knows by the same name.
_HUB_LICENCES = {
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense",
}  # fmt: skip
_MARK = "<!-- facezoo card, weights sha256"
_LICENCE_LINE = re.compile(r"^license:\s*['\"]?([\w.-]+)", re.MULTILINE)


def write_card(export: Export, repo: str, *, again: bool = False) -> tuple[Path, bool]:
    """Write README.md into the export unless it is there.

    Args:
        export: what to describe.
        repo: where it will be published.
        again: write it even so.

    Returns:
        Its path, and whether it was written now.

    Raises:
        AssetError: licences or lineage are missing, a measurement does not belong to these weights, or the card that is
            there describes other weights, states another licence or has no metadata.
    """
    path = export.folder / CARD
    if path.is_file() and not again:
        _check_card(path, export)
        return path, False
    text = card_text(export, repo)
    appear(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path, True


def card_text(export: Export, repo: str) -> str:
    """Return the whole text of the card, metadata first."""
    stated, evidence, model = provenance(export), collect(export), export.model
    parts = [
        _metadata(export, repo, stated, evidence),
        f"{_MARK} {export.sha256} -->",
        f"# {repo}",
        f"{model.summary[:1].upper()}{_sentence(model.summary[1:])} Method `{model.method}`: {_sentence(model.paper)} "
        f"{_sizes(export)}",
        _usage(repo, model.reads_pictures),
        _intended(),
        _limits(export),
        _training(export, stated),
        _results(repo, evidence, model.reads_pictures),
        _bias(repo, evidence) if model.reads_pictures else "",
        _licences(stated),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _check_card(path: Path, export: Export) -> None:
    text = path.read_text(encoding="utf-8")
    stated, licence = (
        _LICENCE_LINE.search(text.split("\n---", 1)[0]),
        _hub_licence(provenance(export).licences)[0],
    )
    if not text.startswith("---\n") or stated is None:
        raise AssetError(
            f"{path} has no metadata with a license, so the Hub would show none; add it, or write the card again "
            "with --card."
        )
    if _MARK in text and export.sha256 not in text:
        raise AssetError(
            f"{path} describes other weights than the ones beside it; write it again with --card."
        )
    if stated[1] != licence:
        raise AssetError(
            f"{path} says license {stated[1]}, {CONFIG} beside it {licence}; write the card again with --card."
        )


def _metadata(export: Export, repo: str, stated: Provenance, evidence: Evidence) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    licence, licence_name = _hub_licence(stated.licences)
    base = repo_name(stated.base_model) if stated.base_model else None
    task = TASKS[export.model.tasks[0]]
    results = [
        EvalResult(
            task_type=task,
            dataset_type="annotated-photographs" if i < len(evidence.photographs) else "held-out",
            dataset_name=measured.data,
            metric_type=_metric_id(measured.metric),
            metric_name=measured.metric,
            metric_value=round(measured.value, 4),
            metric_args={"command": _repeat(measured.command, repo)} if measured.command else None,
        )
        for i, measured in enumerate(evidence.measurements)
    ]
    data = ModelCardData(
        license=licence,
        license_name=licence_name,
        library_name="facezoo",
        pipeline_tag=task,
        tags=["3d-face", *export.model.tasks, export.model.method],
        base_model=base.id if base else None,
        eval_results=results or None,
        model_name=repo,
    )
    return f"---\n{data.to_yaml()}\n---"


def _metric_id(metric: str) -> str:
    """Return a metric without its unit, as one word: ``nme``, ``mean-error-of-dense-points``."""
    return re.sub(r"\W+", "-", re.split(r"[,%(]", metric)[0].strip().lower())


def _hub_licence(licences: Licences) -> tuple[str, str | None]:
    """Return the licence of the weights as the Hub calls it, and its own name if the Hub has none for it."""
    licence = licences.weights
    return (licence.lower(), None) if licence.lower() in _HUB_LICENCES else ("other", licence)


def _usage(repo: str, pictures: bool) -> str:
    lines = (
        ('faces = model.predict("photo.jpg")', 'faces[0].save("face.glb")')
        if pictures
        else ('transform = model.predict("smile.obj", "neutral.obj")', 'result = model.stabilize("frames/")')
    )
    return f"""
## How to use

    pip install facezoo

```python
import facezoo

model = facezoo.load("{repo}")  # revision="<commit>" pins it, and then needs no network once it is cached
{lines[0]}
{lines[1]}
```
"""


def _sizes(export: Export) -> str:
    config = export.config["config"]
    points, side = config.get("points"), config.get("crop_size")
    parts = [
        f"{points} points" if isinstance(points, int) else "",
        f"crops of {side} px" if side else "",
        f"{export.parameters / 1e6:.2f} M stored values",
        f"head `{export.config.get('head_id', 'not stated')}`",
    ]
    return f"{', '.join(part for part in parts if part)}."


def _intended() -> str:
    return """
## Intended use

Geometry of faces in pictures: landmarks, head shape, expression and pose, for graphics, animation and measurement.
It does not tell who somebody is, and it is not made for recognising people, nor for judging emotion, health, character
or origin.
"""


def _limits(export: Export) -> str:
    lines = [
        "It is known to do only what the tables below show; what they do not cover was not measured.",
        *(str(line) for line in export.config.get("limits") or ()),
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _training(export: Export, stated: Provenance) -> str:
    facts = export.config.get("trained_on") or {}
    rows = [f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items()] or ["- not stated"]
    begin = f"`{stated.base_model}`" if stated.base_model else "random weights"
    command = launch_command(export)
    lines = ["## Training data", "", f"Started from {begin}; data under `{stated.licences.data}`.", "", *rows]
    if stated.parents:
        lines += ["", "Lineage, the oldest first:", ""]
        lines += [_parent(parent) for parent in stated.parents]
    lines += ["", *_code(command)] if command else []
    if recipe := recipe_text(export):
        lines += [
            "",
            "<details><summary>The recipe, resolved</summary>",
            "",
            "```yaml",
            recipe,
            "```",
            "",
            "</details>",
        ]
    return "\n".join(lines)


def _parent(parent: Mapping[str, Any]) -> str:
    name = parent.get("id") or parent.get("path") or "unknown"
    licence = (parent.get("licences") or {}).get("weights") or "not stated"
    return f"- `{name}`, weights under {licence}, sha256 `{parent.get('sha256', 'unknown')}`"


def _results(repo: str, evidence: Evidence, pictures: bool) -> str:
    lines = ["## Results", ""]
    if evidence.photographs:
        parts = list(dict.fromkeys(part for _, row in evidence.photographs for part in row))
        lines += [
            "NME in percent of √(w·h) of the box tight around the true points, mean over faces.",
            "",
            f"| photographs | {' | '.join(parts)} |",
            f"|---|{'---|' * len(parts)}",
        ]
        for measured, row in evidence.photographs:
            lines.append(f"| {measured.data} | {' | '.join(_number(row.get(part)) for part in parts)} |")
        commands = dict.fromkeys(_repeat(measured.command, repo) for measured, _ in evidence.photographs)
        lines += ["", *_code(*commands)]
    elif pictures:
        lines.append(
            f"Not measured on photographs yet: `facezoo evaluate {repo} data=dlib_18 root=DIR` does it."
        )
    if evidence.validation:
        lines += ["", "| by the training, on held-out data | |", "|---|---|"]
        lines += [f"| {measured.metric} | {_number(measured.value)} |" for measured in evidence.validation]
    return "\n".join(lines)


def _bias(repo: str, evidence: Evidence) -> str:
    report = evidence.bias
    if report is None:
        return (
            f"## By groups of people\n\nNot measured yet: `facezoo evaluate {repo} data=synthetic` does it."
        )
    lines = [
        "## By groups of people",
        "",
        f"{_sentence(report.metric)} {report.count} people: {_sentence(report.data)}",
        "± is the standard error of the mean.",
        "",
        "| | group | people | NME % |",
        "|---|---|---|---|",
    ]
    for kind, groups in report.groups.items():
        for group in groups:
            error = "" if group.se is None else f" ± {group.se:.2f}"
            lines.append(f"| {kind} | {group.name} | {group.n} | {_number(group.nme)}{error} |")
    return "\n".join([*lines, "", *_code(_repeat(report.command, repo))])


def _licences(stated: Provenance) -> str:
    licences = stated.licences
    parts = (
        ("code", licences.code),
        ("weights", licences.weights),
        ("head", licences.head),
        ("data", licences.data),
    )
    rows = "\n".join(f"| {part} | {licence} |" for part, licence in parts)
    allowed = "All four allow" if licences.commercial else "Not all four allow"
    return f"## Licences\n\n| of | licence |\n|---|---|\n{rows}\n\n{allowed} commercial use."


def _repeat(command: str, repo: str) -> str:
    """Let a measuring command name the repo, not a folder: the same weights, their digest was compared."""
    return re.sub(r"^facezoo evaluate .+ (?=data=)", f"facezoo evaluate {repo} ", command)


def _code(*commands: str) -> list[str]:
    # fenced, because an indented block below a list is a paragraph of its last item
    return ["```sh", *commands, "```"]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
