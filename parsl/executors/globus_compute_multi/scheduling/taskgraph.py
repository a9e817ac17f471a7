"""The part of the workflow that is known and not finished, and how long a path hangs on each of its tasks."""
from __future__ import annotations

import math
from typing import (
    AbstractSet,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Set,
    Tuple,
)

#: Seconds that a pass takes for each node and each edge, re-sorting the pending tasks after it included
#: (measured: 0.1 to 0.2 microseconds for the pass alone).
PASS_SECONDS = 1e-6

#: Largest share of the core's time for passes that are due for the time that has gone by.
PASS_SHARE = 0.1

#: Share of the core's time for passes in a large graph, however few events there are.
SMALL_SHARE = 0.01

#: Beyond the nodes and edges that are always affordable, so many may be visited for each event, and this many passes be saved up: so passes
#: cost each event the same, however many tasks there are (with the sorting of what is pending, 1 to 2 microseconds a visit).
FREE_VISITS = 10_000
VISITS_PER_EVENT = 0.5
SAVED_PASSES = 4

#: A pass is due at once after announcements for this share of the nodes: so passes cost the same for each announcement, however many there are.
GROWTH = 0.1

#: An app's run time is taken to have moved when it differs by more than this from what the last pass used, relatively.
MOVED = 0.1


class CyclicDependency(ValueError):
    """A task was announced with a parent that waits, itself or through others, for that task.

    Parameters
    ----------
    node : int
        The task.
    parents : iterable of int
        Its parents that were left out.
    """

    def __init__(self, node: int, parents: Iterable[int]) -> None:
        self.node = node
        self.parents = tuple(sorted(parents))
        super().__init__(f"task {node} was announced to depend on {', '.join(map(str, self.parents))}, which depends on task {node}: "
                         f"these dependencies are left out of the order of tasks; whoever announced them is mistaken")


class _Node:
    """A task. ``app`` is None for one that is only known as a parent: not announced yet, or finished before its child was announced."""

    __slots__ = ("id", "app", "seconds", "ours", "weight", "rank", "parents", "children", "last_pass")

    def __init__(self, node: int) -> None:
        self.id = node
        self.app: Optional[str] = None
        self.seconds: Optional[float] = None  # as given
        self.ours = False
        self.weight: Optional[float] = None  # None: its app was not in the last pass
        self.rank = 0.0
        # most have no parents, or no children: an empty set takes more memory than all the rest
        self.parents: AbstractSet[_Node] = _NO_NODES
        self.children: AbstractSet[_Node] = _NO_NODES
        self.last_pass = 0


_NO_NODES: FrozenSet[_Node] = frozenset()


def _with(nodes: AbstractSet[_Node], more: Set[_Node]) -> AbstractSet[_Node]:
    """``nodes``, with ``more`` in it; what is returned takes its place."""
    if not isinstance(nodes, set):
        return more
    nodes |= more
    return nodes


def _without(nodes: AbstractSet[_Node], node: _Node) -> AbstractSet[_Node]:
    """``nodes``, without one that is in there; what is returned takes its place."""
    if isinstance(nodes, set):
        nodes.discard(node)
    return nodes or _NO_NODES


class TaskGraph:
    """Known unfinished tasks of the workflow with their dependencies, and the upward rank of each.

    The upward rank of a task is the length, in seconds, of the longest path that starts with it: its own run time and the largest rank of
    a child (Topcuoglu et al., 2002, without communication). Ranks may be stale: a child added to a chain moves the rank of all
    that is above, so all ranks are computed together, now and then (:meth:`refresh`).

    An edge belongs to its child and leaves with it, whatever becomes of the parent. So nothing is kept of finished tasks, and a parent may
    be announced after its children, or never.
    """

    def __init__(self) -> None:
        self._nodes: Dict[int, _Node] = {}
        self._awaited: Dict[int, _Node] = {}  # parents that are not announced, while they have children
        self._edges = 0  # between announced nodes
        self._waiting = 0  # of ours, nodes with parents
        self._announcements = 0  # since the last pass
        self._stale = False  # whether a rank may differ from what a pass would give
        self._estimates: Dict[str, float] = {}  # of the last pass
        self._passes = 0
        self._rest_until = self._rested_at = -math.inf
        self._visits = 0.0  # that are affordable beyond those that always are

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def announce(self, node: int, app: str, parents: Iterable[int], seconds: Optional[float] = None, ours: bool = True) -> None:
        """A task became known, or more became known of it. To announce the same again changes nothing.

        Parameters
        ----------
        node : int
            The task.
        app : str
            Its app, whose run time it is expected to take.
        parents : iterable of int
            Tasks it waits for. They may be unknown, finished, repeated; those announced before stay.
        seconds : float, optional
            Its run time if that is known better. One given before stays.
        ours : bool
            Whether it is to be counted among those that are left to do (only the first time that it is announced).

        Raises
        ------
        CyclicDependency
            If a parent waits for this task. Such parents are left out; the rest of the announcement holds.
        ValueError
            If ``seconds`` is negative or not finite. Nothing is changed.
        """
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"the estimated run time of task {node} is {seconds!r}: it must be a finite number of seconds, not negative")
        self._announcements += 1
        known = self._nodes.get(node)
        if known is None:
            known = self._awaited.pop(node) if node in self._awaited else _Node(node)
            self._nodes[node] = known
            known.ours = ours
            self._edges += len(known.children)
        self._weigh(known, app, known.seconds if seconds is None else seconds)
        left_out = self._connect(known, parents)
        if left_out:
            raise CyclicDependency(node, left_out)

    def finish(self, node: int) -> None:
        """A task is done, failed, or will never run. Nothing is kept of it; unknown ones are ignored."""
        known = self._nodes.pop(node, None)
        if known is None:
            return
        self._waiting -= known.ours and bool(known.parents)
        for parent in known.parents:
            parent.children = _without(parent.children, known)
            if parent.app is not None:
                self._edges -= 1
                self._stale = True  # only when it finishes before its parent does that matter to others
            elif not parent.children:
                del self._awaited[parent.id]
        for child in known.children:
            child.parents = _without(child.parents, known)
            self._waiting -= child.ours and not child.parents
        self._edges -= len(known.children)

    def rank(self, node: Optional[int], default: float) -> float:
        """Upward rank of a task in seconds, as of the last pass or its announcement; ``default`` if nothing is known of it."""
        known = None if node is None else self._nodes.get(node)
        return default if known is None or known.weight is None else known.rank

    @property
    def waiting(self) -> int:
        """How many of our announced tasks wait for others."""
        return self._waiting

    def remaining(self, estimate: Callable[[str], float], elapsed: Mapping[int, float]) -> Tuple[float, float]:
        """Run time, in seconds, of our tasks that wait for others, together; and of the longest path from one of ours, as of the last pass.

        Parameters
        ----------
        estimate : callable
            Expected run time of an app in seconds.
        elapsed : mapping of int to float
            Seconds for which tasks have run already, by node.
        """
        work = path = 0.0
        for known in self._nodes.values():
            if known.ours:
                if known.parents:
                    work += estimate(str(known.app)) if known.weight is None else known.weight
                path = max(path, known.rank - elapsed.get(known.id, 0.0))
        return work, path

    def is_awaited(self, node: Optional[int]) -> bool:
        """Whether a task is known that waits for this one."""
        known = None if node is None else self._nodes.get(node)
        return known is not None and bool(known.children)

    def refresh(self, estimate: Callable[[str], float], now: float, by_clock: bool = True, events: int = 1) -> bool:
        """Compute all ranks afresh, if there is reason to and it is affordable.

        There is reason when announcements have moved ranks, or an app's run time has moved. It is affordable when a tenth of the nodes was
        announced since the last pass, or when so much time has gone by that the last pass took less than a tenth of it; in a large graph
        also so many events, or less than a hundredth of the time.

        Parameters
        ----------
        estimate : callable
            Expected run time of an app in seconds, finite. Called once for each app, at most twice.
        now : float
            Seconds on a monotonic clock.
        by_clock : bool
            Whether it is asked since time has gone by, and not since something has happened.
        events : int
            How much has happened since it was asked last.

        Returns
        -------
        bool
            Whether ranks were computed, so that whatever is sorted by them needs to be sorted again.
        """
        grown = self._stale and self._announcements >= GROWTH * len(self._nodes)
        self._visits += events * VISITS_PER_EVENT
        visits = len(self._nodes) + self._edges
        affordable = visits - FREE_VISITS <= self._visits or (by_clock and now >= self._rested_at)
        if not self._nodes or not (grown or (affordable and now >= self._rest_until)):
            return False
        if not self._stale and not self._estimates_moved(estimate):
            self._rest(now, len(self._estimates))
            return False
        self._compute_ranks(estimate)
        self._rest(now, visits)
        self._visits = max(0.0, min(self._visits, SAVED_PASSES * visits) - max(0, visits - FREE_VISITS))
        return True

    def validate(self) -> None:
        """Check the graph against itself, in linear time, for tests.

        Raises
        ------
        AssertionError
        """
        for known in self._nodes.values():
            assert self._nodes[known.id] is known and known.app is not None and known.id not in self._awaited
            assert all(known in parent.children for parent in known.parents), f"edge above {known.id} is held on one side only"
        for awaited in self._awaited.values():
            assert awaited.app is None and awaited.children and not awaited.parents, f"{awaited.id} is kept without reason"
        everything = [*self._nodes.values(), *self._awaited.values()]
        for item in everything:
            for child in item.children:
                assert self._nodes.get(child.id) is child and item in child.parents, f"edge {item.id} -> {child.id} is held on one side only"
        assert self._waiting == sum(known.ours and bool(known.parents) for known in self._nodes.values())
        assert self._edges == sum(len(known.children) for known in self._nodes.values())
        open_parents = {item: len(item.parents) for item in everything}
        free = [item for item, count in open_parents.items() if not count]
        for item in free:  # grows in the loop
            for child in item.children:
                open_parents[child] -= 1
                if not open_parents[child]:
                    free.append(child)
        assert len(free) == len(everything), "there is a cycle"

    # announcements

    def _weigh(self, node: _Node, app: str, seconds: Optional[float]) -> None:
        if node.app == app and node.seconds == seconds:
            return
        node.app, node.seconds = app, seconds
        node.weight = self._estimates.get(app) if seconds is None else seconds
        rank = node.weight or 0.0
        if node.children:
            rank += max(child.rank for child in node.children)
        if node.weight is None or (rank != node.rank and node.parents):
            self._stale = True
        node.rank = rank

    def _connect(self, node: _Node, parents: Iterable[int]) -> Set[int]:
        """Add the edges that are new, and return the parents that would close a cycle instead."""
        nodes = self._nodes
        new = {nodes.get(parent) or self._await(parent) for parent in parents}
        new -= node.parents
        # without children, only the task itself can be below it
        cyclic = self._waiting_for(node, new) if new and (node.children or node in new) else set()
        new -= cyclic
        self._waiting += node.ours and bool(new) and not node.parents
        if new:
            node.parents = _with(node.parents, new)
        for parent in new:
            parent.children = _with(parent.children, {node})
            if parent.app is not None:
                self._edges += 1
                if parent.weight is None or parent.weight + node.rank > parent.rank:
                    self._stale = True
        return {parent.id for parent in cyclic}

    def _await(self, node: int) -> _Node:
        known = self._awaited.get(node)
        if known is None:
            known = self._awaited[node] = _Node(node)
        return known

    @staticmethod
    def _waiting_for(node: _Node, candidates: Set[_Node]) -> Set[_Node]:
        """Those of ``candidates`` that are ``node`` or below it.

        Looks down from the node and up from the candidates in turn, until either side is exhausted: a parent announced after its children has
        few tasks below it, and the tasks a join app waits for have few above.
        """
        below = _reachable({node}, "children")
        found = set()
        for ancestor in _reachable(candidates, "parents"):
            descendant = next(below, None)
            if descendant is not None:
                found.add(descendant)
            if ancestor is node or descendant is None:
                return candidates & found.union(below)
        return set()

    # ranks

    def _rest(self, now: float, visited: int) -> None:
        self._rest_until = now + visited * PASS_SECONDS / PASS_SHARE
        self._rested_at = now + visited * PASS_SECONDS / SMALL_SHARE

    def _estimates_moved(self, estimate: Callable[[str], float]) -> bool:
        return any(abs(estimate(app) - used) > MOVED * used for app, used in self._estimates.items())

    def _compute_ranks(self, estimate: Callable[[str], float]) -> None:
        """One pass from the leaves up. Each node is looked at once, or twice if it was announced before a child of it."""
        self._passes += 1
        this_pass = self._passes
        estimates: Dict[str, float] = {}
        # children are mostly announced after their parents, so that in this order they come first and the stack stays short
        for start in reversed(self._nodes.values()):
            if not start.children and start.app in estimates and start.seconds is None:  # most are like this, often
                start.weight = start.rank = estimates[start.app]
                start.last_pass = this_pass
                continue
            stack = [start]
            while stack:
                node = stack.pop()
                if node.last_pass == this_pass:
                    continue
                longest = 0.0
                missing = []
                for child in node.children:
                    if child.last_pass != this_pass:
                        missing.append(child)
                    elif child.rank > longest:
                        longest = child.rank
                if missing:
                    stack.append(node)
                    stack += missing
                    continue
                weight = node.seconds
                if weight is None:
                    app = str(node.app)
                    weight = estimates.get(app)
                    if weight is None:
                        weight = estimates[app] = estimate(app)
                node.weight = weight
                node.rank = weight + longest
                node.last_pass = this_pass
        self._estimates = estimates
        self._announcements = 0
        self._stale = False


def _reachable(starts: Iterable[_Node], step: str) -> Iterator[_Node]:
    """All nodes reachable from ``starts`` by ``step`` ("children" or "parents"), these included, each once, looking no further than asked."""
    seen: Set[_Node] = set()
    levels = [iter(starts)]
    while levels:
        node = next(levels[-1], None)
        if node is None:
            levels.pop()
        elif node not in seen:
            seen.add(node)
            levels.append(iter(getattr(node, step)))
            yield node
