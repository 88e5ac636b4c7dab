"""The kernel's command line of a machine."""

from __future__ import annotations

from atoll.vm.machine import PORT_WORD, WARM, Machine


def _machine(*, warm: bool) -> Machine:
    return Machine(
        kernel="/k",
        memory=256,
        cpus=1,
        accel="tcg",
        agent=3,
        image=None,
        disk=None,
        port=4,
        control=5,
        console=6,
        memory_fd=7,
        warm=warm,
    )


def test_what_init_is_to_hear_has_no_dot():
    """The kernel takes a word with a dot for a module's parameter, and tells init nothing (init/main.c)."""
    assert "." not in WARM + PORT_WORD
    assert f" {WARM}=1" in _machine(warm=True).command_line
    assert WARM not in _machine(warm=False).command_line
