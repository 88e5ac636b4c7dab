"""Wrong input and a world that fails: a clear message, the right code, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from kit import images
from kit.command import Atoll
from kit.faults import FaultServer
from kit.registry import Registry, free_port


def stored(atoll: Atoll) -> list[str]:
    """Every blob and layer that the store holds for good, and the images it lists."""
    found = [n for _, _, names in os.walk(os.path.join(atoll.data, "content", "blobs")) for n in names]
    return found + atoll.good("images", "-q").split()


def test_unknown_image(atoll: Atoll, registry: Registry):
    reference = f"{registry.host}/nosuch:latest"
    atoll("pull", reference).failed(1, "nosuch", "not found|unknown|no such")
    atoll("run", "--rm", reference, "true").failed(125, "nosuch", "not found|unknown|no such")
    assert atoll.all() == []


def test_unknown_tag(atoll: Atoll, busybox: str):
    atoll("run", busybox.replace(":latest", ":nosuch"), "true").failed(125, "nosuch")


@pytest.mark.parametrize(
    "reference",
    ["", "UPPER", "a b", "../x", "x:", "x@sha256:12", "x:" + "t" * 129, "-", "x/../y", "h:99999/x", "x@md5:a"],
)
def test_wrong_reference(atoll: Atoll, reference: str):
    atoll("pull", "--", reference).failed(1, "reference|image|name|port")
    atoll("run", "--rm", "--", reference, "true").failed(125, "reference|image|name|port")


def test_registry_down(atoll: Atoll):
    host = f"127.0.0.1:{free_port()}"
    atoll("pull", f"{host}/busybox", timeout=30).failed(1, host, "refused|connect")
    atoll("run", f"{host}/busybox", "true", timeout=30).failed(125, host, "refused|connect")


def test_registry_that_does_not_resolve(atoll: Atoll):
    atoll("pull", "registry.invalid/x", timeout=30).failed(1, "registry.invalid")


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        ("digest", "digest"),
        ("config-digest", "digest"),
        ("size", "size|digest|longer|more"),
        ("401", "401|unauthor|denied|credential"),
        ("404", "not found|404|unknown"),
        ("not-json", "manifest|json"),
        ("manifest-confusion", "manifest"),
    ],
)
def test_registry_at_fault(anyone: Atoll, fault: str, pattern: str):
    _refused(anyone, fault, pattern)


TRIED_AGAIN = (("500", "500|server|broken"), ("redirect-private", "redirect|169.254|refuse|connect|unreachable"))
"""What may pass is waited for, a quarter of a minute: of ordinary users only with `--full`."""


@pytest.mark.parametrize(("fault", "pattern"), TRIED_AGAIN)
def test_registry_at_fault_that_is_tried_again(atoll: Atoll, fault: str, pattern: str):
    _refused(atoll, fault, pattern)


@pytest.mark.full
@pytest.mark.parametrize(("fault", "pattern"), TRIED_AGAIN)
def test_registry_at_fault_that_is_tried_again_by_anyone(anyone: Atoll, fault: str, pattern: str):
    _refused(anyone, fault, pattern)


def _refused(box: Atoll, fault: str, pattern: str) -> None:
    with FaultServer(images.busybox(), fault) as server:
        box("pull", f"{server.host}/busybox", timeout=60).failed(1, pattern)
        assert stored(box) == [] or fault in ("digest", "size", "redirect-private")
        box("run", f"{server.host}/busybox", "true", timeout=60).failed(125, pattern)
        assert box.good("images", "-q") == ""
        assert box.all() == []


def test_cut_in_mid_blob_resumes(atoll: Atoll):
    image = images.busybox()
    with FaultServer(image, "cut-once") as server:
        assert atoll.good("run", "--rm", f"{server.host}/busybox", "echo", "fine") == "fine"
        whole = sum(one.size for one in (image.config, *image.layers))
        assert server.sent < whole * 1.3, "what had arrived was fetched again"


def test_cut_every_time(atoll: Atoll):
    with FaultServer(images.busybox(), "cut") as server:
        result = atoll("pull", f"{server.host}/busybox", timeout=90)
        # Each attempt gives half of the rest, so that resuming may get there in the end.
        if result.code:
            result.failed(1, "cut|closed|short|incomplete|connection|bytes")
            assert atoll.good("images", "-q") == ""


def test_too_many_requests_are_retried(atoll: Atoll):
    with FaultServer(images.busybox(), "429-once") as server:
        atoll.good("pull", f"{server.host}/busybox", timeout=60)


def test_interrupted_pull_keeps_what_came(atoll: Atoll):
    image = images.busybox({"ballast": (0o644, os.urandom(3 << 20))})
    with FaultServer(image, "slow") as server:
        child = atoll.popen("pull", f"{server.host}/busybox")
        time.sleep(3)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=10)
        assert child.returncode != 0
        before = server.sent
        server.fault = "none"
        atoll.good("pull", f"{server.host}/busybox")
        ranged = [h for _, path, h in server.requests if "/blobs/" in path and "Range" in h]
        assert ranged, "the second pull did not resume"
        assert before > 0


def test_missing_command(anyone: Atoll, busybox: str):
    anyone("run", "--rm", busybox, "nosuchprogram").failed(127, "nosuchprogram", "not found")
    anyone("run", "--rm", busybox, "/no/such/file").failed(127, "/no/such/file")
    assert anyone.all() == []


def test_command_that_cannot_be_executed(anyone: Atoll, busybox: str):
    anyone("run", "--rm", busybox, "/etc/passwd").failed(126, "/etc/passwd", "permission|exec")
    anyone("run", "--rm", busybox, "/etc").failed(126, "/etc")
    assert anyone.all() == []


def test_a_failed_start_without_rm_leaves_a_container_that_says_so(atoll: Atoll, busybox: str):
    """As Docker: `Created` or `Exited` with the code, and the error in inspect."""
    atoll("run", "--name", "web", busybox, "nosuchprogram").failed(127, "nosuchprogram")
    state = atoll.state("web")
    assert state["ExitCode"] == 127
    assert "nosuchprogram" in str(state["Error"])
    atoll.good("rm", "web")


def test_broken_program_formats(atoll: Atoll, registry: Registry):
    extra = {
        "bin/garbage": (0o755, b"\x00\x01\x02 not a program"),
        "bin/script": (0o755, b"#!/no/such/interpreter\n"),
        "bin/short": (0o755, b"\x7fELF"),
    }
    reference = registry.push(images.busybox(extra), "broken")
    atoll("run", "--rm", reference, "/bin/garbage").failed(126, "exec|format")
    atoll("run", "--rm", reference, "/bin/script").failed(127, "script|interpreter|not found|no such")
    atoll("run", "--rm", reference, "/bin/short").failed(126, "exec|format")


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("run", "--netwrok", "none", "x"), "--network"),
        (("run", "--privleged", "x"), "--"),
        (("run", "--read-onyl", "x"), "--read-only"),
        (("ps", "--al"), "--all"),
        (("logs", "--folow", "x"), "--follow"),
    ],
)
def test_unknown_flag(atoll: Atoll, words: tuple[str, ...], suggestion: str):
    result = atoll(*words)
    result.failed(125, "unknown flag", words[1].split("=")[0])
    if suggestion != "--":
        assert suggestion in result.err, result


def test_unknown_command(atoll: Atoll):
    result = atoll("rnu", "x")
    assert result.code in (1, 125), result
    assert "rnu" in result.err
    assert "run" in result.err.replace("rnu", "")


@pytest.mark.parametrize(
    "words",
    [("run",), ("exec",), ("exec", "x"), ("rm",), ("stop",), ("kill",), ("pull",), ("logs",), ("inspect",), ("rmi",)],
)
def test_too_few_arguments(atoll: Atoll, words: tuple[str, ...]):
    result = atoll(*words)
    assert result.code in (1, 125), result
    assert "argument" in result.err.lower(), result
    assert "Traceback" not in result.err


def test_no_arguments_and_help(atoll: Atoll):
    assert "run" in atoll("--help").good()
    assert "--network" in atoll("run", "--help").good()
    assert "run" in (atoll().out + atoll().err)


@pytest.mark.parametrize("command", ["stop", "kill", "rm", "inspect", "logs"])
def test_nobody_of_that_name(atoll: Atoll, command: str):
    atoll(command, "nosuch").failed(1, "no such .*nosuch")


def test_some_of_several(atoll: Atoll, busybox: str):
    """What can be done is done; the rest is named; the code says that not all went well."""
    atoll.good("run", "--name", "aa", busybox, "true")
    result = atoll("rm", "nosuch", "aa")
    result.failed(1, "nosuch")
    assert result.out == "aa\n"
    assert atoll.all() == []


def test_full_disk_while_pulling(fresh, small_disk, busybox: str, debian: str):
    atoll = fresh(data=os.path.join(small_disk(24 << 20), "data"))
    atoll("pull", debian, timeout=90).failed(1, "space")
    assert atoll.good("images", "-q") == ""
    assert _kept(atoll.data) < 1 << 20  # nothing of it is what keeps the disk full
    atoll.good("run", "--rm", busybox, "true")


def test_full_disk_while_unpacking(fresh, small_disk, debian: str):
    atoll = fresh(data=os.path.join(small_disk(90 << 20), "data"))
    atoll("run", "--rm", debian, "true", timeout=90).failed(125, "space")
    assert atoll.all() == []
    assert atoll.good("images", "-q") == ""
    assert _kept(atoll.data) < 1 << 20


@pytest.mark.parametrize("verb", ["commit", "import", "load"])
def test_full_disk_while_an_image_is_made(fresh, small_disk, busybox: str, tmp_path, verb: str):
    """The layer's blob has room, what is unpacked of it has not: neither is there afterwards."""
    atoll = fresh(data=os.path.join(small_disk(56 << 20), "data"))
    atoll.good("run", "--name", "web", busybox, "sh", "-c", "head -c 12000000 /dev/urandom > /big")
    archive = str(tmp_path / "made.tar")
    if verb == "import":
        atoll.good("export", "-o", archive, "web")
    else:
        atoll.good("commit", "web", "made")
        atoll.good("save", "-o", archive, "made")
        atoll.good("rmi", "made")
    before = _kept(atoll.data)
    with open(f"{atoll.data}/ballast", "wb") as stream:
        stream.write(bytes(20_000_000))
    what = {"commit": ("web", "made"), "import": (archive, "made"), "load": ("-i", archive)}[verb]
    atoll(verb, *what).failed(1, "space")
    os.unlink(f"{atoll.data}/ballast")
    assert _kept(atoll.data) < before + (1 << 20)
    atoll.good(verb, *what)


@pytest.mark.parametrize("name", ["Bad:Name", "busybox@sha256:" + "0" * 64])
def test_a_wrong_name_costs_nothing(atoll, busybox: str, tmp_path, name: str):
    """It is refused before a layer is written."""
    atoll.good("run", "--name", "web", busybox, "sh", "-c", "echo x > /new")
    archive = str(tmp_path / "made.tar")
    atoll.good("export", "-o", archive, "web")
    before = _kept(atoll.data)
    atoll("commit", "web", name).failed(1, "invalid|digest")
    atoll("import", archive, name).failed(1, "invalid|digest")
    assert _kept(atoll.data) < before + 1000


def _kept(folder: str) -> int:
    """Bytes of the files below it."""
    sizes = [os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names]
    return sum(sizes)


def test_full_disk_inside_is_the_programs_own_error(fresh, small_disk, busybox: str):
    atoll = fresh(data=os.path.join(small_disk(30 << 20), "data"))
    result = atoll("run", "--rm", busybox, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=60")
    result.failed(1, "no space left")
    assert atoll.good("run", "--rm", busybox, "echo", "fine") == "fine"


def test_a_full_run_root(fresh, small_disk, busybox: str):
    atoll = fresh()
    atoll.good("pull", "-q", busybox)
    atoll.run_root = os.path.join(small_disk(64 << 10), "run")
    atoll.env["ATOLL_RUN_ROOT"] = atoll.run_root
    atoll.good("ps")
    ballast = os.path.join(os.path.dirname(atoll.run_root), "ballast")
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True)
    result = atoll("run", "--rm", busybox, "true")
    if result.code:
        result.failed(125, "space")
    os.unlink(ballast)
    assert atoll.good("run", "--rm", busybox, "echo", "fine") == "fine"
    atoll.clear()


def test_no_permission_on_the_data_root(fresh_rootless, sandbox):
    atoll = fresh_rootless("atoll-full", data="/root/atoll-nowhere")
    result = atoll("images")
    result.failed(1, "/root/atoll-nowhere|permission|denied")
    atoll("run", "--rm", "host", "true").failed(125, "/root/atoll-nowhere|permission|denied")
    atoll.data = os.path.join(atoll.folder, "data")
    atoll.env["ATOLL_DATA_ROOT"] = atoll.data


def test_a_read_only_store(fresh, small_disk, busybox: str):
    from kit import system

    disk = small_disk(60 << 20)
    atoll = fresh(data=os.path.join(disk, "data"))
    atoll.good("pull", "-q", busybox)
    atoll.end_spawner()
    system.mount("none", disk, "", 0x20 | 0x1)  # MS_REMOUNT | MS_RDONLY
    atoll("run", "--rm", busybox, "true").failed(125, "read-only")
    system.mount("none", disk, "", 0x20)
    assert atoll.good("run", "--rm", busybox, "echo", "fine") == "fine"


def test_a_blob_that_is_gone(atoll: Atoll, busybox: str):
    """A row without its layer is an error with a way out, not a crash."""
    atoll.good("pull", "-q", busybox)
    subprocess.run(["rm", "-rf", os.path.join(atoll.data, "snapshots")], check=True)
    result = atoll("run", "--rm", busybox, "echo", "fine")
    if result.code:
        result.failed(125, "missing|pull|repair|not there|gone")


def test_a_config_file_with_an_unknown_key(atoll: Atoll):
    with open(atoll.config, "w") as stream:
        stream.write("[defaults]\nnetwrok = 'none'\n")
    atoll("run", "--rm", "host", "true").failed(125, "netwrok", "network")
    with open(atoll.config, "w"):
        pass


def test_hostile_image_settings(atoll: Atoll, registry: Registry):
    """Image configuration is data from strangers."""
    for index, settings in enumerate(
        (
            {"User": "4294967295"},
            {"User": "4294967296"},
            {"User": "-1"},
            {"WorkingDir": "relative"},
            {"Env": ["A\nB=1", "=x", "NOEQUALS"]},
            {"Entrypoint": ["sh\0x"]},
            {"Cmd": "not a list"},
        )
    ):
        reference = registry.push(images.busybox(**settings), f"hostile-{index}")
        result = atoll("run", "--rm", reference, "id", timeout=30)
        assert "Traceback" not in result.err, (settings, str(result))
        if "User" in settings:
            assert "uid=0" not in result.out, (settings, str(result))
    assert atoll.all() == []
