"""Many sandboxes at once, from threads and from asyncio. `fleet.py [IMAGE]`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import atoll

image = sys.argv[1] if len(sys.argv) > 1 else "busybox"
client = atoll.Client()


def square(number: int) -> int:
    """In a container of its own."""
    return int(atoll.run(image, ["sh", "-c", f"echo $(({number} * {number}))"], client=client, timeout=60).text)


async def main() -> list[int]:
    """Every method may wait, so asyncio calls it in a thread."""
    return await asyncio.gather(*[asyncio.to_thread(square, number) for number in range(4)])


with ThreadPoolExecutor(4) as pool:
    print("threads", list(pool.map(square, range(4))))
print("asyncio", asyncio.run(main()))
print("left", client.containers.list(all=True))
