"""The section of functions, from ``directions.json``: what the pass knows and does about each."""

from __future__ import annotations

from .section import Documents, Part, Section, rows_of, tabulate_plain

STEM = "directions"


def make_section(documents: Documents) -> Section:
    """The table; nothing in it was timed."""
    rows = rows_of(documents, STEM)
    caption = (
        "Behind a convolution 3x3, 3 to 64 channels on 112x112, max pool 2x2. The certificate says "
        "how far the function strays from its direction, the decision is the model's expectation."
    )
    table = Part("Each function", caption, tabulate_plain(rows), folded=False)
    return Section(
        STEM,
        "Functions: direction, certificate, licence, decision",
        "What is known of each function that has a name, and what is done at a site with it.",
        "python -m bench.directions",
        (table,) if rows else (),
    )
