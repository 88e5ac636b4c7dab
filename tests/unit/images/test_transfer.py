"""A blob on its way in and those who wait for its bytes."""

from __future__ import annotations

import os

from atoll.images.transfer import Feed


def test_every_layer_of_a_blob_hears_of_its_bytes() -> None:
    feed = Feed("sha256:" + "0" * 64, 10)
    one: list[int] = []
    two: list[int] = []
    feed.listen(one.append)
    feed.advance(1)
    feed.listen(two.append)
    feed.advance(2)
    feed.forget(one.append)
    feed.advance(3)
    assert (one, two, feed.available) == ([1, 2], [2, 3], 3)


def test_a_feed_that_offers_its_file_can_be_read() -> None:
    feed = Feed("sha256:" + "0" * 64, 10)
    assert not feed.readable.is_open
    fd = os.open(os.devnull, os.O_RDONLY)
    feed.offer(fd, 4)
    assert feed.readable.is_open
    assert (feed.fd, feed.available) == (fd, 4)
    feed.close()
    feed.close()
    assert feed.fd == -1
