"""A day's work with Docker: the commands of its getting-started guide, unchanged, with `docker` meaning `atoll`.

Left out: building, Compose, networks and published ports, which have tests of their own. The images are local ones
under the guide's names. Source: Docker's guides "Get started" and "Docker workshop", parts 1 to 9.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from kit.command import Atoll, installed
from kit.terminal import Terminal

ALIAS = """
set -eu
docker() {{ {program} "$@"; }}
fails() {{ if "$@"; then echo "should fail: $*" >&2; exit 1; fi; }}
"""

PARTS = {
    "orientation": """
        docker --version
        docker info
        docker run hello-world | grep -q 'Hello from Docker'
        docker image ls | grep -q hello-world
        docker container ls --all | grep -q 'Exited (0)'
        docker container ls -aq
        docker container ls
        docker rm $(docker ps -aq)
    """,
    "run, look, stop, remove": """
        id=$(docker run -d getting-started)
        docker ps | grep -q getting-started
        docker stop -t 0 $id
        docker rm $id
        docker run -d --name app getting-started
        docker rm -f app
        test -z "$(docker ps -aq)"
    """,
    "share": """
        docker tag getting-started YOUR-USER-NAME/getting-started
        docker image ls | grep -q YOUR-USER-NAME/getting-started
        docker rmi YOUR-USER-NAME/getting-started
        docker image ls | grep -q getting-started
    """,
    "persist": """
        docker run --rm alpine touch greeting.txt
        fails docker run --rm alpine stat greeting.txt
        docker volume create todo-db
        docker run -d --name todo --mount type=volume,src=todo-db,target=/etc/todos getting-started
        docker exec todo sh -c 'echo "buy milk" > /etc/todos/todo.db'
        docker rm -f todo
        docker run -d --name todo --mount type=volume,src=todo-db,target=/etc/todos getting-started
        test "$(docker exec todo cat /etc/todos/todo.db)" = 'buy milk'
        docker volume inspect todo-db | grep -q '"Mountpoint"'
        docker volume inspect todo-db -f '{{{{ .Name }}}}' | grep -qx todo-db
        docker rm -f todo
        docker volume rm todo-db
    """,
    "bind mounts": """
        mkdir -p src; echo 'console.log("hi")' > src/app.js
        test "$(docker run --rm --mount type=bind,src="$(pwd)",target=/src alpine cat /src/src/app.js)" = \
            'console.log("hi")'
        docker run -d --name dev -w /app --mount type=bind,src="$(pwd)",target=/app alpine \
            sh -c "echo Listening on port 3000; exec tail -f /dev/null"
        until docker logs dev | grep -q 'Listening on port 3000'; do sleep 0.1; done
        docker exec dev sh -c 'echo changed > src/new.js; pwd' | grep -qx /app
        test "$(cat src/new.js)" = changed
        docker rm -f dev
        docker run --rm -v "$(pwd)/src":/in:ro alpine ls /in | grep -q app.js
        fails docker run --rm -v "$(pwd)/src":/in:ro alpine touch /in/x
    """,
    "variables and limits": """
        docker run --rm -e MYSQL_ROOT_PASSWORD=secret -e MYSQL_DATABASE=todos alpine env > seen
        grep -q ^MYSQL_DATABASE=todos seen
        printf 'A=1\\nB=2\\n' > vars
        docker run --rm --env-file vars alpine sh -c 'test $A$B = 12'
        docker run --rm --user 1000:1000 --workdir /tmp alpine sh -c 'id -u; pwd' | tr '\\n' ' ' | grep -q '1000 /tmp'
        docker run --rm --read-only --tmpfs /run alpine sh -c 'touch /run/x && ! touch /x 2>/dev/null'
        docker run --rm --hostname box --entrypoint hostname alpine | grep -qx box
        docker run --rm --init alpine true
    """,
    "life cycle": """
        docker create --name web alpine sh -c 'echo started; exec sleep 600'
        docker start web
        docker inspect --format='{{{{.State.Status}}}}' web | grep -qx running
        docker inspect --format='{{{{range .Mounts}}}}{{{{.Source}}}}{{{{end}}}}{{{{json .Config.Cmd}}}}' web > seen
        grep -q sleep seen
        docker top web | grep -q 'sleep 600'
        docker rename web site
        docker restart -t 0 site
        docker logs --tail 1 --timestamps site | grep -q 'Z started'
        docker exec -d site touch /tmp/file
        until docker exec site ls /tmp/file; do sleep 0.1; done
        echo here > local; docker cp local site:/tmp/
        docker cp site:/tmp/local copied; cmp local copied
        docker cp site:/tmp - | tar t | grep -q tmp/file
        docker diff site | grep -q 'A /tmp/file'
        test "$(docker commit site snapshot)" = "$(docker inspect -f '{{{{.Id}}}}' --type image snapshot)"
        docker run --rm snapshot cat /tmp/local | grep -qx here
        docker export site > root.tar; tar tf root.tar | grep -q tmp/local
        docker update --restart=no site
        docker kill --signal=KILL site
        test $(docker wait site) = 137
        docker ps -a --filter status=exited --format '{{{{.Names}}}}: {{{{.Status}}}}' | grep -q 'site: Exited (137)'
        docker container prune -f
        docker image rm snapshot
        test -z "$(docker ps -aq)"
    """,
    "pipes and codes": """
        test "$(echo through | docker run -i --rm alpine cat)" = through
        code=0; docker run --rm alpine sh -c 'exit 42' || code=$?; test $code = 42
        code=0; docker run --rm alpine nosuch 2>/dev/null || code=$?; test $code = 127
        code=0; docker run --rm alpine /etc 2>/dev/null || code=$?; test $code = 126
        code=0; docker run --nosuch alpine 2>/dev/null || code=$?; test $code = 125
        docker run --rm --cidfile id alpine true; test -s id
        docker image history getting-started
        docker image inspect getting-started -f '{{{{.Os}}}}/{{{{.Architecture}}}}' | grep -q ^linux/
        docker version
    """,
}


SAMPLED = ("bind mounts", "life cycle", "persist")
"""The parts that an ordinary user goes through in every run; the others with `--full`."""
CASES = [
    *[("atoll", part) for part in sorted(PARTS)],
    *[pytest.param("rootless", part, marks=() if part in SAMPLED else pytest.mark.full) for part in sorted(PARTS)],
]


def stock(one: Atoll, busybox: str) -> None:
    """The guide's images: names for busybox, made by `commit` where they need a program."""
    one.good("pull", "-q", busybox)
    one.good("tag", busybox, "alpine")
    for name, command in (
        ("hello-world", '["echo", "Hello from Docker!"]'),
        ("getting-started", '["sleep", "600"]'),
    ):
        one.good("create", "--name", "maker", busybox)
        one.good("commit", "-c", f"CMD {command}", "maker", name)
        one.good("rm", "maker")


@pytest.mark.parametrize(("whose", "part"), CASES)
def test_the_guide(request: pytest.FixtureRequest, busybox: str, whose: str, part: str):
    stocked: Atoll = request.getfixturevalue(whose)
    stock(stocked, busybox)
    place = f"{stocked.folder}/work"
    os.mkdir(place)
    if stocked.user is not None:
        os.chown(place, stocked.user.uid, stocked.user.gid)
    script = (ALIAS + PARTS[part]).format(program=installed())
    child = stocked.popen("-x", "-c", script, program="/bin/bash", cwd=place)
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, f"{out}\n{err}"
    assert "Traceback" not in err, err


def test_a_terminal_of_the_guide(atoll: Atoll, debian: str):
    atoll.good("pull", "-q", debian)
    atoll.good("tag", debian, "ubuntu")
    place = f"{atoll.folder}/work"
    os.mkdir(place)
    subprocess.run(["sh", "-c", "echo hello > myfile.txt"], cwd=place, check=True)
    words = ("run", "-it", "--name", "play", "--mount", f"type=bind,src={place},target=/src", "ubuntu", "bash")
    with Terminal(atoll, *words) as term:
        term.expect(r"# ")
        term.line("ls /src; cd /src && touch made.txt; exit")
        term.expect("myfile.txt")
        assert term.wait() == 0
    assert os.path.exists(f"{place}/made.txt")
    atoll.good("start", "play")
    with Terminal(atoll, "exec", "-it", "play", "bash") as term:
        term.expect(r"# ")
        term.line("exit 3")
        assert term.wait() == 3
    with Terminal(atoll, "attach", "play") as term:
        term.line("echo still $((20+22))")
        term.expect("still 42")
        term.type("\x10\x11")
        assert term.wait() == 0
    assert atoll.good("rm", "-f", "play") == "play"
