"""A folder of results as one HTML page with charts, which needs nothing else to be looked at.

    python -m scripts.report [FOLDER] [-o report.html] [--machine NAME]

FOLDER holds what the benches write (default: results, or bench/results, which the repository comes
with, as long as nothing was measured here).  A page is about one machine: that of most documents,
or the one that NAME names.  Exit status: 0 done, 1 done, but something was left
out (one line each on stderr), 2 nothing could be made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bench
from tvm_reorder.cli.errors import UsageError
from tvm_reorder.cli.lines import say, say_lines

OWN, COMMITTED = Path("results"), Path(bench.__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=OWN if OWN.is_dir() else COMMITTED,
        help="default: results, if it is there, else bench/results",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE")
    parser.add_argument("--machine", metavar="NAME", help="whose results (default: of most)")
    args = parser.parse_args(arguments)
    try:
        return make_report(args.folder, args.output, args.machine)
    except UsageError as error:
        say_lines(str(error), sys.stderr)
        return 2


def make_report(folder: Path, output: Path, machine: str | None = None) -> int:
    """Read, draw and write.

    Parameters
    ----------
    folder : Path
        Where the results are.
    output : Path
        The page; whole or not there at all.
    machine : str, optional
        Name of the machine, or a part of it.

    Returns
    -------
    int
        The exit status: 1 if something was left out.

    Raises
    ------
    UsageError
        If nothing can be made.
    """
    from bench.report.load import read_folder
    from bench.report.machine import choose_machine

    found = read_folder(folder)
    _say(found.problems)
    documents, strangers = choose_machine(found.documents, machine)
    _say(strangers)
    problems = [*found.problems, *strangers]
    page, sections = _import_page()(documents, problems, found.others)
    _write(output, page)
    measured = sum(bool(section.parts) for section in sections)
    say(f"{output}: {measured} of {len(sections)} sections measured")
    return 1 if problems else 0


def _say(lines: list[str] | tuple[str, ...]) -> None:
    for line in lines:
        say(line, sys.stderr)


def _import_page():
    try:
        from bench.report.page import make_page
    except ImportError as error:
        raise UsageError(
            f"{error.name} is missing but must be installed: pip install -e '.[bench]'"
        ) from error
    return make_page


def _write(output: Path, page: str) -> None:
    """Write the page to a draft that then takes the page's place."""
    draft = output.with_name(output.name + ".part")
    try:
        draft.write_text(page, encoding="utf-8", errors="replace")
        draft.replace(output)
    except OSError as error:
        if draft.is_file():
            draft.unlink()
        raise UsageError(
            f"output {output} is not writable ({error.strerror}) but must be a file in a folder "
            "that is there"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
