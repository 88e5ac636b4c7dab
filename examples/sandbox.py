"""Run code that you do not trust: files in, a limit on time and memory, files out. `sandbox.py [IMAGE]`."""

import sys

import atoll

image = sys.argv[1] if len(sys.argv) > 1 else "busybox"

with atoll.Sandbox(image, memory="64m", network="none") as box:
    box.write("/work/count.sh", b"wc -w < /work/words > /work/result\n")
    box.write("/work/words", b"three little words")
    done = box.run(["sh", "/work/count.sh"], timeout=10)
    print("exit code", done.exit_code, "result", box.read("/work/result").decode().strip())

    try:
        box.run(["sh", "-c", "while :; do :; done"], timeout=0.5)
    except atoll.TimedOut as error:
        print("stopped:", error)

    # A process in the background, and its streams as they come.
    with box.exec(["cat"], stdin=True) as process:
        process.write(b"through the pipe\n")
        process.close_stdin()
        for stream, data in process.output(timeout=10):
            print(stream, data.decode().strip())
# Here nothing of it is left; nor would there be if this program had been killed.
