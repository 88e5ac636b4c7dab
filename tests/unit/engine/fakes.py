"""A level of isolation made of files, and an engine on it."""

from __future__ import annotations

import json
import os
import shutil

from atoll.base import errors
from atoll.engine.engine import Engine
from atoll.engine.store import ImageRow, LayerRow, TagRow
from atoll.isolation.protocol import EXITED, LOST, PAUSED, RUNNING, Availability, Driver, Status

CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
    "created": "2024-01-02T03:04:05Z",
    "config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["sh"], "Labels": {"a": "b"}},
}
IMAGE = "sha256:" + "1" * 64
CHAIN = "sha256:" + "c" * 64
BLOB = "sha256:" + "b" * 64
REFERENCE = "docker.io/library/busybox:latest"


class FakeAttachment:
    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


class FakeDriver(Driver):
    """`processes` maps run directories to a Status; an end is an exit.json in the bundle, as with the real one."""

    name = "fake"

    def __init__(self):
        self.processes = {}
        self.fail = None
        self.signals = []
        self.plans = []
        self.stubborn = False
        self.states = {}
        self.updates = []

    def probe(self):
        return Availability(ok=True)

    def prepare(self):
        pass

    def create(self, plan, *, promise=False, start=False):
        if self.fail is not None:
            raise self.fail
        self.plans.append(plan)
        self.processes[plan.run] = plan
        return FakeAttachment()

    def start(self, run):
        pass

    def exec(self, plan):
        self.plans.append(plan)
        return FakeAttachment()

    def attach(self, run, *, stdin=False):
        return FakeAttachment()

    def end(self, run, code=0, **more):
        plan = self.processes.pop(run)
        self.states.pop(run, None)
        document = {"code": code, "at": "2024-01-01T00:00:00Z", "started": "2023-12-31T00:00:00Z", **more}
        with open(plan.bundle + "/exit.json", "w") as file:
            json.dump(document, file)
        shutil.rmtree(run)

    def signal(self, run, signum):
        if run not in self.processes:
            raise errors.NotFound("gone")
        self.signals.append(signum)
        if not self.stubborn:
            self.end(run, 128 + signum)

    def kill_all(self, run):
        self.signals.append("kill")
        if run in self.processes:
            self.end(run, 137)

    def pause(self, run):
        self._change(run, RUNNING, PAUSED)

    def resume(self, run):
        self._change(run, PAUSED, RUNNING)

    def _change(self, run, before, after):
        if run not in self.processes:
            raise errors.NotFound("gone")
        if self.states.get(run, RUNNING) != before:
            raise errors.FailedPrecondition(f"container not {before}")
        self.states[run] = after

    def update(self, run, resources):
        self.updates.append(resources)

    def stats(self, run):
        return None

    def pids(self, run):
        return [42]

    def status(self, run, bundle):
        try:
            with open(bundle + "/exit.json") as file:
                ended = json.load(file)
        except FileNotFoundError:
            if run in self.processes:
                return Status(status=self.states.get(run, RUNNING), pid=42, started_at="2023-12-31T00:00:00Z")
            return Status(status=LOST, exit_code=255, error="lost")
        return Status(
            status=EXITED,
            exit_code=ended["code"],
            started_at=ended.get("started"),
            finished_at=ended["at"],
            error=ended.get("error"),
            oom_killed=ended.get("oom", False),
        )

    def wait(self, run, bundle, timeout=None):
        return self.status(run, bundle)

    def delete(self, run, bundle, *, force=False):
        self.processes.pop(run, None)
        if os.path.isdir(run):
            for name in os.listdir(run):
                os.unlink(f"{run}/{name}")
            os.rmdir(run)


def make_engine(folder, **environ) -> Engine:
    given = {"ATOLL_DATA_ROOT": f"{folder}/data", "ATOLL_RUN_ROOT": f"{folder}/run", "HOME": str(folder)}
    usual = f"{folder}/usual.toml"
    with open(usual, "w") as file:  # a bridge is for tests of their own
        file.write('[network]\ndefault = "none"\n')
    given["ATOLL_CONFIG"] = ":".join([usual, *filter(None, [environ.pop("ATOLL_CONFIG", "")])])
    engine = Engine({**given, **environ}, os.geteuid(), os.getegid())
    engine._driver = FakeDriver()
    engine._idmap_known = True
    return engine


def add_image(engine: Engine, image=IMAGE, reference=REFERENCE, config=None) -> None:
    repository, _, tag = reference.rpartition(":")
    engine.store.add_image(
        ImageRow(
            id=image, target=BLOB, manifest=BLOB, config=json.dumps(config or CONFIG), size=4_260_000, created_at=1
        ),
        [LayerRow(blob=BLOB, blob_size=10, diff_id="sha256:" + "d" * 64, chain_id=CHAIN, size=20)],
        [BLOB, image],
        TagRow(reference=reference, image=image, repository=repository, tag=tag, digest=BLOB, updated_at=2),
    )
    os.makedirs(engine.snapshots.layer_dir(CHAIN), exist_ok=True)
    folder = engine.paths.content + "/blobs/sha256"
    os.makedirs(folder, exist_ok=True)
    for digest in (image, BLOB):
        with open(f"{folder}/{digest[7:]}", "wb") as file:
            file.write(b"x" * 10)


_SCAFFOLDING = (
    "/events",
    "/atoll.db",
    "/images.lock",
    "/volumes",
)


def everything(engine: Engine) -> list[str]:
    """All paths below both roots but the stores' own scaffolding."""
    found = []
    for root in (engine.paths.data, engine.paths.run):
        for folder, folders, names in os.walk(root):
            found += [os.path.join(folder, name) for name in [*folders, *names]]
    hidden = ("/snapshots/driver", "/snapshots/trash", "/snapshots/writable", "/snapshots/locks", "/snapshots/tmp")
    found = [path for path in found if path.removeprefix(engine.paths.data) not in hidden]
    return sorted([path for path in found if not path.removeprefix(engine.paths.data).startswith(_SCAFFOLDING)])
