"""A whole host in a machine (tests/host): what its kernel and its systemd show, a reboot, a power cut. Minutes each.

The suites run inside, one pytest after the other; the rest is done to the host from here. How all of it ended is
written to tests/host/result.txt, to be committed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.host import image, main
from tests.host.machine import Host

from kit.sandbox import Sandbox

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(3600)]
ATOLL = f"{image.TREE}/.venv/bin/atoll"
IMAGE = f"""
mkdir -p /srv/bb/bin; cp /bin/busybox /srv/bb/bin/
for one in sh sleep cat echo httpd wget; do ln -sf busybox /srv/bb/bin/$one; done
tar -C /srv/bb -c . | {ATOLL} import - bb > /dev/null
"""


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, str]]:
    """What of the host ended how, and its kernel."""
    found: dict[str, str] = {}
    yield found
    kernel = found.pop("kernel", "did not boot")
    main.RESULT.write_text(main.report(kernel, sorted(found.items())))


@pytest.fixture(scope="module")
def host(sandbox: Sandbox, results: dict[str, str]) -> Iterator[Host]:
    """The machine, which all tests here share."""
    folder = os.path.join(sandbox.scratch, "host")
    with Host(image.ensure(sandbox.run_outside), folder) as one:
        results["kernel"] = one.run("uname", "-rv").good()
        yield one


@pytest.mark.parametrize("words", main.suites(), ids=lambda words: "-".join(words))
def test_suite(host: Host, results: dict[str, str], words: list[str]) -> None:
    status, end, output = main.run_suite(host, words)
    results[" ".join(words)] = end
    assert status == 0, output[-20000:]


def test_the_host_is_what_it_is_to_be(host: Host) -> None:
    assert host.run("stat", "-fc", "%T", "/sys/fs/cgroup").good() == "cgroup2fs"
    assert host.run("cat", "/proc/1/comm").good() == "systemd"
    assert "apparmor" in host.run("cat", "/sys/kernel/security/lsm").good()


def test_a_reboot(host: Host, results: dict[str, str]) -> None:
    """Containers with a restart policy come back by the boot unit, with their network, port, files and profile."""
    results["a reboot"] = "failed"
    run = f"{ATOLL} run -d --network bridge"
    host.sh(
        f"{IMAGE}\n{ATOLL} system boot-unit --install; systemctl daemon-reload\n"
        "systemctl enable --now atoll-boot.service\n"
        f"{run} --name web --restart always -p 8080:80 -v data:/www bb \\\n"
        "   sh -c 'echo $(cat /proc/self/attr/current) > /www/index.html; exec httpd -f -h /www'\n"
        f"{run} --name unless --restart unless-stopped bb sleep 1000\n"
        f"{run} --name stopped --restart unless-stopped bb sleep 1000; {ATOLL} stop -t 0 stopped\n"
        f"{run} --name never bb sleep 1000; {ATOLL} exec never sh -c 'echo kept > /file'",
        seconds=600,
    ).good()
    host.reboot()
    host.sh("systemctl is-system-running --wait || true", seconds=300)
    shown = host.sh("systemctl status --no-pager atoll-boot.service || true").output
    states = host.sh(f"{ATOLL} ps -a --format '{{{{.Names}}}} {{{{.State}}}}'", seconds=120).good()
    wanted = {"web": "running", "unless": "running", "stopped": "exited", "never": "exited"}
    assert dict(line.split() for line in states.splitlines()) == wanted, shown
    seen = host.sh("busybox wget -q -O - http://127.0.0.1:8080/", seconds=60).good()
    assert seen == "atoll-default (enforce)"
    assert host.sh(f"{ATOLL} start never > /dev/null; {ATOLL} exec never cat /file", seconds=60).good() == "kept"
    assert host.sh(f"{ATOLL} system check", seconds=60).good() == "nothing to repair"
    # A stop of the unit is none of theirs, and neither is one of the host's own accord.
    host.sh("systemctl stop atoll-boot.service").good()
    assert host.sh(f"{ATOLL} inspect -f '{{{{.State.Status}}}}' web").good() == "running"
    results["a reboot"] = "passed"


def test_a_power_cut(host: Host, results: dict[str, str]) -> None:
    """In the middle of containers that come and go: the store loads, what is missing is mended, and all goes on."""
    results["a power cut"] = "failed"
    # Nobody waits for it: a service of its own.
    busy = f"while :; do {ATOLL} run --name n$((n=n+1)) --network bridge bb echo x; {ATOLL} rm n$((n-1)); done"
    host.sh(f"{IMAGE}\nsystemd-run --unit=busy sh -c '{busy}'", seconds=120).good()
    for _ in range(2):
        count = f"{ATOLL} ps -a -q | wc -l"
        before = int(host.sh(count, seconds=60).good())
        host.sh(f"until [ $({count}) != {before} ]; do sleep 1; done", seconds=300).good()
        host.cut()
        host.power_on()
        said = host.sh(f"{ATOLL} system check --repair || {ATOLL} system check --repair", seconds=300)
        assert said.status == 0, said.output
        assert host.sh(f"{ATOLL} system check", seconds=60).good() == "nothing to repair"
        assert host.sh(f"{ATOLL} run --rm --network bridge bb echo well", seconds=120).good() == "well"
        states = host.sh(f"{ATOLL} ps -a --format '{{{{.State}}}}' | sort -u", seconds=60).good().split()
        assert set(states) <= {"exited", "created", "running"}, states
        host.sh(f"systemd-run --unit=busy sh -c 'n=$(date +%s); {busy}'", seconds=60).good()
    host.sh(f"systemctl stop busy; {ATOLL} rm -f $({ATOLL} ps -a -q)", seconds=300).good()
    assert host.sh("dmesg | grep -ci 'ext4.*error' || true").good() == "0"
    results["a power cut"] = "passed"
