"""What the integration tests and the benchmark share: a private corner of the machine, images, a registry, leaks.

Holds: `sandbox` (own mount, network and cgroup namespaces), `images`, `registry`, `faults` (a registry that
misbehaves), `command` (running `atoll`), `terminal`, `leaks`, `elf` (tiny programs without a compiler).
Does not hold: tests, and nothing of Atoll itself: Atoll is met only as the installed command.
Start reading at: `sandbox.py`, `command.py`.
"""
