"""An OCI runtime: a bundle in, a container out. It decides nothing.

Holds: create, start, exec, kill, delete and state of one container; its init; cgroups; the seccomp compiler; the
sealed interpreter; `files`, copying into and out of a root. Does not hold: images, names, defaults, logs, restarts.
May import: spec, linux, base; `files` the channel of `snapshots` besides.
Start reading at: `create.py` (the parent's side), then `init.py` (the child's); `sync.py` draws what they say.
"""
