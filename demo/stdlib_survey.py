"""Survey the source of Python's standard library on several Globus Compute endpoints at once.

A Parsl workflow of a few hundred tasks: one for each source file, a tree of tasks that merge what those found, and one that draws up the
report, which is then compared with the same report computed here, without Parsl. The endpoints are on this machine, so that no account
is needed, under the limits of the hosted service. "make demo" sets up what this needs, and runs it.
"""
from __future__ import annotations

import argparse
import platform
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from rich.console import Console

import parsl
from local_globus_compute import LocalComputeError, LocalEndpoint, LocalGlobusCompute
from parsl.app.app import python_app
from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.errors import GlobusComputeMultiError
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.report import write_report
from survey_display import (
    Workflow,
    endpoint_table,
    follow,
    print_report,
    timed,
)
from survey_types import Report, Source, Survey

T = TypeVar("T")

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
MOST_THREADS = 32

#: A merge takes this many surveys.
FAN_IN = 8

#: Folders of tests, of programs rather than modules, and of the grammars of older Pythons.
NOT_SURVEYED = {"test", "tests", "idlelib", "turtledemo", "lib2to3"}


# The tasks. Parsl sends a function of the main program by value, but nothing else of the program: each brings all that it needs.


def survey_file(path: str, module: str) -> Survey:
    """Survey one source file.

    Parameters
    ----------
    path : str
    module : str
        Name that the module is imported by.
    """
    import ast
    import io
    import keyword
    import tokenize
    from collections import Counter

    survey: Survey = {"totals": Counter(files=1), "identifiers": Counter(), "functions": {}, "longest": [], "imports": {}, "unreadable": {}}
    try:
        with tokenize.open(path) as file:
            text = file.read()
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        tree = ast.parse(text, path)
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError) as error:
        survey["unreadable"][module] = f"{type(error).__name__}: {error}"
        return survey

    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code = [token for token in tokens if token.type not in layout]
    survey["identifiers"].update(token.string for token in code if token.type == tokenize.NAME and not keyword.iskeyword(token.string))

    package = module.split(".")
    if not path.endswith("__init__.py"):
        package.pop()
    imports: set[str] = set()
    functions = []
    classes = 0
    todo: list[tuple[ast.AST, str, bool]] = [(tree, "", True)]
    while todo:
        node, prefix, at_load = todo.pop()
        if isinstance(node, ast.ClassDef):
            classes += 1
            prefix += f"{node.name}."
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.append(((node.end_lineno or node.lineno) - node.lineno + 1, module, prefix + node.name, node.lineno))
            prefix += f"{node.name}."
            at_load = False
        elif isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ =="):
            at_load = False
        elif isinstance(node, ast.Import) and at_load:
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and at_load:
            base = package[:len(package) - node.level + 1] if node.level else []
            imports.update(".".join(filter(None, [*base, node.module, alias.name])) for alias in node.names)
        todo.extend((child, prefix, at_load) for child in ast.iter_child_nodes(node))

    survey["totals"].update({
        "lines": len(text.splitlines()),
        "code lines": len({line for token in code for line in range(token.start[0], token.end[0] + 1)}),
        "comments": sum(token.type == tokenize.COMMENT for token in tokens),
        "tokens": len(code),
        "functions": len(functions),
        "classes": classes,
    })
    survey["functions"][module] = len(functions)
    survey["longest"] = sorted(functions, key=lambda length: (-length[0], length))[:10]
    survey["imports"][module] = sorted(imports)
    return survey


def merge(*surveys: Survey) -> Survey:
    """Merge surveys of different files; in what order, and how many at a time, makes no difference to a report."""
    from collections import Counter

    merged: Survey = {"totals": Counter(), "identifiers": Counter(), "functions": {}, "longest": [], "imports": {}, "unreadable": {}}
    for survey in surveys:
        merged["totals"].update(survey["totals"])
        merged["identifiers"].update(survey["identifiers"])
        merged["functions"].update(survey["functions"])
        merged["longest"].extend(survey["longest"])
        merged["imports"].update(survey["imports"])
        merged["unreadable"].update(survey["unreadable"])
    merged["longest"] = sorted(merged["longest"], key=lambda length: (-length[0], length))[:10]
    return merged


def draw_up(survey: Survey) -> Report:
    """Draw up the report from the survey of all files."""
    from collections import Counter

    def greatest(counts: dict[str, int]) -> list[tuple[str, int]]:
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]

    def resolve(name: str) -> str:
        """The module in a dotted name, which may be that of something in the module; one not surveyed counts by its first part."""
        parts = name.split(".")
        prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((prefix for prefix in prefixes if prefix in survey["imports"]), parts[0])

    graph = {module: {resolve(name) for name in names} - {module} for module, names in survey["imports"].items()}
    reach: dict[str, set[str]] = {}
    for module in graph:
        found: set[str] = set()
        todo = [module]
        while todo:
            new = graph.get(todo.pop(), set()) - found
            found |= new
            todo.extend(new)
        reach[module] = found
    circles = [sorted(other for other in reach[module] if module in reach.get(other, ())) for module in graph]

    identifiers = survey["identifiers"]
    totals = {name: survey["totals"][name] for name in ("files", "lines", "code lines", "comments", "tokens", "functions", "classes")}
    return {
        "totals": {**totals, "identifiers": len(identifiers), "identifiers used once": sum(n == 1 for n in identifiers.values())},
        "top_identifiers": greatest(identifiers),
        "most_functions": greatest(survey["functions"]),
        "longest_functions": survey["longest"],
        "most_imported": greatest(Counter(module for imported in graph.values() for module in imported)),
        "furthest_reach": greatest({module: len(found - {module}) for module, found in reach.items()}),
        "largest_circle": min(circles, key=lambda circle: (-len(circle), circle), default=[]),
        "unreadable": dict(sorted(survey["unreadable"].items())),
    }


# The workflow.


def find_sources(folder: Path) -> list[Source]:
    """Find the modules in ``folder``, without tests and programs; the largest first, so that the last tasks to finish are short ones."""
    sources = []
    paths = {path: path.stat().st_size for path in folder.rglob("*.py") if path.is_file()}
    for path in sorted(paths, key=lambda path: (-paths[path], path)):
        *packages, _ = path.relative_to(folder).parts
        names = [*packages, path.stem]
        if all(name.isidentifier() for name in names) and not NOT_SURVEYED.intersection(packages):
            sources.append(Source(str(path), ".".join(packages if path.stem == "__init__" and packages else names)))
    return sources


def merge_tree(parts: Sequence[T], merge: Callable[..., T]) -> T:
    """Merge ``parts``, at least one, ``FAN_IN`` at a time until one is left."""
    while len(parts) > 1:
        groups = [parts[i:i + FAN_IN] for i in range(0, len(parts), FAN_IN)]
        parts = [merge(*group) if len(group) > 1 else group[0] for group in groups]
    return parts[0]


def submit(sources: Sequence[Source]) -> Workflow:
    """Hand the whole workflow to Parsl, which starts each task when those that it depends on are done."""
    survey_app, merge_app, report_app = (python_app(function) for function in (survey_file, merge, draw_up))
    merges: list[Any] = []

    def merged(*parts: Any) -> Any:
        merges.append(merge_app(*parts))
        return merges[-1]

    surveys = [survey_app(source.path, source.module) for source in sources]
    return Workflow(surveys, merges, report_app(merge_tree(surveys, merged)))


def survey_here(sources: Sequence[Source]) -> Report:
    """Do the same without Parsl, and without the tree."""
    return draw_up(merge(*(survey_file(source.path, source.module) for source in sources)))


def difference(found: Report, expected: Report) -> str | None:
    """Say where two reports differ first; None if they are equal."""
    for part, should_be in expected.items():
        value = found.get(part)
        if value != should_be:
            return f"{part} is {value!r}, but without Parsl {should_be!r}"
    return None if found == expected else "the report has parts that it has not without Parsl"


# The program.


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=_count, metavar="N", help="survey only the N largest source files")
    parser.add_argument("--threads", type=_threads, default=[1, 2, 8], metavar="N,N,...",
                        help="an endpoint for each number, with as many threads (default: 1,2,8)")
    parser.add_argument("--run-dir", type=Path, default=Path("runinfo"), metavar="DIR", help="Parsl's logs, the executor's run log and the "
                        "page of the run are in a new folder there (runinfo)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _threads(text: str) -> list[int]:
    threads = [_count(part) for part in text.split(",")]
    if len(threads) > len(NAMES):
        raise argparse.ArgumentTypeError(f"{len(threads)} endpoints are more than the {len(NAMES)} that this demo starts at most")
    if max(threads) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{max(threads)} threads are more than the {MOST_THREADS} that this demo gives an endpoint at most")
    return threads


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the demo; returns the exit code."""
    sources = find_sources(Path(sysconfig.get_path("stdlib")))[:options.files]
    if not sources:
        raise SurveyError(f"there is no source of the standard library in {sysconfig.get_path('stdlib')}")
    console.print(f"[bold]The standard library of Python {platform.python_version()}: {len(sources)} source files[/]")
    workflow, log, seconds = run_on_endpoints(sources, dict(zip(NAMES, options.threads)), options.run_dir, console)
    lines = list(read_log(log))
    state = replay(lines)
    wrong = check(console, workflow, sources, {line["python"] for line in lines if line.get("python")})
    console.print()
    console.print(endpoint_table(state, seconds))
    console.print()
    if workflow.report.exception() is None:
        print_report(console, workflow.report.result())
        console.print()
    console.print(f"Run log: {log}", soft_wrap=True)
    console.print(f"The run as a page for the browser: {write_report(log, log.with_suffix('.html'))}", soft_wrap=True)
    worked = sum(e.done + e.failed > 0 for e in state.endpoints.values())
    verdict = f"result NOT verified: {' '.join(wrong.split())}" if wrong else "result verified"
    print(f"demo: {state.count('done') + state.count('failed')} tasks on {worked} endpoints in {seconds:.1f} s, "
          f"{state.count('failed')} failed, {verdict}")
    return 1 if wrong else 0


def run_on_endpoints(
    sources: Sequence[Source], threads: dict[str, int], run_dir: Path, console: Console
) -> tuple[Workflow, Path, float]:
    """Start endpoints with so many threads each, run the workflow on them, and stop them.

    Returns
    -------
    Workflow, Path, float
        The futures, which are done; the executor's run log, in a new folder in ``run_dir``; and the seconds that the workflow took.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SurveyError(f"{run_dir} cannot be used as run directory: {error}") from error
    compute = LocalGlobusCompute([LocalEndpoint(name, workers=count) for name, count in threads.items()])
    with timed(console, f"Starting {len(threads)} endpoint{'s' * (len(threads) > 1)} ({', '.join(map(str, threads.values()))} threads)"):
        compute.start()
    running = ExitStack()
    running.callback(compute.close)
    try:
        executor = GlobusComputeMultiExecutor(
            endpoints=[Endpoint(id, name=name, threads=threads[name]) for name, id in compute.endpoint_ids.items()],
            client=compute.client(),
        )
        dfk = running.enter_context(parsl.load(Config(executors=[executor], run_dir=str(run_dir), strategy="none")))
        log = Path(dfk.run_dir) / f"{executor.label}.jsonl"
        began = time.monotonic()
        workflow = submit(sources)
        seconds = follow(console, log, workflow, began)
    finally:
        with timed(console, "Stopping the endpoints"):
            running.close()
    return workflow, log, seconds


def check(console: Console, workflow: Workflow, sources: Sequence[Source], pythons: set[str]) -> str | None:
    """Compare the workflow's report with one computed here; returns what is wrong, or None."""
    if workflow.report.exception() is not None:
        return f"there is no report, because {workflow.cause_of_failure()}"
    with timed(console, "The same without Parsl, one file after another"):
        expected = survey_here(sources)
    wrong = difference(workflow.report.result(), expected)
    others = pythons - {platform.python_version()}
    return f"{wrong} (the endpoints run Python {', '.join(sorted(others))}, this is {platform.python_version()})" if wrong and others else wrong


class SurveyError(Exception):
    """The survey cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo from the command line; returns the exit code (1: it failed, or the result is wrong; 130: interrupted)."""
    options = parse(arguments)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        return run(options, Console(highlight=False))
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    except (SurveyError, LocalComputeError, GlobusComputeMultiError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
