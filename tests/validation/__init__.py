"""Validation programs: one property of the runtime-spec each, tried on runc, crun and atoll-runtime side by side.

    programs.py       the programs on runtime.md and config.md
    linux.py          those on config-linux.md
    outcomes.py       running them, and what differs from runc and why
    requirements.txt  every MUST and SHOULD of the specification (`tools/spec_table.py`)

They ask the same questions as the programs of the same names in opencontainers/runtime-tools, which Debian's package
of it leaves out; these here are our own, written to the specification, and ask from inside the container where that
is possible. `tools/validation_table.py` writes `docs/runtime-validation.md`.
"""
