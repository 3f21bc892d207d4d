"""Drives deployments through their attempts, with the standard library only.

A backend that runs deployments itself needs four things: an attempt that is opened and started, a thread
that sends heartbeats while the work is done, an end that tells what came of it, and, after a restart, a
look for attempts that nobody works on any more.
"""

import json
import secrets
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager

PAUSES = (0.1, 0.5, 1, 2, 5)
PASSING = (429, 502, 503, 504)


class Refused(Exception):
    """The service said no; `code` tells why, `allowed` what may be done instead."""

    def __init__(self, status, problem):
        super().__init__(problem.get("detail", "no details"))
        self.status = status
        self.code = problem.get("code")
        self.allowed = problem.get("allowed", [])


class Cancelled(Exception):
    """Somebody asked for the attempt to stop; raised by `Attempt.check`."""


class Shipslog:
    """Asks a service. Safe to use from several threads."""

    def __init__(self, url="http://127.0.0.1:3000", actor="service:backend"):
        self.url = url.rstrip("/")
        self.actor = actor

    def create(self, deployment, **declaration):
        return self.send("POST", "/v1/deployments", {"deploymentId": deployment, **declaration})

    def get(self, deployment):
        return self.send("GET", f"/v1/deployments/{deployment}?consistency=strong")

    def list(self, **query):
        pairs = "&".join(f"{name}={value}" for name, value in query.items())
        return self.send("GET", f"/v1/deployments?{pairs}")["items"]

    def mark_attempt_unknown(self, deployment, attempt, cause):
        path = f"/v1/deployments/{deployment}/attempts/{attempt}/unknown"
        return self.send("POST", path, {"cause": cause})

    def teardown(self, deployment):
        return self.send("POST", f"/v1/deployments/{deployment}/teardown", {})

    def resolve(self, deployment, state, reason):
        """Says what an unknown deployment is, on the revision that was looked at. Only a human may."""
        revision = self.get(deployment)["revision"]
        return self.send(
            "POST",
            f"/v1/deployments/{deployment}/resolution",
            {"as": state, "reason": reason},
            {"if-match": f'"{revision}"'},
        )

    @contextmanager
    def attempt(self, deployment, scope="full", lease_ms=90_000):
        """Runs a block as an attempt: an exception fails it, `Cancelled` cancels it, else it succeeded."""
        attempt = Attempt(self, deployment, scope, lease_ms)
        attempt.start()
        try:
            yield attempt
        except Cancelled:
            attempt.end("cancelled")
        except Exception as error:
            attempt.end("failed", reason=str(error)[:1000] or type(error).__name__)
            raise
        else:
            attempt.end("succeeded")

    def send(self, method, path, body=None, headers=None):
        """Sends a request, again while the service cannot answer; its key keeps a repeat from acting twice."""
        key = str(uuid.uuid4())
        for pause in (*PAUSES, None):
            request = urllib.request.Request(
                self.url + path,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={"x-shipslog-actor": self.actor, **(headers or {})},
            )
            if body is not None:
                request.add_header("content-type", "application/json")
                request.add_header("idempotency-key", key)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in PASSING or pause is None:
                    raise Refused(error.code, json.load(error)) from None
            except OSError:
                if pause is None:
                    raise
            time.sleep(pause)


class Attempt:
    """An attempt that this process works on."""

    def __init__(self, shipslog, deployment, scope, lease_ms):
        self.shipslog = shipslog
        self.deployment = deployment
        self.scope = scope
        self.lease_ms = lease_ms
        self.id = str(uuid.uuid4())
        self.token = secrets.token_urlsafe(32)
        self.path = f"/v1/deployments/{deployment}/attempts/{self.id}"
        self.stop = threading.Event()
        self.ended = threading.Event()
        self.beating = threading.Thread(target=self.keep_alive, daemon=True)

    def start(self):
        path = f"/v1/deployments/{self.deployment}/attempts"
        self.shipslog.send("POST", path, {"attemptId": self.id, "scope": self.scope})
        body = {"leaseToken": self.token, "leaseMs": self.lease_ms, "runner": {"id": "backend"}}
        self.shipslog.send("POST", f"{self.path}/start", body)
        self.beating.start()

    def keep_alive(self):
        """Sends heartbeats until the work has ended; hears by them that it must stop."""
        while not self.ended.wait(self.lease_ms / 3000):
            try:
                beat = self.shipslog.send("POST", f"{self.path}/heartbeat", {"leaseToken": self.token})
                if beat["cancelRequested"]:
                    self.stop.set()
            except Refused as refused:
                # A newer attempt was opened, or a human has closed this one: it is not ours any more.
                if refused.code in ("ATTEMPT_SUPERSEDED", "ATTEMPT_TERMINAL"):
                    self.stop.set()
                    return
            except OSError:
                pass  # Out of reach: the work goes on, its end counts also after a loss.

    def check(self):
        """Raises `Cancelled` when the work must stop: call it between two steps."""
        if self.stop.is_set():
            raise Cancelled()

    def end(self, outcome, **result):
        self.ended.set()
        self.beating.join()
        body = {"outcome": outcome, "leaseToken": self.token, **result}
        return self.shipslog.send("POST", f"{self.path}/end", body)


def find_orphans(shipslog, mine):
    """Marks what is said to be deploying but is not among `mine`: to be called when a backend starts."""
    orphans = []
    for deployment in shipslog.list(state="deploying", limit=200):
        attempt = deployment["currentAttempt"]["attemptId"]
        if attempt not in mine:
            shipslog.mark_attempt_unknown(deployment["deploymentId"], attempt, "orphaned")
            orphans.append(deployment["deploymentId"])
    return orphans
