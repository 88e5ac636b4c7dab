from typing import Any

from atoll.vm import template


class Control:
    """What was asked, in its order; everything is done at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, command: str, **arguments: Any) -> None:
        self.asked.append((command, arguments))

    def give(self, name: str, fd: int) -> None:
        self.asked.append(("getfd", {"fdname": name}))

    def wait_for(self, command: str, key: str, good: str, pending: tuple[str, ...], seconds: float) -> None:
        self.asked.append((command, {key: good}))


def test_a_restored_machine_announces_nothing():
    """A guest that was asked to, and took an interface down meanwhile, stood still for ever (`restore`)."""
    control = Control()
    template.restore(control, 5, 30.0)  # type: ignore[arg-type]
    commands = [command for command, _ in control.asked]
    assert ("migrate-set-parameters", {"announce-rounds": 0}) in control.asked
    assert commands.index("migrate-set-parameters") < commands.index("migrate-incoming")
    assert commands[-2:] == ["query-migrate", "cont"]
