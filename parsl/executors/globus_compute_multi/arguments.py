"""Checks of what the user writes.

A number may be of any type, NumPy's for example (``True`` is none); what is kept is an int or a float.
"""
from __future__ import annotations

import math
import os
import uuid
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Sequence, Union

from parsl.data_provider.staging import Staging
from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    TaskNotPickled,
)
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST
from parsl.serialize import pack_apply_message, serialize

#: More than there is of anything that is counted here. Far larger ones could not be computed with.
MOST = 1_000_000

_SHOWN = 200


def shown(value: Any) -> str:
    """``value`` as messages show it: short, and whatever it is. Some have no text, an int of 5000 digits for example."""
    return _short(value, repr)


def text_of(error: BaseException) -> str:
    """Type and text of an exception, short, even if its text cannot be had."""
    return f"{type(error).__name__}: {_short(error, str)}"


def _short(value: Any, to_text: Callable[[Any], str]) -> str:
    try:
        text = to_text(value)
    except BaseException:  # it is code of the user's, which may even raise SystemExit
        return f"something of type {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


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
    except (OverflowError, TypeError, ValueError):
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
        raise EndpointConfigurationError(f"{what} must be a whole number of at least {least} and at most {MOST}, not {shown(value)}")
    return number


def check_number(what: str, value: Any) -> float:
    """Check that ``value`` is a number of at least 0, not above :data:`LONGEST`.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    number = as_run_time(value)
    if number is None:
        raise EndpointConfigurationError(f"{what} must be a finite number of at least 0 and at most {LONGEST:g}, not {shown(value)}")
    return number


def check_positive(what: str, value: Any) -> float:
    """Check that ``value`` is a number above 0, not above :data:`MOST`.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    number = as_float(value)
    if number is None or not 0 < number <= MOST:
        raise EndpointConfigurationError(f"{what} must be a positive number of at most {MOST}, not {shown(value)}")
    return number


def check_staging(providers: List[Any]) -> List[Any]:
    """Staging providers, checked one by one.

    Raises
    ------
    EndpointConfigurationError
        Naming what is none.
    """
    for provider in providers:
        if not isinstance(provider, Staging):
            raise EndpointConfigurationError(f"storage_access must be a list of staging providers, and {shown(provider)} is none")
    return providers


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
        raise EndpointConfigurationError(f"{what} must be a UUID, not {shown(value)}") from None


def check_path(what: str, value: Union[str, "os.PathLike[str]"]) -> Path:
    """Check that ``value`` can be the path of a file.

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    path = os.fspath(value)
    if not isinstance(path, str) or not path or "\0" in path:
        raise EndpointConfigurationError(f"{what} must be the path of a file, not {shown(value)}")
    return Path(path)


def pack_task(app: str, function: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Pack function and arguments of a task for an endpoint.

    Parameters
    ----------
    app : str
        Its name, for messages.
    function : callable
    args : sequence
    kwargs : mapping

    Raises
    ------
    TaskNotPickled
        Naming the app, and which of them it is.
    """
    try:
        return pack_apply_message(function, args, kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # pickling runs code of the user's, and what is no Exception would end the thread that Parsl submits from
        raise TaskNotPickled(f"{_not_pickled(function, args, kwargs)} of {app} cannot be pickled, so it cannot be sent to an endpoint "
                             f"({text_of(e)}). Pass what it is made from, or make it in the app.") from e


def _not_pickled(function: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    parts = {"the function": function, **{f"argument {position}": value for position, value in enumerate(args)},
             **{f"argument {name!r}": value for name, value in kwargs.items()}}
    for what, part in parts.items():
        try:
            serialize(part)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return what
    return "function or arguments"
