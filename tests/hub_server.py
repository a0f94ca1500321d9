"""A Hub on localhost: real HTTP, as much of the Hub's protocol as huggingface_hub and facezoo speak, and ways to break.

Small files are answered at once, large ones are redirects to a storage server on another port, as on the real Hub.
Every request is logged. ``faults`` make answers fail, stall, stop half-way or lie.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")
TOKEN = "hf_may_write"
READER = "hf_may_read"


@dataclass
class Repo:
    """A repo: branches and tags point to commits, and a commit is a table of files."""

    private: bool = False
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, changes: dict[str, bytes]) -> str:
        """Add a commit on a branch and return its hash."""
        parent = self.refs.get(branch, "")
        files = {**self.commits.get(parent, {}), **changes}
        text = json.dumps([parent, sorted((name, sha256(data)) for name, data in files.items())])
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        self.refs[branch] = commit
        return commit


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose ``"METHOD path"`` matches.

    Attributes:
        match: regular expression.
        times: how often; -1 for ever.
        status: answer with this instead.
        error_code: its X-Error-Code.
        drop_after: send so many bytes of the body, then break the connection.
        hang_up: break the connection without any answer.
        pause: seconds before the answer.
        trickle: seconds between pieces of 64 kB.
        lie: change the last byte of the body.
        no_range: answer 200 with everything, whatever range was asked for.
        headers: change headers of the answer; None removes one.
    """

    match: str
    times: int = 1
    status: int = 0
    error_code: str = ""
    drop_after: int | None = None
    hang_up: bool = False
    pause: float = 0.0
    trickle: float = 0.0
    lie: bool = False
    no_range: bool = False
    headers: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A logged request."""

    server: str
    method: str
    path: str
    headers: dict[str, str]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubServer:
    """The Hub and its storage; use as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self._servers = {name: _server(self, name) for name in ("hub", "storage")}

    def __enter__(self) -> HubServer:
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go offline; connections are refused from now on."""
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        with self.lock:  # those that are kept alive would be answered for ever
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def url(self, name: str = "hub") -> str:
        """Return the address of the Hub or of the storage."""
        return f"http://127.0.0.1:{self._servers[name].server_address[1]}"

    def add(self, repo: str, files: dict[str, bytes], branch: str = "main", **options: bool) -> str:
        """Commit files to a repo, made with ``options`` if need be, and return the commit."""
        made = self.repos.setdefault(repo, Repo(**options))
        for name, data in files.items():
            if name.endswith(LARGE):
                self.objects[sha256(data)] = data
        return made.commit(branch, files)

    def requests(self, method: str = "", pattern: str = "", server: str = "") -> list[Request]:
        """Return logged requests."""
        return [
            r
            for r in list(self.log)
            if r.method.startswith(method) and re.search(pattern, r.path) and r.server.startswith(server)
        ]

    def fault_for(self, request: str) -> Fault:
        """Take the next fault that matches a request; one without effect if there is none."""
        with self.lock:
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.match, request):
                    fault.times -= 1
                    return fault
        return Fault("")


def _server(hub: HubServer, name: str) -> ThreadingHTTPServer:
    handler = type(f"{name.title()}Handler", (_Handler,), {"hub": hub, "name": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]
    name: ClassVar[str]

    def setup(self) -> None:
        super().setup()
        with self.hub.lock:
            self.hub.connections.add(self.connection)

    def finish(self) -> None:
        with self.hub.lock:
            self.hub.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self) -> None:
        self.body = self._read_body()
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(
            Request(self.name, self.command, path, {k.lower(): v for k, v in self.headers.items()})
        )
        self.fault = self.hub.fault_for(f"{self.command} {path}")
        time.sleep(self.fault.pause)
        if self.fault.hang_up:
            self._break()
        elif self.fault.status:
            self._error(self.fault.status, self.fault.error_code, "as the test asked")
        elif self.name == "storage":
            self._storage(path)
        else:
            self._route(path)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    # Routes of the Hub

    def _route(self, path: str) -> None:
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)/([^/]+)", path):
            self._resolve(*found.groups())
        elif path == "/api/repos/create":
            self._create_repo()
        elif path == "/api/validate-yaml":
            good = json.loads(self.body)["content"].startswith("---\n")
            self._json(
                {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}, 200 if good else 400
            )
        elif found := re.fullmatch(
            r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit|revision)/(.+)", path
        ):
            repo_id, what, revision = found.groups()
            if repo := self._open(repo_id, write=what != "revision"):
                getattr(self, f"_{what}")(repo_id, repo, revision)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            if repo := self._open(found[1]):
                self._revision(found[1], repo, "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/(batch|verify)", path):
            if self._open(found[1], write=True):
                getattr(self, f"_lfs_{found[2]}")(found[1])
        else:
            self._error(404, "", f"no route {path}")

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _open(self, repo_id: str, write: bool = False) -> Repo | None:
        """Return a repo if this client may see it; otherwise answer as the Hub does."""
        repo, token = self.hub.repos.get(repo_id), self._token()
        if token and token not in (TOKEN, READER):
            self._error(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not token):
            # strangers cannot tell a private repo from none at all
            self._error(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repo.gated and not token:
            self._error(401, "GatedRepo", "Access to this model is restricted")
        elif write and token != TOKEN:
            self._error(403 if token else 401, "", "You don't have the rights to write")
        else:
            return repo
        return None

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self._open(repo_id)
        if repo is None:
            return
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif name not in repo.commits[commit]:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        elif name.endswith(LARGE):
            data = repo.commits[commit][name]
            headers = {
                "X-Repo-Commit": commit,
                "ETag": f'"{git_sha1(data)}"',
                "X-Linked-Etag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"{self.hub.url('storage')}/{sha256(data)}",
            }
            self._send(302, b"", headers)
        else:
            data = repo.commits[commit][name]
            self._content(data, {"X-Repo-Commit": commit, "ETag": f'"{git_sha1(data)}"'})

    def _revision(self, repo_id: str, repo: Repo, revision: str) -> None:
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = [{"rfilename": name} for name in repo.commits[commit]]
        self._json({"id": repo_id, "sha": commit, "private": repo.private, "siblings": files, "tags": []})

    def _create_repo(self) -> None:
        wanted = json.loads(self.body)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        if self._token() != TOKEN:
            self._error(403 if self._token() else 401, "", "You don't have the rights to create a model")
            return
        url = {"url": f"{self.hub.url()}/{repo_id}", "id": repo_id, "name": repo_id}
        if repo_id in self.hub.repos:
            self._json({**url, "error": "You already created this model repo"}, 409)
            return
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repos[repo_id] = Repo(private=private)
        self.hub.repos[repo_id].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json(url)

    def _branch(self, repo_id: str, repo: Repo, branch: str) -> None:
        known = branch in repo.refs
        repo.refs.setdefault(branch, repo.refs["main"])
        self._json({}, 409 if known else 200)

    def _preupload(self, repo_id: str, repo: Repo, revision: str) -> None:
        present = repo.commits.get(repo.refs.get(revision, ""), {})
        modes = []
        for file in json.loads(self.body)["files"]:
            large = file["path"].endswith(LARGE)
            oid = present.get(file["path"])
            modes.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    **({"oid": sha256(oid) if large else git_sha1(oid)} if oid is not None else {}),
                }
            )
        self._json({"files": modes})

    def _lfs_batch(self, repo_id: str) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                verify = f"{self.hub.url()}/{repo_id}.git/info/lfs/objects/verify"
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url('storage')}/{wanted['oid']}", "header": {}},
                    "verify": {"href": verify, "header": {}},
                }
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_verify(self, repo_id: str) -> None:
        wanted = json.loads(self.body)
        data = self.hub.objects.get(wanted["oid"], b"")
        good = sha256(data) == wanted["oid"] and len(data) == wanted["size"]
        self._json({} if good else {"error": "not uploaded"}, 200 if good else 400)

    def _commit(self, repo_id: str, repo: Repo, revision: str) -> None:
        changes: dict[str, bytes] = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    self._error(400, "", f"{value['path']} was not uploaded")
                    return
                changes[value["path"]] = self.hub.objects[value["oid"]]
        commit = repo.commit(revision, changes)
        self._json({"commitOid": commit, "commitUrl": f"{self.hub.url()}/{repo_id}/commit/{commit}"})

    # The storage

    def _storage(self, path: str) -> None:
        oid = path.strip("/")
        if self.command == "PUT":
            good = sha256(self.body) == oid
            if good:
                self.hub.objects[oid] = self.body
            self._send(200 if good else 400, b"")
        elif oid in self.hub.objects:
            self._content(self.hub.objects[oid], {"ETag": f'"{hashlib.md5(oid.encode()).hexdigest()}"'})
        else:
            self._error(404, "", "no such object")

    # Answers

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        if self.fault.lie:
            data = data[:-1] + bytes([data[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked is None or self.fault.no_range:
            self._send(200, data, {**headers, "Accept-Ranges": "bytes"})
        elif int(asked[1]) >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        else:
            first = int(asked[1])
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._send(206, data[first:], {**headers, "Content-Range": span})

    def _json(self, values: object, status: int = 200) -> None:
        self._send(status, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, text: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(
            status,
            json.dumps({"error": text}).encode(),
            {**(headers or {}), **named, "X-Error-Message": text},
        )

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given: dict[str, str | None] = {
            **(headers or {}),
            "Content-Length": str(len(data)),
            **self.fault.headers,
        }
        for name, value in given.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        drop = self.fault.drop_after
        data = data if drop is None else data[:drop]
        if self.fault.trickle:
            for first in range(0, len(data), 1 << 16):
                self.wfile.write(data[first : first + (1 << 16)])
                time.sleep(self.fault.trickle)
        else:
            self.wfile.write(data)
        if drop is not None:
            self._break()

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
