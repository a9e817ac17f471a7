"""A TCP relay on the loopback interface that can stop forwarding, or cut its connections."""
from __future__ import annotations

import socket
import struct
import threading


class Relay:
    """Passes bytes between its own port and another one; used with ``with``.

    Parameters
    ----------
    port : int
        On this machine, where connections are passed on to.
    """

    def __init__(self, port):
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._closing = False
        self._lock = threading.Lock()
        self._sockets = []
        self._threads = []

    def __enter__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._closing = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._flows.set()
        self.reset()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def freeze(self):
        """Forward nothing any more, and close nothing: a connection that is dead without a word."""
        self._flows.clear()

    def thaw(self):
        """Forward again, what was kept back too."""
        self._flows.set()

    def reset(self):
        """Cut all connections, as a firewall does that has forgotten them."""
        with self._lock:
            for end in self._sockets:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed already

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._sockets += [client, broker]
            if self._closing:
                self.reset()
            self._start(self._pump, client, broker)
            self._start(self._pump, broker, client)

    def _pump(self, source, sink):
        try:
            while True:
                content = source.recv(65536)
                self._flows.wait()
                if not content:
                    break
                sink.sendall(content)
        except OSError:
            pass  # reset by either side, or by us
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other direction was first
        source.close()
