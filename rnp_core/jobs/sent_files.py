"""Inputs of orders on a cluster whose workers do not share the engine's disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, Future

from rnp_core.errors import JobError
from rnp_core.jobs.attempt import Order
from rnp_core.jobs.identity import split_code
from rnp_core.jobs.transfer import INPUT_FIELDS, pack

_USABLE = ("pending", "finished")


@dataclass
class _Sent:
    future: Future
    users: int = 0


class SentFiles:
    """Files by content. Each is on the cluster once, as long as an order needs it; the images of a
    fleet stay from one order to the next."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._sent: dict[str, _Sent] = {}
        self._ended: deque[Order] = deque()

    def send(self, client: Client, order: Order) -> tuple[Order, dict[str, Future]]:
        """Send what the order needs and the cluster does not have; from one thread at a time.

        Returns:
            The order with the digests of its inputs, and their bytes on the cluster by digest.

        Raises:
            JobError: when a file cannot be read, or code would have to travel.
        """
        if split_code(order.request.get("arch"))[0] is not None:
            raise JobError(
                "the code of an architecture does not travel to the workers; put it on a disk that "
                "they share and send no files"
            )
        self._catch_up(client)
        inputs: dict[str, str] = {}
        for name in INPUT_FIELDS:
            if (path := order.request.get(name)) is not None:
                data = pack(Path(path))
                inputs[name] = hashlib.sha256(data).hexdigest()
                self._put(client, inputs[name], data)
        needed = set(inputs.values())
        for sha256 in needed:
            self._sent[sha256].users += 1
        self._sent = {sha256: sent for sha256, sent in self._sent.items() if sent.users}
        futures = {sha256: self._sent[sha256].future for sha256 in needed}
        return dataclasses.replace(order, inputs=inputs), futures

    def release(self, order: Order) -> None:
        """Let go of what an order that ended needed; from any thread."""
        self._ended.append(order)

    def _catch_up(self, client: Client) -> None:
        """Count what ended; after a change of the cluster nothing is there."""
        if client is not self._client:
            self._client, self._sent = client, {}
        while self._ended:
            for sha256 in set(self._ended.popleft().inputs.values()):
                if sha256 in self._sent:
                    self._sent[sha256].users -= 1

    def _put(self, client: Client, sha256: str, data: bytes) -> None:
        known = self._sent.get(sha256)
        if known is None or known.future.status not in _USABLE:  # lost with its worker
            future = client.scatter(data, hash=True, direct=False)
            self._sent[sha256] = _Sent(future, known.users if known else 0)
