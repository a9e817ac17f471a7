"""Checks of what the user writes."""
from __future__ import annotations

import math
import uuid
from typing import Any, Union

from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError


def check_count(what: str, value: Any) -> int:
    """Check that ``value`` is a positive whole number (``True`` is none).

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EndpointConfigurationError(f"{what} must be a whole number of at least 1, not {value!r}")
    return value


def check_number(what: str, value: Any) -> float:
    """Check that ``value`` is a finite number of at least 0 (``True`` is none).

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    if not is_finite(value) or value < 0:
        raise EndpointConfigurationError(f"{what} must be a finite number of at least 0, not {value!r}")
    return float(value)


def is_finite(value: Any) -> bool:
    """Whether ``value`` is an int or float that a float can hold, and not infinite or NaN (``True`` is no number)."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that is too large
        return False


def check_not_negative(what: str, value: int) -> int:
    """Check that ``value`` is a whole number of at least 0.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EndpointConfigurationError(f"{what} must be a whole number of at least 0, not {value!r}")
    return value


def check_positive(what: str, value: Union[int, float]) -> float:
    """Check that ``value`` is a finite number above 0.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    if not is_finite(value) or value <= 0:
        raise EndpointConfigurationError(f"{what} must be a positive number, not {value!r}")
    return value


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
