"""Pods: several containers in one sandbox, with namespaces, network and limits in common.

Holds: what a pod is (`record.py`, `rows.py`), its verbs (a file each), the container that holds its namespaces
(`infra.py`, `program.py`), its cgroup (`cgroup.py`), a container's place in it (`member.py`). Does not hold: what
containers do (`engine/containers`), documents of Kubernetes (`engine/kube`). Start reading at `create.py`.

A pod's namespaces are held by a container of its own whose program is some 200 bytes that wait (`program.py`). They
could be pinned by mounts instead, but not a pid namespace, not by an ordinary user, and not so that the kernel ends
them with the last who needs them; and so the pod's network is a container's, with all that a container's can do.

    data root   pods/<id>/          locked while the pod is made and removed; `made` in it says that all is there
    run root    pods/<id>.json      where its cgroup is; gone at reboot, as that is
    atoll.db    pods, containers.pod
"""
