"""The runtime-spec's runtime.md, bundle.md and features.md, word by word: what other tests do not show already.

`tests/validation/requirements.txt` lists the requirements, `docs/runtime-spec.md` which test shows which.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import Any

import pytest

from kit.bundle import Bundle, Runtime, words

VERBS = ("state", "create", "start", "kill", "delete")


def written(bundle: Bundle, config: object) -> str:
    """The bundle's folder, with any document as its config.json."""
    with open(os.path.join(bundle.folder, "config.json"), "w") as stream:
        json.dump(config, stream)
    return bundle.folder


def refused(runtime: Runtime, bundle: Bundle, pattern: str) -> None:
    """create of it is an error that names the property, and nothing is left."""
    name = runtime.new_id()
    runtime("create", "-b", written(bundle, bundle.config), name).failed(1, pattern)
    assert not os.path.exists(os.path.join(runtime.root, name))


# --- the bundle, the version ------------------------------------------------------------------------------------


@pytest.mark.spec("bundle#format.config-in-root", "bundle#format.one-directory")
def test_the_bundle_is_one_directory_wherever_it_is(root_runtime: Runtime):
    bundle = root_runtime.bundle().save("cat", "/proc/mounts")
    subprocess.run(["mkdir", "-p", f"{bundle.folder}/moved"], check=True)
    for name in ("config.json", "rootfs"):
        os.rename(f"{bundle.folder}/{name}", f"{bundle.folder}/moved/{name}")
    root_runtime("run", "-b", bundle.folder, "x").failed(1, "config.json not found")
    bundle.folder = f"{bundle.folder}/moved"
    assert "/proc" in root_runtime("run", "-b", bundle.folder, root_runtime.new_id()).good()


@pytest.mark.spec("config#version.semver", "config#version.compatible", "features#document.version-min")
@pytest.mark.spec("features#document.version-max", "features#document.version-order")
def test_versions(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    document = json.loads(root_runtime.good("features"))
    ends = [document["ociVersionMin"], document["ociVersionMax"]]
    assert ends == sorted(ends, key=lambda version: [int(part) for part in version.split(".")])
    for version in (*ends, "1.0.2-dev", "1.1.0+build.7"):
        bundle.config["ociVersion"] = version
        assert root_runtime.run(bundle, "true").code == 0, version
    for version in ("1", "1.0", "1.0.x", "one", "", "2.0.0", "0.9.0", "1.0.0.0"):
        bundle.config["ociVersion"] = version
        refused(root_runtime, bundle, "ociVersion")


# --- operations -------------------------------------------------------------------------------------------------


@pytest.mark.spec("runtime#operations.state-id", "runtime#operations.start-id", "runtime#operations.kill-id")
@pytest.mark.spec("runtime#operations.delete-id", "runtime#operations.create-arguments")
@pytest.mark.parametrize("verb", VERBS)
def test_an_id_is_needed(root_runtime: Runtime, verb: str):
    folder = root_runtime.bundle().save("true").folder
    flags = ["-b", folder] if verb == "create" else []
    root_runtime(verb, *flags).failed(1, "requires|argument")
    if verb == "create":
        # The bundle is where the command stands, unless it is named.
        root_runtime("create", "x", cwd=root_runtime.folder).failed(1, "config.json not found")
    assert not os.path.exists(root_runtime.root) or not os.listdir(root_runtime.root)


@pytest.mark.spec("runtime#operations.state-unknown", "runtime#operations.all")
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "create"])
def test_unknown_containers(root_runtime: Runtime, verb: str):
    root_runtime(verb, "nobody").failed(1, "does not exist")


@pytest.mark.spec("runtime#lifecycle.no-program", "runtime#lifecycle.environment", "runtime#lifecycle.run-program")
@pytest.mark.spec("runtime#operations.create-applies", "runtime#operations.start-runs")
def test_create_makes_all_but_the_program(runtime: Runtime):
    """The created container has its namespaces, mounts, hostname and limits; only start runs what it is for."""
    bundle = runtime.bundle()
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    if not runtime.user:
        bundle.config["process"]["oomScoreAdj"] = 321
    name = runtime.create(bundle, "sh", "-c", "echo ran > /tmp/ran; sleep 100")
    pid = runtime.state(name)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/uts") != os.readlink("/proc/self/ns/uts")
    with open(f"/proc/{pid}/mountinfo") as stream:
        assert " /dev/mqueue " in stream.read()
    if not runtime.user:
        with open(f"/proc/{pid}/oom_score_adj") as stream:
            assert stream.read().strip() == "321"
    assert not os.path.exists(bundle.path("/tmp/ran"))
    runtime.good("start", name)
    while not os.path.exists(bundle.path("/tmp/ran")):
        assert runtime.state(name)["status"] == "running"
    with open(f"/proc/{pid}/limits") as stream:
        assert re.search(r"Max open files\s+77\s+88", stream.read())


@pytest.mark.spec("runtime#lifecycle.config-later")
def test_a_later_change_of_the_configuration_changes_nothing(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["hooks"] = {}
    bundle.config["annotations"] = {"when": "before"}
    name = root_runtime.create(bundle, "sh", "-c", "busybox hostname > /tmp/out; sleep 100")
    bundle.config["annotations"] = {"when": "after"}
    bundle.config["hostname"] = "other"
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}], "poststop": [{"path": "/bin/false"}]}
    bundle.save("false")
    root_runtime.good("start", name)
    state = root_runtime.state(name)
    assert (state["status"], state["annotations"]) == ("running", {"when": "before"})
    while not os.path.exists(bundle.path("/tmp/out")) or not os.path.getsize(bundle.path("/tmp/out")):
        assert root_runtime.state(name)["status"] == "running"
    with open(bundle.path("/tmp/out")) as stream:
        assert stream.read() == "box\n"
    result = root_runtime("delete", "--force", name)
    assert (result.code, result.err) == (0, "")


@pytest.mark.spec("runtime#operations.start-process", "config#process.required")
def test_there_is_nothing_to_start_without_a_process(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    del bundle.config["process"]
    refused(root_runtime, bundle, "process: missing")


@pytest.mark.spec("config#root.required")
def test_a_root_is_needed(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    del bundle.config["root"]
    refused(root_runtime, bundle, "root: missing")


@pytest.mark.spec("runtime#operations.start-state")
def test_start_of_the_started_has_no_effect(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    name = root_runtime.started(bundle, "sh", "-c", "echo once >> /tmp/log; sleep 100")
    before = root_runtime.state(name)
    root_runtime("start", name).failed(1, "already running")
    assert root_runtime.state(name) == before
    with open(bundle.path("/tmp/log")) as stream:
        assert stream.read() == "once\n"


@pytest.mark.spec("runtime#operations.kill-signal", "runtime#operations.kill-status")
@pytest.mark.parametrize("name", ["TERM", "SIGUSR1", "USR2", "1", "34", "SIGRTMIN+3"])
def test_kill_sends_that_signal(root_runtime: Runtime, name: str):
    """By each of its spellings, to a program that ends with the number it got."""
    number = int(name) if name.isdigit() else 37 if "+" in name else signal.Signals["SIG" + name.removeprefix("SIG")]
    script = f"trap 'exit {50 + number}' {int(number)}; echo up; while :; do busybox usleep 10000; done"
    child = root_runtime.popen(
        "run", "-b", root_runtime.bundle().save("sh", "-c", script).folder, container := root_runtime.new_id()
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    root_runtime.good("kill", container, name)
    assert child.wait(10) == 50 + number
    child.communicate()


@pytest.mark.spec("runtime#operations.delete-removes", "runtime#lifecycle.undo")
def test_delete_removes_what_create_made(runtime: Runtime):
    """Run directory, cgroups, mounts, namespaces: the leak check of every test looks at the rest."""
    bundle = runtime.bundle()
    bundle.config["linux"]["cgroupsPath"] = f"atoll-spec-{os.getpid()}"
    name = runtime.started(bundle)
    with open(f"/proc/{runtime.state(name)['pid']}/cgroup") as stream:
        joined = [line.strip().split(":", 2)[2] for line in stream]
    runtime.good("delete", "--force", name)
    assert os.listdir(runtime.root) == []
    left = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", f"atoll-spec-{os.getpid()}"], capture_output=True, text=True
    )
    assert left.stdout == "", joined
    assert runtime.run(bundle, "true").code == 0


@pytest.mark.spec("runtime#operations.delete-only")
def test_delete_removes_nothing_else(root_runtime: Runtime):
    """Not the namespaces that were joined, not the sources of mounts, nor the files that hooks made, nor a cgroup's
    parent with others in it."""
    bundle = root_runtime.bundle()
    first = root_runtime.started(root_runtime.bundle())
    pid = root_runtime.state(first)["pid"]
    for namespace in bundle.config["linux"]["namespaces"]:
        if namespace["type"] in ("network", "ipc"):
            namespace["path"] = f"/proc/{pid}/ns/{ {'network': 'net'}.get(namespace['type'], 'ipc') }"
    source = os.path.join(bundle.folder, "source")
    os.makedirs(source)
    bundle.config["mounts"].append({"destination": "/made", "type": "bind", "source": source, "options": ["bind"]})
    touched = os.path.join(bundle.folder, "touched")
    bundle.config["hooks"] = {"createRuntime": [{"path": "/usr/bin/touch", "args": ["touch", touched]}]}
    name = root_runtime.started(bundle, "sh", "-c", "echo kept > /made/file; sleep 100")
    while not os.path.exists(f"{source}/file"):
        pass
    root_runtime.good("delete", "--force", name)
    assert root_runtime.state(first)["status"] == "running"
    assert os.path.exists(f"{source}/file")
    assert os.path.exists(touched)
    assert os.path.isdir(bundle.rootfs)


@pytest.mark.spec("runtime#state.form", "runtime#operations.state-gives")
def test_the_state_as_a_document(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["annotations"] = {"org.example.key": "value", "empty": ""}
    name = runtime.started(bundle)
    state = runtime.state(name)
    assert {key: type(state[key]) for key in ("ociVersion", "id", "status", "pid", "bundle", "annotations")} == {
        **dict.fromkeys(("ociVersion", "id", "status", "bundle"), str),
        "pid": int,
        "annotations": dict,
    }
    assert os.path.isabs(state["bundle"])
    assert state["annotations"] == {"org.example.key": "value", "empty": ""}
    with open(f"/proc/{state['pid']}/cmdline") as stream:
        assert stream.read() == "sleep\x00100\x00"


@pytest.mark.spec("runtime#errors.nothing-left", "runtime#operations.create-cannot")
@pytest.mark.spec("runtime#lifecycle.environment-error")
@pytest.mark.parametrize(
    "spoil",
    [
        {"mounts": [{"destination": "/x", "type": "nosuchfs", "source": "x"}]},
        {"mounts": [{"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}]},
        {"mounts": [{"destination": "/x", "type": "tmpfs", "source": "x", "options": ["nosuchoption=1"]}]},
        {"linux.resources": {"memory": {"limit": 5}}},
        {"linux.resources": {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}},
        {"linux.sysctl": {"net.ipv4.no_such_thing": "1"}},
        {"linux.devices": [{"path": "/bin/sh", "type": "c", "major": 1, "minor": 3}]},
        {"process.args": ["/no/such/program"]},
        {"process.cwd": "/bin/sh"},
        {"process.apparmorProfile": "none-such"},
    ],
    ids=lambda spoil: "-".join(spoil),
)
def test_an_error_leaves_nothing(runtime: Runtime, spoil: dict[str, Any]):
    """What cannot be made is found out at each stage of create, and all before it is undone: the leak check counts
    processes, mounts and cgroups."""
    bundle = runtime.bundle()
    for path, value in spoil.items():
        holder = bundle.config
        *outer, last = path.split(".")
        for key in outer:
            holder = holder[key]
        holder[last] = [*holder.get(last, []), *value] if path == "mounts" else value
    result = runtime("create", "-b", written(bundle, bundle.config), name := runtime.new_id())
    assert result.code == 1, result
    assert "Traceback" not in result.err
    assert not os.path.exists(os.path.join(runtime.root, name))
    runtime("state", name).failed(1, "does not exist")


# --- descriptors, links -----------------------------------------------------------------------------------------


@pytest.mark.spec(
    "runtime-linux#symlinks.default", "runtime-linux#descriptors.standard", "config-linux#filesystems.default"
)
def test_what_every_linux_program_expects(runtime: Runtime):
    script = "for l in fd stdin stdout stderr; do readlink /dev/$l; done; cut -d' ' -f2,3 /proc/mounts"
    bundle = runtime.bundle()
    os.symlink("busybox", bundle.path("/bin/cut"))
    os.symlink("busybox", bundle.path("/bin/readlink")) if not os.path.lexists(bundle.path("/bin/readlink")) else None
    out = runtime.run(bundle, "sh", "-c", script).good().splitlines()
    assert out[:4] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert {"/proc proc", "/sys sysfs", "/dev/pts devpts", "/dev/shm tmpfs"} <= set(out[4:])


# --- annotations, properties nobody knows -----------------------------------------------------------------------


@pytest.mark.spec("config#annotations.map", "config#annotations.key-not-empty", "config#annotations.unknown")
def test_annotations(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    for wrong in ([], "text", {"key": 1}, {"key": None}, {"": "value"}, {"key": {"deep": "x"}}):
        bundle.config["annotations"] = wrong
        refused(root_runtime, bundle, "annotations")
    bundle.config["annotations"] = {"org.opencontainers.image.future": "1", "run.oci.unknown": "x", "plain": ""}
    assert root_runtime.run(bundle, "true").code == 0


@pytest.mark.spec("config#extensibility.unknown-property")
def test_unknown_properties_are_ignored(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    future: dict[str, Any] = {"future": {"deep": [1, None, "x"]}}
    for holder in (
        bundle.config,
        *(bundle.config[key] for key in ("process", "root", "linux")),
        *(bundle.config["mounts"][0], bundle.config["linux"]["namespaces"][0], bundle.config["process"]["user"]),
    ):
        holder.update(future)
    bundle.config["windows"] = {"layerFolders": ["C:\\x"]}
    assert root_runtime.run(bundle, "true").good() == ""


# --- features ---------------------------------------------------------------------------------------------------


@pytest.mark.spec("features#document.own-properties", "features#document.null", "features#document.annotations")
@pytest.mark.spec("features-linux#document.idmap", "features#document.mount-options-data")
def test_the_features_document(root_runtime: Runtime):
    document = json.loads(root_runtime.good("features"))
    known = {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"}
    assert set(document) <= known | {"potentiallyUnsafeConfigAnnotations"}
    linux = {"namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "mountExtensions"}
    assert set(document["linux"]) <= linux | {"netDevices", "memoryPolicy"}
    assert "null" not in root_runtime.good("features")
    assert all(isinstance(value, str) for value in document["annotations"].values())
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    data = {"size", "mode", "uid", "gid", "newinstance", "ptmxmode", "nr_inodes", "hidepid", "acl", "lowerdir"}
    assert not data & set(document["mountOptions"])


@pytest.mark.spec("features#document.hooks", "features-linux#document.namespaces", "config-linux#namespaces.kinds")
@pytest.mark.spec("features-linux#document.capabilities")
def test_what_features_lists_is_known(root_runtime: Runtime):
    """A container with every hook, namespace and capability of the document."""
    document = json.loads(root_runtime.good("features"))
    bundle = root_runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    kinds = document["linux"]["namespaces"]
    assert set(kinds) >= {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"}
    bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    for key in ("uidMappings", "gidMappings"):
        bundle.config["linux"][key] = [{"containerID": 0, "hostID": 300000, "size": 65536}]
    subprocess.run(["chown", "-R", "300000:300000", bundle.rootfs], check=True)
    sets = ("bounding", "permitted", "effective", "inheritable", "ambient")
    bundle.config["process"]["capabilities"] = dict.fromkeys(sets, document["linux"]["capabilities"])
    ours = [kind for kind in document["hooks"] if kind not in ("startContainer", "createContainer")]
    note = {"path": "/bin/sh", "env": ["PATH=/bin:/usr/bin"]}
    bundle.config["hooks"] = {kind: [note | {"args": ["sh", "-c", f"echo {kind} >> {log}"]}] for kind in ours}
    for kind in ("startContainer", "createContainer"):
        bundle.config["hooks"][kind] = [{"path": "/bin/true"}]
    assert set(bundle.config["hooks"]) == set(document["hooks"])
    result = root_runtime.run(bundle, "true")
    assert result.code == 0, result
    assert "not known" not in result.err
    with open(log) as stream:
        assert stream.read().split() == ours


@pytest.mark.spec("features-linux#document.seccomp-actions", "features-linux#document.seccomp-operators")
@pytest.mark.spec("features-linux#document.seccomp-archs", "features-linux#document.seccomp-flags")
def test_what_features_lists_of_seccomp_is_known(root_runtime: Runtime):
    seccomp = json.loads(root_runtime.good("features"))["linux"]["seccomp"]
    rules = [{"names": ["swapoff"], "action": action} for action in seccomp["actions"] if "NOTIFY" not in action]
    rules += [
        {"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 7, "valueTwo": 3, "op": op}]}
        for op in seccomp["operators"]
    ]
    bundle = root_runtime.bundle()
    for rule in rules:
        bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        if rule is not rules[0]:
            continue
        assert root_runtime.run(bundle, "true").code == 0, rule
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp["archs"],
        "flags": [flag for flag in seccomp["supportedFlags"] if "TSYNC" not in flag and "RECV" not in flag],
        "syscalls": [rule for rule in rules if rule["names"] == ["swapon"]],
    }
    result = root_runtime.run(bundle, "grep", "Seccomp:", "/proc/self/status")
    assert words(result) == ["Seccomp:", "2"]


@pytest.mark.spec("features#document.mount-options", "config#mounts.options-must", "config#mounts.options-should")
def test_every_mount_option_is_known(root_runtime: Runtime):
    """Those of config.md's table and those that features lists, each on a bind mount of its own or on a tmpfs."""
    must = (
        "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec"
        " noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared"
        " rslave runbindable rw shared silent slave strictatime suid sync unbindable"
    ).split()
    should = (
        "nosymfollow ratime rdev rdiratime rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid"
        " rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow symfollow tmpcopyup idmap ridmap rnodev"
    ).split()
    listed = json.loads(root_runtime.good("features"))["mountOptions"]
    assert set(must) | set(should) <= set(listed), sorted({*must, *should} - set(listed))
    bundle = root_runtime.bundle()
    mapping = [{"containerID": 0, "hostID": 0, "size": 1000}]
    for option in sorted(set(listed) - {"iversion", "noiversion", "mand"}):  # which no tmpfs takes
        entry: dict[str, Any] = {
            "destination": f"/m/{option}",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": [option],
        }
        if option in ("bind", "rbind", "idmap", "ridmap"):
            entry = {**entry, "type": "bind", "source": bundle.folder, "options": ["bind", option]}
        if "idmap" in option:
            entry |= {"uidMappings": mapping, "gidMappings": mapping}
        bundle.config["mounts"].append(entry)
    table = root_runtime.run(bundle, "cat", "/proc/self/mountinfo").good()
    for option in ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "rro", "rnosuid"):
        line = next(line for line in table.splitlines() if f" /m/{option} " in line)
        assert option.removeprefix("r") in line.split(" - ")[0] or option in line.split(" - ")[0], line
