"""A mail server on this PC: it speaks SMTP over a socket and holds what it was given."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Post:
    """What a server got, and how it behaves.

    Args:
        refuses: Starts of commands → the answer instead of the usual one.
        hangs_up: It ends the connection after the content of a message, without an answer.
    """

    refuses: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    messages: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0


class _Talk(socketserver.StreamRequestHandler):
    def handle(self):
        post = self.server.post
        self._answer("220 here")
        while line := self.rfile.readline():
            command = line.decode("utf-8", "replace").strip()
            post.commands.append(command)
            refused = next((a for c, a in post.refuses.items() if command.startswith(c)), "")
            if refused:
                self._answer(refused)
            elif command.upper().startswith("EHLO"):
                self._answer("250-here\r\n250-AUTH PLAIN\r\n250 8BITMIME")
            elif command.startswith("AUTH"):
                self._answer("235 welcome")
            elif command.upper() == "DATA":
                self._answer("354 go on")
                if not self._take(post):
                    return
            else:
                self._answer("250 well")
                if command.upper() == "QUIT":
                    return

    def _take(self, post):
        content = []
        while (line := self.rfile.readline()) != b".\r\n":
            content.append(line.removeprefix(b"."))
        post.messages.append(message_from_bytes(b"".join(content), policy=policy.default))
        if post.hangs_up:
            return False
        self._answer(post.refuses.get("CONTENT", "250 taken"))
        return True

    def _answer(self, text):
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def serve(post: Post):
    """Yield a server that behaves as told, and end it."""
    with _Server(("127.0.0.1", 0), _Talk) as server:
        server.post = post
        post.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield post
        server.shutdown()
        thread.join(10)
