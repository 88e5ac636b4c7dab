"""kube play: documents become pods. Start reading at `play`."""

from __future__ import annotations

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.kube import sources
from atoll.engine.kube.translate import translate
from atoll.engine.kube.values import Planned, Step
from atoll.engine.pods import rows
from atoll.engine.pods.create import create as create_pod
from atoll.engine.pods.remove import remove as remove_pod
from atoll.spec import kube, yaml_text
from atoll.spec.kube import Deployment, Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.engine.engine import Engine
    from atoll.spec.kube import Document
    from atoll.spec.kube_pod import Meta, PodSpec

    Missing = Callable[[str], object]


class Options(Value):
    """What the command says besides the documents. `network` None for the default; `maps` are further files of
    ConfigMaps: names and contents."""

    replace_old: bool = False
    start: bool = True
    network: str | None = None
    publish: tuple[str, ...] = ()
    userns: str = ""
    log_driver: str | None = None
    log_options: tuple[str, ...] = ()
    maps: tuple[tuple[str, bytes], ...] = ()


class Played(Value):
    """A pod that was made: its id, its containers', and why some did not start."""

    id: str
    name: str
    containers: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Report(Value):
    """What became of the documents."""

    pods: tuple[Played, ...] = ()
    volumes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read(name: str, data: bytes, options: Options) -> tuple[list[Document], list[str]]:
    """The documents of a file and of the further ones. Raises InvalidArgument with the line or path."""
    documents, warnings = kube.read(yaml_text.load_all(data, name), name)
    for other, content in options.maps:
        more, further = kube.read(yaml_text.load_all(content, other), other)
        for one in more:
            if not isinstance(one, kube.ConfigMap):
                raise errors.InvalidArgument(f"{other}: a {type(one).__name__}, where a ConfigMap is wanted")
        documents, warnings = [*more, *documents], [*further, *warnings]
    return documents, warnings


def pods_of(documents: Sequence[Document]) -> list[tuple[Meta, PodSpec, str]]:
    """The pods that the documents ask for: name and labels, the rest, and its path. A Deployment is as many as it has
    replicas."""
    found = []
    for one in documents:
        if isinstance(one, Pod):
            found.append((one.metadata, one.spec, "spec"))
        elif isinstance(one, Deployment):
            template = one.spec.template
            for number in range(one.spec.replicas):
                meta = template.metadata.replace(name=f"{one.metadata.name}-pod-{number}")
                found.append((meta, template.spec, "spec.template.spec"))
    names = [meta.name for meta, _, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.InvalidArgument(f"two pods are to have the name {name!r}")
    return found


def play(engine: Engine, name: str, data: bytes, options: Options, on_missing: Missing | None = None) -> Report:
    """Make all that the documents ask for. A pod that cannot be made whole is not there afterwards; those before it
    stay, as do secrets and claims. Raises InvalidArgument, NotFound, Conflict, Unsupported."""
    documents, warnings = read(name, data, options)
    # 1. All of it is understood before anything of it is made.
    known = sources.known(engine, documents)
    plans = []
    for meta, spec, path in pods_of(documents):
        network = _network(engine, spec, options)
        planned = translate(meta, spec, known, path, network=network, publish=options.publish)
        warnings += [f"{meta.name}: {line}" for line in planned.warnings]
        plans.append(_with_options(planned, options))
    if not options.start and any(step.init for planned in plans for step in planned.steps):
        raise errors.Unsupported(
            "init containers run when their pod is first started, which --start=false leaves out",
            hint="leave out --start=false",
        )
    for planned in plans:
        sources.check_places(planned.places)
    # 2. What several pods may use.
    secrets = sources.keep_secrets(engine, documents)
    volumes = sources.make_claims(engine, documents, [name for planned in plans for name in planned.claims])
    # 3. The pods.
    played = []
    for planned in plans:
        if options.replace_old:
            _remove_old(engine, planned)
        played.append(_make(engine, planned, options, on_missing))
    return Report(pods=tuple(played), volumes=tuple(volumes), secrets=tuple(secrets), warnings=tuple(warnings))


def _network(engine: Engine, spec: PodSpec, options: Options) -> str | None:
    """A pod in a cluster has a network: for root the bridge, where an ordinary user's default stays."""
    if options.network is not None or spec.host_network:
        return options.network
    wanted = (
        engine.uid == 0 or options.publish or any(port.host_port for one in spec.containers for port in one.ports)
    )
    return "bridge" if wanted and engine.config.network == "none" else None


def _with_options(planned: Planned, options: Options) -> Planned:
    steps = [
        step.replace(request=step.request.replace(log_driver=options.log_driver, log_options=options.log_options))
        for step in planned.steps
    ]
    pod = planned.pod.replace(own_volumes=tuple([one.name for one in planned.own]))
    if options.userns:
        pod = pod.replace(sharing=pod.sharing.replace(userns=options.userns))
    return planned.replace(pod=pod, steps=tuple(steps))


def _remove_old(engine: Engine, planned: Planned) -> None:
    assert planned.pod.name is not None
    try:
        if rows.find(engine, planned.pod.name).name == planned.pod.name:
            remove_pod(engine, planned.pod.name, force=True)
    except errors.NotFound:
        pass


def _make(engine: Engine, planned: Planned, options: Options, on_missing: Missing | None) -> Played:
    """One pod: made, filled, started."""
    with Rollback() as undo:
        pod = create_pod(engine, planned.pod)
        undo.push(_undo, engine, pod)
        for volume in planned.own:
            sources.make_own(engine, volume)
        made, before = [], []
        for step in planned.steps:
            container = engine.create(step.request.replace(pod=pod), on_missing=on_missing)
            if step.non_root:
                _check_non_root(engine, container, step)
            if step.init:
                before.append((container, step))
            else:
                made.append(container)
        for container, step in before:  # when all are there: a pod's machine shows what any of them mounts
            _run_to_its_end(engine, container, step)
        undo.release()
    failed = _start(engine, made) if options.start else []
    assert planned.pod.name is not None
    return Played(id=pod, name=planned.pod.name, containers=tuple(made), failed=tuple(failed))


def _undo(engine: Engine, pod: str) -> None:
    remove_pod(engine, pod, force=True)


def _start(engine: Engine, containers: Sequence[str]) -> list[str]:
    """Start all; why some do not."""
    from atoll.engine.containers.start import start

    failed = []
    for container in containers:
        try:
            start(engine, container)
        except errors.AtollError as error:
            failed.append(f"starting container {container[:12]}: {error}")
    return failed


def _run_to_its_end(engine: Engine, container: str, step: Step) -> None:
    """An init container: its end is waited for, and then it goes; a `pod start` does not run it again. Raises
    FailedPrecondition with the end of what it said."""
    from atoll.engine.containers.remove import remove
    from atoll.engine.containers.start import start

    start(engine, container)
    code = engine.wait(container)
    if code != 0:
        raise errors.FailedPrecondition(
            f"init container {step.request.name} ended with exit code {code}: {_last_words(engine, container)}",
            hint="the pod was removed again",
        )
    remove(engine, container, force=True, volumes=True)


def _last_words(engine: Engine, container: str) -> str:
    from atoll.engine.containers.logs import entries

    try:
        said = b"".join([entry.data for entry in entries(engine, container, tail=5)])
    except errors.AtollError:
        return "(its log cannot be read)"
    return said.decode("utf-8", "replace").strip()[-500:] or "(it said nothing)"


def _check_non_root(engine: Engine, container: str, step: Step) -> None:
    """`runAsNonRoot` against what the image says. Raises Denied; a name cannot be told, as with a kubelet."""
    user = Record.from_text(engine.store.container(container).record).user.partition(":")[0]
    if user in ("", "0", "root"):
        raise errors.Denied(
            f"container {step.request.name} has runAsNonRoot and image {step.request.image} will run as root",
            hint="set securityContext.runAsUser",
        )
    if not user.isdecimal():
        raise errors.Denied(
            f"container {step.request.name} has runAsNonRoot and image {step.request.image} has non-numeric user "
            f"({user}), cannot verify user is non-root",
            hint="set securityContext.runAsUser",
        )
