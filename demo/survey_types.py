"""What the tasks of the survey hand to one another: plain dicts of plain values, since the endpoints know no class of ours."""
from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Tuple, TypedDict


class Source(NamedTuple):
    """A file to survey: its path, and the name that the module in it is imported by."""

    path: str
    module: str


#: A function's length in lines, its module, its name in the module, and the line where it begins.
Length = Tuple[int, str, str, int]


class Survey(TypedDict):
    """What is known of one file, or of many."""

    totals: Counter[str]
    identifiers: Counter[str]
    functions: dict[str, int]  # how many, by module
    longest: list[Length]  # the longest functions, longest first
    imports: dict[str, list[str]]  # dotted names that loading the module may import, by module
    unreadable: dict[str, str]  # why a file is not Python, by module


class Report(TypedDict):
    """What the survey found; in each list the greatest comes first."""

    totals: dict[str, int]
    top_identifiers: list[tuple[str, int]]
    most_functions: list[tuple[str, int]]
    longest_functions: list[Length]
    most_imported: list[tuple[str, int]]  # by how many modules
    furthest_reach: list[tuple[str, int]]  # how many modules it loads, directly or through others
    largest_circle: list[str]  # modules that all load one another, directly or through others
    unreadable: dict[str, str]
