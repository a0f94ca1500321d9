"""Publish a training run: check the export, write its card, upload everything in one commit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from facezoo import __version__
from facezoo.catalog import CATALOG, Catalog
from facezoo.errors import FacezooError, HubError, InputError
from facezoo.hub.cache import is_commit
from facezoo.hub.card import write_card
from facezoo.hub.environment import endpoint, offline
from facezoo.hub.evidence import collect
from facezoo.hub.exported import CARD, CONFIG, WEIGHTS, Export, read_export, state
from facezoo.hub.failures import explain
from facezoo.hub.names import good_revision, repo_name
from facezoo.hub.provenance import provenance
from facezoo.hub.transport import ask, file_url, headers
from facezoo.hub.verify import sha256_of


@dataclass(frozen=True)
class PublishedFile:
    """A file of a publication: its name in the repo, bytes and SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Publication:
    """What was, or would be, published.

    Attributes:
        repo: ``user/name``.
        revision: branch.
        endpoint: address of the Hub.
        files: what goes into the commit.
        card: the card's text on this disk.
        card_written: whether it was written now.
        warnings: what a person should know before anyone else loads it.
        commit: hash of the commit; None for a dry run.
    """

    repo: str
    revision: str
    endpoint: str
    files: tuple[PublishedFile, ...]
    card: Path
    card_written: bool
    warnings: tuple[str, ...] = ()
    commit: str | None = None


def publish(
    run: str | Path,
    repo: str,
    *,
    revision: str = "main",
    private: bool = False,
    dry_run: bool = False,
    new_card: bool = False,
    licences: Mapping[str, str] | None = None,
    base_model: str | None = None,
    token: str | bool | None = None,
    table: Catalog = CATALOG,
) -> Publication:
    """Upload an export with its card as one commit; the repo and the branch are made if they do not exist.

    Args:
        run: a training run's folder, or a folder that ``save_pretrained`` wrote.
        repo: ``user/name``.
        revision: branch.
        private: make a new repo private.
        dry_run: do everything but touch the network.
        new_card: write README.md again even if there is one.
        licences: SPDX ids by part (code, weights, head, data), stated now and stored in config.json.
        base_model: what the training started from, stated now and stored in config.json; ``"none"`` for nothing.
        token: instead of ``HF_TOKEN``; it must be allowed to write.
        table: the catalogue that knows the methods.

    Raises:
        AssetError: the export is missing, damaged, unsafe or does not state its licences and lineage.
        HubError: the Hub refuses or cannot be reached; nothing but whole commits ever becomes visible.
        InputError: ``repo`` or ``revision`` is no name.
    """
    name = repo_name(repo)
    if name is None or name.revision is not None:
        raise InputError(f"repo {repo!r} is no name on the Hub; expected user/name.")
    if not good_revision(revision) or is_commit(revision):
        raise InputError(f"revision {revision!r} is no branch; commits and files cannot be written to.")
    export = state(read_export(run, table), licences, base_model)
    card, written = write_card(export, repo, again=new_card)
    files = tuple(
        PublishedFile(part, (export.folder / part).stat().st_size, sha256_of(export.folder / part))
        for part in (CONFIG, WEIGHTS, CARD)
    )
    planned = Publication(repo, revision, endpoint(), files, card, written, _warnings(export))
    if dry_run:
        return planned
    if offline():
        raise HubError("HF_HUB_OFFLINE is set, so nothing can be published; unset it, or give --dry-run.")
    try:
        commit = _upload(export, planned, private, token)
        _check(planned, commit, token)
    except FacezooError:
        raise
    except Exception as error:
        raise explain(error, repo, endpoint(), doing="write") from error
    return Publication(**{**vars(planned), "commit": commit})


def _upload(export: Export, planned: Publication, private: bool, token: str | bool | None) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=planned.endpoint, token=token, library_name="facezoo", library_version=__version__)
    api.create_repo(planned.repo, private=True if private else None, exist_ok=True)
    if planned.revision != "main":
        api.create_branch(planned.repo, branch=planned.revision, exist_ok=True)
    with ExitStack() as stack:
        # Open files travel by plain HTTP, which every Hub and mirror speaks; paths would need its xet storage.
        operations = [
            CommitOperationAdd(file.name, stack.enter_context(open(export.folder / file.name, "rb")))
            for file in planned.files
        ]
        stack.enter_context(_without_xet_note())
        done = api.create_commit(
            planned.repo,
            operations,
            commit_message=f"Publish {export.model.name} weights {export.sha256[:12]}",
            commit_description=f"Written by facezoo {__version__}.",
            revision=planned.revision,
        )
    return str(done.oid)


def _check(planned: Publication, commit: str, token: str | bool | None) -> None:
    """Ask the Hub what it has now: the weights must be there with the digest they have here."""
    wanted = next(file for file in planned.files if file.name == WEIGHTS)
    remote = ask(file_url(planned.endpoint, planned.repo, commit, WEIGHTS), headers(token))
    if remote.digest != wanted.sha256:
        raise HubError(
            f"{planned.repo}@{commit} was committed, but the Hub has {WEIGHTS} with digest {remote.digest} instead of "
            f"{wanted.sha256}: delete that commit and publish again."
        )


def _warnings(export: Export) -> tuple[str, ...]:
    evidence, found = collect(export), []
    pictures = export.model.reads_pictures
    if pictures and not evidence.photographs:
        found.append(
            "the card has no numbers on photographs: "
            f"`facezoo evaluate {export.folder} data=dlib_18 root=DIR out={export.run / 'evaluation'}`, then --card"
        )
    if pictures and evidence.bias is None:
        found.append(
            "the card has no numbers by groups of people: "
            f"`facezoo evaluate {export.folder} data=synthetic out={export.run}`, then --card"
        )
    base = provenance(export).base_model or ""
    if base.startswith((".", "~")) or Path(base).is_absolute():
        found.append(
            f"the card says that training began from the folder {base} on this machine; publish that first and give "
            "--base-model USER/NAME --card, so that others find it"
        )
    head = str(export.config["config"].get("head", ""))
    if "/" in head or "\\" in head:
        found.append(
            f"the head is a file on this machine ({head}): elsewhere the weights load, but make no heads"
        )
    return tuple(found)


@contextmanager
def _without_xet_note() -> Iterator[None]:
    log = logging.getLogger("huggingface_hub._commit_api")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
