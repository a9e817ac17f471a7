"""Checks of what the user writes.

A number may be of any type, NumPy's for example (``True`` is none); what is kept is an int or a float.
"""
from __future__ import annotations

import math
import uuid
from numbers import Integral, Real
from typing import Any, Optional

from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST

#: More than there is of anything that is counted here. Far larger ones could not be computed with.
MOST = 1_000_000


def as_int(value: Any, least: int) -> Optional[int]:
    """``value`` as an int, if it is a whole number from ``least`` to :data:`MOST`, else None."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    number = int(value)
    return number if least <= number <= MOST else None


def as_float(value: Any) -> Optional[float]:
    """``value`` as a float, if it is a number that a float can hold, and not infinite or NaN, else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_run_time(value: Any) -> Optional[float]:
    """``value`` as a float, if it is a number of seconds that a task can be expected to run, else None."""
    number = as_float(value)
    return number if number is not None and 0 <= number <= LONGEST else None


def check_count(what: str, value: Any) -> int:
    """Check that ``value`` is a positive whole number, not above :data:`MOST`.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    return _check_int(what, value, 1)


def check_not_negative(what: str, value: Any) -> int:
    """Check that ``value`` is a whole number of at least 0, not above :data:`MOST`.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    return _check_int(what, value, 0)


def _check_int(what: str, value: Any, least: int) -> int:
    number = as_int(value, least)
    if number is None:
        raise EndpointConfigurationError(f"{what} must be a whole number of at least {least} and at most {MOST}, not {value!r}")
    return number


def check_number(what: str, value: Any) -> float:
    """Check that ``value`` is a finite number of at least 0.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    number = as_float(value)
    if number is None or number < 0:
        raise EndpointConfigurationError(f"{what} must be a finite number of at least 0, not {value!r}")
    return number


def check_positive(what: str, value: Any) -> float:
    """Check that ``value`` is a finite number above 0.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    number = as_float(value)
    if number is None or number <= 0:
        raise EndpointConfigurationError(f"{what} must be a positive number, not {value!r}")
    return number


def check_uuid(what: str, value: str) -> str:
    """Check that ``value`` is a UUID, and give it its usual form.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise EndpointConfigurationError(f"{what} must be a UUID, not {value!r}") from None
