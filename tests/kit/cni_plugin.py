"""A CNI plug-in that misbehaves as its configuration says (`how`); on DEL it is well, but for `del`."""

import json
import os
import sys
import time

conf = json.load(sys.stdin)
verb, how = os.environ["CNI_COMMAND"], conf["how"]
result = conf.get("prevResult", {"cniVersion": conf["cniVersion"], "interfaces": [], "ips": []})


def fail(words: str, details: str = "") -> None:
    print(json.dumps({"cniVersion": conf["cniVersion"], "code": 100, "msg": words, "details": details}))
    sys.exit(1)


if verb == "DEL":
    if how == "del" and os.path.exists(conf["flag"]):
        fail("not now")
    sys.exit(0)
if verb == "GC":
    with open(conf["flag"], "w") as stream:
        json.dump(conf["cni.dev/valid-attachments"], stream)
    sys.exit(0)
if verb != "ADD":
    sys.exit(0)
if how == "fail":
    fail("as it pleases", "more of it")
elif how == "words":
    sys.exit("only on standard error \x1b[31m")
elif how == "flood":
    while True:
        sys.stdout.write("x" * 65536)
elif how == "garbage":
    print('{"ips": [')
elif how == "deep":
    print("[" * 100000)
elif how == "list":
    print("[]")
elif how == "address":
    result["ips"] = [{"address": "10.1.2.3.4/24"}]
    print(json.dumps(result))
elif how == "newline":
    result["dns"] = {"nameservers": ["10.0.0.1"], "search": ["a\nnameserver 6.6.6.6"]}
    print(json.dumps(result))
elif how == "crash":
    os.kill(os.getpid(), 11)
elif how == "slow":
    time.sleep(60)
elif how == "closed":
    os.close(1)
    os.close(2)
    time.sleep(60)
elif how == "orphan":
    print(json.dumps(result), flush=True)
    if os.fork() == 0:
        time.sleep(3)
else:
    print(json.dumps(result))
