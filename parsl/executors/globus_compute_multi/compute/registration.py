"""What is registered with Globus Compute: one function, whose argument every task is.

It is registered by its source, which travels with each task, and which the endpoint compiles for each task. Compiling the runner takes about a
millisecond, as long as all else that an endpoint's agent does for a task. So what is registered is a few lines that have the text of
``runner.py`` as a string, compressed, and each process of an endpoint unpacks and compiles that once.
"""
from __future__ import annotations

import base64
import hashlib
import inspect
import zlib

from globus_compute_sdk.serialize import PureSourceTextInspect

from parsl.executors.globus_compute_multi.compute import runner

#: Name of the registered function.
NAME = runner.globus_compute_multi_runner.__name__

# Not a "def", which would take longer to compile: whoever runs this looks up the name of the function in what it leaves behind.
_REGISTERED = """import base64, sys, types, zlib
module = sys.modules.get({module!r})
if module is None:
    module = types.ModuleType({module!r})
    exec(zlib.decompress(base64.b64decode({text!r})), module.__dict__)
    sys.modules[{module!r}] = module
{name} = module.{name}
"""


def registered_source() -> str:
    """Source of what is registered: that of a module, and the function is what has its name there in the end."""
    source = inspect.getsource(runner).encode()
    # the endpoint's processes may run tasks of several versions of the runner
    module = f"{NAME}_{hashlib.sha256(source).hexdigest()[:16]}"
    return _REGISTERED.format(name=NAME, module=module, text=base64.b64encode(zlib.compress(source, 9)).decode("ascii"))


def function_code() -> str:
    """The function as the Globus Compute SDK would serialise it with its strategy ``PureSourceTextInspect``."""
    return f"{PureSourceTextInspect.identifier}{NAME}:{registered_source()}"
