"""A real S3 server seen through a bad one: a proxy that drops If-None-Match, loses answers or cuts bodies short."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Faults:
    """How often a fault is still to happen, counted down under a lock."""

    def __init__(self, lose_answers: int, cut_bodies: int) -> None:
        self._left = {"lose": lose_answers, "cut": cut_bodies}
        self._lock = threading.Lock()

    def take(self, name: str) -> bool:
        with self._lock:
            if not self._left[name]:
                return False
            self._left[name] -= 1
            return True


@contextmanager
def careless(upstream: str, *, honour: bool = False, lose_answers: int = 0, cut_bodies: int = 0) -> Iterator[str]:
    """A URL in front of `upstream` (host:port).

    Without `honour`, If-None-Match never arrives. The first `lose_answers` PUTs are carried out and not answered; the
    first `cut_bodies` GETs of objects over 1 MiB lose the connection after half of the body.
    """
    faults = _Faults(lose_answers, cut_bodies)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if honour or name != "If-None-Match"}
            connection = http.client.HTTPConnection(upstream, timeout=10)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if self.command == "PUT" and faults.take("lose"):
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            if not answer.getheader("Content-Length"):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if len(data) > 1 << 20 and faults.take("cut"):
                self.wfile.write(data[:len(data) // 2])
                self.close_connection = True
                return
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
