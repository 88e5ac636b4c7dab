"""What is made of a comparison: numbers, tables, the page, an answer about sizes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as tree

import pytest

from atoll.base import errors
from atoll.compare.report import markdown, numbers, page, plots, sizing, text
from atoll.compare.values import LESS, NEITHER, Cell, Comparison, Row, Rung, from_json


def row(key, unit="s", better=LESS, **cells):
    return Row(key=key, section="a section", title=f"title of {key}", unit=unit, better=better, how="so", cells=cells)


@pytest.fixture
def found():
    rows = (
        row("start", process=Cell(samples=(0.001, 0.003, 0.002)), vm=Cell(samples=(1.2,))),
        row("memory", "B", process=Cell(samples=(8192.0,)), vm=Cell(samples=(100.0 * 2**20,))),
        row("fit", "", process=Cell(samples=(5000.0,), note="processes are what runs out first"),
            vm=Cell(samples=(50.0,), note="memory is what runs out first")),
        row("kernel", "", NEITHER, process=Cell(text="shared"), vm=Cell(text="own", note="<6.1 & more>")),
        row("noise", "x", process=Cell(samples=(1.5, 2.5)), vm=Cell(reason="it <hung>")),
    )  # fmt: skip
    return Comparison(
        machine={
            "when": "2026-01-02T03:04:05Z",
            "processors": "2 × some | thing",
            "memory": "8192 MiB",
            "memory available": "6000 MiB",
        },
        options={"samples": "3"},
        rungs=(
            Rung(name="process", title="plain process"),
            Rung(name="vm", title="machine"),
            Rung(name="gvisor", title="gVisor", reason="there is no program 'runsc'"),
        ),
        rows=rows,
        seconds=12.3,
    )


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0123, "s", "12.3 ms"),
        (1.5, "s", "1.50 s"),
        (4.2e-8, "s", "42.0 ns"),
        (3 * 2**30, "B/s", "3.00 GiB/s"),
        (512, "B", "512 B"),
        (2.0, "x", "×2.00"),
        (12345, "", "12,345"),
        (2, "", "2"),
        (6.5, "", "6.50"),
    ],
)
def test_numbers(value, unit, said):
    assert numbers.shown(value, unit) == said


def test_medians():
    assert Cell(samples=(3, 1, 2)).median == 2
    assert Cell(samples=(4, 1, 2, 3)).median == 2.5
    assert not Cell(reason="none").known


def test_nothing_is_left_out_silently(found):
    shown = text.render(found, spreads=True)
    assert next(line.split() for line in shown.splitlines() if line.startswith("  to")) == ["to", "3.00", "ms"]
    assert "gVisor: there is no program 'runsc'" in shown
    assert "title of noise (vm): it <hung>" in shown
    document = markdown.render(found)
    assert "- gVisor: there is no program 'runsc'" in document
    assert "- title of noise (vm): it &lt;hung>" in document
    assert "2 × some \\| thing" in document
    html = page.render(found)
    assert "there is no program" in html
    assert "it &lt;hung&gt;" in html


def test_columns_that_do_not_fit_come_below(found):
    narrow = text.render(found, width=60)
    assert max(len(line) for line in narrow.splitlines() if line.startswith(("A SECTION", "title"))) <= 60
    assert narrow.count("A SECTION") == 2
    assert text.render(found).count("A SECTION") == 1


def test_json_there_and_back(found):
    assert from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.to_json()["rows"][0]["cells"]["process"]["samples"] == [0.001, 0.003, 0.002]


def test_the_page_is_one_file_without_scripts(found):
    html = page.render(found)
    for outside in ("<script", "src=", "href=", "@import", "url("):
        assert outside not in html
    assert "@media print" in html
    assert html.count("<svg") == 3  # start, memory, fit; words and a lone number have none
    assert "&lt;6.1 &amp; more&gt;" in html
    assert "0.003" in html  # raw data


def test_plots_are_well_formed_and_in_order(found):
    drawn = plots.bars(found, found.rows[0])
    svg = tree.fromstring(drawn[: drawn.index("</svg>") + 6])
    widths = [float(one.get("width")) for one in svg.iter("rect")]
    assert len(widths) == 2
    assert widths[0] < widths[1]
    assert len(list(svg.iter("circle"))) == 4
    assert "logarithmic" in drawn
    assert plots.bars(found, found.rows[4]) == ""


def test_the_short_table_goes_between_marks(found):
    document = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n"
    made = markdown.between_marks(document, found)
    assert made.startswith(f"before\n{markdown.BEGIN}\n| | plain process | machine |")
    assert made.endswith(f"{markdown.END}\nafter\n")
    assert "old" not in made
    assert "gVisor (there is no program 'runsc')" in made
    assert markdown.between_marks(made, found) == made
    with pytest.raises(errors.InvalidArgument, match="marks"):
        markdown.between_marks("none", found)


@pytest.mark.parametrize(
    ("words", "copies", "each", "rest"),
    [
        ("web server, 200 copies", 200, 0, "web server"),
        ("1,000 copies of 64m", 1000, 64 << 20, "a copy"),
        ("busy, 3 servers of 1.5 GiB", 3, 3 << 29, "busy"),
        ("python 3 workers, 20x", 20, 0, "python 3 workers"),
    ],
)
def test_sizes_are_read(words, copies, each, rest):
    want = sizing.parse(words)
    assert (want.copies, want.each, want.words) == (copies, each, rest)


def test_sizes_are_answered(found):
    said = sizing.render(found, sizing.parse("web server, 40 copies"))
    assert "web server: 40 copies" in said
    assert "machine                        fits: 3.91 GiB" in said
    assert said.rstrip().splitlines()[2].endswith("room for 5,000")
    assert "The strongest that fits: machine." in said
    assert "Not on this host: gVisor" in said
    with_need = sizing.render(found, sizing.parse("40 copies of 100m"))
    assert "machine                        does not fit" in with_need
    assert "room for 27" in with_need  # 5400 MiB by 200
    assert "room for 53" in with_need
    assert "The strongest that fits: plain process." in with_need
    other = [one.replace(cells={**one.cells, "runc": one.cell("process")}) for one in found.rows]
    beside = found.replace(rows=tuple(other), rungs=(*found.rungs, Rung(name="runc", title="runc (raw)")))
    assert "The strongest that fits: machine." in sizing.render(beside, sizing.parse("40 copies"))
    with pytest.raises(errors.InvalidArgument, match="how many"):
        sizing.parse("a web server")
    with pytest.raises(errors.FailedPrecondition, match="memory"):
        sizing.render(found.replace(rows=found.rows[:1]), sizing.parse("2 copies"))
