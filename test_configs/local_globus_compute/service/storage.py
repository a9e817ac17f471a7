"""All state that survives a restart of the service, in one SQLite file.

Calls are synchronous and made from the event loop: with a write-ahead log and no fsync (a killed process loses nothing,
only a crashed machine would) they take well under a millisecond, and nothing else runs in between.
"""
from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS service (prefix TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (digest TEXT PRIMARY KEY, client_id TEXT NOT NULL, resource_server TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS functions (function_id TEXT PRIMARY KEY, identity TEXT NOT NULL, name TEXT NOT NULL,
    code TEXT NOT NULL, registration TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS endpoints (endpoint_id TEXT PRIMARY KEY, identity TEXT NOT NULL, registration TEXT NOT NULL,
    locked_until REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS children (child_id TEXT PRIMARY KEY, parent_id TEXT NOT NULL, identity TEXT NOT NULL,
    user_opts TEXT NOT NULL, user_runtime TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS heartbeats (endpoint_id TEXT PRIMARY KEY, received REAL NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS task_groups (group_id TEXT PRIMARY KEY, identity TEXT NOT NULL, has_queue INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (task_id TEXT PRIMARY KEY, group_id TEXT NOT NULL, function_id TEXT NOT NULL, child_id TEXT NOT NULL,
    completed REAL, failed INTEGER, body BLOB, published INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tasks_of_group ON tasks (group_id);
CREATE INDEX IF NOT EXISTS unfinished_tasks ON tasks (child_id) WHERE completed IS NULL;
CREATE INDEX IF NOT EXISTS unpublished_results ON tasks (task_id) WHERE completed IS NOT NULL AND published = 0;
"""


@dataclass(frozen=True)
class Function:
    """A registered function; `code` is the packed buffer that goes before the arguments."""

    identity: str
    code: str
    registration: dict[str, Any]

    def open_to(self, identity: str) -> bool:
        """Whether this person may use it."""
        return identity == self.identity or bool(self.registration.get("public"))


@dataclass(frozen=True)
class Endpoint:
    """A registered (parent) endpoint."""

    endpoint_id: str
    identity: str
    registration: dict[str, Any]
    locked_until: float

    def open_to(self, identity: str) -> bool:
        """Whether this person may use it: its owner, and everybody when it is registered for several users (its agent then maps identities)."""
        return identity == self.identity or bool(self.registration.get("multi_user"))


@dataclass(frozen=True)
class Child:
    """A user endpoint: derived from a parent, an identity and a user_endpoint_config."""

    child_id: str
    parent_id: str
    identity: str
    user_opts: dict[str, Any]
    user_runtime: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task without its payload; `completed` is in seconds since the epoch, None while it has no result."""

    task_id: str
    group_id: str
    child_id: str
    parent_id: str
    has_queue: bool
    completed: float | None
    published: bool


@dataclass(frozen=True)
class Outcome:
    """A task's result as stored (`body` is the result message), or None in all fields but the first two."""

    task_id: str
    group_id: str
    completed: float | None
    failed: bool | None
    body: bytes | None


class Storage:
    """The database.

    Parameters
    ----------
    path : Path
        The file; created, readable by its owner only, when missing.

    Attributes
    ----------
    prefix : str
        Of the names of this service's queues; made up when the file is created.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

        with self._transaction() as db:
            db.execute("INSERT INTO service SELECT ? WHERE NOT EXISTS (SELECT * FROM service)", (f"compute-{secrets.token_hex(4)}",))
        self.prefix: str = self._one("SELECT prefix FROM service")[0]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _one(self, sql: str, *values: Any) -> Any:
        return self._db.execute(sql, values).fetchone()

    # tokens

    def add_token(self, digest: str, client_id: str, resource_server: str, expires: float) -> None:
        """Remember a token by its digest until `expires` (seconds since the epoch); forget those that have expired."""
        with self._transaction() as db:
            db.execute("DELETE FROM tokens WHERE expires < ?", (time.time(),))
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (digest, client_id, resource_server, expires))

    def token(self, digest: str) -> tuple[str, str] | None:
        """Client and resource server of a token that is still valid."""
        row = self._one("SELECT client_id, resource_server FROM tokens WHERE digest = ? AND expires > ?", digest, time.time())
        return row

    def remove_tokens(self, client_id: str) -> None:
        """Forget all tokens of a client."""
        self._db.execute("DELETE FROM tokens WHERE client_id = ?", (client_id,))

    # functions

    def add_function(self, function_id: str, identity: str, name: str, code: str, registration: dict[str, Any]) -> None:
        """Keep a registered function; `code` is the packed buffer that goes before the arguments."""
        self._db.execute("INSERT INTO functions VALUES (?, ?, ?, ?, ?)", (function_id, identity, name, code, json.dumps(registration)))

    def function(self, function_id: str) -> Function | None:
        """A registered function."""
        row = self._one("SELECT identity, code, registration FROM functions WHERE function_id = ?", function_id)
        return Function(row[0], row[1], json.loads(row[2])) if row else None

    def delete_function(self, function_id: str) -> bool:
        """Remove a function; False when there is none."""
        return self._db.execute("DELETE FROM functions WHERE function_id = ?", (function_id,)).rowcount > 0

    # endpoints, children, heartbeats

    def put_endpoint(self, endpoint_id: str, identity: str, registration: dict[str, Any]) -> None:
        """Register an endpoint, or replace its registration."""
        self._db.execute("INSERT INTO endpoints (endpoint_id, identity, registration) VALUES (?, ?, ?) "
                         "ON CONFLICT (endpoint_id) DO UPDATE SET registration = excluded.registration",
                         (endpoint_id, identity, json.dumps(registration)))

    def lock_endpoint(self, endpoint_id: str, until: float) -> None:
        """Refuse registrations until then (seconds since the epoch)."""
        self._db.execute("UPDATE endpoints SET locked_until = ? WHERE endpoint_id = ?", (until, endpoint_id))

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """A registered endpoint."""
        row = self._one("SELECT endpoint_id, identity, registration, locked_until FROM endpoints WHERE endpoint_id = ?", endpoint_id)
        return Endpoint(row[0], row[1], json.loads(row[2]), row[3]) if row else None

    def endpoints(self) -> list[Endpoint]:
        """All registered endpoints."""
        rows = self._db.execute("SELECT endpoint_id, identity, registration, locked_until FROM endpoints")
        return [Endpoint(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Remove an endpoint with its children; their tasks stay as they are."""
        with self._transaction() as db:
            db.execute("DELETE FROM heartbeats WHERE endpoint_id = ? OR endpoint_id IN (SELECT child_id FROM children WHERE parent_id = ?)",
                       (endpoint_id, endpoint_id))
            db.execute("DELETE FROM children WHERE parent_id = ?", (endpoint_id,))
            db.execute("DELETE FROM endpoints WHERE endpoint_id = ?", (endpoint_id,))

    def put_child(self, child: Child) -> None:
        """Add a child, or replace its user_runtime."""
        self._db.execute("INSERT INTO children VALUES (?, ?, ?, ?, ?) ON CONFLICT (child_id) DO UPDATE SET user_runtime = excluded.user_runtime",
                         (child.child_id, child.parent_id, child.identity, json.dumps(child.user_opts), json.dumps(child.user_runtime)))

    def children(self) -> list[Child]:
        """All children."""
        rows = self._db.execute("SELECT child_id, parent_id, identity, user_opts, user_runtime FROM children")
        return [Child(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4])) for row in rows]

    def put_heartbeat(self, endpoint_id: str, received: float, state: dict[str, Any]) -> None:
        """Keep an endpoint's last heartbeat."""
        self._db.execute("INSERT OR REPLACE INTO heartbeats VALUES (?, ?, ?)", (endpoint_id, received, json.dumps(state)))

    def heartbeats(self) -> dict[str, tuple[float, dict[str, Any]]]:
        """The last heartbeat of each endpoint: when (seconds since the epoch), and what it said."""
        rows = self._db.execute("SELECT endpoint_id, received, state FROM heartbeats")
        return {endpoint_id: (received, json.loads(state)) for endpoint_id, received, state in rows}

    # task groups and tasks

    def group_identity(self, group_id: str) -> str | None:
        """Who a task group was given to; None when it was not given out here."""
        row = self._one("SELECT identity FROM task_groups WHERE group_id = ?", group_id)
        return row[0] if row else None

    def add_tasks(self, group_id: str, identity: str, has_queue: bool, child_id: str, tasks: Iterable[tuple[str, str]]) -> None:
        """Add the tasks (id, function id) of one submission, and its group if it is new, in one transaction."""
        with self._transaction() as db:
            db.execute("INSERT INTO task_groups VALUES (?, ?, ?) "
                       "ON CONFLICT (group_id) DO UPDATE SET has_queue = MAX(has_queue, excluded.has_queue)",
                       (group_id, identity, has_queue))
            db.executemany("INSERT INTO tasks (task_id, group_id, function_id, child_id) VALUES (?, ?, ?, ?)",
                           ((task_id, group_id, function_id, child_id) for task_id, function_id in tasks))

    def remove_tasks(self, task_ids: Iterable[str]) -> None:
        """Take tasks back that could not be queued."""
        with self._transaction() as db:
            db.executemany("DELETE FROM tasks WHERE task_id = ?", ((task_id,) for task_id in task_ids))

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Those of the tasks that exist."""
        return {task.task_id: task for chunk in _chunks(task_ids) for task in self._tasks(f"task_id IN ({_marks(chunk)})", chunk)}

    def unfinished_tasks(self, child_id: str) -> list[Task]:
        """The tasks of a child that have no result."""
        return self._tasks("tasks.child_id = ? AND completed IS NULL", (child_id,))

    def unpublished_tasks(self) -> list[Task]:
        """Tasks whose result was stored but not yet given to the client's queue."""
        return self._tasks("completed IS NOT NULL AND published = 0", ())

    def _tasks(self, where: str, values: Sequence[Any]) -> list[Task]:
        rows = self._db.execute("SELECT task_id, group_id, tasks.child_id, COALESCE(parent_id, ''), has_queue, completed, published FROM tasks "
                                # The condition is one of those in this file.
                                f"JOIN task_groups USING (group_id) LEFT JOIN children USING (child_id) WHERE {where}", values)  # nosec B608
        return [Task(row[0], row[1], row[2], row[3], bool(row[4]), row[5], bool(row[6])) for row in rows]

    def children_with_unfinished_tasks(self) -> list[str]:
        """Ids of the children that owe results."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT child_id FROM tasks WHERE completed IS NULL")]

    def complete(self, results: Iterable[tuple[str, float, bool, bytes]]) -> None:
        """Store results (task id, seconds since the epoch, failed, message body) in one transaction."""
        with self._transaction() as db:
            db.executemany("UPDATE tasks SET completed = ?2, failed = ?3, body = ?4 WHERE task_id = ?1 AND completed IS NULL", results)

    def mark_published(self, task_ids: Iterable[str]) -> None:
        """Note that these results need not be published (again)."""
        with self._transaction() as db:
            db.executemany("UPDATE tasks SET published = 1 WHERE task_id = ?", ((task_id,) for task_id in task_ids))

    def outcomes(self, task_ids: Sequence[str]) -> list[Outcome]:
        """Results, or their absence, of those of the tasks that exist."""
        return [Outcome(*row) for chunk in _chunks(task_ids) for row in self._db.execute(
            # Question marks.
            f"SELECT task_id, group_id, completed, failed, body FROM tasks WHERE task_id IN ({_marks(chunk)})", chunk)]  # nosec B608

    def groups_with_queue(self) -> list[str]:
        """Ids of the task groups that have a result queue."""
        return [row[0] for row in self._db.execute("SELECT group_id FROM task_groups WHERE has_queue")]

    def tasks_of_group(self, group_id: str) -> list[str]:
        """Ids of a group's tasks."""
        return [row[0] for row in self._db.execute("SELECT task_id FROM tasks WHERE group_id = ?", (group_id,))]


def _chunks(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    return (values[i:i + size] for i in range(0, len(values), size))


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
