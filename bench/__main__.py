"""`bench/run [--quick] [--pairs N] [--list] [ROW…]`: measure, print a Markdown table per row, keep the JSON."""

from __future__ import annotations

import argparse
import os
import sys


def main() -> int:
    """Exit code 1 if a row could not be measured."""
    from bench import report, rows
    from bench.world import PACKAGES, World, install

    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--quick", action="store_true", help="few runs, to see that everything works")
    parser.add_argument("--pairs", type=int, default=15, help="pairs per comparison (default: 15)")
    parser.add_argument("--pull-pairs", type=int, default=3, help="pairs per pull (default: 3)")
    parser.add_argument("--no-save", action="store_true", help="print only")
    chosen = parser.parse_args()
    known = dict(rows.all_rows())
    if chosen.list:
        for name, module in known.items():
            print(f"{name:12} {module.TITLE}")
        return 0
    unknown = [name for name in chosen.rows if name not in known]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    if os.geteuid() != 0:
        parser.error("the peers are run as root, so run this as root")
    options = report.Options(chosen.pairs, chosen.pull_pairs)
    if chosen.quick:
        options = report.Options(3, 1, 5)
    wanted = chosen.rows or list(known)
    install([*PACKAGES, *(package for name in wanted for peer in known[name].PEERS for package in peer.packages)])
    facts = report.machine()
    text = "\n".join(f"- {key}: {value}" for key, value in facts.items()) + "\n\n"
    print(text, end="", flush=True)
    results, problems = [], []
    with World() as world:
        for name in wanted:
            lines: list[report.Result] = []
            for line in known[name].measure(world, options):
                if isinstance(line, str):
                    problems.append(line)
                    print(f"not measured: {line}", file=sys.stderr, flush=True)
                else:
                    lines.append(line)
            piece = report.table(known[name].TITLE, lines) + "\n" if lines else ""
            print(piece, end="", flush=True)
            text += piece
            results += lines
    if not chosen.no_save:
        print(f"kept in {report.save(facts, results, problems, text)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
