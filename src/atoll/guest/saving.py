"""The keeper's side of saving a machine that runs, and of going on with a saved one.

Holds: `begin`, `heard` and `Saving` (one save under way), `resume` (a copy's first word). Does not hold: the guest's
side (`resume.py`), what is done with what was saved (`engine/checkpoints`). Steps are lettered as in `wire.py`.

    engine                                        keeper
    {"is": "save", "sync"} + a file for the devices ▶ a, then d: stops the machine, writes its devices
    copies memory and disk ◀ {"is": "saved"} + the memory's memfd
    with "sync" its disk and volumes alone are wanted: its devices are not written
    "end": all is kept, the machine may go ─────▶ the container ends with code 0
    "on", or its end, however it ends ──────────▶ e: the machine goes on
"""

from __future__ import annotations

import os
import time
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET
from _struct import pack

from atoll.base import errors, jsontext
from atoll.base.loop import POLLIN
from atoll.guest import wire
from atoll.guest.stand import tell
from atoll.vm import checkpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from atoll.guest.keeper import Keeper


QEMU = "qemu"
HOLDING, SAVED, RESUMING = "holding", "saved", "resuming"


class Saving:
    """One save: `kept` is what is to be said to the guest when it listens again."""

    def __init__(self, keeper: Keeper, peer: socket, state: int, *, disk_alone: bool = False) -> None:
        self.keeper, self.peer, self.state, self.disk_alone = keeper, peer, state, disk_alone
        self.kept = bytearray()
        self.now = HOLDING
        self.gone = False

    def on_held(self, error: errors.AtollError | None) -> None:
        """d: nothing is under way any more. What cannot be saved goes on; who asked is told why."""
        if error is not None:
            tell(self.peer, {"is": "failed", "error": error.to_json()})
            self._finish()
        elif self.gone:
            self._go_on(stopped=False)
        else:
            self._save()

    def _save(self) -> None:
        keeper = self.keeper
        keeper.expect(None)
        control = keeper.control()
        try:
            control.ask("stop")
            if not self.disk_alone:
                checkpoint.save(control, self.state)
            memory = pack("i", keeper.started.memory)
            word = jsontext.dumps({"is": "saved"}).encode()
            self.peer.sendmsg([word], [(SOL_SOCKET, SCM_RIGHTS, memory)], MSG_NOSIGNAL | MSG_DONTWAIT)
        except errors.AtollError as error:
            tell(self.peer, {"is": "failed", "error": error.to_json()})
            self._go_on()
        except OSError:  # whoever asked has gone
            self._go_on()
        else:
            self.now = SAVED

    def on_word(self) -> None:
        """What becomes of the machine; before it is saved only the end of who asked for it can come."""
        try:
            word = self.peer.recv(16)
        except OSError:
            word = b""
        if self.now == SAVED and word == b"end":
            self.keeper.loop.forget(self.peer.fileno())
            self.keeper.end_first(0)
        elif self.now == SAVED:
            self._go_on()
        else:
            self.gone = True
            self.keeper.loop.forget(self.peer.fileno())

    def _go_on(self, *, stopped: bool = True) -> None:
        """e, for this machine."""
        keeper = self.keeper
        keeper.loop.forget(self.peer.fileno())
        self.now = RESUMING
        if stopped:
            keeper.control().ask("cont")
        keeper.watch_control()
        keeper.expect(wire.ANSWER_SECONDS)
        keeper.say_now(wire.word(wire.RESUME, {"copy": False, "time": time.time_ns()}))

    def on_resumed(self) -> None:
        """g."""
        tell(self.peer, {"is": "resumed"})
        self._finish()

    def _finish(self) -> None:
        """What waited is said."""
        self.keeper.loop.forget(self.peer.fileno())
        self.peer.close()
        os.close(self.state)
        self.keeper.expect(None)
        self.keeper.saving = None
        self.keeper.say(bytes(self.kept))


def begin(keeper: Keeper, peer: socket, wanted: dict[str, Any], state: int) -> None:
    """a, or why not; `peer` and the descriptor are ours."""
    sync = wanted.get("sync") is True
    error = _refused(keeper, disk_alone=sync)
    if error is not None:
        tell(peer, {"is": "failed", "error": errors.FailedPrecondition(error).to_json()})
        peer.close()
        os.close(state)
        return
    saving = Saving(keeper, peer, state, disk_alone=sync)
    keeper.say(wire.word(wire.HOLD, {"sync": sync}))
    keeper.saving = saving
    keeper.expect(wire.ANSWER_SECONDS)
    keeper.loop.watch(peer.fileno(), POLLIN, lambda _: saving.on_word())


def _refused(keeper: Keeper, *, disk_alone: bool) -> str | None:
    if keeper.saving is not None:
        return "the machine is being saved already"
    if not keeper.runs():
        return "the container's program does not run"
    if keeper.config.get("driver", QEMU) != QEMU:
        return f"a machine by {keeper.config['driver']} cannot be saved: QEMU's can"
    if keeper.shelf is not None:
        return "the machine of a pod cannot be saved"
    if keeper.config["volumes"] and not disk_alone:
        return "a machine with volumes cannot be saved: their server, virtiofsd, is a process of the host's"
    return None


def heard(keeper: Keeper, kind: int, payload: bytes) -> None:
    """HELD or RESUMED. Raises Malformed for one that was not asked for."""
    saving = keeper.saving
    if kind == wire.HELD and saving is not None and saving.now == HOLDING:
        saving.on_held(wire.parse_error(payload) if wire.parse(payload) else None)
    elif kind == wire.RESUMED and saving is not None and saving.now == RESUMING:
        saving.on_resumed()
    elif kind == wire.RESUMED and keeper.resumes:
        keeper.resumes = False
        keeper.go_on(_input(payload))
    else:
        raise wire.Malformed(f"a frame of kind {kind} out of order")


def _input(payload: bytes) -> int:
    count = wire.parse(payload).get("input")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= wire.WINDOW:
        raise wire.Malformed(f"{count!r} bytes of input")
    return count


def resume(keeper: Keeper, setup: dict[str, Any]) -> None:
    """e, for a copy: another machine's container from here on."""
    keeper.resumes = True
    keeper.expect(wire.ANSWER_SECONDS)
    told = {name: value for name, value in setup.items() if name != "filters"}
    hostname = keeper.config["container"]["spec"].get("hostname") or told["hostname"]
    keeper.say(wire.word(wire.RESUME, {**told, "copy": True, "hostname": hostname}))
