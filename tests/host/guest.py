"""Inside the test host: carries out, one after the other, the commands that come by the virtio port.

A request is a line of JSON: `argv`, `env`, `cwd`, `seconds`. Answers are lines of JSON: `{"up": …}` once, whenever
this begins, `{"out": text}` while it runs, `{"status": code}` at its end (negative: a signal; null: too long).
Runs on Debian's bare python3 as a service of systemd's.
"""

import json
import os
import select
import signal
import subprocess
import time

PORT = "/dev/virtio-ports/org.atoll.host"


def say(port: int, what: dict) -> None:
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


def carry_out(port: int, job: dict) -> int | None:
    """Run one command and send what it says; its exit code."""
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        job["argv"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=job["cwd"],
        env=job["env"],
        start_new_session=True,
    )
    os.close(theirs)
    deadline = time.monotonic() + job["seconds"]
    while True:
        ready, _, _ = select.select([ours], [], [], 0.2)
        data = os.read(ours, 1 << 16) if ready else None
        if data:
            say(port, {"out": data.decode(errors="replace")})
        ended = child.poll() is not None
        if data == b"" or (ended and not ready):
            break
        if time.monotonic() > deadline:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            os.close(ours)
            return None
    os.close(ours)
    return child.wait(max(1.0, deadline - time.monotonic()))


def main() -> None:
    while not os.path.exists(PORT):
        time.sleep(0.1)
    port = os.open(PORT, os.O_RDWR)
    with open("/proc/sys/kernel/random/boot_id") as stream:
        say(port, {"up": stream.read().strip()})
    waiting = b""
    while True:
        data = os.read(port, 1 << 16)
        if not data:  # nobody is at the other end
            time.sleep(0.1)
            continue
        waiting += data
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            try:
                status = carry_out(port, json.loads(line))
            except OSError as error:
                say(port, {"out": f"{error}\n"})
                status = 127
            say(port, {"status": status})


if __name__ == "__main__":
    main()
