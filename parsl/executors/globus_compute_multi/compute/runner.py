"""The one function that is registered with Globus Compute; every task is an argument of it.

It is registered *by source*, because the endpoints have a stock Parsl: this module must import nothing at the top that an endpoint may not
have, and the function must need nothing of this module.
"""


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
        around the function's run; ``host``, ``python``, ``parsl`` and ``dill``, where it ran; ``monitoring``, what the task sent over
        ``ResultRadio`` (see ``monitoring.unpack_messages``) in base64, or None.
    """
    import base64
    import os
    import pickle
    import platform
    import shutil
    import socket
    import tempfile
    import threading
    import time
    import zlib

    def describe(error):  # type: ignore[no-untyped-def]
        try:
            return "%s: %s" % (type(error).__name__, str(error)[:1000])
        except Exception:
            return type(error).__name__  # an exception whose text cannot be had is still that exception

    def collect(folder, room):  # type: ignore[no-untyped-def]
        """What Parsl's radio for file systems has left, in at most ``room`` characters; if need be, not all between first and last."""
        paths = [entry.path for entry in os.scandir(os.path.join(folder, "monitor-fs-radio", "new"))]
        messages = []
        for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns):
            with open(path, "rb") as file:
                messages.append(file.read())
        while messages:
            text = base64.b64encode(zlib.compress(pickle.dumps(messages))).decode("ascii")
            if len(text) <= room:
                return text
            messages = messages[:-1:2] + messages[-1:] if len(messages) > 2 else []
        return None

    envelope: dict = {"attempt": attempt, "outcome": "not_unpacked", "value": None, "error": None, "message": "",
                      "started": None, "finished": None,
                      "host": socket.gethostname(), "python": platform.python_version(), "parsl": "none", "dill": "none",
                      "monitoring": None}
    monitoring_folder = None

    try:
        import dill

        import parsl.version
        from parsl.app.errors import RemoteExceptionWrapper
        from parsl.serialize import serialize, unpack_apply_message
        envelope["dill"] = dill.__version__
        envelope["parsl"] = parsl.version.VERSION
        payload = base64.b64decode(packed)
        if b"globus_compute_multi_radio" in payload:
            from parsl.monitoring.radios.filesystem import FilesystemRadio
            radio = FilesystemRadio()
            radio.run_dir = monitoring_folder = tempfile.mkdtemp(prefix="parsl-monitoring-")
            threading.current_thread().globus_compute_multi_radio = radio  # type: ignore[attr-defined]
        function, args, kwargs = unpack_apply_message(payload)
    except Exception as error:
        envelope["message"] = describe(error)
        if monitoring_folder is not None:
            shutil.rmtree(monitoring_folder, ignore_errors=True)
        return envelope

    envelope["started"] = time.time()
    try:
        value = function(*args, **kwargs)
        failed = isinstance(value, RemoteExceptionWrapper)
        envelope["outcome"] = "app_failed" if failed else "ok"
        if failed:
            envelope["error"] = value.e_type.__name__
            envelope["message"] = describe(value.e_value)
    except (Exception, SystemExit) as raised:
        failure: BaseException = raised
        # SystemExit would take the endpoint's worker down with it, and on the client's side whatever thread looks at the result
        if isinstance(raised, SystemExit):
            failure = RuntimeError("the app called sys.exit(%r)" % (raised.code,)).with_traceback(raised.__traceback__)
        value = RemoteExceptionWrapper(type(failure), failure, failure.__traceback__)
        envelope["outcome"] = "raised"
        envelope["error"] = type(failure).__name__
        envelope["message"] = describe(failure)
    envelope["finished"] = time.time()

    try:
        packed_value = serialize(value)
    except Exception as error:
        reason = "the value of the app does not pickle: %s" % describe(error)
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

    if monitoring_folder is not None:
        try:
            envelope["monitoring"] = collect(monitoring_folder, min(1000000, limit - len(envelope["value"] or "")))
        except OSError as loss:
            envelope["message"] = envelope["message"] or "monitoring messages were lost: %s" % describe(loss)
        shutil.rmtree(monitoring_folder, ignore_errors=True)
    return envelope
