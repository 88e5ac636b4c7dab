"""The life cycle against a model: random histories of commands, some of them at the same time, from many processes.

The model is `after`: what a command makes of a state, and whether it succeeds. Two commands at once must end as one
of their two orders would; what `ps` lists must be what the model has, after every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kit.command import Atoll, Result

pytestmark = pytest.mark.timeout(1800)  # 60 histories of 30 steps, with --full

ABSENT, CREATED, RUNNING, PAUSED, EXITED = "absent", "created", "running", "paused", "exited"
NAMES = ("aa", "bb", "cc")
COMMANDS: dict[str, tuple[str, ...]] = {
    "start": ("start",),
    "stop": ("stop", "-t", "0"),
    "kill": ("kill",),
    "pause": ("pause",),
    "unpause": ("unpause",),
    "restart": ("restart", "-t", "0"),
    "rm": ("rm",),
    "rm -f": ("rm", "-f"),
}


def after(state: str, verb: str) -> tuple[str, bool]:
    """The state that follows, and whether the command succeeds: the table of ARCHITECTURE.md."""
    up = state in (RUNNING, PAUSED)
    if verb == "rm -f":
        return ABSENT, True
    if state == ABSENT:
        return ABSENT, False
    table: dict[str, tuple[str, bool]] = {
        "start": (RUNNING, True) if state != PAUSED else (PAUSED, False),
        "stop": (EXITED if up else state, True),
        "kill": (EXITED, True) if up else (state, False),
        "pause": (PAUSED, True) if state == RUNNING else (state, False),
        "unpause": (RUNNING, True) if state == PAUSED else (state, False),
        "restart": (RUNNING, True),
        "rm": (state, False) if up else (ABSENT, True),
    }
    return table[verb]


class LifeCycle(RuleBasedStateMachine):
    """`atoll` and `image` are set by the test."""

    atoll: Atoll
    image: str

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = dict.fromkeys(NAMES, ABSENT)

    def do(self, *words: str, ok: bool) -> Result:
        done = self.atoll(*words, timeout=30)
        assert (done.code == 0) == ok, f"expected {'success' if ok else 'failure'} in {self.states}\n{done}"
        assert "Traceback" not in done.err, str(done)
        return done

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        self.do("create", "--name", name, self.image, "sleep", "600", ok=self.states[name] == ABSENT)
        if self.states[name] == ABSENT:
            self.states[name] = CREATED

    @rule(name=st.sampled_from(NAMES))
    def run(self, name: str) -> None:
        self.do("run", "-d", "--name", name, self.image, "sleep", "600", ok=self.states[name] == ABSENT)
        if self.states[name] == ABSENT:
            self.states[name] = RUNNING

    @rule(name=st.sampled_from(NAMES), verb=st.sampled_from(sorted(COMMANDS)))
    def one(self, name: str, verb: str) -> None:
        state, ok = after(self.states[name], verb)
        self.do(*COMMANDS[verb], name, ok=ok)
        self.states[name] = state
        if verb == "kill" and ok:
            self.do("wait", name, ok=True)

    @rule(name=st.sampled_from(NAMES))
    def execute(self, name: str) -> None:
        self.do("exec", name, "true", ok=self.states[name] == RUNNING)

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, name: str, new: str) -> None:
        ok = self.states[name] != ABSENT and self.states[new] == ABSENT
        self.do("rename", name, new, ok=ok)
        if ok:
            self.states[new], self.states[name] = self.states[name], ABSENT

    @rule()
    def prune(self) -> None:
        self.do("container", "prune", "-f", ok=True)
        for name, state in self.states.items():
            if state in (CREATED, EXITED):
                self.states[name] = ABSENT

    @precondition(lambda self: any(state != ABSENT for state in self.states.values()))
    @rule(data=st.data(), verbs=st.tuples(*[st.sampled_from(sorted(COMMANDS))] * 2))
    def together(self, data: Any, verbs: tuple[str, str]) -> None:
        name = data.draw(st.sampled_from([one for one, state in self.states.items() if state != ABSENT]))
        children = [self.atoll.popen(*COMMANDS[verb], name) for verb in verbs]
        for child in children:
            _, err = child.communicate(timeout=30)
            assert "Traceback" not in err, err
        codes = tuple([child.returncode == 0 for child in children])
        if "kill" in verbs:
            time.sleep(0.3)  # it does not wait for the end that it brings about
        self.states[name] = self.agree(name, verbs, codes)

    def orders(self, name: str, verbs: tuple[str, str]) -> list[tuple[str, tuple[bool, bool]]]:
        """What the two orders would make of it: the state, and each command's success."""
        found = []
        for first, second in ((0, 1), (1, 0)):
            success = [False, False]
            state, success[first] = after(self.states[name], verbs[first])
            state, success[second] = after(state, verbs[second])
            found.append((state, (success[0], success[1])))
        return found

    def agree(self, name: str, verbs: tuple[str, str], codes: tuple[bool, ...]) -> str:
        allowed = self.orders(name, verbs)
        seen = self.seen().get(name, ABSENT)
        assert seen in {state for state, _ in allowed}, f"{verbs} at once on {self.states[name]}: {seen}, {codes}"
        return seen

    def seen(self) -> dict[str, str]:
        listed = self.atoll.good("ps", "-a", "--format", "{{.Names}} {{.State}}")
        return dict([line.split() for line in listed.splitlines()])

    @invariant()
    def listed(self) -> None:
        assert self.seen() == {name: state for name, state in self.states.items() if state != ABSENT}

    def teardown(self) -> None:
        self.atoll.good("rm", "-f", *NAMES)


def check(atoll: Atoll, image: str, *, examples: int, steps: int) -> None:
    """Run so many histories of so many steps."""
    atoll.good("pull", "-q", image)
    machine: Callable[[], RuleBasedStateMachine] = type("Machine", (LifeCycle,), {"atoll": atoll, "image": image})
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        print_blob=False,
        database=None,
    )
    run_state_machine_as_test(machine, settings=settings)  # type: ignore[arg-type]


def test_the_life_cycle_of_roots_containers(atoll: Atoll, busybox: str, full: bool):
    check(atoll, busybox, examples=60 if full else 2, steps=30 if full else 20)


def test_the_life_cycle_of_an_ordinary_users_containers(rootless: Atoll, busybox: str, full: bool):
    check(rootless, busybox, examples=40 if full else 1, steps=30 if full else 20)
