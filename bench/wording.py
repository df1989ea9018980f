"""What the tables call the outcome of a comparison of results."""

from __future__ import annotations


def say_result(row: dict) -> str:
    """Whether the two builds' results were the same."""
    if row["bit_equal"]:
        return "bit-equal"
    if row["equal"]:
        return "equal"
    difference = row.get("difference")
    return "DIFFER" if difference is None else f"differ by {difference:.1e}"
