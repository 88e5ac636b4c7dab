"""Quadlet's files as units of systemd. Pure: texts in, texts out.

Holds: `File`, `convert` (all files of a folder together, since they name one another). Does not hold: the keys that
are plain flags (`quadlet_keys.py`), finding and writing files (`cli/generate/quadlet.py`).
Source: podman-systemd.unit(5) of Podman 5.4; what differs is said in docs/pods.md.

A container runs in the foreground of its unit (Type=exec): systemd sees its exit code and its output, without a
notification. KillMode=process, since other units' containers may have processes of ours in the unit's cgroup.
"""

from __future__ import annotations

from atoll.base import errors, suggest
from atoll.base.value import Value
from atoll.spec import quadlet_keys as keys
from atoll.spec.unit_text import Unit, quoted, split_words, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PASSED = ("Unit", "Service", "Install")
_READ_ONLY_TMPFS = ("/run", "/tmp", "/var/tmp")


class File(Value):
    """A file of quadlet's: its name (`web.container`), where it is, its text, and the texts of its drop-ins."""

    name: str
    path: str
    text: str
    drop_ins: tuple[tuple[str, str], ...] = ()


class Service(Value):
    """A unit: its name, text, and the links by which it is wanted (`default.target.wants/web.service`)."""

    name: str
    text: str
    links: tuple[str, ...] = ()


class _Source:
    """A file while it is converted."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.stem, _, self.kind = file.name.rpartition(".")
        self.unit = Unit.parse(file.text, file.path)
        for path, text in file.drop_ins:
            self.unit.merge(Unit.parse(text, path))
        self.section, self.table = keys.KINDS[self.kind]

    def last(self, key: str) -> str | None:
        return self.unit.last(self.section, key)

    def all(self, key: str) -> list[str]:
        return self.unit.values(self.section, key)

    def on(self, key: str, default: bool = False) -> bool:
        value = self.last(key)
        return default if value is None else truth(value, f"{self.file.path}: {key}")

    def where(self, key: str) -> str:
        return f"{self.file.path}: {key}"

    @property
    def service(self) -> str:
        """The unit's name without `.service`."""
        given = self.last("ServiceName")
        if given:
            return given
        return self.stem if self.kind in ("container", "kube") else _with_suffix(self.stem, self.kind)

    @property
    def object(self) -> str:
        """The name of what it makes: as given, or `systemd-` and the file's."""
        given = self.last({"container": "ContainerName", "pod": "PodName", "volume": "VolumeName",
                           "network": "NetworkName"}.get(self.kind, ""))  # fmt: skip
        if given:
            return given
        return "systemd-%p_%i" if self.stem.endswith("@") else f"systemd-{self.stem}"


def _with_suffix(stem: str, kind: str) -> str:
    """`web` and `web@` as `web-pod` and `web-pod@`."""
    return f"{stem[:-1]}-{kind}@" if stem.endswith("@") else f"{stem}-{kind}"


def convert(
    files: Sequence[File], command: str, *, user: bool = False, environment: Sequence[str] = ()
) -> tuple[list[Service], list[errors.AtollError]]:
    """The units of these files, and what is wrong with those that have none. `command` is atoll's path; `user`: for a
    user's own systemd; `environment` are `KEY=VALUE` for every unit."""
    sources: dict[str, _Source] = {}
    found: list[Service] = []
    wrong: list[errors.AtollError] = []
    for file in files:
        try:
            source = _Source(file)
            _check(source)
            sources[file.name] = source
        except errors.AtollError as error:
            wrong.append(error)
    for source in sources.values():
        try:
            found.append(_Writer(source, sources, command, user=user, environment=environment).service())
        except errors.AtollError as error:
            wrong.append(error)
    return found, wrong


def _check(source: _Source) -> None:
    """Refuse sections and keys that are unknown, or not possible here. Raises InvalidArgument, Unsupported."""
    path = source.file.path
    known = {source.section: source.table, "Quadlet": keys.QUADLET}
    for section, lines in source.unit.sections.items():
        if section in _PASSED or section.startswith("X-"):
            continue
        if section not in known:
            guess = suggest.nearest(section, [*known, *_PASSED])
            raise errors.InvalidArgument(
                f"{path}: unknown section [{section}]", hint=f"did you mean [{guess}]?" if guess else None
            )
        for key, value, number in lines:
            if key not in known[section]:
                guess = suggest.nearest(key, list(known[section]))
                raise errors.InvalidArgument(
                    f"{path}:{number}: unknown key {key} in [{section}]",
                    hint=f"did you mean {guess}?" if guess else None,
                )
            kind, reason = known[section][key]
            if kind == keys.REFUSED and value:
                raise errors.Unsupported(f"{path}:{number}: {key} is not possible here", hint=reason)
    if source.section not in source.unit.sections:
        raise errors.InvalidArgument(f"{path}: there is no section [{source.section}]")


class _Writer:
    """One unit."""

    def __init__(
        self, source: _Source, every: dict[str, _Source], command: str, *, user: bool, environment: Sequence[str]
    ) -> None:
        self._source, self._every, self._command, self._user = source, every, command, user
        self._unit = Unit()
        for section in ("Unit", "Service"):
            self._unit.sections[section] = []
        for section, lines in source.unit.sections.items():
            name = f"X-{section}" if section in (source.section, "Quadlet") else section
            self._unit.sections[name] = list(lines)
        self._folder = source.file.path.rpartition("/")[0] or "."
        for entry in environment:
            self._unit.add("Service", "Environment", quoted(entry.replace("%", "%%")))

    def service(self) -> Service:
        writers: dict[str, Callable[[], None]] = {
            "container": self._container,
            "pod": self._pod,
            "volume": self._volume,
            "network": self._network,
            "kube": self._kube,
            "image": self._image,
        }
        source = self._source
        self._unit.add("Unit", "SourcePath", source.file.path)
        defaults = source.unit.last("Quadlet", "DefaultDependencies")
        if not self._user and (defaults is None or truth(defaults, source.where("DefaultDependencies"))):
            self._unit.add("Unit", "Wants", "network-online.target")
            self._unit.add("Unit", "After", "network-online.target")
        writers[source.kind]()
        name = f"{source.service}.service"
        return Service(name=name, text=self._unit.write(), links=tuple(self._links(name)))

    # --- parts ------------------------------------------------------------------------------------------------------

    def _default(self, key: str, value: str) -> None:
        """In [Service], unless the file says something itself."""
        if self._unit.last("Service", key) is None:
            self._unit.add("Service", key, value)

    def _run(self, key: str, *words: str, fine: bool = False) -> None:
        """A command of ours; `fine`: whether or not it succeeds."""
        line = " ".join([quoted(word) for word in (self._command, *words)])
        self._unit.add("Service", key, f"-{line}" if fine else line)

    def _needs(self, other: _Source, *, bound: bool = False) -> None:
        name = f"{other.service}.service"
        self._unit.add("Unit", "BindsTo" if bound else "Requires", name)
        self._unit.add("Unit", "After", name)

    def _other(self, name: str, key: str) -> _Source:
        """The file that another one names. Raises NotFound."""
        found = self._every.get(name)
        if found is None:
            kind = name.rpartition(".")[2]
            guess = suggest.nearest(name, [one for one in self._every if one.endswith(f".{kind}")])
            raise errors.NotFound(
                f"{self._source.where(key)}: there is no file {name}",
                hint=f"did you mean {guess}?" if guess else None,
            )
        return found

    def _flags(self) -> list[str]:
        """What the tables know, in the order of the tables."""
        found: list[str] = []
        source = self._source
        for key, (kind, flag) in source.table.items():
            values = source.all(key)
            if not values:
                continue
            where = source.where(key)
            if kind == keys.FLAG:
                found += [one for value in values for one in _pair(flag, value)]
            elif kind == keys.LAST:
                found += _pair(flag, values[-1])
            elif kind in (keys.EACH, keys.PAIRS):
                found += [one for value in values for word in split_words(value, where) for one in _pair(flag, word)]
            elif kind == keys.SWITCH:
                state = truth(values[-1], where)
                if flag.endswith("="):
                    found.append(f"{flag}{'true' if state else 'false'}")
                else:
                    found.append(flag if state else f"{flag}=false")
        return found

    def _own_arguments(self) -> list[str]:
        where = self._source.where("PodmanArgs")
        return [word for value in self._source.all("PodmanArgs") for word in split_words(value, where)]

    def _networks(self) -> list[str]:
        found = []
        for value in self._source.all("Network"):
            name, colon, options = value.partition(":")
            if name.endswith(".network"):
                other = self._other(name, "Network")
                self._needs(other)
                name = other.object
            elif name.endswith(".container"):
                other = self._other(name, "Network")
                self._needs(other)
                name, colon, options = "container", ":", other.object
            elif name in ("pasta", "slirp4netns", "private"):
                raise errors.Unsupported(
                    f"{self._source.where('Network')}: {value}", hint="a network's name, bridge, none or host"
                )
            if colon and name not in ("container", "ns") and options:
                raise errors.Unsupported(
                    f"{self._source.where('Network')}: options of a network ({options})",
                    hint="IP=, IP6= and NetworkAlias= set them",
                )
            found += ["--network", f"{name}{colon}{options}" if colon and name in ("container", "ns") else name]
        return found

    def _path(self, path: str) -> str:
        """A path that counts from the file's folder, in full."""
        return f"{self._folder}/{path.removeprefix('./')}" if path.startswith("./") else (
            f"{self._folder}/{path}" if path.startswith("../") else path
        )  # fmt: skip

    def _volumes(self) -> list[str]:
        found = []
        for value in self._source.all("Volume"):
            source, colon, rest = value.partition(":")
            if colon:
                source = self._volume_source(source, "Volume")
            found += ["--volume", f"{source}{colon}{rest}"]
        return found

    def _volume_source(self, source: str, key: str) -> str:
        if source.endswith(".volume") and not source.startswith(("/", ".")):
            other = self._other(source, key)
            self._needs(other)
            return other.object
        if source.startswith(("/", "%")) and not self._source.stem.endswith("@"):
            self._unit.add("Unit", "RequiresMountsFor", source)
        return self._path(source)

    def _mounts(self) -> list[str]:
        found = []
        for value in self._source.all("Mount"):
            fields = []
            for field in value.split(","):
                key, equals, source = field.partition("=")
                if key in ("source", "src") and source:
                    field = f"{key}{equals}{self._volume_source(source, 'Mount')}"
                fields.append(field)
            found += ["--mount", ",".join(fields)]
        return found

    # --- kinds of files ---------------------------------------------------------------------------------------------

    def _container(self) -> None:
        source, name = self._source, self._source.object
        words = ["--name", name, "--rm", *self._networks(), *self._volumes(), *self._mounts(), *self._flags()]
        words += self._special()
        pod = source.last("Pod")
        if pod is not None:
            if not pod.endswith(".pod"):
                raise errors.InvalidArgument(f"{source.where('Pod')}: {pod!r}", hint="the name of a .pod file")
            other = self._other(pod, "Pod")
            self._needs(other, bound=True)
            words += ["--pod", other.object]
        words += self._own_arguments()
        self._run("ExecStartPre", "rm", "-f", name, fine=True)  # what a crash has left under the name
        self._run("ExecStart", "run", *words, self._image_name(), *self._program())
        self._run("ExecStop", "stop", name, fine=True)
        self._run("ExecStopPost", "rm", "-f", name, fine=True)
        self._reload(name)
        kind = self._unit.last("Service", "Type")
        if kind not in (None, "oneshot", "exec", "simple"):
            raise errors.Unsupported(
                f"{source.file.path}: Type={kind}: a container runs in the foreground of its unit",
                hint="leave it out",
            )
        self._default("Type", "exec")
        self._default("SyslogIdentifier", "%N")
        self._cgroup()

    def _cgroup(self) -> None:
        self._default("KillMode", "process")
        self._default("Delegate", "yes")

    def _program(self) -> list[str]:
        value = self._source.last("Exec")
        return split_words(value, self._source.where("Exec")) if value else []

    def _image_name(self) -> str:
        source, image = self._source, self._source.last("Image")
        if not image:
            raise errors.InvalidArgument(f"{source.file.path}: no Image= in [{source.section}]")
        if image.endswith(".build"):
            raise errors.Unsupported(f"{source.where('Image')}: {image}: images are not built by units here")
        if image.endswith(".image"):
            other = self._other(image, "Image")
            self._needs(other)
            image = other.last("ImageTag") or other.last("Image") or ""
        return image

    def _special(self) -> list[str]:
        """The keys of a container that are more than a flag."""
        source, found = self._source, list[str]()
        user, group = source.last("User"), source.last("Group")
        if group and not user:
            raise errors.InvalidArgument(f"{source.where('Group')}: name User=, too")
        if user:
            found += ["--user", f"{user}:{group}" if group else user]
        for value in source.all("EnvironmentFile"):
            found += ["--env-file", self._path(value)]
        for value in source.all("AddDevice"):
            if value.startswith("-"):
                raise errors.Unsupported(
                    f"{source.where('AddDevice')}: {value}: whether it is there is not looked at", hint="without '-'"
                )
            found += ["--device", value]
        if source.on("ReadOnly"):
            found.append("--read-only")
            if source.on("ReadOnlyTmpfs", True):
                found += [word for place in _READ_ONLY_TMPFS for word in ("--tmpfs", place)]
        if source.on("SecurityLabelDisable"):
            found.append("--security-opt=label=disable")
        zone = source.last("Timezone")
        if zone == "local":
            found += ["--volume", "/etc/localtime:/etc/localtime:ro"]
        elif zone:
            found += ["--env", f"TZ={zone}"]
        self._only("CgroupsMode", ("enabled",))
        self._only("HealthOnFailure", ("none",))
        self._only("Notify", ("false", "no", "off", "0"))
        return found

    def _only(self, key: str, known: tuple[str, ...]) -> None:
        value = self._source.last(key)
        if value is not None and value.lower() not in known:
            raise errors.Unsupported(
                f"{self._source.where(key)}: {value} is not possible here", hint=f"{key}={known[0]}"
            )

    def _reload(self, name: str) -> None:
        command, signal = self._source.last("ReloadCmd"), self._source.last("ReloadSignal")
        if command and signal:
            raise errors.InvalidArgument(f"{self._source.file.path}: ReloadCmd and ReloadSignal exclude one another")
        if command:
            self._run("ExecReload", "exec", name, *split_words(command, self._source.where("ReloadCmd")))
        elif signal:
            self._run("ExecReload", "kill", "--signal", signal, name)

    def _pod(self) -> None:
        source, name = self._source, self._source.object
        words = [*self._networks(), *self._volumes(), *self._flags(), *self._own_arguments()]
        for other in self._every.values():
            if other.kind == "container" and other.last("Pod") == source.file.name:
                if other.on("StartWithPod", True):
                    self._unit.add("Unit", "Wants", f"{other.service}.service")
                self._unit.add("Unit", "Before", f"{other.service}.service")
        timeout = source.last("StopTimeout")
        self._run("ExecStartPre", "pod", "create", "--replace", "--name", name, *words)
        self._run("ExecStart", "pod", "start", name)
        self._run("ExecStop", "pod", "stop", *(("--time", timeout) if timeout else ()), name, fine=True)
        self._run("ExecStopPost", "pod", "rm", "--force", name, fine=True)
        self._stays()

    def _stays(self) -> None:
        self._default("Type", "oneshot")
        self._default("RemainAfterExit", "yes")
        self._default("SyslogIdentifier", "%N")
        self._cgroup()

    def _volume(self) -> None:
        source = self._source
        self._only("Copy", ("true", "yes", "on", "1"))
        words = self._flags()
        options = list(source.all("Options"))
        for key, name in (("User", "uid"), ("Group", "gid")):
            value = source.last(key)
            if value is not None:
                options.append(f"{name}={value}")
        if options:
            words.append(f"--opt=o={','.join(options)}")
        self._run("ExecStart", "volume", "create", *words, *self._own_arguments(), source.object)
        self._stays()

    def _network(self) -> None:
        source, name = self._source, self._source.object
        words = [*self._flags(), *self._own_arguments()]
        self._run("ExecStartPre", "network", "create", *words, name, fine=True)  # it may be there already
        self._run("ExecStart", "network", "inspect", "--format", "{{.Id}}", name)
        if source.on("NetworkDeleteOnStop"):
            self._run("ExecStopPost", "network", "rm", name, fine=True)
        self._stays()

    def _kube(self) -> None:
        source, files = self._source, self._source.all("Yaml")
        if len(files) != 1:
            raise errors.InvalidArgument(f"{source.file.path}: one Yaml= in [{source.section}], {len(files)} given")
        path = files[0] if files[0].startswith(("/", "%")) else f"{self._folder}/{files[0].removeprefix('./')}"
        self._only("ExitCodePropagation", ("none",))
        words = [*self._networks(), *self._flags()]
        for value in source.all("ConfigMap"):
            words += ["--configmap", value if value.startswith(("/", "%")) else f"{self._folder}/{value}"]
        where = source.last("SetWorkingDirectory")
        if where in ("yaml", "unit"):
            folder = path.rpartition("/")[0] if where == "yaml" else self._folder
            self._default("WorkingDirectory", folder)
        elif where is not None:
            raise errors.InvalidArgument(f"{source.where('SetWorkingDirectory')}: {where!r}", hint="yaml or unit")
        self._run("ExecStart", "kube", "play", "--replace", *words, *self._own_arguments(), path)
        force = ("--force",) if source.on("KubeDownForce") else ()
        self._run("ExecStop", "kube", "down", *force, path, fine=True)
        self._stays()

    def _image(self) -> None:
        source, image = self._source, self._source.last("Image")
        if not image:
            raise errors.InvalidArgument(f"{source.file.path}: no Image= in [{source.section}]")
        self._only("Policy", ("always", "missing"))
        words = self._flags()
        system, machine, variant = source.last("OS"), source.last("Arch"), source.last("Variant")
        if variant and not machine:
            raise errors.InvalidArgument(f"{source.where('Variant')}: name Arch=, too")
        if system or machine:
            if not machine:
                raise errors.InvalidArgument(f"{source.where('OS')}: name Arch=, too")
            words += ["--platform", "/".join([part for part in (system or "linux", machine, variant) if part])]
        self._run("ExecStart", "pull", *words, *self._own_arguments(), image)
        self._stays()

    # --- [Install] --------------------------------------------------------------------------------------------------

    def _links(self, name: str) -> list[str]:
        """As `systemctl enable` would make them, which cannot enable what a generator writes."""
        source = self._source.unit
        instance = source.last("Install", "DefaultInstance")
        target = name
        if name.endswith("@.service"):
            if not instance:
                return []
            target = name.replace("@.service", f"@{instance}.service")
        found = []
        for key, folder in (("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")):
            for value in source.values("Install", key):
                for word in split_words(value, self._source.where(key)):
                    found.append(f"{_file_name(word, self._source.where(key))}.{folder}/{target}")
        for value in source.values("Install", "Alias"):
            for word in split_words(value, self._source.where("Alias")):
                found.append(_file_name(word, self._source.where("Alias")))
        return found


def _file_name(word: str, where: str) -> str:
    """A unit's name, which becomes a file's. Raises InvalidArgument."""
    if not word or "/" in word or word.startswith("."):
        raise errors.InvalidArgument(f"{where}: {word!r} is no unit's name")
    return word


def _pair(flag: str, value: str) -> list[str]:
    """`--flag value`; a flag that ends with `=` or `:` carries its value."""
    return [f"{flag}{value}"] if flag.endswith(("=", ":")) else [flag, value]
