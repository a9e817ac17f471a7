"""Runs a task on an endpoint.

The text of this module is what is registered with Globus Compute (see ``registration.py``), because the Parsl on an endpoint may not have
this package: nothing may be imported at the top but Python's standard library, and all must run on Python 3.8.
"""
import base64
import io
import multiprocessing
import os
import pickle
import platform
import re
import socket
import tempfile
import threading
import time
import uuid
import zlib
from typing import Any, Optional

_MARK = b"globus_compute_multi_mark_"


def globus_compute_multi_runner(attempt: str, packed: str, limit: int) -> dict:
    """Run a packed Parsl task on an endpoint, and pack what came of it.

    Parameters
    ----------
    attempt : str
        ID of the attempt, returned unchanged.
    packed : str
        ``parsl.serialize.pack_apply_message`` of function and arguments, in base64.
    limit : int
        Most characters of a packed value in base64; the service would refuse more.

    Returns
    -------
    dict
        The envelope, JSON-compatible: ``attempt``; ``outcome``; ``value``, the packed value or exception in base64; ``error``, the name
        of the exception's type, and ``message``, what went wrong, as text; ``started`` and ``finished``, seconds of the endpoint's clock
        around the function's run; ``host``, ``python``, ``parsl`` and ``dill``, where it ran; ``process``, a mark that tells the child process
        from its predecessors under the same ID, or None where the worker need not be on its machine; ``monitoring``, what the task sent over
        ``ResultRadio`` (see ``monitoring.unpack_messages``) in base64, or None; ``monitoring_lost``, which of that is missing and why, as text.
    """
    host = socket.gethostname()
    envelope: dict = {"attempt": attempt, "outcome": "not_unpacked", "value": None, "error": None, "message": "",
                      "started": None, "finished": None,
                      "host": host, "python": platform.python_version(), "parsl": "none", "dill": "none",
                      # The engine's own process, in which this runs or which has made the pool of processes: no app can change that.
                      # A worker that a pilot job has started has another parent, and is perhaps elsewhere.
                      "process": None if "PARSL_WORKER_RANK" in os.environ else "%s/%d" % (
                          host, getattr(multiprocessing.parent_process(), "pid", None) or os.getpid()),
                      "monitoring": None, "monitoring_lost": ""}
    radio = _Radio()

    try:
        import dill

        import parsl.version
        from parsl.app.errors import RemoteExceptionWrapper
        from parsl.serialize import serialize, unpack_apply_message
        envelope["dill"] = dill.__version__
        envelope["parsl"] = parsl.version.VERSION
        payload = base64.b64decode(packed)
        if _MARK in payload:
            # Parsl keeps what it unpickles by its bytes, and the same bytes may come twice: with each attempt's own mark, it gets its own radio.
            payload = re.sub(_MARK + b"[0-9a-f]{32}", _MARK + uuid.uuid4().hex.encode(), payload)
        threading.current_thread().globus_compute_multi_radio = radio  # type: ignore[attr-defined]
        try:
            function, args, kwargs = unpack_apply_message(payload)
        finally:
            del payload, threading.current_thread().globus_compute_multi_radio  # type: ignore[attr-defined]
    except BaseException as error:  # unpickling runs the user's code, and what is no Exception would end the worker, or its result be lost
        envelope["message"] = _describe(error)
        return envelope

    envelope["started"] = time.time()
    try:
        value = function(*args, **kwargs)
        failed = isinstance(value, RemoteExceptionWrapper)
        envelope["outcome"] = "app_failed" if failed else "ok"
        if failed:
            envelope["error"] = value.e_type.__name__
            envelope["message"] = _describe(value.e_value)
    except BaseException as raised:
        failure: BaseException = raised
        # What is no Exception would take the endpoint's worker down with it, and on the client's side whatever thread looks at the result.
        if not isinstance(raised, Exception):
            what = "raised what is no Exception: %s" % _describe(raised)
            if isinstance(raised, SystemExit):
                what = "called sys.exit(%r)" % (raised.code,)
            failure = RuntimeError("the app " + what).with_traceback(raised.__traceback__)
        value = RemoteExceptionWrapper(type(failure), failure, failure.__traceback__)
        envelope["outcome"] = "raised"
        envelope["error"] = type(failure).__name__
        envelope["message"] = _describe(failure)
    envelope["finished"] = time.time()

    try:
        packed_value = serialize(value)
    except BaseException as error:  # pickling runs the user's code, too
        what = "exception (%s)" % envelope["message"] if isinstance(value, RemoteExceptionWrapper) else "value"
        reason = "the %s of the app does not pickle: %s" % (what, _describe(error))
        envelope["outcome"] = "raised"
        envelope["error"] = "TypeError"
        envelope["message"] = reason
        packed_value = serialize(RemoteExceptionWrapper(TypeError, TypeError(reason), None))
    text = base64.b64encode(packed_value).decode("ascii")
    if len(text) > limit:
        envelope["outcome"] = "too_large"
        envelope["message"] = "the value or exception of the app takes %d bytes on the wire, and Globus Compute accepts %d" % (len(text), limit)
    else:
        envelope["value"] = text

    try:
        envelope["monitoring"] = radio.end(min(1000000, limit - len(envelope["value"] or "")))
    except Exception as loss:  # the value is what matters
        radio.lost = "all: %s" % _describe(loss)
    envelope["monitoring_lost"] = radio.lost
    return envelope


class _Radio:
    """What ``ResultRadio`` becomes here. Its messages go to a file without a name, which processes forked by the task inherit."""

    def __init__(self) -> None:
        self.file: Any = None
        self.ended = False
        self.lost = ""

    def create_sender(self) -> "_Radio":
        if self.file is None and not self.ended:
            try:
                self.file = tempfile.TemporaryFile(buffering=0)
            except OSError as error:
                self.lost = "all, for there is no room for temporary files: %s" % _describe(error)
        return self

    def send(self, message: Any) -> None:
        if self.file is not None:
            try:
                os.write(self.file.fileno(), pickle.dumps(message))
            except OSError as error:
                self.lost = "some: %s" % _describe(error)

    def end(self, room: int) -> Optional[str]:
        """What was sent, packed, in at most ``room`` characters: if need be, without some of the records of resources, but with the last."""
        self.ended = True
        if self.file is None:
            return None
        with self.file as file:
            file.seek(0)
            content = file.read()
        self.file = None
        messages = []
        stream = io.BytesIO(content)
        while stream.tell() < len(content):
            # Nobody but this task has written to the file.
            messages.append(pickle.load(stream))  # nosec B301
        sent = len(messages)
        while messages:
            text = base64.b64encode(zlib.compress(pickle.dumps(messages))).decode("ascii")
            if len(text) <= room:
                break
            records = [message for message in messages if message[0].name == "RESOURCE_INFO"]
            kept = set(map(id, records[::-2] if len(records) > 1 else []))
            rest = [message for message in messages if message[0].name != "RESOURCE_INFO" or id(message) in kept]
            messages = rest if len(rest) < len(messages) else []
        if len(messages) < sent:
            self.lost = "%d of %d messages, for want of room in the result" % (sent - len(messages), sent)
        return text if messages else None


def _describe(error: BaseException) -> str:
    try:
        return "%s: %s" % (type(error).__name__, str(error)[:1000])
    except BaseException:
        return type(error).__name__  # an exception whose text cannot be had is still that exception
