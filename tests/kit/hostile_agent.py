"""A guest's agent that means harm: what a machine says whose first program is somebody else's than ours.

Runs as /init of a guest (`hostile.py` packs it), never on the host. It keeps to the rules until it is told which one
to break: before the container runs by its host name ("lie-NAME", BEFORE), afterwards by `exec CONTAINER lie NAME`
(AFTERWARDS), or by what is asked of its files (`_files`).
"""

from __future__ import annotations

import binascii
import ctypes
import io
import json
import os
import sys
import tarfile
import time

sys.path.append("/usr/lib/atoll")

from atoll.guest import setup, wire

STEER = "\x1b[2J\x1b]0;owned\x07\r"
BIG = 16 << 20


class Liar:
    """Speaks on the port. Nothing here is careful: what it breaks is its own machine's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader = wire.FrameReader(guest=False)
        self.lie = ""
        self.rooms: dict[tuple[int, int], int] = {}
        self.killed: set[int] = set()

    def say(self, *frames: bytes) -> None:
        data = memoryview(b"".join(frames))
        while data:
            data = data[os.write(self.port, data[: 1 << 15]) :]

    def hear(self) -> list[tuple[int, int, int, bytes]]:
        while True:
            data = os.read(self.port, 1 << 16)
            if data:
                return self.reader.feed(data)
            time.sleep(0.01)  # nobody has the other end: a template is being written

    def serve(self) -> None:
        self.say(wire.word(wire.HELLO, {"v": wire.VERSION}))
        while True:
            for kind, stream, session, payload in self.hear():
                self.do(kind, stream, session, payload)

    def do(self, kind: int, stream: int, session: int, payload: bytes) -> None:
        if kind == wire.SETUP:
            self.lie = _told(json.loads(payload))
            BEFORE.get(self.lie, lambda me: me.say(wire.frame(wire.READY)))(self)
        elif kind == wire.RUN and session == wire.FIRST:
            RUNNING.get(self.lie, lambda me: me.say(wire.frame(wire.STARTED)))(self)
        elif kind == wire.RUN:
            self.asked(session, json.loads(payload))
        elif kind == wire.CREDIT and (session, stream) in self.rooms:
            self.rooms[session, stream] += int.from_bytes(payload, "big")
        elif kind == wire.SIGNAL and session == wire.FIRST:
            self.say(wire.word(wire.ENDED, {"code": 128 + payload[0], "signal": [STEER], "oom": "yes"}))
        elif kind == wire.SIGNAL:
            self.killed.add(session)

    def asked(self, session: int, message: dict) -> None:
        if "files" in message:
            for stream, data in enumerate(_files(message["files"]), 1):
                self.pour(session, stream, data)
            self.say(wire.word(wire.ENDED, {"code": 0}, session))
            return
        args = message["process"]["args"]
        if args[0] == "lie":
            AFTERWARDS[args[1]](self, session)
        else:
            error = {"kind": "command-not-found", "message": STEER + "x" * 60_000, "hint": STEER}
            self.say(wire.word(wire.FAILED, {"error": error}, session))

    def pour(self, session: int, stream: int, data: bytes) -> None:
        """Output, as the windows allow, until somebody has it killed."""
        left = memoryview(data)
        self.rooms[session, stream] = wire.WINDOW
        while left and session not in self.killed:
            if not self.rooms[session, stream]:
                for frame in self.hear():
                    self.do(*frame)
                continue
            size = min(len(left), self.rooms[session, stream], wire.DATA_MAX)
            self.rooms[session, stream] -= size
            self.say(wire.frame(wire.OUTPUT, session, left[:size], stream))
            left = left[size:]
        del self.rooms[session, stream]
        self.killed.discard(session)


def _told(message: dict) -> str:
    """The lie that the container's host name asks for."""
    for one in message["files"].values():
        text = binascii.a2b_base64(one["content"]).decode(errors="replace")
        if text.startswith("lie-"):
            return text.strip().removeprefix("lie-")
    return ""


def _files(request: dict) -> tuple[bytes, bytes]:
    """Archive and verdict, each a lie of its own."""
    done = json.dumps({"done": {"entries": 1, "size": 1}}).encode()
    path = request.get("path", "")
    if request["do"] == "stat":
        if path == "/nonsense":
            return b"", b"[" * 60_000
        if path == "/endless":
            return b"", b" " * (2 << 20)
        mode = 0o040755 if path == "/tree" else 0o100644
        return b"", json.dumps({"done": {"mode": mode, "size": 1, "mtime": 1, "target": ""}}).encode()
    if request["do"] in ("get", "layer"):
        return _archive(request.get("arcname") or "tree"), done
    if request["do"] == "changes":
        return b'["A","2e2e2f2e2e2f657463"]\n["\\u001b",7]\n' + b"[" * 60_000, done
    if request["do"] == "top":
        return b"", json.dumps({"done": {"rows": [[STEER] * 8, ["1"] * 8]}}).encode()
    return b"", json.dumps({"error": {"kind": "conflict", "message": STEER}}).encode()


def _archive(name: str) -> bytes:
    """Names and links that lead out of where it is unpacked, and a device."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:

        def add(path: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"escaped\n") -> None:
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname, entry.mode = kind, link, 0o4777
            entry.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data) if entry.size else None)

        add(name, tarfile.DIRTYPE)
        add(f"{name}/out", tarfile.SYMTYPE, "../..")
        add(f"{name}/out/escaped-by-a-link")
        add(f"{name}/hard", tarfile.LNKTYPE, "../../canary")
        add(f"{name}/hard")
        add("../escaped")
        add("/tmp/atoll-escaped")
        add(f"{name}/null", tarfile.CHRTYPE)
    return held.getvalue()


def _die() -> None:
    """By a fault: no SIGKILL reaches the first process of a kernel, not even its own (signal.c, is_global_init)."""
    ctypes.string_at(0)


def _leave() -> None:
    os._exit(3)


def _noise(me: Liar) -> None:
    me.say(os.urandom(1 << 16))


BEFORE = {
    "silence": lambda me: None,
    "noise": _noise,
    "death": lambda me: _die(),
    "exit": lambda me: _leave(),
    "end-of-nothing": lambda me: me.say(wire.word(wire.ENDED, {"code": 0})),
    "ready-twice": lambda me: me.say(wire.frame(wire.READY) * 2),
    "refusal": lambda me: me.say(
        wire.word(wire.FAILED, {"error": {"kind": "denied", "message": STEER + "x" * 60_000}})
    ),
}
"""In place of READY."""
RUNNING = {
    "death-at-start": lambda me: _die(),
    "start-and-refusal": lambda me: me.say(
        wire.frame(wire.STARTED), wire.word(wire.FAILED, {"error": {"kind": "denied", "message": "no"}})
    ),
    "pour": lambda me: (
        me.say(wire.frame(wire.STARTED)),
        me.pour(wire.FIRST, 1, b"x" * BIG),
    ),
}
"""In place of STARTED."""
AFTERWARDS = {
    "length": lambda me, session: me.say(wire.HEADER.pack(wire.OUTPUT, 1, session, 1 << 31)),
    "length-of-a-word": lambda me, session: me.say(wire.HEADER.pack(wire.ENDED, 0, session, wire.WORD_MAX + 1)),
    "kind": lambda me, session: me.say(wire.HEADER.pack(77, 0, session, 0)),
    "our-words": lambda me, session: me.say(wire.frame(wire.RUN, session, b"{}")),
    "end-of-what-never-ran": lambda me, session: me.say(wire.word(wire.ENDED, {"code": 0}, session + 1)),
    "start-twice": lambda me, session: me.say(wire.frame(wire.STARTED, session) * 2),
    "end-twice": lambda me, session: me.say(wire.word(wire.ENDED, {"code": 0}, session) * 2),
    "hello-again": lambda me, session: me.say(wire.word(wire.HELLO, {"v": 1})),
    "credit": lambda me, session: me.say(wire.credit(session, 0, 1)),
    "code": lambda me, session: me.say(wire.word(wire.ENDED, {"code": 1000}, session)),
    "flood": lambda me, session: me.say(wire.frame(wire.OUTPUT, session, b"x" * wire.DATA_MAX, 1) * 512),
    "held-unasked": lambda me, session: me.say(wire.word(wire.HELD, {})),
    "noise": lambda me, session: _noise(me),
    "exit": lambda me, session: _leave(),
    "death": lambda me, session: _die(),
}
"""When it is asked to run something."""

if __name__ == "__main__":
    setup.first()
    line = setup.open_port()
    os.set_blocking(line, True)
    Liar(line).serve()
