"""Errors that become HTTP answers, in the body shape of the hosted service."""
from __future__ import annotations

from typing import Any

# Codes of the hosted service's error bodies (its public client library used to list them).
UNAUTHENTICATED = 1
FUNCTION_NOT_FOUND = 3
ENDPOINT_NOT_FOUND = 4
TASK_NOT_FOUND = 6
FUNCTION_ACCESS_FORBIDDEN = 8
ENDPOINT_ACCESS_FORBIDDEN = 9
FUNCTION_NOT_PERMITTED = 10
MALFORMED = 17
INTERNAL = 18
TASK_GROUP_NOT_FOUND = 20
TOO_LARGE = 24
ENDPOINT_LOCKED = 25
RATE_LIMITED = 26


class ApiError(Exception):
    """An answer other than success.

    Parameters
    ----------
    status : int
        HTTP status.
    code : int
        One of this module's codes.
    reason : str
        What is wrong, for the person who reads the SDK's exception.
    retry_after : float, optional
        Seconds, for the ``Retry-After`` header (sent as whole seconds, rounded up).
    """

    def __init__(self, status: int, code: int, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON body that the SDK turns into a ``ComputeAPIError``."""
        return {"status": "Failed", "code": self.code, "error_args": [], "reason": self.reason, "http_status_code": self.status}


def malformed(reason: str) -> ApiError:
    """400: the request is not what the route takes."""
    return ApiError(400, MALFORMED, reason)


def endpoint_forbidden(endpoint_id: str) -> ApiError:
    """403: somebody else's endpoint."""
    return ApiError(403, ENDPOINT_ACCESS_FORBIDDEN, f"Endpoint {endpoint_id} belongs to someone else")


def function_not_found(function_id: str) -> ApiError:
    """404: no such function."""
    return ApiError(404, FUNCTION_NOT_FOUND, f"Function {function_id} could not be resolved")


def function_forbidden(function_id: str) -> ApiError:
    """403: somebody else's function."""
    return ApiError(403, FUNCTION_ACCESS_FORBIDDEN, f"Function {function_id} belongs to someone else")


def endpoint_not_found(endpoint_id: str) -> ApiError:
    """404: no such endpoint."""
    return ApiError(404, ENDPOINT_NOT_FOUND, f"Endpoint {endpoint_id} could not be resolved")
