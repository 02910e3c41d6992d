"""People who use the service while it is broken: they submit, cancel, pause, resume, retry, delete.

Each believes only what it was answered, and asks again, with the same key, until it is answered.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.memory import Memory
from tests.chaos.observer import Observer
from tests.chaos.recipes import recipe_of, specification
from tests.waiting import PATIENCE

AGAIN_SECONDS = 0.3
UNAVAILABLE = 503
ACCEPTED = (200, 201)
PROMISED = (*ACCEPTED, 202, 204, 404, 409, UNAVAILABLE)


class Clients:
    """A thread that submits and one that changes its mind."""

    def __init__(
        self,
        url: str,
        memory: Memory,
        observer: Observer,
        *,
        seed: int,
        epochs: int,
        pace_ms: int,
        waiting: int,
        wants_more: Callable[[], bool],
    ) -> None:
        """`waiting` jobs are kept from ending at any time, for as long as `wants_more()`."""
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)
        self._memory = memory
        self._observer = observer
        self._seed = seed
        self._epochs = epochs
        self._pace_ms = pace_ms
        self._waiting = waiting
        self._wants_more = wants_more
        self._stop = threading.Event()
        self._number = 0
        self._threads = [
            threading.Thread(target=self._submit_on, name="submits", daemon=True),
            threading.Thread(target=self._change_minds, name="changes its mind", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def also_wait_for(self, thread: threading.Thread) -> None:
        """A thread that submits something of its own."""
        self._threads.append(thread)

    def stop(self) -> None:
        """Begin nothing new; what was begun is asked until it is answered."""
        self._stop.set()

    def are_busy(self) -> bool:
        """Whether an answer is still waited for."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Give the connections back; nothing is asked any more."""
        self._http.close()

    def submit(self, key: str) -> int:
        """Submit a job until it is accepted; the status of the first answer."""
        first = status = self.try_to_submit(key)
        while status not in ACCEPTED:
            time.sleep(AGAIN_SECONDS)
            status = self.try_to_submit(key)
        return first

    def try_to_submit(self, key: str) -> int:
        """Submit a job once; the status of the answer, 0 where there is none."""
        body = specification(recipe_of(key), epochs=self._epochs, pace_ms=self._pace_ms)
        answer = self.ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
        if answer is None:
            return 0
        if answer.status_code == 409 and not self._is_damaged(body["dataset"], answer):
            self._memory.violated("answer", "POST /v1/jobs", f"409 {answer.text[:300]}")
        if answer.status_code in ACCEPTED:
            job_id = answer.json()["id"]
            with self._memory.lock:
                known = self._memory.accepted.setdefault(key, job_id)
            if known != job_id:
                self._memory.violated(
                    "key answered with two jobs", job_id, f"{key} was {known} before"
                )
        return answer.status_code

    def _is_damaged(self, dataset: str, answer: httpx.Response) -> bool:
        """Whether a job is refused for a data set that was damaged, and that is what it says."""
        with self._memory.lock:
            known = dataset in self._memory.damaged_datasets
        return known and f"the data set {dataset} is damaged" in answer.text

    def upload(self, path: Path, *, name: str, key: str) -> bool:
        """Upload a data set until it was checked; whether it can be used."""
        while True:
            with path.open("rb") as file:
                answer = self.ask(
                    "POST",
                    "/v1/datasets",
                    files={"file": file},
                    data={"name": name},
                    headers={"Idempotency-Key": key},
                )
            while answer is not None and answer.status_code in (200, 201, 202):
                if (dataset := answer.json())["status"] == "ready":
                    return True
                if dataset["status"] != "checking":
                    break
                time.sleep(AGAIN_SECONDS)
                answer = self.ask("GET", f"/v1/datasets/{dataset['id']}")
            if answer is not None and answer.status_code < 500 and answer.status_code != 404:
                self._memory.violated("upload refused", name, answer.text[:300])
                return False
            time.sleep(AGAIN_SECONDS)

    def resume_all(self) -> None:
        """Resume what is paused, so that everything can end."""
        for job_id in self._observer.in_status("paused"):
            self.ask("POST", f"/v1/jobs/{job_id}/resume")

    def _submit_on(self) -> None:
        choose = random.Random(f"{self._seed} submissions")
        while not self._stop.is_set():
            if not self._wants_more() or self._observer.not_ended() >= self._waiting:
                time.sleep(0.1)
                continue
            self._number += 1
            key = f"chaos-{self._seed}-{self._number}"
            self.submit(key)
            if choose.random() < 0.2:  # the same request once more: the same job
                self._memory.requests["submitted twice"] += 1
                self.submit(key)

    def _change_minds(self) -> None:
        choose = random.Random(f"{self._seed} minds")
        wishes: dict[str, Callable[[random.Random], None]] = {
            "pause": self._pause,
            "resume": self._resume,
            "cancel": self._cancel,
            "retry": self._retry,
            "delete": self._delete,
        }
        while not self._stop.wait(choose.uniform(0.8, 3.0)):
            (name,) = choose.choices(list(wishes), weights=[3, 6, 1, 1, 0.6])
            wishes[name](choose)

    def _pause(self, choose: random.Random) -> None:
        if job_id := _one(choose, self._not_left_alone("queued", "starting", "running")):
            self.ask("POST", f"/v1/jobs/{job_id}/pause")

    def _not_left_alone(self, *statuses: str) -> list[str]:
        with self._memory.lock:
            left_alone = {job_id for job_id, _ in self._memory.hung}
        return [job for job in self._observer.in_status(*statuses) if job not in left_alone]

    def _resume(self, choose: random.Random) -> None:
        if job_id := _one(choose, self._observer.in_status("paused")):
            self.ask("POST", f"/v1/jobs/{job_id}/resume")

    def _cancel(self, choose: random.Random) -> None:
        statuses = ("queued", "starting", "running", "converting", "pausing", "recovering")
        if job_id := _one(choose, self._not_left_alone(*statuses)):
            with self._memory.lock:
                self._memory.cancels.add(job_id)
            self.ask("POST", f"/v1/jobs/{job_id}/cancel")

    def _retry(self, choose: random.Random) -> None:
        if job_id := _one(choose, self._observer.in_status("cancelled", "failed")):
            answer = self.ask("POST", f"/v1/jobs/{job_id}/retry")
            if answer is not None and answer.status_code == 201:
                with self._memory.lock:
                    self._memory.retries[answer.json()["id"]] = job_id

    def _delete(self, choose: random.Random) -> None:
        if job_id := _one(choose, self._observer.in_status("succeeded", "cancelled")):
            with self._memory.lock:
                self._memory.asked_to_delete.add(job_id)
            answer = self.ask("DELETE", f"/v1/jobs/{job_id}")
            if answer is not None and answer.status_code == 204:
                with self._memory.lock:
                    self._memory.deleted.add(job_id)

    def ask(
        self, method: str, path: str, *, also: tuple[int, ...] = (), **rest: Any
    ) -> httpx.Response | None:
        """One request; an answer that is none of those that the service promises is a violation."""
        verb = path.rpartition("/")[2] if path.count("/") > 3 else method
        self._memory.requests[verb] += 1
        try:
            answer = self._http.request(method, path, **rest)
        except httpx.TimeoutException:
            self._memory.violated("no answer", f"{method} {path}", f"none within {PATIENCE:g} s")
            return None
        except httpx.TransportError:  # the API was killed, or is not up yet
            with self._memory.lock:
                self._memory.unanswered += 1
            return None
        with self._memory.lock:
            self._memory.answers[answer.status_code] += 1
        if answer.status_code not in (*PROMISED, *also):
            self._memory.violated(
                "answer", f"{method} {path}", f"{answer.status_code} {answer.text[:300]}"
            )
        elif answer.status_code == UNAVAILABLE and not _says_why(answer):
            self._memory.violated("answer says no reason", f"{method} {path}", answer.text[:300])
        return answer


def _says_why(answer: httpx.Response) -> bool:
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return False
    detail = answer.json().get("detail", "")
    return bool(detail) and "\n" not in detail


def _one(choose: random.Random, jobs: list[str]) -> str | None:
    return choose.choice(sorted(jobs)) if jobs else None
