"""The commits for Parsl, in order, and the rules by which files belong to them.

Patches are named by their file in ``patches/`` or ``patches/upstream/``; the latter are for files that Parsl's sdist lacks, too.
"""
from __future__ import annotations

import textwrap
from dataclasses import dataclass
from email import message_from_string

from fork import ROOT

BRANCH = "globus-compute-multi"

EXECUTOR = "parsl/executors/globus_compute_multi/"
EXECUTOR_TESTS = "parsl/tests/test_globus_compute_multi/"
LOCAL = "parsl/tests/local_globus_compute/"
LOCAL_TESTS = "parsl/tests/test_local_globus_compute/"
PAGE = "docs/userguide/configuration/executors/globus_compute_multi.rst"
CHAOS_TABLE = "docs/userguide/configuration/executors/globus_compute_multi_chaos.csv"


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes
    ----------
    part : str
        The pull request that it belongs to, if there are several: the end of its branch's name.
    summary, why : str
        The message: one line, and what a reader should know.
    takes : tuple of str
        What it adds: paths in Parsl's tree, where ``*`` stands for a part of a name, or whole folders, with a slash at the end. Where rules
        overlap, the first commit has the file. What the files import comes along.
    tests : tuple of str
        Tests that it adds, unless they import what comes later.
    patches : tuple of str
        What it changes.
    sections : tuple of (str, str)
        Path of a page that an earlier commit adds, and the heading from which on the page is added by this one.
    """

    part: str
    summary: str
    why: str
    takes: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    sections: tuple[tuple[str, str], ...] = ()

    @property
    def message(self) -> str:
        """The whole message, in lines of 72 characters at most."""
        return "\n\n".join([self.summary, *(textwrap.fill(paragraph, 72, break_on_hyphens=False) for paragraph in self.why.split("\n\n"))])


def _message_of(patch: str) -> tuple[str, str]:
    """Summary and body of the message of a patch in ``patches/``."""
    mail = message_from_string((ROOT / "patches" / patch).read_text())
    return " ".join(mail["Subject"].split()).removeprefix("[PATCH] "), str(mail.get_payload()).split("\n---\n")[0]


COMMITS = (
    Commit(
        "1-hooks",
        *_message_of("0003-Let-executors-observe-the-tasks-of-the-DataFlowKerne.patch"),
        takes=("parsl/tests/unit/test_task_observers.py",),
        patches=("0003-Let-executors-observe-the-tasks-of-the-DataFlowKerne.patch",),
    ),
    Commit(
        part="2-executor",
        summary="Rank tasks by the longest way to the end of the workflow",
        why="""\
This is the first part of an executor that runs a workflow over many Globus
Compute endpoints: the graph of the tasks it knows, and the run times of
apps and speeds of endpoints as it learns them. Together they tell which
task should be next: that with the longest estimated way to the end.

Both are plain data structures, without threads, clock or network. Ranks
are brought up to date now and then in one pass, since keeping them exact
would cost a walk through all ancestors for each new task.

The unit tests use hypothesis, which is new in test-requirements.txt; those
that need it or the Globus Compute SDK are left out where it is missing.""",
        takes=(f"{EXECUTOR}scheduling/taskgraph.py", f"{EXECUTOR}scheduling/runtimes.py"),
        tests=(f"{EXECUTOR_TESTS}*.py", f"{EXECUTOR_TESTS}unit/*.py"),
        patches=("mypy-executor.patch", "test-requirements-executor.patch"),
    ),
    Commit(
        part="2-executor",
        summary="Log what happens to tasks and endpoints, and replay the log",
        why="""\
Every change of state is one line of JSON. A log can be read while it is
written; replaying it gives the state of the pool at any moment, and checks
on the way that no thread had two tasks and no task two results. The tests
of what comes next use that on what they did.""",
        takes=tuple(f"{EXECUTOR}observe/{name}.py" for name in ("__init__", "logfile", "runlog", "replay")),
    ),
    Commit(
        part="2-executor",
        summary="Schedule tasks over a pool of endpoints",
        why="""\
The scheduler is a state machine: events go in (a task was submitted, a
result came, an endpoint is offline), actions come out (send these tasks,
complete that one). It binds tasks to threads late, the most urgent first,
each to the endpoint that the policy chooses among those with a free thread
of enough cores; queues tasks ahead where they are short; and tries tasks
elsewhere when an endpoint fails.

It has no threads, no clock and no network, so the tests drive it event by
event, one of them (test_scheduler_states.py) with events at random.""",
        takes=(f"{EXECUTOR}scheduling/",),
    ),
    Commit(
        part="2-executor",
        summary="Talk to Globus Compute within its limits",
        why="""\
Threads that send batches of tasks, receive results and ask for the status
of endpoints. All requests pass one governor, which keeps to the service's
limit of requests: the SDK's Executor does not, and shuts down for good when
a batch is refused. Functions are not registered one by one; one runner is,
and each task is its argument.

This is what needs the packages of the new extra, globus_compute_multi.""",
        takes=(f"{EXECUTOR}compute/",),
        patches=("0002-Add-a-globus_compute_multi-extra.patch", "mypy-pika.patch"),
    ),
    Commit(
        part="2-executor",
        summary="Tell of results as they come, and of how a run stands",
        why="""\
A future has a value or an exception, when all is over. A result record has
what else is known of an attempt: where it ran, when, for how long, and what
went wrong before it was tried elsewhere. Readers get each record when it
ends, those from before they began from the log. Whoever does not read in
time loses records, or waits, but nothing waits for him.

A status is the same whether it is taken from the scheduler or from a
replayed log, which the tests compare.""",
        takes=tuple(f"{EXECUTOR}observe/{name}.py" for name in (
            "records", "history", "readers", "sink", "values", "results", "status", "status_views", "wording")),
    ),
    Commit(
        part="2-executor",
        summary="Show a run: live on the terminal, and as a page",
        why="""\
Both are made from the run log alone, so they show runs of other processes,
and runs that were killed. The page needs no network: what each thread did
when, where time was lost, what failed, and the critical path. rich and
plotly are needed for nothing else, and make an extra of their own.""",
        takes=(f"{EXECUTOR}observe/", f"{EXECUTOR}commands/"),
    ),
    Commit(
        part="2-executor",
        summary="Look for what is wrong between here and the endpoints",
        why="""\
Where a set-up does not work, it is the login, a firewall, a proxy that
opens TLS connections, an endpoint that is offline, or versions that do not
match. The command looks at each in turn, runs a task on each endpoint, and
says what to do.""",
        takes=(f"{EXECUTOR}doctor/",),
    ),
    Commit(
        part="2-executor",
        summary="Add GlobusComputeMultiExecutor",
        why="""\
With several endpoints today, a user has an executor for each, and the
DataFlowKernel picks one of them at random for each task: tasks wait at a
busy endpoint while another is idle. This executor has a pool of endpoints,
keeps the tasks in one place, and gives each of them away when a thread is
free.

One thread owns the scheduler, and one completes futures, so that neither a
user's callback nor the network holds up the rest. It can be imported
without the Globus Compute SDK, as GlobusComputeExecutor can, and says at
construction what is missing.

"make gce_multi_test" runs the unit tests.""",
        takes=(f"{EXECUTOR}*.py",),
        patches=("0001-Export-GlobusComputeMultiExecutor.patch", "make-unit-tests.patch"),
    ),
    Commit(
        part="2-executor",
        summary="Document GlobusComputeMultiExecutor",
        why="""\
A page in the user guide, and entries in the list of executors and in the
API reference.""",
        takes=(PAGE, CHAOS_TABLE),
        patches=("docs-executors.patch", "docs-reference.patch"),
    ),
    Commit(
        part="3-localhost",
        summary="Stand in for the hosted part of Globus Compute",
        why="""\
Tests with Globus Compute need an account and an endpoint, so CI runs none.
This is a program that answers for the hosted part: the REST API and the
token routes that the SDK and the endpoint agents use, and the routing
between their queues. It keeps to the service's limits, and can be told to
fail as a network does. SDK, agents and RabbitMQ are the real ones, which
the next commit starts.""",
        takes=(f"{LOCAL}service/",),
        tests=(f"{LOCAL_TESTS}*.py", f"{LOCAL_TESTS}unit/*.py"),
        patches=("mypy-localhost.patch", "test-requirements-localhost.patch"),
    ),
    Commit(
        part="3-localhost",
        summary="Run Globus Compute on localhost",
        why="""\
LocalGlobusCompute starts a private RabbitMQ node, the stand-in of the
service, and unmodified endpoint agents, and ends them with the process that
uses it, however that ends. "python -m parsl.tests.local_globus_compute"
does so from the command line, for any program that uses the SDK.

"make agents" makes the virtual environment for the agents, .venv-agents.""",
        takes=(LOCAL,),
        tests=(LOCAL_TESTS,),
        patches=("gitignore.patch", "make-agents.patch"),
        sections=((PAGE, "Developing on Localhost"),),
    ),
    Commit(
        part="3-localhost",
        summary="Test GlobusComputeMultiExecutor on localhost",
        why="""\
"make gce_multi_local_test" runs the integration tests of the executor, and
Parsl's whole test suite on a configuration with three endpoints. It needs
RabbitMQ installed, and no account. Nothing is excluded but what needs the
internet: endpoints and tests share the file system.""",
        takes=("parsl/tests/configs/", f"{EXECUTOR_TESTS}integration/"),
        patches=("make-local-tests.patch",),
    ),
)
