"""Files into and out of a container's root: by a process of its own that is inside before it looks at anything.

Holds: archives of a tree by descriptors (`pack.py`), archives into a tree by descriptors (`unpack.py`), the process
that is confined to the container's root (`confined.py`), where a copy goes (`destination.py`). Does not hold: the
command's side of it (`isolation/files/client.py`), the verbs (`engine/containers/copy.py`).
Start reading at: `isolation/files/client.py`, which draws the conversation.

What went wrong elsewhere, and what is done here about it:

    CVE-2018-15664   the path was resolved, then used: a link exchanged in between led out. Here every name is
                     resolved by openat2(2) from a descriptor, in a process whose root is the container's
    CVE-2019-14271   after chroot(2) the copier loaded the container's own libraries (NSS). Here everything is
                     imported before, nothing can be imported after, and no name of a user is ever looked up
    CVE-2026-41567   a program of the container was run for the copy. Here nothing is executed
"""
