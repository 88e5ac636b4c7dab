"""The moving part of a pull: blobs come in and layers are unpacked at the same time.

Holds: threads, their queues, locks over processes, the order of commits. Does not hold: HTTP, the archive.

    download threads (3)     blob lock → bytes → hash, partial file → fsync, rename
                                          │ "n bytes are there"
    unpack threads (1–4)     own process: inflate, hash, apply  → staged directory, diffID checked
    the calling thread       layer locks, bottom first → … waits … → attributes of implied directories
                             → one flush → commits, bottom first

Nothing is visible under its name before its digest was checked. The first failure stops all threads, kills the
unpacking processes and removes what is staged; partial blobs stay, but for those whose content was wrong, or when
the disk is full: what would go on later must not be what keeps it full.
"""

from __future__ import annotations

import _thread
import os
import time

from atoll.base import errors, threads
from atoll.images.values import Progress
from atoll.snapshots import policy
from atoll.snapshots.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from atoll.base.files import FileLock
    from atoll.images.content import ContentStore
    from atoll.images.source import Source
    from atoll.images.values import PulledLayer
    from atoll.snapshots.policy import ApplyResult
    from atoll.snapshots.store import Snapshots, Staging
    from atoll.spec.image import Descriptor

    Report = Callable[[Progress], None]
    T = TypeVar("T")

_DOWNLOADS = 3
_UNPACKERS = 4
_INTERVAL = 0.1  # seconds between two progress reports of one layer


class Feed:
    """One blob on its way in: how many bytes are there, whoever wants to know, and the file to read them from."""

    def __init__(self, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size
        self.available = 0
        self.fd = -1
        self.fresh = False
        self.readable = threads.Gate()
        self.finished = threads.Gate()
        self._listeners: list[Callable[[int], None]] = []
        self._lock = _thread.allocate_lock()

    def advance(self, available: int) -> None:
        """More bytes are in the file."""
        with self._lock:
            self.available = available
            listeners = list(self._listeners)
        for listener in listeners:
            listener(available)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Who is told about more bytes, too: one blob may be several layers, unpacked at the same time."""
        with self._lock:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[int], None]) -> None:
        """Tell it no more."""
        with self._lock:
            self._listeners.remove(listener)

    def offer(self, fd: int, available: int) -> None:
        """The file exists: takes over the descriptor."""
        self.fd = fd
        self.advance(available)
        self.readable.open()

    def close(self) -> None:
        """Give up the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Unpacked:
    """A layer in its staging directory."""

    def __init__(self, layer: PulledLayer, staging: Staging) -> None:
        self.layer = layer
        self.staging = staging
        self.result: ApplyResult | None = None


class Transfer:
    """One pull's blobs and layers. `run` once; `fetched` counts bytes from the network afterwards. `workers` have
    been started already; those that are needed are taken out of the list."""

    def __init__(
        self,
        source: Source,
        store: ContentStore,
        snapshots: Snapshots,
        report: Report,
        workers: list[Worker] | None = None,
    ) -> None:
        self.source = source
        self.store = store
        self.snapshots = snapshots
        self.fetched = 0
        self._report_to = report
        self._stop = threads.Gate()
        self._first_error: BaseException | None = None
        self._lock = _thread.allocate_lock()
        self._report_lock = _thread.allocate_lock()
        self._workers: list[Worker] = []
        self._idle = [] if workers is None else workers
        self._feeds: dict[str, Feed] = {}
        self._staged: list[Unpacked] = []
        self._layer_locks: list[FileLock] = []
        self._threads: list[threads.Gate] = []
        """Their ends."""

    def run(self, layers: Sequence[PulledLayer], also: Sequence[Descriptor] = ()) -> None:
        """Everything in `layers` (bottom first) is in both stores afterwards, and the blobs of `also` in the content
        store. Raises AtollError."""
        try:
            self._lock_layers(layers)
            missing = set(self.snapshots.missing([layer.chain_id for layer in layers]))
            self._start_feeds(layers, missing)
            for blob in also:
                if blob.digest not in self._feeds and not self.store.has(blob.digest, blob.size):
                    self._feeds[blob.digest] = Feed(blob.digest, blob.size)
            self.store.prepare()
            self._start_threads([layer for layer in layers if layer.chain_id in missing], layers)
            self._wait()
            self._commit(layers)
        except BaseException:
            self._abort()
            raise
        finally:
            for feed in self._feeds.values():
                feed.close()
            for lock in self._layer_locks:
                lock.release()

    # --- before -------------------------------------------------------------------------------------------------

    def _lock_layers(self, layers: Sequence[PulledLayer]) -> None:
        """The lock of each layer that is missing, bottom first: images that share layers share them from the
        bottom, so two pulls meet at the same lock first and cannot block each other in a circle."""
        for layer in layers:
            if self.snapshots.has(layer.chain_id):
                continue
            lock = self.snapshots.layer_lock(layer.chain_id)
            waited = False
            while not lock.acquire(blocking=False):
                if not waited:
                    waited = True
                    self._report(Progress(what="waiting", digest=layer.digest, total=layer.size))
                time.sleep(0.02)
            self._layer_locks.append(lock)
            if waited and not self.snapshots.has(layer.chain_id):
                self.snapshots.sweep()  # whoever held it failed or was killed

    def _start_feeds(self, layers: Sequence[PulledLayer], missing: set[str]) -> None:
        for layer in layers:
            if layer.digest in self._feeds:
                continue
            there = self.store.has(layer.digest, layer.size)
            if there and layer.chain_id not in missing:
                self._report(Progress(what="exists", digest=layer.digest, current=layer.size, total=layer.size))
                continue
            self._feeds[layer.digest] = Feed(layer.digest, layer.size)
        for layer in layers:  # one blob may be several layers, some of them missing
            if layer.chain_id in missing and layer.digest not in self._feeds:
                self._feeds[layer.digest] = Feed(layer.digest, layer.size)

    def _start_threads(self, unpack: list[PulledLayer], layers: Sequence[PulledLayer]) -> None:
        downloads, jobs = list(self._feeds.values()), list(unpack)
        bottom = layers[0].chain_id if layers else ""
        # One inflates and hashes in a thread while it writes files in another, but neither all of the time.
        unpackers = min(len(unpack), os.cpu_count() or 2, _UNPACKERS)
        for _ in range(min(_DOWNLOADS, len(downloads))):
            self._threads.append(threads.start(self._guard, self._download_all, downloads))
        for _ in range(unpackers):
            self._threads.append(threads.start(self._guard, self._unpack_all, jobs, bottom))

    # --- while --------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        for ended in self._threads:
            while not ended.wait(0.2) and not self._stop.is_open:
                pass
        if self._first_error is not None:
            raise self._first_error

    def _guard(self, work: Callable[..., None], *args: object) -> None:
        """A thread's body: its failure is the pull's, the first one counts."""
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread
            with self._lock:
                if self._first_error is None:
                    self._first_error = error
            self._stop.open()

    def _download_all(self, feeds: list[Feed]) -> None:
        while not self._stop.is_open:
            feed = self._next(feeds)
            if feed is None:
                return
            self._download(feed)

    def _next(self, waiting: list[T]) -> T | None:
        """The first of what threads have still to do."""
        with self._lock:
            return waiting.pop(0) if waiting else None

    def _download(self, feed: Feed) -> None:
        def waiting() -> None:
            self._report(Progress(what="waiting", digest=feed.digest, total=feed.size))

        try:
            writer = self.store.writer(feed.digest, feed.size, waiting=waiting, stop=lambda: self._stop.is_open)
            if writer is None:
                feed.offer(self.store.open(feed.digest), feed.size)
                feed.finished.open()
                self._report(Progress(what="exists", digest=feed.digest, current=feed.size, total=feed.size))
                return
            with writer:
                feed.fresh = True
                feed.offer(os.dup(writer.fd), writer.offset)
                last = 0.0
                for _, chunk in self.source.blob(feed.digest, writer.offset, feed.size):
                    writer.write(chunk)
                    feed.advance(writer.offset)
                    with self._lock:
                        self.fetched += len(chunk)
                    if self._stop.is_open:
                        raise errors.Cancelled("the pull was stopped")
                    if (now := time.monotonic()) - last > _INTERVAL:
                        last = now
                        self._report(
                            Progress(what="download", digest=feed.digest, current=writer.offset, total=feed.size)
                        )
                self._report(Progress(what="download", digest=feed.digest, current=feed.size, total=feed.size))
                writer.commit()
            feed.finished.open()
        except errors.Corrupt:
            self.store.remove(feed.digest)
            raise
        except OSError as error:
            raise errors.from_os_error(error, f"store {feed.digest}") from error

    def _unpack_all(self, jobs: list[PulledLayer], bottom: str) -> None:
        with self._lock:
            worker = self._idle.pop() if self._idle else Worker(self.snapshots.idmap, unpacks=True)
            self._workers.append(worker)
        while not self._stop.is_open:
            layer = self._next(jobs)
            if layer is None:
                return
            self._unpack(worker, layer, bottom=layer.chain_id == bottom)

    def _unpack(self, worker: Worker, layer: PulledLayer, *, bottom: bool) -> None:
        feed = self._feeds[layer.digest]
        while not feed.readable.wait(0.1):
            if self._stop.is_open:
                return
        done = Unpacked(layer, self.snapshots.prepare_layer(layer.chain_id))
        with self._lock:
            self._staged.append(done)
        last = 0.0

        def progress(current: int) -> None:
            nonlocal last
            if (now := time.monotonic()) - last > _INTERVAL:
                last = now
                self._report(Progress(what="unpack", digest=layer.digest, current=current, total=layer.size))

        idmap = self.snapshots.idmap
        rules = policy.for_map(rootless=idmap is not None, single=bool(idmap and idmap.single), bottom=bottom)
        root_fd = os.open(done.staging.fs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            feed.listen(worker.feed)
            done.result, diff_id = worker.unpack(
                feed.fd,
                feed.size,
                root_fd,
                rules,
                path=done.staging.fs,
                held=done.staging.lock_fd,
                blob=feed.digest if feed.fresh else None,  # what was there already is looked at again
                available=lambda: feed.available,
                progress=progress,
            )
        except errors.Corrupt:
            self._blame(feed)
            raise
        finally:
            feed.forget(worker.feed)
            os.close(root_fd)
        if diff_id != layer.diff_id:
            self._blame(feed)
            raise errors.Corrupt(
                f"layer {layer.digest} unpacks to {diff_id}, the image's configuration says {layer.diff_id}",
                hint="the image is damaged or forged; nothing of the layer was kept",
            )
        self._report(Progress(what="unpack", digest=layer.digest, current=layer.size, total=layer.size))

    def _blame(self, feed: Feed) -> None:
        """A layer's content is wrong. A blob of this pull goes; one from before too, unless it is what its digest
        says and so the image itself is at fault."""
        while not feed.finished.wait(0.1):
            if self._stop.is_open:
                return
        if feed.fresh or not self._intact(feed.digest):
            self.store.remove(feed.digest)

    def _intact(self, digest: str) -> bool:
        import hashlib

        found = hashlib.sha256()
        fd = self.store.open(digest)
        try:
            while chunk := os.read(fd, 1 << 20):
                found.update(chunk)
        finally:
            os.close(fd)
        return "sha256:" + found.hexdigest() == digest

    # --- after --------------------------------------------------------------------------------------------------

    def _commit(self, layers: Sequence[PulledLayer]) -> None:
        """Bottom first, so that a layer is never visible without those that its chainID builds on. All files are
        flushed once, before the first rename."""
        order = {layer.chain_id: index for index, layer in enumerate(layers)}
        staged = sorted(self._staged, key=lambda one: order[one.layer.chain_id])
        places = {one.layer.chain_id: one.staging.fs for one in staged}
        for one in staged:
            if one.result is not None and one.result.implicit:
                below = layers[: order[one.layer.chain_id]]
                self._adopt(one, [places.get(b.chain_id) or self.snapshots.layer_dir(b.chain_id) for b in below])
        if staged:
            self.snapshots.flush()
        while self._staged and staged:
            one = staged.pop(0)
            assert one.result is not None
            self.snapshots.commit_layer(
                one.staging,
                one.layer.chain_id,
                diff_id=one.layer.diff_id,
                entries=one.result.entries,
                size=one.result.bytes,
                opaque=one.result.opaque,
                sync=False,
            )
            self._staged.remove(one)
        for worker in self._workers:
            worker.close()

    def _adopt(self, one: Unpacked, below: Sequence[str]) -> None:
        """Implied directories look as in the layers below; `below` is bottom first."""
        assert one.result is not None
        fds: list[int] = []
        try:
            fds.append(os.open(one.staging.fs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            for path in reversed(below[-200:]):
                fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            self._workers[0].adopt(fds[0], fds[1:], one.result.implicit)
        finally:
            for fd in fds:
                os.close(fd)

    def _abort(self) -> None:
        """Stop everything and leave nothing but partial blobs. Takes a second or two at most."""
        self._stop.open()
        self.source.stop()
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.kill()
        deadline = time.monotonic() + 5
        for ended in self._threads:
            ended.wait(max(0.0, deadline - time.monotonic()))
        for worker in self._workers[len(workers) :]:  # one that was just starting
            worker.kill()
        for one in self._staged:
            self.snapshots.discard_layer(one.staging)
        self._staged.clear()
        if isinstance(self._first_error, errors.Exhausted):
            for feed in self._feeds.values():
                self.store.remove_partial(feed.digest)

    def _report(self, progress: Progress) -> None:
        with self._report_lock:
            self._report_to(progress)
