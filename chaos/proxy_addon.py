"""Addon of mitmproxy: makes TCP connections slow, thin, silent or broken, as it is told over a Unix socket.

Runs inside ``mitmdump``, in an environment of its own; it must not import anything of this repository. The environment variable
``CHAOS_CONTROL`` is the path of the socket; each line there is a JSON object, answered by one with ``hits``: for each kind of fault, how many
connections (of latency, bandwidth and stall: pieces of data) it has struck on this link so far:

``{"port": …, "set": {"latency": s, "bytes_per_second": n, "stalled": bool, "refused": bool}}``
    how the connections that come in at this port are treated from now on; what is not named stays; to refuse them also resets those there are;
``{"port": …, "do": "reset"}``
    ends those there are with a TCP reset, in both directions;
``{"port": …, "do": "half_open"}``
    those there are stay open, and no byte passes any more, nor, after the first that did not, their end; new ones work;
``{"port": …}``
    nothing changes.
"""
from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections import Counter
from typing import Any

from mitmproxy import ctx  # type: ignore[import-not-found]


class Link:
    """How the connections through one port are treated."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.bytes_per_second = 0.0
        self.refused = False
        self.passing = asyncio.Event()
        self.passing.set()
        self.flows: set[str] = set()
        self.dead: set[str] = set()
        self.hits: Counter[str] = Counter()

    def set(self, latency: float | None = None, bytes_per_second: float | None = None, stalled: bool | None = None,
            refused: bool | None = None) -> None:
        """Change what is given; 0: no latency, no limit."""
        self.latency = self.latency if latency is None else latency
        self.bytes_per_second = self.bytes_per_second if bytes_per_second is None else bytes_per_second
        self.refused = self.refused if refused is None else refused
        if stalled is not None:
            (self.passing.clear if stalled else self.passing.set)()

    async def pass_on(self, flow_id: str, size: int) -> None:
        """Return when so many bytes of a connection may go on; for a dead one, never."""
        struck = {"stall": not self.passing.is_set(), "latency": self.latency, "bandwidth": self.bytes_per_second}
        self.hits.update(kind for kind, how in struck.items() if how)
        await self.passing.wait()
        if self.latency or self.bytes_per_second:
            await asyncio.sleep(self.latency + (size / self.bytes_per_second if self.bytes_per_second else 0.0))
        if flow_id in self.dead:
            await asyncio.Event().wait()


class Faults:
    """The addon."""

    def __init__(self) -> None:
        self.links: dict[int, Link] = {}

    async def running(self) -> None:
        """Listen for commands: mitmproxy calls this when its ports are open."""
        self.server = await asyncio.start_unix_server(self.serve, os.environ["CHAOS_CONTROL"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry out commands, one a line."""
        while line := await reader.readline():
            command = json.loads(line)
            link = self.link(command["port"])
            if "set" in command:
                link.set(**command["set"])
                link.hits["refuse"] += self.reset(command["port"]) if link.refused else 0
            elif command.get("do") == "half_open":
                link.hits["half_open"] += len(link.flows - link.dead)
                link.dead |= link.flows
            elif command.get("do") == "reset":
                link.hits["reset"] += self.reset(command["port"])
            elif "do" in command:
                raise ValueError(f"unknown command {command!r}")
            writer.write(json.dumps({"hits": link.hits}).encode() + b"\n")
            await writer.drain()
        writer.close()

    def link(self, port: int) -> Link:
        """The link that begins at a port."""
        return self.links.setdefault(port, Link())

    def reset(self, port: int) -> int:
        """End all connections of a port with RST; returns how many there were."""
        count = 0
        for handler in list(ctx.master.addons.get("proxyserver").connections.values()):
            if handler.client.sockname[1] == port:
                open_ = [io.writer for io in handler.transports.values() if io.writer is not None and not io.writer.is_closing()]
                count += bool(open_)
                for writer in open_:
                    # closed without lingering, the kernel sends RST
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
        return count

    # What mitmproxy calls

    def client_connected(self, client: Any) -> None:
        """A connection comes in."""
        link = self.link(client.sockname[1])
        if link.refused:
            link.hits["refuse"] += 1
            client.error = "refused on demand"

    def tcp_start(self, flow: Any) -> None:
        """A connection is there."""
        self.link(flow.client_conn.sockname[1]).flows.add(flow.id)

    async def tcp_message(self, flow: Any) -> None:
        """Bytes have come, and wait for this to return; what comes after them on the same connection waits, too."""
        message = flow.messages[-1]
        flow.messages[:] = [message]  # else all that ever passed is kept
        await self.link(flow.client_conn.sockname[1]).pass_on(flow.id, len(message.content))

    def tcp_end(self, flow: Any) -> None:
        """A connection has ended."""
        self.link(flow.client_conn.sockname[1]).flows.discard(flow.id)

    tcp_error = tcp_end


addons = [Faults()]
