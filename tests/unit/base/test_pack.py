"""The pack in an interpreter of its own, on a package of its own."""

import os
import subprocess
import sys

import pytest

from atoll.base import pack as real


@pytest.fixture
def tree(tmp_path):
    package = tmp_path / "lib" / "atoll"
    (package / "inner").mkdir(parents=True)
    (package / "__pycache__").mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("KIND = 'package'\n")
    (package / "inner" / "leaf.py").write_text("VALUE = 1\ndef fail():\n    raise ValueError('here')\n")
    return tmp_path / "lib"


def start(tree, body, *, save=True):
    """Run `body` with the pack in use; returns its output."""
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("thepack", {real.__file__!r})
thepack = importlib.util.module_from_spec(spec); spec.loader.exec_module(thepack)
sys.path.insert(0, {str(tree)!r})
pack = thepack.Pack({str(tree)!r}); sys.meta_path.insert(2, pack)
{body}
if {save}: thepack.save(pack)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


LOOK = """
from atoll.inner import leaf, KIND
print(type(leaf.__spec__.loader).__name__, leaf.VALUE, KIND, leaf.__file__, sys.modules["atoll.inner"].__path__)
"""


def packs(tree):
    return [name for name in os.listdir(tree / "atoll" / "__pycache__") if ".pack" in name]


def test_what_was_missed_once_comes_from_the_pack_afterwards(tree):
    first, second = start(tree, LOOK), start(tree, LOOK)
    assert first.startswith("SourceFileLoader 1 package")
    assert second.startswith("Pack 1 package")
    assert first.split(" ", 1)[1] == second.split(" ", 1)[1]
    assert len(packs(tree)) == 1


def test_an_edited_source_is_never_run_from_an_old_pack(tree):
    start(tree, LOOK)
    (tree / "atoll" / "inner" / "leaf.py").write_text("VALUE = 22\n")
    assert start(tree, LOOK, save=False).startswith("SourceFileLoader 22")
    start(tree, LOOK)
    assert start(tree, LOOK).startswith("Pack 22")


def test_a_source_that_is_edited_meanwhile_is_not_kept_as_it_was(tree):
    """A process that runs the old code, and misses something, writes the pack after the edit."""
    start(tree, LOOK)
    leaf = str(tree / "atoll" / "inner" / "leaf.py")
    (tree / "atoll" / "inner" / "other.py").write_text("")
    edit = f"open({leaf!r}, 'w').write('VALUE = 333')"
    old = start(tree, f"{LOOK}\n{edit}\nimport atoll.inner.other")
    assert old.startswith("Pack 1")
    assert start(tree, LOOK).split()[1] == "333"
    assert start(tree, LOOK).startswith("Pack 333")


def test_a_module_that_is_gone_is_gone(tree):
    start(tree, LOOK)
    (tree / "atoll" / "inner" / "leaf.py").unlink()
    body = "try:\n    import atoll.inner.leaf\nexcept ImportError as error: print(error)"
    assert "No module named" in start(tree, body)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"[" * 100, b"\x00" * 50])
def test_a_damaged_pack_is_as_if_there_were_none(tree, damage):
    start(tree, LOOK)
    (tree / "atoll" / "__pycache__" / packs(tree)[0]).write_bytes(damage)
    assert start(tree, LOOK).startswith("SourceFileLoader 1")
    assert start(tree, LOOK).startswith("Pack 1")


def test_tracebacks_show_the_source(tree):
    start(tree, LOOK)
    body = """
import traceback
from atoll.inner import leaf
try: leaf.fail()
except ValueError: print(traceback.format_exc())
"""
    assert "raise ValueError('here')" in start(tree, body)


def test_who_may_not_write_there_leaves_nothing(tree):
    os.chmod(tree / "atoll" / "__pycache__", 0o555)
    if os.geteuid() == 0:
        body = f"import os; os.setresuid(65534, 65534, 65534)\n{LOOK}"
        for path in [tree, *tree.parents]:
            if not os.stat(path).st_mode & 0o001:
                os.chmod(path, 0o711)
    else:
        body = LOOK
    assert start(tree, body).startswith("SourceFileLoader 1")
    assert packs(tree) == []
