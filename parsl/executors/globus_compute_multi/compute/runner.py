"""The one function that is registered with Globus Compute; every task is an argument of it.

It is registered *by source*, because the endpoints have a stock Parsl: this module must import nothing at the top that an endpoint may not
have, and the function must need nothing of this module.
"""


def globus_compute_multi_runner(attempt: str, packed: str) -> dict:
    """Run a packed Parsl task on an endpoint, and pack what came of it.

    Parameters
    ----------
    attempt : str
        ID of the attempt, returned unchanged.
    packed : str
        ``parsl.serialize.pack_apply_message`` of function and arguments, in base64.

    Returns
    -------
    dict
        The envelope, JSON-compatible: ``attempt``; ``outcome``; ``value``, the packed value or exception in base64; ``message``, what
        went wrong, as text; ``started`` and ``finished``, seconds of the endpoint's clock around the function's run; ``host``,
        ``python``, ``parsl`` and ``dill``, where it ran.
    """
    import base64
    import platform
    import socket
    import time

    envelope: dict = {"attempt": attempt, "outcome": "not_unpacked", "value": None, "message": "", "started": None, "finished": None,
                      "host": socket.gethostname(), "python": platform.python_version(), "parsl": "none", "dill": "none"}

    try:
        import dill
        import parsl.version
        from parsl.app.errors import RemoteExceptionWrapper
        from parsl.serialize import serialize, unpack_apply_message
        envelope["dill"] = dill.__version__
        envelope["parsl"] = parsl.version.VERSION
        function, args, kwargs = unpack_apply_message(base64.b64decode(packed))
    except Exception as error:
        envelope["message"] = "%s: %s" % (type(error).__name__, error)
        return envelope

    envelope["started"] = time.time()
    try:
        value = function(*args, **kwargs)
        failed = isinstance(value, RemoteExceptionWrapper)
        envelope["outcome"] = "app_failed" if failed else "ok"
        if failed:
            envelope["message"] = "%s: %s" % (value.e_type.__name__, value.e_value)
    except (Exception, SystemExit) as error:
        # SystemExit would take the endpoint's worker down with it, and on the client's side whatever thread looks at the result
        if isinstance(error, SystemExit):
            error = RuntimeError("the app called sys.exit(%r)" % (error.code,)).with_traceback(error.__traceback__)
        value = RemoteExceptionWrapper(type(error), error, error.__traceback__)
        envelope["outcome"] = "raised"
        envelope["message"] = "%s: %s" % (type(error).__name__, error)
    envelope["finished"] = time.time()

    try:
        packed_value = serialize(value)
    except Exception as error:
        reason = "%s: the value of the app does not pickle: %s" % (type(error).__name__, error)
        envelope["outcome"] = "raised"
        envelope["message"] = reason
        packed_value = serialize(RemoteExceptionWrapper(TypeError, TypeError(reason), None))
    envelope["value"] = base64.b64encode(packed_value).decode("ascii")
    return envelope
