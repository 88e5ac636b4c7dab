"""A pod of Kubernetes, record by record.

Holds: the records from `PodSpec` down, and `Meta`. Does not hold: reading, and the documents around them (`kube.py`),
which says what `UNUSED`, `QUIET` (not worth a warning) and `REFUSED` are.
Source: the Kubernetes API reference v1.31, "Pod".
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec import codec
from atoll.spec.codec import flag, list_of, map_of, text, user_id
from atoll.spec.kube_volumes import Volume, words

_texts = list_of(text)


class Meta(Value):
    """ObjectMeta."""

    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    WIRE = {"name": text, "labels": map_of(text), "annotations": map_of(text)}
    UNUSED = ("namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp",
              "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
              "selfLink")  # fmt: skip
    QUIET = ("creationTimestamp", "namespace")


class KeyRef(Value):
    """ConfigMapKeySelector, SecretKeySelector."""

    key: str
    name: str = ""
    optional: bool = False
    WIRE = {"key": text, "name": text, "optional": flag}


class FieldRef(Value):
    """ObjectFieldSelector."""

    field_path: str
    WIRE = {"field_path": text}
    UNUSED = ("apiVersion",)
    QUIET = ("apiVersion",)


class ResourceRef(Value):
    """ResourceFieldSelector."""

    resource: str
    container_name: str = ""
    divisor: str = ""
    WIRE = {"resource": text, "container_name": text, "divisor": words}


class ValueFrom(Value):
    """EnvVarSource."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceRef | None = None
    WIRE = {
        "config_map_key_ref": codec.record(KeyRef),
        "secret_key_ref": codec.record(KeyRef),
        "field_ref": codec.record(FieldRef),
        "resource_field_ref": codec.record(ResourceRef),
    }
    NESTED = {"config_map_key_ref": KeyRef, "secret_key_ref": KeyRef, "field_ref": FieldRef,
              "resource_field_ref": ResourceRef}  # fmt: skip


class EnvVar(Value):
    """One variable."""

    name: str
    value: str = ""
    value_from: ValueFrom | None = None
    WIRE = {"name": text, "value": text, "value_from": codec.record(ValueFrom)}
    NESTED = {"value_from": ValueFrom}


class SourceRef(Value):
    """ConfigMapEnvSource, SecretEnvSource."""

    name: str = ""
    optional: bool = False
    WIRE = {"name": text, "optional": flag}


class EnvFrom(Value):
    """All of a ConfigMap or Secret as variables."""

    prefix: str = ""
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None
    WIRE = {"prefix": text, "config_map_ref": codec.record(SourceRef), "secret_ref": codec.record(SourceRef)}
    NESTED = {"config_map_ref": SourceRef, "secret_ref": SourceRef}


class Port(Value):
    """ContainerPort."""

    container_port: int
    host_port: int = 0
    protocol: str = "TCP"
    name: str = ""
    host_ip: str = ""
    KEYS = {"host_ip": "hostIP"}
    WIRE = {
        "container_port": codec.number_between(1, 65535),
        "host_port": codec.number_between(0, 65535),
        "protocol": codec.one_of("TCP", "UDP", "SCTP"),
        "name": text,
        "host_ip": text,
    }


class Header(Value):
    """HTTPHeader."""

    name: str
    value: str = ""
    WIRE = {"name": text, "value": text}


class HttpGet(Value):
    """HTTPGetAction; `port` a number or a port's name."""

    port: str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()
    WIRE = {
        "port": words,
        "path": text,
        "host": text,
        "scheme": codec.one_of("HTTP", "HTTPS"),
        "http_headers": list_of(codec.record(Header)),
    }
    NESTED = {"http_headers": Header}


class TcpSocket(Value):
    """TCPSocketAction."""

    port: str
    host: str = ""
    WIRE = {"port": words, "host": text}


class ExecAction(Value):
    """ExecAction."""

    command: tuple[str, ...] = ()
    WIRE = {"command": _texts}


class Probe(Value):
    """A probe; times in seconds."""

    exec_: ExecAction | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1
    termination_grace_period_seconds: int = 0
    KEYS = {"exec_": "exec"}
    WIRE = {
        "exec_": codec.record(ExecAction),
        "http_get": codec.record(HttpGet),
        "tcp_socket": codec.record(TcpSocket),
        "initial_delay_seconds": codec.number_between(0, 10**6),
        "period_seconds": codec.number_between(1, 10**6),
        "timeout_seconds": codec.number_between(1, 10**6),
        "failure_threshold": codec.number_between(1, 10**6),
        "success_threshold": codec.number_between(1, 10**6),
        "termination_grace_period_seconds": codec.number_between(1, 10**6),
    }
    NESTED = {"exec_": ExecAction, "http_get": HttpGet, "tcp_socket": TcpSocket}
    REFUSED = {"grpc": "there is no gRPC client here; use exec, httpGet or tcpSocket"}


class Resources(Value):
    """ResourceRequirements; quantities as written."""

    limits: tuple[tuple[str, str], ...] = ()
    requests: tuple[tuple[str, str], ...] = ()
    WIRE = {"limits": map_of(words), "requests": map_of(words)}
    UNUSED = ("claims",)


class Capabilities(Value):
    """Capabilities, without CAP_."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    WIRE = {"add": _texts, "drop": _texts}


class SeLinux(Value):
    """SELinuxOptions."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""
    WIRE = {"user": text, "role": text, "type": text, "level": text}


class Profile(Value):
    """SeccompProfile, AppArmorProfile."""

    type: str
    localhost_profile: str = ""
    WIRE = {"type": codec.one_of("RuntimeDefault", "Unconfined", "Localhost"), "localhost_profile": text}


class Security(Value):
    """SecurityContext of a container."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    privileged: bool = False
    capabilities: Capabilities = Capabilities()
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    se_linux_options: SeLinux | None = None
    proc_mount: str = "Default"
    WIRE = {
        "run_as_user": user_id,
        "run_as_group": user_id,
        "run_as_non_root": flag,
        "read_only_root_filesystem": flag,
        "allow_privilege_escalation": flag,
        "privileged": flag,
        "capabilities": codec.record(Capabilities),
        "seccomp_profile": codec.record(Profile),
        "app_armor_profile": codec.record(Profile),
        "se_linux_options": codec.record(SeLinux),
        "proc_mount": codec.one_of("Default", "Unmasked"),
    }
    NESTED = {"capabilities": Capabilities, "seccomp_profile": Profile, "app_armor_profile": Profile,
              "se_linux_options": SeLinux}  # fmt: skip
    UNUSED = ("windowsOptions",)


class Sysctl(Value):
    """Sysctl."""

    name: str
    value: str
    WIRE = {"name": text, "value": words}


class PodSecurity(Value):
    """PodSecurityContext: for every container that says nothing else."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    fs_group: int | None = None
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    se_linux_options: SeLinux | None = None
    WIRE = {
        "run_as_user": user_id,
        "run_as_group": user_id,
        "run_as_non_root": flag,
        "supplemental_groups": list_of(user_id),
        "fs_group": user_id,
        "sysctls": list_of(codec.record(Sysctl)),
        "seccomp_profile": codec.record(Profile),
        "app_armor_profile": codec.record(Profile),
        "se_linux_options": codec.record(SeLinux),
    }
    NESTED = {"sysctls": Sysctl, "seccomp_profile": Profile, "app_armor_profile": Profile,
              "se_linux_options": SeLinux}  # fmt: skip
    UNUSED = ("windowsOptions", "fsGroupChangePolicy", "supplementalGroupsPolicy", "seLinuxChangePolicy")


class VolumeMount(Value):
    """VolumeMount."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    mount_propagation: str = "None"
    WIRE = {
        "name": text,
        "mount_path": text,
        "read_only": flag,
        "sub_path": text,
        "mount_propagation": codec.one_of("None", "HostToContainer", "Bidirectional"),
    }
    UNUSED = ("recursiveReadOnly",)
    REFUSED = {"subPathExpr": "write the path out with subPath"}


class Container(Value):
    """Container; `restart_policy` is of an init container that goes on (a sidecar)."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    security_context: Security = Security()
    image_pull_policy: str = ""
    restart_policy: str = ""
    stdin: bool = False
    tty: bool = False
    WIRE = {
        "name": text,
        "image": text,
        "command": _texts,
        "args": _texts,
        "working_dir": text,
        "env": list_of(codec.record(EnvVar)),
        "env_from": list_of(codec.record(EnvFrom)),
        "ports": list_of(codec.record(Port)),
        "resources": codec.record(Resources),
        "volume_mounts": list_of(codec.record(VolumeMount)),
        "liveness_probe": codec.record(Probe),
        "startup_probe": codec.record(Probe),
        "readiness_probe": codec.record(Probe),
        "security_context": codec.record(Security),
        "image_pull_policy": codec.one_of("Always", "IfNotPresent", "Never"),
        "restart_policy": codec.one_of("Always"),
        "stdin": flag,
        "tty": flag,
    }
    NESTED = {"env": EnvVar, "env_from": EnvFrom, "ports": Port, "resources": Resources,
              "volume_mounts": VolumeMount, "liveness_probe": Probe, "startup_probe": Probe,
              "readiness_probe": Probe, "security_context": Security}  # fmt: skip
    UNUSED = ("lifecycle", "terminationMessagePath", "terminationMessagePolicy", "stdinOnce",
              "resizePolicy")  # fmt: skip
    REFUSED = {"volumeDevices": "block devices as volumes are not here; use a hostPath of type BlockDevice"}


class HostAlias(Value):
    """HostAlias."""

    ip: str
    hostnames: tuple[str, ...] = ()
    WIRE = {"ip": text, "hostnames": _texts}


class DnsOption(Value):
    """PodDNSConfigOption."""

    name: str
    value: str = ""
    WIRE = {"name": text, "value": words}


class DnsConfig(Value):
    """PodDNSConfig."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()
    WIRE = {"nameservers": _texts, "searches": _texts, "options": list_of(codec.record(DnsOption))}
    NESTED = {"options": DnsOption}


class PodSpec(Value):
    """PodSpec; times in seconds."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    hostname: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool = True
    share_process_namespace: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_config: DnsConfig = DnsConfig()
    termination_grace_period_seconds: int | None = None
    security_context: PodSecurity = PodSecurity()
    resources: Resources = Resources()
    KEYS = {"host_pid": "hostPID", "host_ipc": "hostIPC"}
    WIRE = {
        "containers": list_of(codec.record(Container)),
        "init_containers": list_of(codec.record(Container)),
        "volumes": list_of(codec.record(Volume)),
        "restart_policy": codec.one_of("Always", "OnFailure", "Never"),
        "hostname": text,
        "host_network": flag,
        "host_pid": flag,
        "host_ipc": flag,
        "host_users": flag,
        "share_process_namespace": flag,
        "host_aliases": list_of(codec.record(HostAlias)),
        "dns_config": codec.record(DnsConfig),
        "termination_grace_period_seconds": codec.number_between(0, 10**6),
        "security_context": codec.record(PodSecurity),
        "resources": codec.record(Resources),
    }
    NESTED = {"containers": Container, "init_containers": Container, "volumes": Volume, "host_aliases": HostAlias,
              "dns_config": DnsConfig, "security_context": PodSecurity, "resources": Resources}  # fmt: skip
    UNUSED = ("affinity", "automountServiceAccountToken", "dnsPolicy", "enableServiceLinks", "imagePullSecrets",
              "nodeName", "nodeSelector", "os", "overhead", "preemptionPolicy", "priority", "priorityClassName",
              "readinessGates", "resourceClaims", "runtimeClassName", "schedulerName", "schedulingGates",
              "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "subdomain", "tolerations",
              "topologySpreadConstraints", "activeDeadlineSeconds")  # fmt: skip
    QUIET = ("enableServiceLinks",)
    REFUSED = {"ephemeralContainers": "use 'atoll exec'"}
