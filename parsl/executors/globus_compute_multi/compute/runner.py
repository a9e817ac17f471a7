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
        around the function's run; ``host``, ``python``, ``parsl`` and ``dill``, where it ran.
    """
    import base64
    import platform
    import socket
    import time

    def describe(error):  # type: ignore[no-untyped-def]
        try:
            return "%s: %s" % (type(error).__name__, str(error)[:1000])
        except Exception:
            return type(error).__name__  # an exception whose text cannot be had is still that exception

    envelope: dict = {"attempt": attempt, "outcome": "not_unpacked", "value": None, "error": None, "message": "",
                      "started": None, "finished": None,
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
        envelope["message"] = describe(error)
        return envelope

    envelope["started"] = time.time()
    try:
        value = function(*args, **kwargs)
        failed = isinstance(value, RemoteExceptionWrapper)
        envelope["outcome"] = "app_failed" if failed else "ok"
        if failed:
            envelope["error"] = value.e_type.__name__
            envelope["message"] = describe(value.e_value)
    except (Exception, SystemExit) as error:
        # SystemExit would take the endpoint's worker down with it, and on the client's side whatever thread looks at the result
        if isinstance(error, SystemExit):
            error = RuntimeError("the app called sys.exit(%r)" % (error.code,)).with_traceback(error.__traceback__)
        value = RemoteExceptionWrapper(type(error), error, error.__traceback__)
        envelope["outcome"] = "raised"
        envelope["error"] = type(error).__name__
        envelope["message"] = describe(error)
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
    return envelope
