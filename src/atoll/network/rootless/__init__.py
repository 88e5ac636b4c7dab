"""Networks of an ordinary user: a network namespace of his own, the outer one, stands where root has the host's.

Holds: asking for it (`outer.py`), the process that keeps it (`keeper.py`), its way out (`uplink.py`, `forwarder.py`),
what it has beside bridges (`rules.py`). Does not hold: bridges, filters, names: the same code as for root, handed
sockets of that namespace.

    host's network                outer namespace                     a container's
    atoll:[outer]  ── pasta ───── up0 ─ masquerade ─ bridge, atv… ─── eth0
    ports of -p    ── atoll:[net] NAME: accepts here, connects there ─┘

The outer namespace belongs to a user namespace of its own, beside those of the containers: whatever rights a program
has in its container, it has none there. The user himself, outside, is the owner of both and has all in both.
Start reading at: `keeper.py`.
"""
