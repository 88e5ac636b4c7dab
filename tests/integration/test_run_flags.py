"""What the flags of `run` do to a real container, as root and as an ordinary user."""

from __future__ import annotations

import os

import pytest

from kit.command import Atoll


@pytest.fixture
def who(request: pytest.FixtureRequest) -> Atoll:
    return request.getfixturevalue(request.param)


def status(atoll: Atoll, busybox: str, *flags: str) -> dict[str, str]:
    out = atoll.good("run", "--rm", *flags, busybox, "cat", "/proc/self/status")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in out.split("\n"))}


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_rights(who: Atoll, busybox: str):
    """Each as the kernel has it in the end, by proc_pid_status(5)."""
    plain = status(who, busybox)
    assert plain["NoNewPrivs"] == "1"
    assert plain["CapInh"] == plain["CapAmb"] == "0" * 16
    added = status(who, busybox, "--cap-add", "SYS_PTRACE", "--cap-drop", "chown")
    assert int(added["CapEff"], 16) == (int(plain["CapEff"], 16) | 1 << 19) & ~1
    assert added["CapBnd"] == added["CapPrm"] == added["CapEff"]
    assert int(status(who, busybox, "--cap-drop", "ALL")["CapBnd"], 16) == 0
    all_of_it = status(who, busybox, "--privileged")
    assert (all_of_it["NoNewPrivs"], all_of_it["Seccomp"]) == ("0", "0")
    assert int(all_of_it["CapEff"], 16) & 1 << 21, "CAP_SYS_ADMIN"
    assert status(who, busybox, "--group-add", "12", "-u", "5:6")["Groups"].split() == ["6", "12"]
    opened = ("--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=unconfined")
    assert (status(who, busybox, *opened)["NoNewPrivs"], status(who, busybox, *opened)["Seccomp"]) == ("0", "0")
    assert status(who, busybox, "--security-opt", "allow_32bit")["Seccomp"] == "2"


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_limits_of_processes(who: Atoll, busybox: str):
    script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; stat -f -c '%b %S' /dev/shm"
    flags = ("--ulimit", "nofile=100:200", "--oom-score-adj", "500", "--shm-size", "1m")
    out = who.good("run", "--rm", *flags, busybox, "sh", "-c", script).split("\n")
    assert out[:3] == ["100", "200", "500"]
    blocks, size = out[3].split()
    assert int(blocks) * int(size) == 1 << 20
    result = who("run", "--rm", "--ulimit", "nofile=999999999999", busybox, "sh", "-c", "ulimit -Hn")
    assert result.code == 0
    if "CAP_SYS_RESOURCE" in result.err:  # nobody here may raise it: told, and done with what there is
        assert int(result.out) > 0


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_namespaces(who: Atoll, busybox: str):
    def links(*flags: str) -> dict[str, str]:
        out = who.good(
            "run", "--rm", *flags, busybox, "sh", "-c", "cd /proc/self/ns; for n in *; do readlink $n; done"
        )
        return dict(line.split(":") for line in out.split("\n"))  # type: ignore[misc]

    ours = {name: os.readlink(f"/proc/self/ns/{name}").split(":")[1] for name in ("pid", "ipc", "uts", "cgroup")}
    plain = links()
    assert all(plain[name] != ours[name] for name in ours)
    shared = links("--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "host")
    assert {name: shared[name] for name in ours} == ours
    assert who.good("run", "--rm", "--uts", "host", busybox, "hostname") == os.uname().nodename
    assert int(who.good("run", "--rm", "--pid", "host", busybox, "sh", "-c", "ls -d /proc/[0-9]* | wc -l")) > 3


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_another_containers_namespaces_are_found_again_after_its_restart(who: Atoll, busybox: str):
    who.good("run", "-d", "--name", "first", "--ipc", "shareable", busybox, "sleep", "60")
    who.good("exec", "first", "sh", "-c", "echo shared > /dev/shm/x")
    assert who.good("run", "--rm", "--ipc", "container:first", busybox, "cat", "/dev/shm/x") == "shared"
    who.good("create", "--name", "second", "--pid", "container:first", busybox, "sh", "-c", "ps | grep -c 'sleep 60'")
    for _ in range(2):
        assert int(who.good("start", "-a", "second")) >= 1
        who.good("restart", "-t", "0", "first")
    who.good("stop", "-t", "0", "first")
    who("start", "-a", "second").failed(1, "cannot join PID namespace of a non running container: first")
    who("run", "--rm", "--pid", "container:nobody", busybox, "true").failed(125, "No such container: nobody")
    who.good("rm", "-f", "first", "second")
    who.good("run", "-d", "--name", "shy", busybox, "sleep", "60")
    who("run", "--rm", "--ipc", "container:shy", busybox, "true").failed(125, "non-shareable IPC")
    who.good("rm", "-f", "shy")


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_devices_and_sysctls(who: Atoll, busybox: str):
    out = who.good(
        "run",
        "--rm",
        "--device",
        "/dev/null:/dev/here:rw",
        busybox,
        "sh",
        "-c",
        "echo x > /dev/here; ls -l /dev/here",
    )
    assert "1,   3" in out
    assert (
        who.good("run", "--rm", "--sysctl", "net.ipv4.ip_forward=1", busybox, "cat", "/proc/sys/net/ipv4/ip_forward")
        == "1"
    )
    who("run", "--rm", "--sysctl", "kernel.panic=1", busybox, "true").failed(
        125, "kernel.panic is not of any namespace"
    )
    who("run", "--rm", "--device", "/dev/none", busybox, "true").failed(125, "/dev/none")
    who("run", "--rm", "--device", "vendor.com/none=x", busybox, "true").failed(125, "unresolvable CDI devices")


def test_the_device_controller(atoll: Atoll, busybox: str):
    """A node can be made with the capability, but it opens only by a rule."""
    words = (busybox, "sh", "-c", "mknod /k c 10 229 && (: < /k) && echo opened")
    atoll("run", "--rm", "--cap-add", "MKNOD", *words).failed(1, "Operation not permitted")
    assert atoll.good("run", "--rm", "--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 rm", *words) == "opened"


def test_limits_of_the_cgroup(atoll: Atoll, busybox: str):
    flags = ("-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m", "--cpu-shares", "300",
             "--cpuset-cpus", "0", "--cpu-period", "50000", "--cpu-quota", "25000")  # fmt: skip
    name = atoll.good("run", "-d", *flags, busybox, "sleep", "60")
    inspected = atoll.inspect(name)["HostConfig"]
    assert (inspected["Memory"], inspected["MemorySwap"]) == (64 << 20, 96 << 20)  # type: ignore[index]
    assert (inspected["CpuShares"], inspected["CpusetCpus"]) == (300, "0")  # type: ignore[index]
    with open(f"/proc/{atoll.state(name)['Pid']}/cgroup") as file:
        own = {
            kind: path
            for _, kinds, path in (line.strip().split(":", 2) for line in file)
            for kind in kinds.split(",")
        }

    def value(controller: str, v1: str, v2: str) -> str:
        place = (
            f"/sys/fs/cgroup/{controller}{own[controller]}/{v1}"
            if controller in own
            else f"/sys/fs/cgroup{own['']}/{v2}"
        )
        with open(place) as file:
            return file.read().strip()

    assert value("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value("memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
    assert value("cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert value("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "25000"
    atoll.good("rm", "-f", name)


def test_what_is_not_delegated_is_named(undelegated: Atoll, busybox: str):
    for flag, value in (("--cpu-shares", "5"), ("--memory-reservation", "9m"), ("--blkio-weight", "20")):
        undelegated("run", "--rm", flag, value, busybox, "true").failed(
            125, f"{flag}: the .* controller is not delegated"
        )
    undelegated("run", "--rm", "--oom-score-adj", "-900", busybox, "true").failed(125, "--oom-score-adj to -900")
    undelegated("run", "--rm", "-v", "/tmp:/x:idmap", busybox, "true").failed(
        125, "refuses it to an ordinary user.*keep-id"
    )
    undelegated("run", "--rm", "--userns", "auto", busybox, "true").failed(125, "an ordinary user does not have")


def test_rootful_user_namespaces(atoll: Atoll, busybox: str):
    """The container's root is nobody outside, and what it writes is root's on the disk."""

    def maps(*flags: str) -> list[str]:
        return atoll.good("run", "--rm", *flags, busybox, "cat", "/proc/self/uid_map").split()

    first = atoll.good("run", "-d", "--name", "mapped", "--userns", "auto", busybox, "sh", "-c",
                      "touch /mine; chown 7:8 /mine; sleep 60")  # fmt: skip
    _, outside, count = atoll.good("exec", "mapped", "cat", "/proc/self/uid_map").split()
    assert int(outside) >= 2_001_000_000
    assert count == "65536"
    assert os.stat(f"/proc/{atoll.state('mapped')['Pid']}").st_uid == int(outside)
    assert atoll.good("exec", "mapped", "stat", "-c", "%u:%g", "/bin", "/mine").split() == ["0:0", "7:8"]
    written = os.stat(f"{atoll.data}/snapshots/writable/{first}/upper/mine")
    assert (written.st_uid, written.st_gid) == (7, 8)
    assert maps("--userns", "auto:size=10")[1] != outside
    assert maps("--uidmap", "0:700000:50") == ["0", "700000", "50"]
    assert maps("--userns", "host")[0:2] == ["0", "0"]
    atoll.good("restart", "-t", "0", "mapped")
    assert atoll.good("exec", "mapped", "cat", "/proc/self/uid_map").split()[1] == outside, "the same range again"
    atoll.good("rm", "-f", "mapped")


def test_keep_id(rootless: Atoll, single: Atoll, busybox: str):
    for who in (rootless, single):
        assert who.user is not None
        source = os.path.join(who.folder, "mine")
        os.mkdir(source)
        os.chown(source, who.user.uid, who.user.gid)
        uid = str(who.user.uid)
        flags = ("--userns", "keep-id", "-u", f"{uid}:{who.user.gid}", "-v", f"{source}:/mine")
        out = who.good("run", "--rm", *flags, busybox, "sh", "-c", "id -u; touch /mine/x; stat -c %u /mine /mine/x")
        assert out.split() == [uid, uid, uid]
        assert os.stat(f"{source}/x").st_uid == who.user.uid
    rootless("run", "--rm", "--userns", "nomap", busybox, "true").failed(125, "without your own id")
    result = rootless("run", "--rm", "--userns", "keep-id:uid=77", busybox, "true")
    assert "unpacked once more for this map of ids" in result.err
    assert rootless("run", "--rm", "--userns", "keep-id:uid=77", busybox, "true").err == "", "kept for the next time"


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_a_container_for_systemd(who: Atoll, busybox: str):
    script = "echo $container; grep -c -E ' (/run|/run/lock|/tmp|/var/log/journal) tmpfs ' /proc/mounts || :"
    assert who.good("run", "--rm", "--systemd", "always", busybox, "sh", "-c", script).split() == ["oci", "4"]
    assert who.good("run", "--rm", "--systemd", "false", busybox, "sh", "-c", script).split("\n")[0] == ""
    name = who.good("create", "--systemd", "always", busybox, "sh")
    assert who.inspect(name)["Config"]["StopSignal"] == "SIGRTMIN+3"  # type: ignore[index]
    who.good("rm", name)


def test_files_of_variables_labels_and_the_id(atoll: Atoll, busybox: str, tmp_path):
    (tmp_path / "env").write_text("# a comment\n\nA=1\nB=two words\nHOME\n")
    (tmp_path / "labels").write_text("x=1\ny\n")
    flags = ("--env-file", str(tmp_path / "env"), "-e", "A=2", "--label-file", str(tmp_path / "labels"))
    cid = tmp_path / "cid"
    name = atoll.good("create", *flags, "--cidfile", str(cid), "--annotation", "k=v", busybox, "sh", "-c", "env")
    assert cid.read_text() == name
    config = atoll.inspect(name)["Config"]
    assert config["Labels"] == {"x": "1", "y": ""}  # type: ignore[index]
    out = atoll.good("start", "-a", name).split("\n")
    assert {"A=2", "B=two words"} <= set(out)
    atoll("create", "--cidfile", str(cid), busybox).failed(125, "container ID file found")
    atoll("create", "--annotation", "org.atoll.x=1", busybox).failed(125, "Atoll's own")
    atoll.good("rm", name)


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_secrets(who: Atoll, busybox: str):
    """In the container, and nowhere else."""
    word = "swordfish-9a7f"
    who.good("secret", "create", "db", "-", stdin=word)
    flags = ("--secret", "db,mode=0400", "--secret", "db,type=env,target=PW")
    name = who.good(
        "run", "-d", *flags, busybox, "sh", "-c", "[ $(cat /run/secrets/db) = $PW ] && echo same; sleep 60"
    )
    assert who.good(
        "exec", name, "sh", "-c", "cat /run/secrets/db; stat -c %a /run/secrets/db; echo $PW"
    ).split() == [word + "400"]
    assert "/run/secrets/db tmpfs ro" in who.good("exec", name, "cat", "/proc/mounts")
    assert word not in str(who.inspect(name))
    for top in (who.data, who.run_root):
        for folder, _, files in os.walk(top):
            for file in files:
                path = os.path.join(folder, file)
                if os.path.isfile(path) and not path.endswith(("-json.log", "secrets.key")):
                    with open(path, "rb") as stream:
                        assert word.encode() not in stream.read(), path
    who.good("secret", "rotate")
    who.good("restart", "-t", "0", name)
    assert who.good("exec", name, "cat", "/run/secrets/db") == word
    who.good("rm", "-f", name)
    who.good("secret", "rm", "db")
    who("run", "--rm", "--secret", "db", busybox, "true").failed(125, "secret db not found")


@pytest.mark.parametrize("who", ["atoll", "rootless"], indirect=True)
def test_a_32_bit_program_is_told_which_default_stops_it(who: Atoll, busybox: str, tmp_path):
    """Before it is executed: the filter would kill it without a word."""
    header = b"\x7fELF\x01\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (3).to_bytes(2, "little")
    folder = os.path.join(who.folder, "old")
    os.mkdir(folder, 0o755)
    with open(f"{folder}/program", "wb") as file:
        file.write(header + bytes(64))
    os.chmod(f"{folder}/program", 0o755)
    words = ("-v", f"{folder}:/old:ro", busybox, "/old/program")
    who("run", "--rm", *words).failed(126, "keeps shut", "allow_32bit")
    opened = who("run", "--rm", "--security-opt", "allow_32bit", *words)
    assert "keeps shut" not in opened.err
