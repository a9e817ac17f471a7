"""A service on the loopback interface that answers what a test says."""
from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer


@contextmanager
def answering(answer):
    """A client of a service that answers requests with ``answer(path, body)``.

    Parameters
    ----------
    answer : callable
        Takes path and parsed body (None if there is none); returns an HTTP status and what becomes JSON (bytes are sent as they are), or None
        to close the connection without an answer.
    """
    class Service(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(None)

        def do_POST(self):
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, content):
            reply = answer(self.path, content)
            if reply is None:
                self.close_connection = True
                return
            status, said = reply
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    client.web_service_address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield client
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
