"""Ways out of a container, tried from inside: by name, by address, by another name, by another protocol.

Holds: `TRIES`, `tried`. Does not hold: what a policy allows of them (the tests).
"""

from __future__ import annotations

from kit import outside as world
from kit.command import Atoll
from kit.outside import HOSTS

TRIES = {
    "name": "import urllib.request as u; print(u.urlopen('http://allowed.example/', timeout=3).status)",
    "sni": "TLS('allowed.example', 'allowed.example', 443)",
    "wrong sni": "TLS('allowed.example', 'same.example', 443)",
    "no sni": "TLS('allowed.example', None, 443)",
    "not tls": "RAW('allowed.example', 443, b'SSH-2.0-x\\r\\n')",
    "wrong host": "RAW('allowed.example', 80, b'GET / HTTP/1.1\\r\\nHost: same.example\\r\\n\\r\\n')",
    "other name": "RAW('other.example', 80, b'GET / HTTP/1.1\\r\\nHost: other.example\\r\\n\\r\\n')",
    "address": f"RAW('{HOSTS[2]}', 80, b'GET / HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n')",
    "cidr": f"RAW('{world.THERE}', 5432, b'x')",
    "cidr port": f"RAW('{world.THERE}', 80, b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')",
    "quic": "UDP('allowed.example', 443)",
    "foreign dns": f"UDP('{world.THERE}', 53)",
    "six": f"RAW('{world.THERE6}', 80, b'GET / HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n')",
    "mapped": f"RAW('::ffff:{HOSTS[2]}', 80, b'GET / HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n')",
    "host": f"RAW('{world.HERE}', 22, b'x')",
}
_PROGRAM = (
    "import socket, ssl, sys\n"
    "def RAW(h, p, d):\n"
    "    s = socket.create_connection((h, p), 3); s.sendall(d); r = s.recv(200)\n"
    "    print('got' if r else 'nothing')\n"
    "def TLS(h, n, p):\n"
    "    c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = 0\n"
    "    i, o = ssl.MemoryBIO(), ssl.MemoryBIO(); t = c.wrap_bio(i, o, server_hostname=n)\n"
    "    try: t.do_handshake()\n"
    "    except ssl.SSLWantReadError: pass\n"
    "    RAW(h, p, o.read())\n"
    "def UDP(h, p):\n"
    "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect((h, p))\n"
    "    s.send(b'hello world 1234567'); s.recv(99); print('got')\n"
    f"tries = {TRIES!r}\n"
    "for name, code in tries.items():\n"
    "    try: print(name, end=': ', flush=True); exec(code)\n"
    "    except ConnectionRefusedError: print('refused')\n"
    "    except ConnectionResetError: print('reset')\n"
    "    except OSError as e: print(type(e).__name__)\n"
)


def tried(net: Atoll, container: str) -> dict[str, str]:
    """What came of each: `got`, `200`, `refused`, `reset`, or another error's name."""
    said = net.good("exec", container, "python3", "-c", _PROGRAM)
    return dict(line.split(": ", 1) for line in said.splitlines())  # type: ignore[misc]
