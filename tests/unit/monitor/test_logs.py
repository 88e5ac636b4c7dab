from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.monitor import log_reading, logs

NOW = 1_700_000_000_123_456_789


def entries(path):
    with open(path, "rb") as file:
        return [json.loads(line) for line in file]


def test_a_line_is_an_entry_in_dockers_shape(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1)
    writer.write(1, b"hello\nworld\n", NOW)
    writer.write(2, b"bad \\n <&> \xff\n", NOW)
    assert entries(path) == [
        {"log": "hello\n", "stream": "stdout", "time": "2023-11-14T22:13:20.123456789Z"},
        {"log": "world\n", "stream": "stdout", "time": "2023-11-14T22:13:20.123456789Z"},
        {"log": "bad \\n <&> \ufffd\n", "stream": "stderr", "time": "2023-11-14T22:13:20.123456789Z"},
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_line_without_end_is_held_back_and_comes_out_at_the_end(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1)
    writer.write(1, b"half", NOW)
    assert not os.path.exists(path)
    writer.write(1, b" line\nrest", NOW)
    assert [e["log"] for e in entries(path)] == ["half line\n"]
    writer.close()
    assert [e["log"] for e in entries(path)] == ["half line\n", "rest"]


def test_long_lines_are_cut_at_16_kib_between_characters(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1)
    text = "é" * 20_000 + "\n"
    data = b"x" + text.encode()
    for start in range(0, len(data), 65_536):
        writer.write(1, data[start : start + 65_536], NOW)
    found = [e["log"] for e in entries(path)]
    assert "".join(found) == "x" + text
    assert all(len(part.encode()) <= logs.PARTIAL for part in found)
    assert len(found) == 3


def test_the_held_back_part_is_bounded(tmp_path):
    writer = logs.JsonFile(str(tmp_path / "log"), 0, 1)
    for _ in range(100):
        writer.write(1, b"y" * 10_000, NOW)
        assert len(writer._held.get(1, b"")) < logs.PARTIAL


def test_rotation_keeps_the_bounds_and_the_order(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 1000, 3)
    for number in range(100):
        writer.write(1, f"line {number}\n".encode(), NOW)
    writer.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["log", "log.1", "log.2"]
    assert all(os.path.getsize(tmp_path / name) <= 1000 for name in names)
    read = [e.data for e in log_reading.read_log(path)]
    assert read == [f"line {n}\n".encode() for n in range(100 - len(read), 100)]
    assert len(read) > 25


def test_one_block_larger_than_a_file_is_cut_between_entries(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 500, 1000)
    writer.write(1, b"".join(b"%d\n" % n for n in range(200)), NOW)
    assert [int(e.data) for e in log_reading.read_log(path)] == list(range(200))
    assert os.path.getsize(path) <= 500


def test_a_single_file_starts_over(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 300, 1)
    for n in range(30):
        writer.write(1, b"%d\n" % n, NOW)
    assert os.listdir(tmp_path) == ["log"]
    assert [int(e.data) for e in log_reading.read_log(path)][-1] == 29


def test_a_full_disk_leaves_whole_entries(tmp_path, monkeypatch):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1)
    writer.write(1, b"one\n", NOW)
    real = os.write
    state = {"calls": 0}

    def write(fd, data):
        state["calls"] += 1
        if state["calls"] == 1:
            return real(fd, data[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        writer.write(1, b"two\n", NOW)
    monkeypatch.setattr(os, "write", real)
    writer.write(1, b"three\n", NOW)
    assert [e["log"] for e in entries(path)] == ["one\n", "three\n"]


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("mine")
    os.symlink(tmp_path / "target", tmp_path / "log")
    with pytest.raises(OSError, match="symbolic link"):
        logs.JsonFile(str(tmp_path / "log"), 0, 1).write(1, b"x\n", NOW)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 50, 1000])
def test_tail_counts_across_files(tmp_path, count):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 900, 20)
    for n in range(60):
        writer.write(1, b"%d\n" % n, NOW)
    assert [int(e.data) for e in log_reading.read_log(path, tail=count)] == list(range(60))[max(0, 60 - count) :]


def test_since_and_until(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1)
    for n in range(10):
        writer.write(1, b"%d\n" % n, NOW + n * 10**9)
    found = log_reading.read_log(path, since=NOW + 3 * 10**9, until=NOW + 5 * 10**9)
    assert [int(e.data) for e in found] == [3, 4, 5]


def test_damaged_lines_are_passed_over(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"log":"a\\n","stream":"stdout","time":"2023-01-01T00:00:00Z"}\ngarbage\n{"log":3}\n[]\n')
    assert [e.data for e in log_reading.read_log(str(path))] == [b"a\n"]


def test_no_log_is_an_empty_log(tmp_path):
    assert list(log_reading.read_log(str(tmp_path / "none"))) == []
    assert list(log_reading.read_log(str(tmp_path / "none"), follow=True, running=lambda: False)) == []


def test_follow_goes_on_across_rotation_until_the_end(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 400, 4)
    state = {"next": 0}

    def running():
        for _ in range(3):
            if state["next"] < 60:
                writer.write(1, b"%d\n" % state["next"], time.time_ns())
                state["next"] += 1
        return state["next"] < 60

    assert [int(e.data) for e in log_reading.read_log(path, follow=True, running=running)] == list(range(60))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200) | st.just(b"\n") | st.just("\U0010fffe\n".encode()), max_size=20))
def test_what_was_written_is_what_is_read(tmp_path_factory, chunks):
    path = str(tmp_path_factory.mktemp("log") / "log")
    writer = logs.JsonFile(path, 0, 1)
    for chunk in chunks:
        writer.write(1, chunk, NOW)
    writer.close()
    got = b"".join(e.data for e in log_reading.read_log(path))
    lines = b"".join(chunks).split(b"\n")
    assert got == b"\n".join(line.decode("utf-8", "replace").encode() for line in lines)


def test_output_in_pieces_is_what_the_entries_are(tmp_path, rng):
    """Whatever was written, by two streams, with rotation and a damaged line: the same bytes in the same order."""
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 200_000, 50)
    words = (
        b'say "x"',
        b"\\",
        b'","stream":"stdout","time":"2024"}',
        b'{"log":"',
        b"\xff\xfe",
        "é€😀".encode(),
        b"\x7f",
        b"",
    )
    for number in range(300):
        lines = [b" ".join(rng.choices(words, k=rng.randrange(6))) + b"\n" for _ in range(rng.randrange(1, 40))]
        writer.write(1 if rng.random() < 0.9 else 2, b"".join(lines), NOW + number)
        if number == 150:
            writer.file.append(b'{"log":"cut\n')
    writer.close()
    whole, pieces = {"stdout": b"", "stderr": b""}, {"stdout": b"", "stderr": b""}
    order = []
    for entry in log_reading.read_log(path):
        whole[entry.stream] += entry.data
        order += [entry.stream] if order[-1:] != [entry.stream] else []
    seen = []
    for stream, data in log_reading.read_output(path):
        pieces[stream] += data
        seen += [stream] if seen[-1:] != [stream] else []
    assert pieces == whole
    assert seen == order
    assert b"".join(d for _, d in log_reading.read_output(path, tail=5)).count(b"\n") == 5


# -- other shapes


def test_k8s_file_has_the_shape_of_cri(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.K8sFile(path, 0, 1)
    writer.write(1, b"one\n\ntwo \xff\n", NOW)
    writer.write(2, b"x" * (logs.PARTIAL + 3) + b"\nrest", NOW)
    writer.close()
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    at = b"2023-11-14T22:13:20.123456789Z"
    assert lines[:3] == [at + b" stdout F one", at + b" stdout F ", at + b" stdout F two \xff"]
    assert lines[3:5] == [at + b" stderr P " + b"x" * logs.PARTIAL, at + b" stderr F xxx"]
    assert lines[5].endswith(b" stderr P rest")
    read = list(log_reading.read_log(path, shape="k8s-file"))
    assert b"".join(e.data for e in read if e.stream == "stdout") == b"one\n\ntwo \xff\n"
    assert b"".join(e.data for e in read if e.stream == "stderr") == b"x" * (logs.PARTIAL + 3) + b"\nrest"
    poured = list(log_reading.read_output(path, shape="k8s-file"))
    assert b"".join(d for s, d in poured if s == "stdout") == b"one\n\ntwo \xff\n"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=60)), max_size=12))
def test_k8s_file_keeps_every_byte(tmp_path_factory, chunks):
    path = str(tmp_path_factory.mktemp("k8s") / "log")
    writer = logs.K8sFile(path, 0, 1)
    for stream, data in chunks:
        writer.write(stream, data, NOW)
    writer.close()
    for name, number in (("stdout", 1), ("stderr", 2)):
        wanted = b"".join(data for stream, data in chunks if stream == number)
        read = [e.data for e in log_reading.read_log(path, shape="k8s-file") if e.stream == name]
        assert b"".join(read) == wanted
        poured = [data for stream, data in log_reading.read_output(path, shape="k8s-file") if stream == name]
        assert b"".join(poured) == wanted


@pytest.mark.parametrize(
    "line",
    [b"", b"2023-11-14T22:13:20.123456789Z stdout", b"2023 stdin F x", b"\xff stdout F x", b"a b c"],
)
def test_damaged_lines_of_k8s_file_are_passed_over(line):
    assert log_reading.k8s_entry(line) is None


def test_attributes_stand_in_every_entry_of_json_file(tmp_path):
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 0, 1, attributes=(("tag", 'a"b'), ("team", "red")))
    writer.write(1, b"one\ntwo\n", NOW)
    assert [(e["log"], e["attrs"]) for e in entries(path)] == [
        ("one\n", {"tag": 'a"b', "team": "red"}),
        ("two\n", {"tag": 'a"b', "team": "red"}),
    ]
    assert b"".join(data for _, data in log_reading.read_output(path)) == b"one\ntwo\n"


@given(st.binary(max_size=200))
def test_escapes_are_json(data):
    text = json.loads(b'"' + logs.escape(data).replace(b"\n", b"\\n") + b'"')
    assert text == data.decode("utf-8", "replace")


# -- compressed files


def packed(path):
    """Wait until no file is being compressed."""
    deadline = time.monotonic() + 10
    while os.path.exists(f"{path}.1") or os.path.exists(f"{path}.1.gz.part"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass


@pytest.fixture
def compressed(tmp_path):
    """Sixty numbers over several files, the older ones compressed."""
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 700, 20, compress=True)
    for number in range(60):
        writer.write(1, b"%d\n" % number, NOW + number * 10**9)
    writer.close()
    packed(path)
    return path


def test_older_files_are_compressed_and_read_like_the_others(compressed):
    names = os.listdir(os.path.dirname(compressed))
    assert "log" in names
    assert len([name for name in names if name.endswith(".gz")]) > 4
    assert not [name for name in names if not name.endswith(".gz") and name != "log"]
    import gzip

    with gzip.open(f"{compressed}.1.gz") as file:  # anybody's gunzip reads them
        assert all(json.loads(line)["stream"] == "stdout" for line in file)
    assert [int(e.data) for e in log_reading.read_log(compressed)] == list(range(60))
    assert b"".join(data for _, data in log_reading.read_output(compressed)).split() == [b"%d" % n for n in range(60)]
    found = log_reading.read_log(compressed, since=NOW + 3 * 10**9, until=NOW + 50 * 10**9)
    assert [int(e.data) for e in found] == list(range(3, 51))


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 13, 40, 59, 60, 100])
def test_tail_counts_across_compressed_files(compressed, count):
    read = [int(e.data) for e in log_reading.read_log(compressed, tail=count)]
    assert read == list(range(60))[max(0, 60 - count) :]
    poured = b"".join(data for _, data in log_reading.read_output(compressed, tail=count)).split()
    assert [int(one) for one in poured] == read


def test_a_rotation_half_way_hides_nothing(tmp_path):
    """The writer renames the oldest first: one number after the other is free for a moment."""
    path = str(tmp_path / "log")
    writer = logs.JsonFile(path, 900, 1000)
    for number in range(100):
        writer.write(1, b"%d\n" % number, NOW)
    writer.close()
    names = sorted(os.listdir(tmp_path), key=lambda name: int(name[4:] or 0))
    assert len(names) > 4
    for free in range(len(names) - 1, -1, -1):
        os.rename(f"{path}.{free}" if free else path, f"{path}.{free + 1}")
        assert [int(e.data) for e in log_reading.read_log(path)] == list(range(100))


def test_follow_meets_every_line_once_while_files_are_rotated_and_compressed(tmp_path):
    path = str(tmp_path / "log")
    pid = os.fork()
    if pid == 0:
        writer = logs.JsonFile(path, 900, 1000, compress=True)
        for number in range(400):
            writer.write(1, b"%d\n" % number, NOW)
            if number % 9 == 0:
                time.sleep(0.002)
        writer.close()
        os._exit(0)
    ended = []

    def running():
        if not ended and os.waitpid(pid, os.WNOHANG)[0]:
            ended.append(True)
        return not ended

    assert [int(e.data) for e in log_reading.read_log(path, follow=True, running=running)] == list(range(400))
    packed(path)


def test_a_damaged_compressed_file_ends_where_the_damage_is(compressed):
    with open(f"{compressed}.3.gz", "r+b") as file:
        file.seek(60)
        file.write(b"\xff" * 20)
    read = [int(e.data) for e in log_reading.read_log(compressed)]
    assert read[-1] == 59
    assert 40 < len(read) < 60


def test_a_planted_link_or_fifo_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"log":"secret\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}\n')
    (tmp_path / "log").symlink_to(secret)
    with pytest.raises(OSError):
        list(log_reading.read_log(str(tmp_path / "log")))
    os.mkfifo(tmp_path / "other")
    assert list(log_reading.read_log(str(tmp_path / "other"))) == []


def test_a_line_beyond_reason_is_passed_over_in_bounded_memory(tmp_path):
    path = tmp_path / "log"
    with open(path, "wb") as file:
        for _ in range(40):
            file.write(b"x" * (1 << 20))
        file.write(b'\n{"log":"after\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}\n')
    import tracemalloc

    tracemalloc.start()
    try:
        assert [e.data for e in log_reading.read_log(str(path))] == [b"after\n"]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
