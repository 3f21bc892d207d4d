"""A backend in small: five deployments, one for each way in which an attempt can go.

    python3 examples/python/backend.py http://127.0.0.1:3000
"""

import sys
import time

from shipslog import Refused, Shipslog, find_orphans

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
LEASE_MS = 3_000


def main():
    backend = Shipslog(URL)
    human = Shipslog(URL, actor="human:alice")
    for deployment in ("works", "fails", "stops", "vanishes"):
        backend.create(deployment, environment="staging")

    with backend.attempt("works", lease_ms=LEASE_MS):
        pass
    tell(backend, "works")

    try:
        with backend.attempt("fails", lease_ms=LEASE_MS):
            raise RuntimeError("no room for two replicas")
    except RuntimeError:
        tell(backend, "fails")

    with backend.attempt("stops", lease_ms=LEASE_MS) as attempt:
        human.send("POST", f"{attempt.path}/cancel", {"reason": "wrong version"})
        while True:
            attempt.check()
            time.sleep(0.05)
    tell(backend, "stops")

    # A process that dies tells nobody: here it just stops working on its attempt.
    path = "/v1/deployments/vanishes/attempts"
    backend.send("POST", path, {"attemptId": "lost"})
    backend.send("POST", f"{path}/lost/start", {})
    print("orphans:", find_orphans(backend, mine=set()))
    tell(backend, "vanishes")
    try:
        backend.teardown("vanishes")
    except Refused as refused:
        print("teardown:", refused.code)
    human.resolve("vanishes", "failed", "looked at it: half installed")
    tell(backend, "vanishes")


def tell(shipslog, deployment):
    view = shipslog.get(deployment)
    reason = f" ({view['reason']})" if view["reason"] else ""
    print(f"{deployment}: {view['state']}{reason}")


if __name__ == "__main__":
    main()
