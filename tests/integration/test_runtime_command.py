"""`atoll-runtime` by runc's command line: states, streams, terminals, descriptors, errors; as root and rootless."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time

import pytest

from kit import processes
from kit.bundle import ConsoleSocket, Runtime, read_until, words

# --- run, and the states ----------------------------------------------------------------------------------------


def test_run_gives_output_and_exit_code(runtime: Runtime):
    result = runtime.run(runtime.bundle(), "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (result.code, result.out, result.err) == (42, "out\n", "err\n")
    assert not os.listdir(runtime.root)


def test_run_dies_by_signal(root_runtime: Runtime):
    assert root_runtime.run(root_runtime.bundle(), "sh", "-c", "kill -9 $$; sleep 5").code in (137, 0)
    child = root_runtime.popen("run", "-b", root_runtime.bundle().save("sleep", "100").folder, root_runtime.new_id())
    _await_status(root_runtime, root_runtime.ids[-1], "running")
    root_runtime.good("kill", root_runtime.ids[-1], "KILL")
    assert child.wait(10) == 137
    child.communicate()


def test_run_reads_stdin(runtime: Runtime):
    result = runtime("run", "-b", runtime.bundle().save("cat").folder, runtime.new_id(), stdin="hello\n")
    assert (result.code, result.out) == (0, "hello\n")


@pytest.mark.spec("runtime#scope.same-entity", "runtime#operations.create-status")
@pytest.mark.spec("runtime#operations.start-status", "runtime#operations.kill-state")
@pytest.mark.spec("runtime#operations.delete-state")
def test_life_in_its_states(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["annotations"] = {"a": "1"}
    name = runtime.create(bundle, "sleep", "100")
    state = runtime.state(name)
    assert state["status"] == "created"
    assert state["bundle"] == bundle.folder
    assert state["rootfs"] == bundle.rootfs
    assert state["annotations"] == {"a": "1"}
    assert state["ociVersion"] == "1.2.0"
    assert os.path.exists(f"/proc/{state['pid']}")
    runtime("delete", name).failed(1, "cannot delete container .* that is not stopped: created")
    runtime("exec", name, "true").failed(255, "exec failed", "not running")
    runtime.good("start", name)
    assert runtime.state(name)["status"] == "running"
    runtime("start", name).failed(1, "cannot start an already running container")
    runtime("delete", name).failed(1, "not stopped: running")
    runtime.good("kill", name, "KILL")
    _await_status(runtime, name, "stopped")
    assert runtime.state(name)["pid"] == 0
    runtime("start", name).failed(1, "cannot start a container that has stopped")
    runtime("kill", name).failed(1, "container not running")
    runtime.good("delete", name)
    runtime("state", name).failed(1, "container does not exist")


def test_created_container_can_be_killed(runtime: Runtime):
    name = runtime.create(runtime.bundle(), "true")
    runtime.good("kill", name, "SIGKILL")
    _await_status(runtime, name, "stopped")
    runtime.good("delete", name)


@pytest.mark.spec("runtime#state.own-status")
def test_pause_and_resume(runtime: Runtime):
    name = runtime.started(runtime.bundle(), "sh", "-c", "while true; do echo x; sleep 0.05; done >/tmp/x")
    runtime.good("pause", name)
    assert runtime.state(name)["status"] == "paused"
    runtime("pause", name).failed(1, "not running or created: paused")
    runtime("exec", name, "true").failed(255, "paused")
    runtime.good("resume", name)
    assert runtime.state(name)["status"] == "running"
    runtime("resume", name).failed(1, "container not paused")
    runtime.good("delete", "--force", name)


def test_list_and_ps(runtime: Runtime):
    assert runtime.good("list", "--format", "json") == "null"
    name = runtime.started(runtime.bundle())
    listed = json.loads(runtime.good("list", "-f", "json"))
    assert [(one["id"], one["status"]) for one in listed] == [(name, "running")]
    header, row = runtime.good("list").split("\n")
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[0] == name
    assert runtime.good("list", "-q") == name
    pid = runtime.state(name)["pid"]
    assert json.loads(runtime.good("ps", "--format", "json", name)) == [pid]
    assert re.search(rf"\b{pid}\b.*sleep 100", runtime.good("ps", name))


# --- detaching --------------------------------------------------------------------------------------------------


def test_detached_container_outlives_the_command_and_is_reparented(runtime: Runtime, tmp_path):
    name = runtime.new_id()
    pid_file = os.path.join(runtime.folder, "pid")
    bundle = runtime.bundle().save("sleep", "100")
    runtime.good("run", "--detach", "--pid-file", pid_file, "-b", bundle.folder, name)
    with open(pid_file) as stream:
        pid = int(stream.read())
    process = processes.read(pid)
    assert process is not None
    assert process.title == "sleep 100"
    assert process.parent == os.getpid()  # the session is the nearest subreaper, as conmon or a shim would be
    assert runtime.state(name)["pid"] == pid
    runtime.good("kill", name, "KILL")
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_created_container_holds_nothing_of_the_caller_open(runtime: Runtime):
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    name = runtime.new_id()
    runtime.good("create", "-b", runtime.bundle().save("sleep", "9").folder, name, pass_fds=(write_end,))
    os.close(write_end)
    assert os.read(read_end, 1) == b"", "the init still holds the caller's pipe"
    os.close(read_end)


@pytest.mark.spec("runtime-linux#descriptors.further")
def test_preserved_descriptors(runtime: Runtime):
    read_end, write_end = os.pipe()
    bundle = runtime.bundle().save("sh", "-c", "echo hello >&3; ls /proc/self/fd")
    fds = {3: write_end, 4: write_end}
    result = runtime("run", "--preserve-fds", "1", "-b", bundle.folder, runtime.new_id(), fds=fds)
    os.close(write_end)
    assert os.read(read_end, 100) == b"hello\n"
    assert os.read(read_end, 100) == b""
    os.close(read_end)
    assert result.good().split() == ["0", "1", "2", "3", "4"]  # 4 is the directory that ls reads


def test_preserved_descriptor_that_is_not_open(root_runtime: Runtime):
    bundle = root_runtime.bundle().save("true")
    root_runtime("run", "--preserve-fds", "40", "-b", bundle.folder, root_runtime.new_id()).failed(1, "preserved-fd")


@pytest.mark.spec("runtime-linux#descriptors.standard")
def test_only_standard_descriptors_are_inherited(runtime: Runtime):
    bundle = runtime.bundle()
    out = words(runtime.run(bundle, "sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done | grep -c /"))
    assert int(out[0]) <= 2


# --- terminals --------------------------------------------------------------------------------------------------


def test_terminal_over_the_console_socket(runtime: Runtime):
    end = ConsoleSocket(os.path.join(runtime.folder, "console"))
    bundle = runtime.bundle()
    bundle.config["process"].update({"terminal": True, "consoleSize": {"height": 33, "width": 99}})
    name = runtime.new_id()
    bundle.save("sh", "-c", "tty; stty size 2>/dev/null; busybox stty size; read x; echo got $x")
    runtime.good("create", "-b", bundle.folder, "--console-socket", end.path, name)
    master = end.receive()
    runtime.good("start", name)
    assert "/dev/pts/0" in read_until(master, "33 99")
    os.write(master, b"word\n")
    read_until(master, "got word")
    os.close(master)
    _await_status(runtime, name, "stopped")


def test_terminal_without_a_socket_is_refused_when_detached(root_runtime: Runtime):
    bundle = root_runtime.bundle().save("true", terminal=True)
    root_runtime("create", "-b", bundle.folder, "x").failed(1, "cannot allocate tty if runc will detach")
    bundle.save("true", terminal=False)
    root_runtime("create", "--console-socket", "/x", "-b", bundle.folder, "x").failed(1, "cannot use console socket")
    assert not os.path.exists(os.path.join(root_runtime.root, "x"))


def test_terminal_in_the_foreground(runtime: Runtime):
    bundle = runtime.bundle().save("sh", "-c", "tty; exit 3", terminal=True)
    result = runtime("run", "-b", bundle.folder, runtime.new_id())
    assert (result.code, result.out) == (3, "/dev/pts/0\r\n")


def test_signals_are_forwarded_in_the_foreground(runtime: Runtime):
    bundle = runtime.bundle().save("sh", "-c", "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done")
    child = runtime.popen("run", "-b", bundle.folder, runtime.new_id())
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.terminate()
    assert child.wait(10) == 7
    child.communicate()


# --- exec -------------------------------------------------------------------------------------------------------


def test_exec(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["process"]["env"].append("A=own")
    name = runtime.started(bundle)
    script = "echo $A $B; pwd; cat /proc/self/status | grep -E 'CapEff|NoNewPrivs'; echo err >&2; exit 5"
    result = runtime("exec", "--env", "B=more", "--cwd", "/tmp", name, "sh", "-c", script)
    assert result.code == 5
    assert result.out.split() == ["own", "more", "/tmp", "CapEff:", "0000000000000021", "NoNewPrivs:", "1"]
    assert result.err == "err\n"
    assert words(runtime("exec", name, "sh", "-c", "ls /proc | grep -c '^[0-9]'"))[0] in ("3", "4", "5")


def test_exec_as_a_process_document(runtime: Runtime):
    name = runtime.started(runtime.bundle())
    path = os.path.join(runtime.folder, "process.json")
    document = {"cwd": "/", "args": ["sh", "-c", "id -u; echo $X"], "env": ["PATH=/bin", "X=y"], "user": {"uid": 0}}
    document["user"] = {"uid": 0, "gid": 0}
    with open(path, "w") as stream:
        json.dump(document, stream)
    assert words(runtime("exec", "--process", path, name)) == ["0", "y"]


def test_exec_detached_with_a_pid_file(runtime: Runtime):
    name = runtime.started(runtime.bundle())
    path = os.path.join(runtime.folder, "exec-pid")
    runtime.good("exec", "-d", "--pid-file", path, name, "sleep", "77")
    with open(path) as stream:
        pid = int(stream.read())
    process = processes.read(pid)
    assert process is not None
    assert process.title == "sleep 77"
    assert process.parent == os.getpid()
    assert len(json.loads(runtime.good("ps", "-f", "json", name))) == 2
    # A pid namespace ends only when its last process is reaped, and this one is ours.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_exec_with_a_terminal(runtime: Runtime):
    name = runtime.started(runtime.bundle())
    result = runtime("exec", "--tty", name, "sh", "-c", "tty; exit 4")
    assert (result.code, result.out) == (4, "/dev/pts/0\r\n")


def test_exec_as_another_user(root_runtime: Runtime):
    name = root_runtime.started(root_runtime.bundle())
    assert words(root_runtime("exec", "-u", "7:8", "-g", "9", name, "id"))[:2] == ["uid=7", "gid=8"]
    assert "groups=9" in root_runtime.good("exec", "-u", "7:8", "-g", "9", name, "id")
    bounding = root_runtime.good("exec", "--cap", "CAP_NET_RAW", name, "grep", "CapEff", "/proc/self/status")
    assert bounding.split()[1] == "0000000000002021"


def test_exec_errors(runtime: Runtime):
    name = runtime.started(runtime.bundle())
    runtime("exec", name, "nope").failed(255, 'exec failed: .*exec: "nope": executable file not found in \\$PATH')
    runtime("exec", name, "/etc").failed(255, "is a directory")
    runtime("exec", "nobody", "true").failed(255, "container does not exist")
    runtime("exec", name).failed(255, "process args cannot be empty")
    runtime("exec", "--cwd", "x", name, "true").failed(255, "not an absolute path")


# --- errors -----------------------------------------------------------------------------------------------------


def test_missing_and_malformed_configurations(root_runtime: Runtime, tmp_path):
    root_runtime("create", "-b", str(tmp_path), "x").failed(1, "JSON specification file config.json not found")
    config = tmp_path / "config.json"
    for text, pattern in (
        ("{", "config.json: .*line 1 column 2"),
        ("[]", "expected an object"),
        ('{"ociVersion": 1}', "ociVersion: expected a string"),
        ('{"ociVersion": "2.0.0", "process": {"cwd": "/", "args": ["x"]}, "linux": {}}', "implements 1.x"),
        ('{"ociVersion": "1.0.0"}', "linux: missing"),
        ('{"ociVersion": "1.0.0", "linux": {"namespaces": [{"type": "bad"}]}}', r"linux.namespaces\[0\].type"),
    ):
        config.write_text(text)
        root_runtime("create", "-b", str(tmp_path), "x").failed(1, pattern)
        assert not os.path.exists(os.path.join(root_runtime.root, "x"))


@pytest.mark.spec("runtime#state.id-unique", "runtime#operations.create-unique")
def test_wrong_ids_and_ids_in_use(root_runtime: Runtime):
    bundle = root_runtime.bundle().save("true")
    for name in ("a/b", "..", ".", "", "a b", "a\nb", "x" * 1025):
        root_runtime("create", "-b", bundle.folder, name).failed(1, "invalid container ID format")
    name = root_runtime.create(bundle, "true")
    root_runtime("create", "-b", bundle.folder, name).failed(1, "container with given ID already exists")
    assert root_runtime.state(name)["status"] == "created"


@pytest.mark.spec("config#root.path-exists")
def test_absent_root(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["root"]["path"] = "missing"
    root_runtime("create", "-b", bundle.save("true").folder, "x").failed(1, "root.path")
    assert not os.path.exists(os.path.join(root_runtime.root, "x"))


def test_program_that_cannot_run(runtime: Runtime):
    bundle = runtime.bundle()
    result = runtime.run(bundle, "nope")
    result.failed(1, 'run failed: unable to start container process: exec: "nope": executable file not found')
    with open(bundle.path("/bin/data"), "wb") as stream:
        stream.write(b"\x00\x01\x02\x03")
    os.chmod(bundle.path("/bin/data"), 0o755)
    runtime.run(bundle, "/bin/data").failed(1, "exec format error")
    name = runtime.create(bundle, "/bin/data")  # only execve can tell
    runtime("start", name).failed(1, "exec format error")
    assert not [one for one in os.listdir(runtime.root) if one != name]


def test_usage_errors(root_runtime: Runtime):
    root_runtime("state").failed(1, "requires exactly 1 argument")
    root_runtime("create", "--bundel", "x", "y").failed(1, "flag provided but not defined: -bundel", "--bundle")
    root_runtime("creat").failed(1, "unknown command 'creat'", "create")
    root_runtime("kill", "nobody").failed(1, "container does not exist")
    root_runtime("delete", "nobody").failed(1, "container does not exist")
    assert root_runtime.good("delete", "--force", "nobody") == ""
    name = root_runtime.create(root_runtime.bundle(), "true")
    root_runtime("kill", name, "SIGNOPE").failed(1, "unknown signal")


def test_errors_in_the_log_as_json(root_runtime: Runtime):
    log = os.path.join(root_runtime.folder, "log.json")
    result = root_runtime("--log", log, "--log-format", "json", "state", "nobody")
    result.failed(1, "^container does not exist$")
    with open(log) as stream:
        record = json.loads(stream.read())
    assert record["level"] == "error"
    assert record["msg"] == "container does not exist"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["time"])


# --- documents --------------------------------------------------------------------------------------------------


def test_spec_runs(runtime: Runtime):
    bundle = runtime.bundle()
    flags = ["--rootless"] if runtime.user else []
    os.unlink(os.path.join(bundle.folder, "config.json")) if os.path.exists(f"{bundle.folder}/config.json") else None
    runtime.good("spec", "-b", bundle.folder, *flags)
    with open(os.path.join(bundle.folder, "config.json")) as stream:
        bundle.config = json.load(stream)
    runtime("spec", "-b", bundle.folder, *flags).failed(1, "config.json exists")
    bundle.config["process"]["terminal"] = False
    assert words(runtime.run(bundle, "sh", "-c", "id -u"))[0] == "0"


def test_features(root_runtime: Runtime):
    document = json.loads(root_runtime.good("features"))
    assert document["ociVersionMin"] == "1.0.0"
    assert "poststop" in document["hooks"]
    assert "rbind" in document["mountOptions"]
    assert "SCMP_ARCH_X86_64" in document["linux"]["seccomp"]["archs"]


def test_version_and_help(root_runtime: Runtime):
    assert root_runtime.good("--version").startswith("atoll-runtime version ")
    assert "console-socket" in root_runtime.good("create", "--help")
    assert "checkpoint" in root_runtime.good("--help")


def test_pidfd_socket(root_runtime: Runtime):
    end = ConsoleSocket(os.path.join(root_runtime.folder, "pidfd"))
    name = root_runtime.new_id()
    bundle = root_runtime.bundle().save("true")
    root_runtime.good("create", "-b", bundle.folder, "--pidfd-socket", end.path, name)
    pidfd = end.receive()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _await_status(root_runtime, name, "stopped")
    os.close(pidfd)


def test_socket_activation(root_runtime: Runtime):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        bundle = root_runtime.bundle().save("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3")
        name = root_runtime.new_id()
        fds = {3: listener.fileno()}
        result = root_runtime("run", "-b", bundle.folder, name, env={"LISTEN_FDS": "1"}, fds=fds)
    assert words(result)[:2] == ["1", "1"]
    assert result.out.split()[2].startswith("socket:")


def _await_status(runtime: Runtime, name: str, status: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        result = runtime("state", name)
        if result.code == 0 and json.loads(result.out)["status"] == status:
            return
        assert time.monotonic() < deadline, f"not {status}: {result}"
        processes.reap()
        time.sleep(0.02)
