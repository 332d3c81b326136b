"""A cluster that was there before: encrypted, with GPUs, without workers, and what is sent."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import JobEngine
from rnp_core.jobs.attempt import Order, Outcome
from tests.rnp_core.jobs.conftest import PATIENCE, MakeRequest, ended, reaches, until

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

from rnp_core.jobs.cluster import Capacity, capacity_of  # noqa: E402
from rnp_core.jobs.dask_pool import DaskPool  # noqa: E402
from rnp_core.jobs.sent_files import SentFiles  # noqa: E402


def worker(host: str, nthreads: int, **resources: float) -> dict[str, Any]:
    return {"host": host, "nthreads": nthreads, "resources": resources}


@pytest.mark.parametrize(
    ("workers", "capacity"),
    [
        ([], Capacity(0, {}, False)),
        ([worker("a", 1), worker("a", 2), worker("b", 4)], Capacity(7, {"a": 3, "b": 4}, False)),
        ([worker("a", 8, GPU=2), worker("b", 1, GPU=4)], Capacity(3, {"a": 2, "b": 1}, True)),
        ([worker("a", 8, GPU=1), worker("b", 8)], Capacity(1, {"a": 1, "b": 0}, True)),
    ],
)
def test_the_capacity_is_that_of_threads_or_gpus(
    workers: list[dict[str, Any]], capacity: Capacity
) -> None:
    assert capacity_of(workers) == capacity


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Any]:
    """Dask's configuration for a certificate that signs itself, made for this test."""
    made = distributed.Security.temporary()
    files = {}
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert),
                       ("key", made.tls_client_key)):
        files[name] = str(tmp_path / f"{name}.pem")
        Path(files[name]).write_text(text)
    both = {f"distributed.comm.tls.{role}.{part}": files[part]
            for role in ("scheduler", "worker", "client") for part in ("cert", "key")}
    return {"distributed.comm.tls.ca-file": files["ca"], **both}


@pytest.fixture
def gpu_cluster(tls: dict[str, Any]) -> Iterator[Any]:
    """One worker process with two threads and one GPU, reached by TLS alone."""
    with dask.config.set(tls):
        security = distributed.Security(require_encryption=True)
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, resources={"GPU": 1}, protocol="tls://",
            security=security, host="127.0.0.1", dashboard_address=None,
        ) as made:
            yield made


def test_scans_take_turns_on_a_gpu_of_an_encrypted_cluster(
    gpu_cluster: Any, tls: dict[str, Any], home: Path, make_request: MakeRequest
) -> None:
    address = gpu_cluster.scheduler_address
    assert address.startswith("tls://")
    with dask.config.set(tls), JobEngine(home, scheduler=address) as engine:
        ids = [engine.submit(make_request(seconds=0.3)) for _ in range(2)]
        spans = sorted((str(j.started_at), str(j.finished_at))
                       for j in (reaches(engine, job_id, "done") for job_id in ids))
        assert spans[0][1] <= spans[1][0]
        cuda = dataclasses.replace(make_request(), device="cuda")
        assert ended(engine, engine.submit(cuda)).state == "done"
    without = dask.config.set(dict.fromkeys(tls))
    with without, JobEngine(home, scheduler=address) as stranger:
        job_id = stranger.submit(make_request())
        until(lambda: "cannot reach the scheduler" in stranger.problem)
        assert stranger.job(job_id).state == "queued"


def test_a_cluster_without_workers_or_gpus_says_so(home: Path, make_request: MakeRequest) -> None:
    with distributed.LocalCluster(
        n_workers=0, protocol="tcp://", host="127.0.0.1", dashboard_address=None, processes=False
    ) as cluster, JobEngine(home, scheduler=cluster.scheduler_address) as engine:
        waiting = engine.submit(make_request())
        until(lambda: "has no workers yet" in engine.problem)
        assert engine.job(waiting).state == "queued"
        cluster.scale(1)
        assert ended(engine, waiting).state == "done" and engine.problem == ""
        job = ended(engine, engine.submit(dataclasses.replace(make_request(), device="cuda")))
        assert job.state == "failed" and "no worker offers a GPU" in job.error


class FakeFuture:
    status = "finished"

    def __init__(self) -> None:
        self.taken_back = threading.Event()

    def cancel(self, *, force: bool) -> None:
        self.taken_back.set()


class FakeClient:
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def scatter(self, data: bytes, **options: object) -> FakeFuture:
        self.sent.append(data)
        return FakeFuture()


def order_of(folder: Path, number: int, **request: object) -> Order:
    path = folder / f"{number}.pt"
    path.write_text(json.dumps(number))
    clean = folder / "clean.npz"
    clean.write_bytes(b"images")
    fields = {"checkpoint": str(path), "clean": str(clean), "suspects": None, **request}
    return Order(f"job-{number}", 1, "task", fields, "stages", None, 60.0)


def test_files_are_sent_once_and_kept_while_they_are_needed(tmp_path: Path) -> None:
    files, client = SentFiles(), FakeClient()
    first, futures = files.send(client, order_of(tmp_path, 0))
    assert len(client.sent) == len(futures) == 2 and set(first.inputs) == {"checkpoint", "clean"}
    files.release(first)
    second, _ = files.send(client, order_of(tmp_path, 1))
    assert len(client.sent) == 3  # the images stayed
    files.release(second)
    files.send(client, order_of(tmp_path, 0))
    assert len(client.sent) == 4  # the first checkpoint did not
    other = FakeClient()
    files.send(other, order_of(tmp_path, 0))
    assert len(other.sent) == 2


def test_files_that_were_lost_with_a_worker_are_sent_again(tmp_path: Path) -> None:
    files, client = SentFiles(), FakeClient()
    _, futures = files.send(client, order_of(tmp_path, 0))
    for future in futures.values():
        future.status = "lost"  # type: ignore[misc]
    files.send(client, order_of(tmp_path, 0))
    assert len(client.sent) == 4


def test_what_was_not_sent_yet_is_cancelled_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files take a while to send: one order is in the middle of that, one waits for it."""
    sending, go_on, future = threading.Event(), threading.Event(), FakeFuture()
    sent: list[str] = []
    answers: list[tuple[str, object]] = []

    def send(order: Order) -> tuple[FakeFuture, Order]:
        sent.append(order.job)
        sending.set()
        go_on.wait(PATIENCE)
        return future, order

    pool = DaskPool(lambda order, answer: answers.append((order.job, answer)))
    monkeypatch.setattr(pool, "_send", send)
    first, second = order_of(tmp_path, 1), order_of(tmp_path, 2)
    pool.start(first)
    assert sending.wait(PATIENCE)
    pool.start(second)
    for order in (first, second):
        pool.cancel(order)
    cancelled = Outcome("cancelled", "cancelled")
    assert answers == [("job-1", cancelled), ("job-2", cancelled)]
    go_on.set()
    assert future.taken_back.wait(PATIENCE)
    pool.close()
    assert sent == ["job-1"] and len(answers) == 2


def test_code_does_not_travel(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not travel"):
        SentFiles().send(FakeClient(), order_of(tmp_path, 0, arch="/x/net.py:Net"))
