"""`atoll run`: output, exit codes, options, images' own settings; as root and as an ordinary user."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess

import pytest

from kit import images
from kit.command import Atoll
from kit.registry import Registry
from kit.sandbox import Sandbox


def test_output_and_exit_code(anyone: Atoll, busybox: str):
    result = anyone("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert result.code == 42, result
    assert result.out == "out\n"
    assert result.err.endswith("err\n")


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_the_programs_own_code_is_passed_on(atoll: Atoll, busybox: str, code: int):
    assert atoll("run", "--rm", busybox, "sh", "-c", f"exit {code}").code == code


def test_a_missing_image_is_pulled_and_kept(atoll: Atoll, busybox: str):
    assert atoll.good("images", "-q") == ""
    atoll.good("run", "--rm", busybox, "true")
    assert len(atoll.good("images", "-q").split()) == 1
    before = atoll("run", "--rm", busybox, "true")
    assert before.code == 0
    assert "pull" not in before.err.lower()


def test_debian_runs(anyone: Atoll, debian: str):
    script = "cat /etc/debian_version; id -u; dpkg -l | wc -l; ls -ld /tmp"
    out = anyone.good("run", "--rm", debian, "bash", "-c", script).split("\n")
    assert out[0].startswith("12")
    assert out[1] == "0"
    assert int(out[2]) > 50
    assert out[3].startswith("drwxrwxrwt")


def test_pid_one_sees_only_its_own(anyone: Atoll, busybox: str):
    out = anyone.good("run", "--rm", busybox, "sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'")
    first, count = out.split()
    assert first == "1"
    assert int(count) <= 4


def test_signal_death_is_128_plus_n(atoll: Atoll, busybox: str):
    child = atoll.popen("run", "--rm", "--name", "victim", busybox, "sleep", "60")
    atoll_ready(atoll, "victim")
    atoll.good("kill", "victim")
    assert child.wait(15) == 137
    child.communicate()


def atoll_ready(atoll: Atoll, name: str) -> None:
    """Wait until the name exists and runs."""
    import time

    deadline = time.monotonic() + 15
    while atoll("inspect", name).code or atoll.state(name)["Status"] != "running":
        assert time.monotonic() < deadline, f"{name} does not run"
        time.sleep(0.05)


def test_environment(atoll: Atoll, busybox: str):
    out = atoll.good(
        "run", "--rm", "-e", "A=1 2", "-e", "PASSED", "-e", "ABSENT", busybox, "env", env={"PASSED": "on"}
    )
    env = dict(line.split("=", 1) for line in out.split("\n"))
    assert env["A"] == "1 2"
    assert env["PASSED"] == "on"
    assert "ABSENT" not in env
    assert env["HOME"] == "/root"
    assert env["PATH"] == images.PATH.removeprefix("PATH=")
    assert re.fullmatch("[0-9a-f]{12}", env["HOSTNAME"])
    assert set(env) <= {"A", "PASSED", "HOME", "PATH", "HOSTNAME", "SHLVL", "PWD", "TERM"}, "the host's leaks in"


def test_working_directory_umask_and_host_name(atoll: Atoll, busybox: str):
    assert atoll.good("run", "--rm", busybox, "sh", "-c", "pwd; umask") == "/\n0022"
    assert atoll.good("run", "--rm", "-w", "/var/made/here", busybox, "pwd") == "/var/made/here"
    atoll("run", "--rm", "-w", "relative", busybox, "pwd").failed(125, "absolute|relative")
    identity = atoll.good("run", "-d", busybox, "hostname")
    atoll.wait_for(identity, "exited")
    assert atoll.good("logs", identity) == identity[:12]


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("1000", "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"),
        ("user", "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"),
        ("1000:2000", "uid=1000(user) gid=2000(extra)"),
        ("4321:4321", "uid=4321 gid=4321"),
    ],
)
def test_user(atoll: Atoll, busybox: str, user: str, seen: str):
    assert atoll.good("run", "--rm", "-u", user, busybox, "id").startswith(seen)


@pytest.mark.parametrize("user", ["nobodyknows", "4294967296", "-1", "4294967295"])
def test_impossible_users_are_refused(atoll: Atoll, busybox: str, user: str):
    """Overflow must never become root (CVE-2024-40635)."""
    result = atoll("run", "--rm", f"--user={user}", busybox, "id")
    assert "uid=0" not in result.out
    result.failed(125, "user|uid|group")


def test_standard_input(anyone: Atoll, busybox: str):
    assert anyone("run", "--rm", "-i", busybox, "cat", stdin="one\ntwo\n").good() == "one\ntwo"
    assert anyone("run", "--rm", busybox, "cat", stdin="unseen").good() == ""


def test_output_arrives_whole(atoll: Atoll, busybox: str):
    child = atoll.popen(
        "run", "--rm", busybox, "sh", "-c", "yes 0123456789 | head -c 20000000", text=False, errors=None
    )
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert hashlib.sha256(out).digest() == hashlib.sha256((b"0123456789\n" * 1818182)[:20000000]).digest()


def test_input_arrives_whole(atoll: Atoll, busybox: str):
    data = os.urandom(1 << 20) * 5
    child = atoll.popen("run", "--rm", "-i", busybox, "sha256sum", stdin=subprocess.PIPE, text=False, errors=None)
    out, err = child.communicate(data, timeout=60)
    assert child.returncode == 0, err
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_reader_that_goes_away(atoll: Atoll, busybox: str):
    """SIGPIPE for us must end the command, and not leave the container."""
    child = atoll.popen("run", "--rm", busybox, "sh", "-c", "while :; do echo more; done")
    assert child.stdout is not None
    assert child.stdout.readline() == "more\n"
    child.stdout.close()
    child.wait(20)
    child.stderr and child.stderr.close()
    for identity in atoll.all():
        atoll.good("rm", "-f", identity)


def test_bind_mounts(anyone: Atoll, busybox: str):
    source = os.path.join(anyone.folder, "shared")
    os.mkdir(source)
    with open(os.path.join(source, "there"), "w") as stream:
        stream.write("from the host")
    if anyone.user:
        os.chown(source, anyone.user.uid, anyone.user.gid)
    script = "cat /in/there; echo new > /in/made"
    assert anyone.good("run", "--rm", "-v", f"{source}:/in", busybox, "sh", "-c", script) == "from the host"
    with open(os.path.join(source, "made")) as stream:
        assert stream.read() == "new\n"
    anyone("run", "--rm", "-v", f"{source}:/in:ro", busybox, "touch", "/in/no").failed(1, "read-only")
    one = f"{source}/there:/etc/motd:ro"
    assert anyone.good("run", "--rm", "-v", one, busybox, "cat", "/etc/motd") == "from the host"


@pytest.mark.parametrize("volume", ["/tmp:relative", "/tmp:/a:rw:extra", "/tmp:/a:nonsense", ":/a", "/tmp:/"])
def test_bad_volumes(atoll: Atoll, busybox: str, volume: str):
    atoll("run", "--rm", "-v", volume, busybox, "true").failed(125, "volume|mount|path|mode|destination|invalid")


def test_volume_target_through_a_link_stays_inside(atoll: Atoll, registry: Registry, sandbox: Sandbox):
    """CVE-2021-30465's simple half: a link in the image must not lead a mount out of the root."""

    def fill(tar):
        images.entry(tar, "escape", type=b"2", linkname="../../../../../../../../tmp")

    base = images.busybox()
    image = images.assemble(
        [*zip(base.layers, _diffs(base), strict=True), images.layer(fill)], {"Env": [images.PATH], "Cmd": ["sh"]}
    )
    reference = registry.push(image, "linked")
    source = os.path.join(atoll.folder, "v")
    os.mkdir(source)
    result = atoll("run", "--rm", "-v", f"{source}:/escape/in", reference, "sh", "-c", "touch /escape/in/x; ls /tmp")
    assert not os.path.exists("/tmp/in")
    if result.code == 0:
        assert os.listdir(source) == ["x"]


def _diffs(image: images.Image) -> list[str]:
    import json

    return list(json.loads(image.config.read())["rootfs"]["diff_ids"])


def test_read_only(anyone: Atoll, busybox: str):
    for path in ("/new", "/etc/new", "/tmp/new"):
        anyone("run", "--rm", "--read-only", busybox, "touch", path).failed(1, "read-only")
    assert (
        anyone.good("run", "--rm", "--read-only", busybox, "sh", "-c", "echo x > /dev/shm/x; cat /dev/shm/x") == "x"
    )


def test_the_writable_layer_is_the_containers_own(anyone: Atoll, busybox: str):
    anyone.good("run", "--name", "one", busybox, "sh", "-c", "echo x > /etc/mine; rm /etc/group")
    assert anyone("run", "--rm", busybox, "cat", "/etc/mine").code == 1
    assert "root" in anyone.good("run", "--rm", busybox, "cat", "/etc/group")


def test_network_none_has_loopback_only(anyone: Atoll, busybox: str):
    for words in ((), ("--network", "none")):
        script = "tail -n +3 /proc/net/dev | cut -d: -f1; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1; cat /proc/net/route"
        out = anyone.good("run", "--rm", *words, busybox, "sh", "-c", script)
        assert out.split()[0] == "lo"
        assert "eth" not in out
    up = anyone.good("run", "--rm", busybox, "cat", "/sys/class/net/lo/flags")
    assert int(up, 16) & 1, "loopback is down"


def test_network_host_is_ours(anyone: Atoll, busybox: str):
    inside = anyone.good("run", "--rm", "--network", "host", busybox, "readlink", "/proc/self/ns/net")
    assert inside == os.readlink("/proc/self/ns/net")


def test_network_that_is_not_there_yet(atoll: Atoll, busybox: str):
    atoll("run", "--rm", "--network", "nosuch", busybox, "true").failed(125, "nosuch")


def test_explain_prints_a_plan_and_runs_nothing(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    out = anyone.good("run", "--explain", busybox, "sh", "-c", "echo did-run")
    for word in ("overlay", "seccomp", "pid", "/proc"):
        assert word in out.lower(), out
    assert "\ndid-run" not in out
    assert anyone.all() == []


def test_name_in_use(atoll: Atoll, busybox: str):
    atoll.good("run", "--name", "taken", busybox, "true")
    atoll("run", "--name", "taken", busybox, "true").failed(125, "taken", "in use")
    assert len(atoll.all()) == 1
    atoll.good("rm", "taken")
    atoll.good("run", "--rm", "--name", "taken", busybox, "true")


@pytest.mark.parametrize("name", ["-x", "a b", "../up", "é", "a/b"])
def test_bad_names(atoll: Atoll, busybox: str, name: str):
    atoll("run", f"--name={name}", busybox, "true").failed(125, "name")
    assert atoll.all() == []


def test_entrypoint_command_and_settings_of_the_image(atoll: Atoll, registry: Registry):
    image = images.busybox(
        Entrypoint=["/bin/echo", "entry"], Cmd=["default"], Env=[images.PATH, "FROM=image"], User="user",
        WorkingDir="/home/user/work",
    )  # fmt: skip
    reference = registry.push(image, "settings")
    assert atoll.good("run", "--rm", reference) == "entry default"
    assert atoll.good("run", "--rm", reference, "mine") == "entry mine"
    plain = registry.push(images.busybox(User="user", WorkingDir="/home/user/work", Env=["FROM=image"]), "plain")
    out = atoll.good("run", "--rm", plain, "sh", "-c", "id -u; pwd; echo $FROM $HOME")
    assert out == "1000\n/home/user/work\nimage /home/user"


def test_an_image_without_a_command(atoll: Atoll, registry: Registry):
    reference = registry.push(images.busybox(Cmd=None), "nothing")
    atoll("run", "--rm", reference).failed(125, "command")
    assert atoll.all() == []


def test_etc_files(atoll: Atoll, busybox: str):
    out = atoll.good("run", "--rm", busybox, "sh", "-c", "cat /etc/hosts; cat /etc/hostname; ls /etc/resolv.conf")
    assert "127.0.0.1" in out
    assert "localhost" in out


@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_layers_whiteouts_hardlinks_and_owners(atoll: Atoll, registry: Registry, compression: str):
    def second(tar):
        images.entry(tar, "etc/.wh.group")
        images.entry(tar, "home/.wh..wh..opq")
        images.entry(tar, "home/other", type=b"5", uid=7, gid=8, mode=0o2750)
        facts = {"mode": 0o640, "uid": 1234, "gid": 5678, "mtime": 1000000000}
        images.entry(tar, "data", b"content", **facts)
        images.entry(tar, "link", type=b"1", linkname="data", **facts)
        images.entry(tar, "suid", b"x", mode=0o4755)
        images.entry(tar, "x" * 150 + "/" + "y" * 150, b"long name")

    base = images.busybox()
    pairs = [*zip(base.layers, _diffs(base), strict=True), images.layer(second, compression)]
    reference = registry.push(images.assemble(pairs, {"Env": [images.PATH]}), f"layers-{compression or 'none'}")
    script = (
        "ls /etc/group; ls /home; stat -c '%a %u %g %Y' /data /home/other; stat -c '%h %i' /data /link;"
        "stat -c %a /suid; cat /xxx*/yyy*"
    )
    result = atoll("run", "--rm", reference, "sh", "-c", script)
    lines = result.out.split("\n")
    assert "group" not in result.out, result
    assert lines[0] == "other"
    assert lines[1] == "640 1234 5678 1000000000"
    assert lines[2].startswith("2750 7 8")
    assert lines[3] == lines[4]
    assert lines[3].startswith("2 ")
    assert lines[5] == "4755"
    assert lines[6] == "long name"


def test_second_pull_moves_nothing(atoll: Atoll):
    from kit.faults import FaultServer

    with FaultServer(images.busybox()) as server:
        atoll.good("pull", f"{server.host}/busybox:latest")
        sent = server.count("/blobs/")
        atoll.good("pull", f"{server.host}/busybox:latest")
        assert server.count("/blobs/") == sent


def test_pull_prints_digest_and_reference(atoll: Atoll, busybox: str):
    out = atoll.good("pull", busybox)
    assert re.search(r"Digest: sha256:[0-9a-f]{64}", out)
    assert out.split("\n")[-1] == busybox
    assert atoll.good("pull", "-q", busybox) == busybox


def test_the_runtime_directory_may_be_long(fresh, sandbox: Sandbox, busybox: str):
    """A unix socket's path holds 107 bytes; a run root may be longer."""
    atoll = fresh()
    atoll.run_root = os.path.join(atoll.folder, "r" * 120)
    atoll.env["ATOLL_RUN_ROOT"] = atoll.run_root
    assert atoll.good("run", "--rm", busybox, "echo", "fine") == "fine"


def test_without_a_spawner(atoll: Atoll, busybox: str):
    """The spawner is a cache: a command right after its death works."""
    import signal

    atoll.good("run", "--rm", busybox, "true")
    atoll.end_spawner(signal.SIGKILL)
    assert atoll.good("run", "--rm", busybox, "echo", "on") == "on"
