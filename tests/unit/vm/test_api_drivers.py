"""Firecracker and Cloud Hypervisor: what they are told, and the conversation with a program that answers as their
descriptions say. Neither runs here: both need KVM, and none is packaged."""

import json
import os
import socket
import threading

import pytest

from atoll.base import errors
from atoll.vm.api import Api, Request
from atoll.vm.cloud_hypervisor import CloudHypervisor
from atoll.vm.firecracker import Firecracker, requests_for
from atoll.vm.machine import Link, Machine

BASE = Machine(
    kernel="/vm/kernel", memory=256, cpus=2, accel="kvm", agent=10, image=20, disk=21, port=11, control=12,
    console=13, memory_fd=14, place="/vm", meeting="/dev/shm",
)  # fmt: skip
SCHEMA = {
    "/machine-config": {"vcpu_count", "mem_size_mib", "smt", "track_dirty_pages", "huge_pages", "cpu_template"},
    "/boot-source": {"kernel_image_path", "boot_args", "initrd_path"},
    "/drives/": {"drive_id", "path_on_host", "is_root_device", "is_read_only", "cache_type", "io_engine", "partuuid"},
    "/vsock": {"guest_cid", "uds_path"},
    "/entropy": {"rate_limiter"},
    "/balloon": {"amount_mib", "deflate_on_oom", "stats_polling_interval_s"},
    "/actions": {"action_type"},
}
"""The properties in Firecracker's description, by path."""


class Vmm(threading.Thread):
    """Answers one request a connection, with what `answers` says of its path (204 otherwise), and keeps them."""

    def __init__(self, path, answers=()):
        super().__init__(daemon=True)
        self.answers, self.seen = dict(answers), []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            with end, end.makefile("rb") as stream:
                method, path, _ = stream.readline().decode().split()
                length = 0
                while line := stream.readline().strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.seen.append((method, path, json.loads(stream.read(length) or "null")))
                end.sendall(self.answers.get(path, b"HTTP/1.1 204 No Content\r\n\r\n"))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()


@pytest.fixture
def vmm(tmp_path):
    made = []

    def make(**answers):
        made.append(Vmm(str(tmp_path / "api"), {f"/{path}": said for path, said in answers.items()}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_firecracker_is_told_what_its_description_knows():
    for request in requests_for(BASE):
        known = next(names for path, names in SCHEMA.items() if request.path.startswith(path))
        assert set(request.body) <= known
    paths = [request.path for request in requests_for(BASE)]
    assert paths[-1] == "/actions"
    assert [path for path in paths if path.startswith("/drives")] == ["/drives/vda", "/drives/vdb", "/drives/vdc"]
    fixed = {one.body["drive_id"]: one.body["is_read_only"] for one in requests_for(BASE) if "drives" in one.path}
    assert fixed == {"vda": True, "vdb": True, "vdc": False}


def test_the_guest_of_firecracker_knows_whom_to_call():
    (boot,) = [one.body for one in requests_for(BASE) if one.path == "/boot-source"]
    assert "atoll_port=vsock:1024" in boot["boot_args"]
    assert Firecracker().calls == "vsock_1024"


def test_firecracker_begins_when_it_was_told_all(vmm, tmp_path):
    server = vmm()
    control = Firecracker().control(BASE.replace(meeting=str(tmp_path)), None)
    control.greet()
    assert [path for _, path, _ in server.seen][-1] == "/actions"
    control.resize(192)
    assert server.seen[-1] == ("PATCH", "/balloon", {"amount_mib": 64})


def test_what_firecracker_refuses_is_told_in_its_words(vmm, tmp_path):
    body = b'{"fault_message": "no such \\u001b kernel"}'
    vmm(**{"boot-source": b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)})
    with pytest.raises(errors.Unavailable, match="refused /boot-source: no such   kernel"):
        Firecracker().control(BASE.replace(meeting=str(tmp_path)), None).greet()


@pytest.mark.parametrize(
    "said", [b"", b"what\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"x" * 70_000]
)
def test_a_vmm_that_breaks_the_wire_is_not_believed(vmm, tmp_path, said):
    vmm(x=said)
    with pytest.raises(errors.Unavailable):
        Api(str(tmp_path / "api"), seconds=10).ask(Request(method="GET", path="/x"))


def test_a_vmm_that_never_makes_its_socket_costs_its_time_only(tmp_path):
    with pytest.raises(errors.Timeout, match="has no API"):
        Api(str(tmp_path / "none"), seconds=0.05).ask(Request(method="GET", path="/"))


def test_cloud_hypervisor_is_told_all_at_once(vmm, tmp_path):
    line = " ".join(CloudHypervisor().command(BASE.replace(link=Link(tap=22), volumes="/run/v"), "/usr/bin/ch"))
    disks = "--disk path=/vm/agent.img,readonly=on path=/vm/image.img,readonly=on path=/vm/disk.img"
    for part in (disks, "--net fd=22,mac=", "--fs tag=volumes,socket=/run/v", "--seccomp true", "shared=on"):
        assert part in line
    assert 22 in CloudHypervisor().descriptors(BASE.replace(link=Link(tap=22)))
    server = vmm()
    control = CloudHypervisor().control(BASE.replace(meeting=str(tmp_path)), None)
    control.greet()
    control.resize(128)
    assert server.seen == [
        ("GET", "/api/v1/vmm.ping", None),
        ("PUT", "/api/v1/vm.resize", {"desired_balloon": 128 << 20}),
    ]


@pytest.mark.parametrize("driver", [Firecracker(), CloudHypervisor()])
def test_they_get_no_descriptor_of_a_file(driver):
    assert not {10, 14, 20, 21} & set(driver.descriptors(BASE))
    assert os.path.basename(driver.command(BASE, "/usr/bin/x")[0]) == "x"
