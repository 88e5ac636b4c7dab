"""The SDK in processes of its own: the examples, every method once, threads, and an owner that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from kit.command import Atoll

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "examples")


def python(atoll: Atoll, *words: str, timeout: float = 60.0) -> str:
    """What a Python program prints, run as this Atoll's user."""
    child = atoll.popen(*words, program=sys.executable)
    out, err = child.communicate(timeout=timeout)
    assert child.returncode == 0, f"{out}\n{err}"
    return str(out)


def test_the_examples(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    shown = python(anyone, f"{EXAMPLES}/sandbox.py", busybox)
    assert shown.splitlines() == [
        "exit code 0 result 3",
        "stopped: 'sh' did not end within 0.5 s and was killed",
        "stdout through the pipe",
    ]
    assert anyone.all() == []


PODS = """
import sys, atoll
client = atoll.Client()
pod = client.pods.create("shop", memory="64m", labels={"a": "b"})
one = pod.run(sys.argv[1], ["sh", "-c", "echo hello; sleep 600"], name="one")
pod.create(sys.argv[1], ["sleep", "600"], name="two")
print(pod.status, sorted(one.name for one in pod.containers), client.pods.get("shop") == pod)
pod.restart(timeout=0)
print(pod.status, pod.details["memory_limit"], client.pods.list(["label=a=b"]) == [pod])
pod.pause(); print(pod.status); pod.unpause()
print(sorted(set(pod.logs()))[0])
text = client.pods.generate("shop")
try:
    client.pods.create("shop")
except atoll.Conflict:
    print("taken")
pod.stop(timeout=0); print(pod.status)
(again,) = client.pods.play(text, replace_old=True, network="none")
print(again.name, again.status, len(again.containers))
again.remove(force=True)
print(client.pods.list())
"""


def test_pods(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    shown = python(atoll, "-c", PODS, busybox)
    assert shown.splitlines() == [
        "Degraded ['one', 'two'] True",
        f"Running {64 << 20} True",
        "Paused",
        "('one', 'stdout', b'hello\\n')",
        "taken",
        "Exited",
        "shop Running 2",
        "[]",
    ]


def test_many_at_once(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    shown = python(atoll, f"{EXAMPLES}/fleet.py", busybox)
    assert shown.splitlines() == ["threads [0, 1, 4, 9]", "asyncio [0, 1, 4, 9]", "left []"]


METHODS = """
import sys, atoll
image = sys.argv[1]
client = atoll.Client()

def fails(kind, work):
    try:
        work()
    except kind as error:
        assert isinstance(error, atoll.AtollError)
        return error
    raise AssertionError("nothing was raised")

# results
assert atoll.run(image, ["sh", "-c", "echo out; echo err >&2; exit 3"]) == atoll.Result(
    args=("sh", "-c", "echo out; echo err >&2; exit 3"), exit_code=3, stdout=b"out\\n", stderr=b"err\\n")
assert atoll.run(image, ["cat"], stdin=b"x" * 700_000).stdout == b"x" * 700_000
assert fails(atoll.CommandFailed, lambda: atoll.run(image, ["sh", "-c", "exit 4"], check=True)).result.exit_code == 4
assert fails(atoll.TimedOut, lambda: atoll.run(image, ["sh", "-c", "echo a; sleep 60"], timeout=1)).result.text == "a"
fails(atoll.Exhausted, lambda: atoll.run(image, ["yes"], limit=1 << 20))
fails(atoll.CommandNotFound, lambda: atoll.run(image, ["nosuch"]))
fails(atoll.NotFound, lambda: client.containers.get("nosuch"))
fails(atoll.NotFound, lambda: client.images.get("nosuch"))
fails(atoll.InvalidArgument, lambda: atoll.Sandbox(image, nosuch=1))
fails(atoll.InvalidArgument, lambda: atoll.Sandbox(image, memory="odd"))

# containers
made = client.containers.create(image, ["sleep", "600"], name="web", env={"A": "1"}, labels={"k": "v"})
assert (made.status, made.name) == ("created", "web")
made.start()
assert made.status == "running" and [one.id for one in client.containers.list(filters=["label=k=v"])] == [made.id]
assert made.run(["sh", "-c", "echo $A $B"], env={"B": "2"}).text == "1 2"
made.pause()
assert made.status == "paused"
made.unpause()
made.write("/deep/er/file", b"content", mode=0o600)
assert made.read("/deep/er/file") == b"content"
fails(atoll.NotFound, lambda: made.read("/nosuch"))
fails(atoll.InvalidArgument, lambda: made.read("/deep"))
assert made.stats(0.1).pids == 1
image_id = made.commit("mine:1", changes=['CMD ["cat", "/deep/er/file"]'])
assert client.images.get("mine:1").id == image_id
made.restart(timeout=0)
made.rename("other")
assert made.details["Name"] == "/other"
made.kill()
assert made.wait() == 137 and made.status == "exited"
made.remove()
fails(atoll.NotFound, lambda: made.status)
ran = client.containers.run("mine:1")
assert ran.wait() == 0 and list(ran.logs()) == [("stdout", b"content")]
ran.remove()
client.images.remove("mine:1")

# volumes
volume = client.volumes.create("data")
assert volume in client.volumes.list()
atoll.run(image, ["sh", "-c", "echo kept > /data/f"], volumes={"data": "/data"}, check=True)
assert atoll.run(image, ["cat", "/data/f"], volumes={"data": "/data:ro"}).text == "kept"
client.volumes.remove("data")

# sandboxes
box = atoll.Sandbox(image, client=client)
assert box.run(["true"]).ok
box.close()
box.close()
with atoll.Sandbox(image, client=client) as box:
    process = box.exec(["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"])
    assert next(process.output()) == ("stdout", b"ready\\n")
    process.signal(15)
    assert process.wait(10) == 7
assert client.containers.list(all=True) == []
print("done")
"""


def test_every_method(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    assert python(atoll, "-c", METHODS, busybox) == "done\n"


def test_a_sandbox_ends_with_its_owner(atoll: Atoll, busybox: str):
    """However that ends."""
    atoll.good("pull", "-q", busybox)
    script = (
        "import sys, atoll, time; b = atoll.Sandbox(sys.argv[1]); b.start(); print('up', flush=True); time.sleep(60)"
    )
    child = atoll.popen("-c", script, busybox, program=sys.executable)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    assert len(atoll.all()) == 1
    child.send_signal(signal.SIGKILL)
    child.communicate()
    deadline = time.monotonic() + 10
    while atoll.all():
        assert time.monotonic() < deadline, "the sandbox outlives its owner"
        time.sleep(0.05)


def test_import_costs_nothing():
    script = (
        "import sys, atoll; print([m for m in sys.modules if m.startswith('atoll')]); atoll.Sandbox; atoll.NotFound"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "['atoll']\n"
    wrong = subprocess.run(
        [sys.executable, "-c", "import atoll; atoll.nosuch"], capture_output=True, text=True, timeout=30
    )
    assert "has no attribute 'nosuch'" in wrong.stderr


NETWORKS = """
import sys, urllib.request, atoll
client = atoll.Client()
made = client.networks.create("shop", subnets=["10.97.3.0/24"], labels={"a": "b"})
assert client.networks.get("shop") == made, made
assert (made.driver, made.subnets, made.labels) == ("bridge", ("10.97.3.0/24",), (("a", "b"),)), made
assert {"shop", "none", "host", "bridge"} <= {one.name for one in client.networks.list()}
program = "import http.server as h; h.HTTPServer(('', 80), h.SimpleHTTPRequestHandler).serve_forever()"
server = ["python3", "-c", program]
how = {"network": "shop", "publish": ["127.0.0.1:18097:80"], "workdir": "/usr/bin"}
web = client.containers.run("host", server, name="web", **how)
assert web.ports == {"80/tcp": [("127.0.0.1", 18097)]}, web.ports
import time
for _ in range(100):
    try:
        body = urllib.request.urlopen("http://127.0.0.1:18097/", timeout=5).read()
        break
    except OSError:
        time.sleep(0.1)
assert b"env" in body
other = client.containers.run("host", ["sleep", "600"], name="other", network="none")
both = client.containers.run("host", ["sleep", "600"], name="both", network=["bridge", "shop"])
assert set(both.details["NetworkSettings"]["Networks"]) == {"bridge", "shop"}
client.networks.disconnect("shop", both)
assert set(both.details["NetworkSettings"]["Networks"]) == {"bridge"}
client.networks.connect("shop", both, aliases=["again"])
assert web.run(["getent", "hosts", "again"]).exit_code == 0
try:
    client.networks.remove("shop")
except atoll.Conflict as error:
    print("in use")
for one in (web, other, both):
    one.remove(force=True)
client.networks.remove("shop")
try:
    client.networks.get("shop")
except atoll.NotFound:
    print("gone")
"""


def test_networks_and_ports(net: Atoll) -> None:
    assert python(net, "-c", NETWORKS) == "in use\ngone\n"


PROGRESS = """
import sys, atoll
steps = []
client = atoll.Client(progress=steps.append)
done = atoll.run(sys.argv[1], ["echo", "hi"], client=client)
assert done.text == "hi", done
assert {"resolve", "download", "done"} <= {one.what for one in steps}, steps
late = max(one.current for one in steps if one.what == "download")
assert late and any(one.total == late for one in steps if one.what == "download"), steps
own = []
assert client.images.pull(sys.argv[1], progress=own.append).id
assert own
"""


def test_the_progress_of_a_pull(atoll: Atoll, busybox: str) -> None:
    assert python(atoll, "-c", PROGRESS, busybox) == ""


ASYNC = """
import asyncio, sys, threading, atoll

async def talk(box, word):
    def both_ways():
        with box.exec(["cat"], stdin=True) as process:
            process.write(word)
            got = b""
            for stream, data in process.output(timeout=20):
                got += data
                if got == word:
                    break
            process.close_stdin()
            return got
    return await asyncio.to_thread(both_ways)

async def main():
    with atoll.Sandbox(sys.argv[1]) as box:
        words = [b"word-%d" % number for number in range(5)]
        assert await asyncio.gather(*[talk(box, one) for one in words]) == words
        slow = asyncio.to_thread(box.run, ["sleep", "600"], timeout=0.5)
        quick = asyncio.to_thread(box.run, ["echo", "meanwhile"])
        late, done = await asyncio.gather(slow, quick, return_exceptions=True)
        assert isinstance(late, atoll.TimedOut), late
        assert done.text == "meanwhile", done
        await asyncio.to_thread(box.write, "/tmp/file", b"x" * 100000)
        assert await asyncio.to_thread(box.read, "/tmp/file") == b"x" * 100000

asyncio.run(main())
assert threading.active_count() == 1
"""


def test_asyncio_and_streams_both_ways(anyone: Atoll, busybox: str) -> None:
    anyone.good("pull", "-q", busybox)
    assert python(anyone, "-c", ASYNC, busybox) == ""
    assert anyone.all() == []
