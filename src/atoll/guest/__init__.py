"""The two ends of the channel into a virtual machine: the agent, pid 1 of the guest, and the keeper beside the VMM.

Holds: the frames between them (`wire.py`), the agent, which has Atoll's own runtime make the container (`agent.py`),
the keeper, which stands for that container on the host (`keeper.py`), exec's way in (`enter.py`). Does not hold: VMMs
(`vm`), what a machine is made for (`isolation/vm.py`).
May import: runtime, vm, spec, linux, base.
Start reading at: `wire.py`, which draws the conversation; then `agent.py` and `keeper.py`.
"""
