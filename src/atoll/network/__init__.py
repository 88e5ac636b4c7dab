"""Links, addresses, names and filters of containers: mechanisms, told what to do by the engine.

Holds: addresses (`addresses.py`), published ports as typed (`ports.py`), the nftables tables (`firewall.py`), bridges
and their ports (`bridge.py`), macvlan (`macvlan.py`), taps of machines (`tap.py`), names (`dns/`), egress policy
(`egress.py`), policies between containers (`netpolicy.py`, `judging.py`), the helper process (`helper/`), an ordinary
user's own network (`rootless/`), CNI plug-ins (`cni.py`).
Does not hold: which networks there are and who has which address (`engine/networks/`, in the store), commands.
May import: spec, linux, base.
Start reading at: `bridge.py`, then `firewall.py`.
"""
