"""Queues by rtnetlink: tc-tbf(8).

Holds: a token bucket on what a link sends, as a message. Does not hold: limits on what it receives (a rule of
nftables' netdev family does that: `network/firewall.py`), who gets which rate.
"""

from __future__ import annotations

import errno
import struct

from atoll.linux.netlink import NLM_F_CREATE, NLM_F_REPLACE, Message, attr, nested, text

RTM_NEWQDISC, RTM_DELQDISC = 36, 37
_TC_H_ROOT = 0xFFFFFFFF
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TICK = 64
"""Nanoseconds of a tick of the packet scheduler (psched_tick_per_ns: PSCHED_SHIFT is 6 since Linux 2.6.31)."""


def token_bucket(index: int, rate: int, burst: int, *, latency: float = 0.05) -> Message:
    """What the link with `index` sends, held to `rate` bytes a second with `burst` bytes at once; more waits
    `latency` seconds at most, then it is dropped."""
    limit = int(rate * latency) + burst
    buffer = min(burst * 10**9 // rate // _TICK, 0xFFFFFFFF)
    # struct tc_ratespec: cell_log, linklayer (1: Ethernet), overhead, cell_align, mpu, rate
    spec = struct.pack("=BBHhHI", 0, 1, 0, -1, 0, min(rate, 0xFFFFFFFF))
    parameters = spec + bytes(12) + struct.pack("=III", limit, buffer, 0)
    options = attr(_TCA_TBF_PARMS, parameters)
    if rate > 0xFFFFFFFF:
        options += attr(_TCA_TBF_RATE64, struct.pack("=Q", rate))
    options += attr(_TCA_TBF_BURST, struct.pack("=I", burst))
    payload = struct.pack("=BxxxiIII", 0, index, 0x00010000, _TC_H_ROOT, 0)
    payload += text(_TCA_KIND, "tbf") + nested(_TCA_OPTIONS, options)
    return Message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, payload, f"rate of link {index}: {rate} B/s")


def delete_root(index: int) -> Message:
    """No limit any more; none before is fine."""
    payload = struct.pack("=BxxxiIII", 0, index, 0, _TC_H_ROOT, 0)
    return Message(RTM_DELQDISC, 0, payload, f"no rate for link {index}", quiet=(errno.ENOENT, errno.EINVAL))
