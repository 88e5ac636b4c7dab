"""The table of commands: name and one line of help, grouped as the overview shows them.

Holds: the table, where a command's module is (`module_of`), Docker's other spellings. Does not hold: flags (each
command's module has its own `COMMAND`, so that starting one command loads one). Help, completion and man pages are
made from this table and those.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CONTAINERS: dict[str, str] = {
    "run": "Create and run a new container from an image",
    "create": "Create a new container, without starting it",
    "start": "Start one or more containers that were created or have ended",
    "restart": "Stop one or more containers and start them again",
    "exec": "Execute a command in a running container",
    "attach": "Join the standard streams of a running container",
    "ps": "List containers",
    "logs": "Show what a container has written",
    "stop": "Stop one or more running containers",
    "kill": "Send a signal to one or more running containers",
    "pause": "Let all processes of one or more containers stand still",
    "unpause": "Let one or more paused containers go on",
    "rm": "Remove one or more containers",
    "rename": "Give a container another name",
    "checkpoint": "Save one or more running containers of the level 'vm', with their memory",
    "checkpoint create": "Save a running container under a name",
    "checkpoint ls": "List the checkpoints of a container",
    "checkpoint rm": "Remove a checkpoint of a container",
    "restore": "Let one or more containers go on where they were saved",
    "fork": "Make copies of a running container, which go on from the same state",
    "commit": "Make an image of what a container is now",
    "cp": "Copy files or folders between a container and this machine",
    "diff": "Show what a container changed of its image's files",
    "export": "Write a container's root file system as a tar archive",
    "port": "Show where a container's ports are published",
    "top": "Show the processes of a container",
    "stats": "Show what containers use, again and again",
    "update": "Change the limits or the restart policy of containers",
    "container prune": "Remove all containers that do not run",
    "wait": "Wait until containers stop, then print their exit codes",
    "inspect": "Show all that is known of containers or images",
}
PODS: dict[str, str] = {
    "pod create": "Make a pod: containers that share namespaces, network and limits",
    "pod start": "Start all containers of one or more pods",
    "pod stop": "Stop all containers of one or more pods",
    "pod restart": "Stop and start all containers of one or more pods",
    "pod kill": "Send a signal to the containers of one or more pods",
    "pod pause": "Let all containers of one or more pods stand still",
    "pod unpause": "Let all containers of one or more pods go on",
    "pod rm": "Remove one or more pods with their containers",
    "pod ps": "List pods",
    "pod inspect": "Show all that is known of one or more pods",
    "pod logs": "Show what the containers of a pod have written",
    "pod top": "Show the processes of a pod",
    "pod stats": "Show what the containers of pods use, again and again",
    "pod prune": "Remove all pods that have ended",
    "pod exists": "Tell by the exit code whether there is such a pod",
    "kube play": "Make pods, volumes and secrets of Kubernetes' documents",
    "kube down": "Remove the pods and secrets that 'kube play' made of documents",
    "kube generate": "Write Kubernetes' documents that 'kube play' makes the same of",
    "generate systemd": "Write systemd units that start and stop a container, or a pod and its containers",
    "generate quadlet": "Make systemd units of .container, .pod, .volume, .network, .kube and .image files",
}
IMAGES: dict[str, str] = {
    "pull": "Download an image from a registry",
    "push": "Upload an image to a registry",
    "login": "Log in to a registry",
    "logout": "Log out from a registry",
    "search": "Search a registry for images",
    "manifest create": "Make a manifest list of images at registries",
    "manifest annotate": "Set platform and annotations of an entry of a manifest list",
    "manifest inspect": "Show a manifest or manifest list",
    "manifest push": "Push a manifest list and the images that it names",
    "manifest remove": "Take an entry out of a manifest list",
    "manifest rm": "Forget one or more manifest lists made here",
    "image sign": "Sign an image at its registry",
    "image verify": "Verify an image's signatures",
    "images": "List images",
    "tag": "Give an image one more name",
    "history": "Show the steps that an image was made of",
    "save": "Write one or more images to an archive",
    "load": "Load images from an archive or from standard input",
    "import": "Make an image of a file system's archive or of a directory",
    "image prune": "Remove unused images",
    "image tree": "Show the layers of images, and which stand on which",
    "image diff": "Show what an image's last layer changes, or what differs between two",
    "image bundle": "Unpack an image into an OCI bundle, which runc and other runtimes run",
    "image bootstrap": "Make an image from a distribution's packages",
    "rmi": "Remove one or more images",
}
VOLUMES: dict[str, str] = {
    "volume create": "Create a volume",
    "volume ls": "List volumes",
    "volume inspect": "Show all that is known of one or more volumes",
    "volume rm": "Remove one or more volumes",
    "volume prune": "Remove the volumes that no container uses",
    "secret create": "Create a secret from a file or standard input",
    "secret ls": "List secrets",
    "secret inspect": "Show what is known of one or more secrets",
    "secret rm": "Remove one or more secrets",
    "secret rotate": "Seal all secrets anew under a new key",
}
NETWORKS: dict[str, str] = {
    "network create": "Create a network",
    "network ls": "List networks",
    "network inspect": "Show all that is known of one or more networks",
    "network rm": "Remove one or more networks",
    "network prune": "Remove the networks that no container belongs to",
    "network connect": "Connect a container to a network",
    "network disconnect": "Disconnect a container from a network",
    "network egress": "Change what a container may reach outside, while it runs",
    "network gc": "Have CNI plug-ins give back what they hold for nobody",
    "network policy create": "Close containers of a network but for what is allowed",
    "network policy ls": "List policies between containers",
    "network policy inspect": "Show policies between containers, and whom they are about",
    "network policy rm": "Remove policies between containers",
    "network policy log": "Show what policies refused",
}
SYSTEM: dict[str, str] = {
    "events": "Show what happens to containers, images, volumes and networks",
    "completion": "Print the script that makes a shell complete command lines",
    "info": "Tell what this host and this installation can do",
    "doctor": "Examine this host: what works here, and how to mend what does not",
    "compare": "Measure what each level of isolation costs and keeps out on this host",
    "version": "Show version information",
    "usage": "Show what containers have used since they were made",
    "isolation ls": "List the levels of isolation, and why one cannot be had",
    "vm kernel install": "Install the kernel that virtual machines boot",
    "system boot-unit": "Write a systemd unit that starts containers by their restart policies",
    "system df": "Show what takes the space",
    "system prune": "Remove unused data",
    "audit": "Score this host, its images and containers by a benchmark",
    "audit limits": "Compare the limits in force with those asked for",
    "system reset": "Remove all containers, networks, volumes, secrets and images",
    "system check": "Compare what is recorded with what is there, and mend it",
}
OWN: dict[str, str] = {"internal": "For Atoll's own processes"}

GROUPS: dict[str, dict[str, str]] = {
    "Containers": CONTAINERS,
    "Pods and Kubernetes": PODS,
    "Images": IMAGES,
    "Volumes and secrets": VOLUMES,
    "Networks": NETWORKS,
    "System": SYSTEM,
}
COMMANDS: dict[str, str] = {**CONTAINERS, **PODS, **IMAGES, **VOLUMES, **NETWORKS, **SYSTEM, **OWN}
"""Every command: a name of one word (`run`), or of two (`system check`)."""

# Docker's longer and shorter spellings.
SPELLINGS: dict[str, str] = {
    **{f"container {verb}": verb for verb in CONTAINERS if verb != "ps" and " " not in verb},
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container remove": "rm",
    "checkpoint list": "checkpoint ls",
    "checkpoint remove": "checkpoint rm",
    "system events": "events",
    "system info": "info",
    "pod ls": "pod ps",
    "pod list": "pod ps",
    "pod remove": "pod rm",
    "play kube": "kube play",
    "generate kube": "kube generate",
    "volume list": "volume ls",
    "network list": "network ls",
    "network remove": "network rm",
    "network policy list": "network policy ls",
    "network policy remove": "network policy rm",
    "volume remove": "volume rm",
    "secret list": "secret ls",
    "secret remove": "secret rm",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "image pull": "pull",
    "image push": "push",
    "image inspect": "inspect",
    "image tag": "tag",
    "image history": "history",
    "image save": "save",
    "image load": "load",
    "image import": "import",
}


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command that these words begin with, and the rest: ("system check", ["--repair"]). The name is that of no
    command when there is none, or the first word of several (`system`)."""
    for count in (3, 2):
        name = " ".join(words[:count])
        name = SPELLINGS.get(name, name)
        if len(words) >= count and name in COMMANDS:
            return name, words[count:]
    return SPELLINGS.get(words[0], words[0]), words[1:]


def module_of(name: str) -> str:
    """The module below `atoll.cli` of a command: `system check` is in `system/check.py`, `import` in `import_.py`."""
    words = name.replace("-", "_").split(" ")
    return ".".join(["import_" if word == "import" else word for word in words])  # a keyword


def subcommands(noun: str) -> list[str]:
    """The second words of the commands that begin with `noun`, other spellings included."""
    return sorted({name.partition(" ")[2] for name in (*COMMANDS, *SPELLINGS) if name.startswith(f"{noun} ")})


def overview(noun: str | None = None) -> str:
    """What `atoll --help` prints, or `atoll NOUN --help`."""
    usage = f"{noun} COMMAND" if noun else "[OPTIONS] COMMAND"
    lines = [f"Usage:  atoll {usage}", ""]
    if noun:
        rows = [(second, COMMANDS[find([noun, *second.split(" ")])[0]]) for second in subcommands(noun)]
        lines += ["Commands:", *_rows(rows), ""]
    else:
        lines += ["A complete container stack: images, containers, isolation.", ""]
        for group, commands in GROUPS.items():
            lines += [f"{group}:", *_rows(commands.items()), ""]
        lines += [
            "Options:",
            "  -D, --debug     Show where an unexpected error came from",
            "  -h, --help      Show this help",
            "  -v, --version   Show the version",
            "",
        ]
    lines.append(f"Run 'atoll {noun + ' ' if noun else ''}COMMAND --help' for more on a command.")
    return "\n".join(lines) + "\n"


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    known = list(rows)
    width = max(len(name) for name, _ in known) + 2
    return [f"  {name:<{width}}{text}" for name, text in known]
