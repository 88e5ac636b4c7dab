"""The plan is a pure function: every default and every refusal, without root."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.config import Config
from atoll.engine.containers import defaults, environment, volumes
from atoll.engine.containers.plan import Facts, Planned, plan
from atoll.engine.containers.record import Record
from atoll.engine.paths import Paths
from atoll.engine.requests import RunRequest
from atoll.spec import idmap
from atoll.spec.image import RunConfig
from atoll.spec.rootfs import Overlay, RootPlan

ID = "ab" * 32
FACTS = Facts(uid=0, hostname="machine", cpus=2, hosts="H", resolv_conf="R")
ROOTLESS = Facts(uid=7, hostname="machine", cpus=2, delegated=frozenset())
IMAGE = RunConfig(
    env=("PATH=/bin", "LANG=C"), cmd=("sh",), working_dir="/w", labels=(("a", "b"),), stop_signal="SIGQUIT"
)


def make(image=IMAGE, facts=FACTS, config=None, maps=None, mounts=(), environ=None, **asked) -> Planned:
    return plan(
        container_id=ID,
        request=RunRequest(image="img", **asked),
        image=image,
        platform="linux/amd64",
        root=RootPlan(steps=(Overlay(lower=("/l",), upper="/u", work="/k"),)),
        idmap=maps,
        mounts=mounts,
        facts=facts,
        config=config or Config(network="none"),
        paths=Paths(data="/d", run="/r"),
        environ=environ or {},
    )


def test_the_same_values_give_the_same_plan():
    assert make() == make()


def test_defaults():
    planned = make()
    spec, container = planned.container.spec, planned.container
    assert spec.process.args == ("sh",)
    assert spec.process.cwd == "/w"
    assert spec.process.env == ("PATH=/bin", "HOSTNAME=abababababab", "LANG=C")
    assert spec.process.user.username == "0"
    assert spec.process.no_new_privileges is True
    assert spec.process.capabilities.bounding == defaults.ATOLL_CAPABILITIES
    assert spec.process.capabilities.inheritable == spec.process.capabilities.ambient == ()
    assert not {"CAP_NET_RAW", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SYS_ADMIN"} & set(defaults.ATOLL_CAPABILITIES)
    assert {n.type for n in spec.linux.namespaces} == {"pid", "mount", "ipc", "uts", "cgroup", "network"}
    assert spec.linux.cgroups_path == f"/atoll/{ID}"
    assert spec.linux.resources.pids.limit == 2048
    assert set(defaults.MASKED_PATHS) <= set(spec.linux.masked_paths)
    assert {"/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"} <= set(spec.linux.masked_paths)
    assert [m.destination for m in spec.mounts][:7] == [
        "/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm",
    ]  # fmt: skip
    assert spec.mounts[6].options[-1] == "size=67108864"
    assert spec.hostname == "abababababab"
    assert container.log.path == f"/d/containers/{ID}/{ID}-json.log"
    assert container.on_exit == ()
    assert planned.record.stop_signal == "SIGQUIT"
    assert dict(planned.files)["hostname"] == "abababababab\n"
    assert "127.0.0.1\tlocalhost" in dict(planned.files)["hosts"]


def test_dockers_own_defaults_are_one_setting():
    for planned in (make(config=Config(security="docker", network="none")), make(security_opt=("profile=docker",))):
        process = planned.container.spec.process
        assert process.no_new_privileges is False
        assert len(process.capabilities.bounding) == 14
        assert planned.container.spec.linux.resources.pids is None
        assert planned.record.security == "docker"


@pytest.mark.parametrize(
    ("asked", "args"),
    [
        ({}, ("/e", "c")),
        ({"command": ("x", "y")}, ("/e", "x", "y")),
        ({"entrypoint": "/n"}, ("/n",)),
        ({"entrypoint": "/n", "command": ("x",)}, ("/n", "x")),
        ({"entrypoint": "", "command": ("x",)}, ("x",)),
    ],
)
def test_entrypoint_and_command(asked, args):
    image = RunConfig(entrypoint=("/e",), cmd=("c",))
    assert make(image=image, **asked).container.spec.process.args == args


def test_nothing_to_run_is_told():
    with pytest.raises(errors.InvalidArgument, match="no command specified"):
        make(image=RunConfig())


def test_host_network():
    planned = make(network="host")
    assert "network" not in {n.type for n in planned.container.spec.linux.namespaces}
    assert planned.container.spec.hostname == "machine"
    assert dict(planned.files)["hosts"] == "H"
    assert dict(planned.files)["resolv.conf"] == "R"
    assert planned.container.spec.linux.sysctl == ()


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"isolation": "xen"}, errors.Unsupported, "isolation level 'xen'"),
        ({"memory": 1 << 20}, errors.InvalidArgument, "Minimum memory limit allowed is 6MB"),
        ({"cpus": 3 * 10**9}, errors.InvalidArgument, "range of CPUs is from 0.01 to 2.00"),
        ({"cpus": 1}, errors.InvalidArgument, "range of CPUs"),
        ({"workdir": "here"}, errors.InvalidArgument, "absolute path"),
        ({"user": "4294967295"}, errors.InvalidArgument, "range"),
        ({"user": "a\nb"}, errors.InvalidArgument, "invalid user"),
        ({"user": "a:"}, errors.InvalidArgument, "invalid user"),
        ({"hostname": "a b"}, errors.InvalidArgument, "invalid hostname"),
        ({"hostname": "x" * 65}, errors.InvalidArgument, "invalid hostname"),
        ({"labels": ("=x",)}, errors.InvalidArgument, "invalid label"),
        ({"env": ("=x",)}, errors.InvalidArgument, "invalid environment variable"),
        ({"env": ("a b=x",)}, errors.InvalidArgument, "blank"),
        ({"env": ("a=\0",)}, errors.InvalidArgument, "NUL"),
        ({"command": ("a\0",)}, errors.InvalidArgument, "NUL"),
        ({"security_opt": ("nonsense",)}, errors.InvalidArgument, "invalid --security-opt"),
        ({"security_opt": ("no-new-privileges=maybe",)}, errors.InvalidArgument, "true or false"),
    ],
)
def test_refusals(asked, kind, words):
    with pytest.raises(kind) as caught:
        make(**asked)
    assert words in str(caught.value)


def test_limits():
    planned = make(memory=64 << 20, cpus=1_500_000_000, pids_limit=10, facts=FACTS.replace(swap=True))
    resources = planned.container.spec.linux.resources
    assert (resources.memory.limit, resources.memory.swap) == (64 << 20, 128 << 20)
    assert (resources.cpu.quota, resources.cpu.period) == (150_000, 100_000)
    assert resources.pids.limit == 10
    assert make(memory=64 << 20).container.spec.linux.resources.memory.swap is None
    assert make(pids_limit=-1).container.spec.linux.resources.pids is None


def test_rootless_without_delegation():
    maps = idmap.single(7, 7)
    planned = make(facts=ROOTLESS, maps=maps)
    spec = planned.container.spec
    assert "user" in {n.type for n in spec.linux.namespaces}
    assert spec.linux.resources.pids is None
    assert [(r.type, r.hard) for r in spec.process.rlimits] == [("RLIMIT_NPROC", 2048)]
    assert planned.record.pids_by == "rlimit"
    assert "gid=5" not in spec.mounts[2].options
    assert spec.linux.sysctl == ()
    assert spec.linux.cgroups_path == f"atoll-{ID}"
    assert make(facts=ROOTLESS.replace(processes=100), maps=maps).record.pids_limit == 100
    for asked in ({"memory": 64 << 20}, {"cpus": 10**9}, {"pids_limit": 5}):
        with pytest.raises(errors.Denied, match="not delegated"):
            make(facts=ROOTLESS, maps=maps, **asked)
    allowed = ROOTLESS.replace(delegated=frozenset(("memory", "cpu", "pids")))
    assert make(facts=allowed, maps=maps, memory=64 << 20, pids_limit=5).record.pids_by == "cgroup"


def test_a_container_that_goes_with_its_end_has_a_clean_up_command():
    assert make(remove=True).container.on_exit[-3:] == ("internal", "cleanup", ID)


def test_a_record_survives_the_store():
    planned = make(remove=True, terminal=True, stdin=True, memory=64 << 20, security_opt=("no-new-privileges=false",))
    assert planned.record.no_new_privileges is False
    assert Record.from_text(planned.record.to_text()) == planned.record
    assert Record.from_text(make().record.to_text()) == make().record


def test_a_damaged_record_is_told():
    for text in ("", "[]", '{"image":3}', '{"image":"x"}'):
        with pytest.raises(errors.Corrupt, match="damaged container"):
            Record.from_text(text)


def test_environment_takes_and_drops():
    environ = {"HERE": "1"}
    made = make(env=("A=1", "HERE", "LANG", "A=2", "B=x=y"), environ=environ).container.spec.process.env
    assert made == ("PATH=/bin", "HOSTNAME=abababababab", "A=2", "HERE=1", "B=x=y")


@given(st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t)), st.lists(st.text(min_size=1)))
def test_merge_keeps_one_of_a_name_the_last(base, over):
    merged = environment.merge(base, over)
    names = [entry.partition("=")[0] for entry in merged]
    assert len(names) == len(set(names))
    for name in names:
        last = [e for e in (*base, *over) if e.partition("=")[0] == name][-1]
        assert last in merged


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a:/b", ("bind", "/a", "/b", None, False, "rprivate")),
        ("/a/../c/:/b/:ro", ("bind", "/c", "/b", None, True, "rprivate")),
        ("./x:/b:rw,Z,rslave", ("bind", "/cwd/x", "/b", None, False, "rslave")),
        ("..:/b", ("bind", "/", "/b", None, False, "rprivate")),
        ("data:/b:ro", ("volume", "/v/data/_data", "/b", "data", True, "rprivate")),
    ],
)
def test_volumes(text, shown):
    mount = volumes.parse(text, cwd="/cwd", volumes="/v")
    assert (mount.type, mount.source, mount.destination, mount.name, mount.read_only, mount.propagation) == shown


@pytest.mark.parametrize(
    "text",
    ["", ":", "/a:", ":/b", "/a:b", "/a:/b:nope", "/a:/b:ro:x", "a/b:/c", "-x:/c", "/a:/", "/a:/proc", "/a:/proc/1",
     "/a:/dev", "/a:/b\0", "/a:/b\n", "/a:/x/..", "/a://"],
)  # fmt: skip
def test_volumes_that_are_refused(text):
    with pytest.raises(errors.InvalidArgument):
        volumes.parse(text, cwd="/cwd", volumes="/v")


@given(st.text())
def test_no_volume_text_leaves_the_rules(text):
    try:
        mount = volumes.parse(text, cwd="/cwd", volumes="/v")
    except (errors.InvalidArgument, errors.Unsupported):
        return
    assert mount.source.startswith("/")
    assert mount.destination.startswith("/")
    assert mount.destination not in ("/", "/proc", "/sys", "/dev")
    assert "/../" not in mount.source + mount.destination + "/"
    if mount.type == "volume":
        assert mount.source.startswith("/v/")


def test_an_anonymous_volume():
    mount = volumes.parse("/data", cwd="/cwd", volumes="/v")
    assert mount.anonymous
    assert mount.source == f"/v/{mount.name}/_data"


def test_one_place_is_mounted_once():
    mount = volumes.parse("/a:/b", cwd="/", volumes="/v")
    with pytest.raises(errors.InvalidArgument, match="Duplicate mount point"):
        volumes.check_unique((mount, mount))
