"""The use cases: what happens with containers, images and the system, for every door alike.

Holds: requests and views (`requests.py`), use cases (a folder a noun: `containers/`, `images/`, `volumes/` …), the
store (`store.py`), settings, places, locks, the wiring of it all (`engine.py`). Does not hold: parsing of command
lines and printing (`cli`), how a container is isolated (`isolation`), how images travel (`images`).
May import: isolation, monitor (its reader of logs), images, runtime (the default seccomp profile, what the host's
cgroups grant), snapshots, spec, linux, base.
Start reading at: `engine.py`, then `containers/create.py` and `containers/plan.py`.

Locks, always taken in this order, never two of one line but by ascending id:

    0  pods/<id>/           flock on a pod's directory: its making and removal, around those of its containers
       │
    1  images.lock          flock, data root: shared by whoever makes content that no row names yet (pull),
       │                    exclusive by whoever removes what no row names
    1  volumes.lock         flock, data root: shared from a volume's making until a container's row names it,
       │                    exclusive by whoever removes volumes; never held with images.lock
    2  containers/<id>/     flock on the container's own directory: its life cycle; of two, that of a pod's container
       │                    before that of the one which holds the pod's namespaces
       │
    3  atoll.db             BEGIN IMMEDIATE … COMMIT, nothing slow inside, no other lock taken inside

No lock and no connection is open across a fork: nothing in this room forks, and the processes that others start
are executed (every descriptor is close-on-exec).
"""
