"""Exceptions of the executor. Each says what is wrong, where, and what to do."""
from __future__ import annotations

from parsl.errors import ParslError


class GlobusComputeMultiError(ParslError):
    """Base class of all errors that the executor itself raises."""


class EndpointConfigurationError(GlobusComputeMultiError, ValueError):
    """An argument of :class:`Endpoint` or :class:`GlobusComputeMultiExecutor` cannot be used."""


class CredentialsMissing(GlobusComputeMultiError):
    """There are no credentials for Globus Compute, or the service does not accept them."""


class ServiceUnavailable(GlobusComputeMultiError):
    """The Globus Compute service cannot be reached, or does not answer as it should."""


class UnknownEndpoint(GlobusComputeMultiError):
    """The service does not know an endpoint, or the user may not use it."""


class ExecutorNotRunning(GlobusComputeMultiError):
    """``submit`` was called before ``start``, or after ``shutdown``."""


class TaskNotCompleted(GlobusComputeMultiError):
    """The executor was shut down before the task was finished."""


class NoSuchThread(GlobusComputeMultiError):
    """No thread in the pool has what the task needs."""


class FilesNotShared(GlobusComputeMultiError):
    """The files that a task needs lie on several file systems, and no endpoint has them all."""


class PolicyFailed(GlobusComputeMultiError):
    """The user's policy raised for the task, or chose threads that it was not offered."""


class EndpointsFailed(GlobusComputeMultiError):
    """Every attempt to run the task failed for a reason outside the app."""


class TaskLost(GlobusComputeMultiError):
    """The endpoint that ran the task is gone, and the task must not run twice (``redispatch=False``)."""


class TaskCancelled(GlobusComputeMultiError):
    """The task was cancelled by :meth:`GlobusComputeMultiExecutor.cancel`."""


class CannotCancel(GlobusComputeMultiError):
    """The executor cannot tell which of its tasks a future belongs to, so it cannot cancel it."""


class SchedulerBusy(GlobusComputeMultiError):
    """The executor's scheduler does not answer, perhaps because the user's policy takes long."""


class TaskNotPickled(GlobusComputeMultiError, TypeError):
    """Function or arguments of a task cannot be pickled."""


class TaskTooLarge(GlobusComputeMultiError):
    """Function and arguments of a task are larger than the service takes in one submission."""


class ResultTooLarge(GlobusComputeMultiError):
    """The value of an app is larger than the service takes in one result."""


class ResultNotReadable(GlobusComputeMultiError):
    """The value or exception of an app could not be unpickled here."""


class ValuesNotKept(GlobusComputeMultiError):
    """``values`` was called of an executor that was made without ``aggregate_results=True``."""


class SchedulerCrashed(GlobusComputeMultiError):
    """A bug in the executor: its scheduling thread ended with an exception, and no task can be run any more."""
