"""The thin client's program, step by step; what each step is for is said in `../quick.py`.

Holds: `write`. Does not hold: the steps (`before.py`, `asking.py`), how a machine says them.
"""

from __future__ import annotations

from atoll.base.assembly.machine import Machine
from atoll.base.launch import COLD
from atoll.cli import quick
from atoll.cli.thin import asking, before
from atoll.cli.thin.frame import SAID


def write(m: Machine) -> None:
    """The program. s0 is its arguments, s1 its environment, s2 the connection."""
    before.begin(m)
    before.suits(m)
    before.environment(m)
    before.hold_signals(m)
    before.root(m)
    asking.connect(m)
    asking.describe(m)
    asking.send(m)
    asking.answer(m)
    asking.attend(m)
    asking.cold(m)
    for name, words in (("warm", quick.WARM), ("groups", quick._GROUPS), ("attaching", quick._ATTACHING)):
        m.text(name, b"".join([word.encode() + b"\0" for word in sorted(words)]))
    m.text("grouped", b"".join([word.encode() + b"\0" for word in sorted(quick._GROUPED)]))
    m.text("run root", b"/run/atoll")
    m.text("below runtime", b"/atoll")
    m.text("temporary", b"/tmp/atoll-")
    m.text("door", quick.DOOR)
    m.text("version", quick.VERSION)
    m.text("here", b".")
    m.text("module", COLD.encode())
    m.text("said", SAID)
