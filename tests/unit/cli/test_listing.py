"""Lists as `--format` and `--sort` ask for them."""

import pytest

from atoll.base import errors
from atoll.cli import display
from atoll.cli.listing import in_order

ROWS = [
    {"ID": "a1", "Size": 7, "Note": "x\x1b[31m", "Label": {"my.team": "red"}.get},
    {"ID": "b2", "Size": 3, "Note": "", "Label": {}.get},
]
TABLE = "THING ID   SIZE\na1         7\nb2         3\n"


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        (None, TABLE),
        ("", TABLE),
        ("table", TABLE),
        ("table {{.Size}}\\t{{.ID}}", "SIZE      THING ID\n7         a1\n3         b2\n"),
        ('table {{.Label "my.team"}}', "team\nred\n<no value>\n"),
        ("{{.ID}}={{.Size}}", "a1=7\nb2=3\n"),
        ("{{.Note}}|", "x\\x1b[31m|\n|\n"),
        ("json", '{"ID":"a1","Note":"x\\u001b[31m","Size":7}\n{"ID":"b2","Note":"","Size":3}\n'),
    ],
)
def test_formats(style, shown):
    assert display.listed(style, ROWS, ("ID", "Size"), {"ID": "THING ID"}) == shown


def test_order():
    keys = {"size": lambda row: row["Size"], "id": lambda row: row["ID"]}
    assert in_order(ROWS, None, keys) is ROWS
    assert [row["ID"] for row in in_order(ROWS, "size", keys)] == ["b2", "a1"]
    with pytest.raises(errors.InvalidArgument, match="invalid value 'name' for --sort") as refused:
        in_order(ROWS, "name", keys)
    assert refused.value.hint == "known are size, id"
