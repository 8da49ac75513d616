"""A small stand-in of the Functions host, over real workers and a real queue service.

What it does as the host does, with host.json's numbers:
- timers tick one worker at a time; what `sweep` puts out becomes messages;
- each worker takes messages from the queue, one invocation at a time; a message is invisible meanwhile, deleted after
  success, visible again after `visibilityTimeout` when the function failed, and moved to the poison queue after
  `maxDequeueCount` deliveries. A worker that dies leaves its message to come back by itself.
What it does worse than any host, on purpose (`Mischief`): messages are lost, doubled, shuffled, made up; a timer ticks
on two workers at once. Times are shortened: seconds here for minutes there.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueMessage

from tests.functions.deployment import ROOT
from tests.functions.worker.client import Worker, WorkerDied
from tests.scale.installation import Installation

QUEUE, POISON = "casevault-erase", "casevault-erase-poison"
BUSY_SECONDS = 20
AGAIN_SECONDS = 2
IDLE_SECONDS = 0.2
GARBAGE = ("", "not JSON", '{"bundle": "bun_of_nobody"}', '["x"]', '{"bundle": 5}', "\N{SNOWMAN}" * 40)


@dataclass(frozen=True, slots=True)
class Mischief:
    """How often, of all times, the queue and the timers misbehave."""

    lost: float = 0.15
    doubled: float = 0.25
    garbage: float = 0.05
    two_at_once: float = 0.2


@dataclass(frozen=True, slots=True)
class Ticks:
    """Seconds between two ticks of each timer."""

    sweep: float = 2.0
    sequence: float = 1.0
    read_back: float = 1.0


class Slot:
    """One worker process after another, in one place. A call has it alone."""

    def __init__(self, installation: Installation, number: int) -> None:
        self._installation, self.number = installation, number
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self.lives = 0
        self.busy_with = ""

    @contextmanager
    def worker(self, what: str) -> Iterator[Worker]:
        """The living worker; a new one is started where the last has died."""
        with self._lock:
            if self._worker is None:
                self._worker = self._installation.new_worker(self.number)
                self.lives += 1
            self.busy_with = what
            try:
                yield self._worker
            except WorkerDied:
                self.close()
                raise
            finally:
                self.busy_with = ""

    def kill(self) -> None:
        """SIGKILL, whatever it is at."""
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            with suppress(ValueError, OSError):
                worker.__exit__(None, None, None)


class Host:
    """Timers and queue pollers, in threads, until `stop`."""

    def __init__(self, installation: Installation, seed: int, mischief: Mischief, ticks: Ticks) -> None:
        self.slots = [Slot(installation, number) for number in range(installation.workers)]
        self._random, self._mischief = random.Random(seed), mischief
        self._ticks = ticks
        connection = installation.storage.queue_connection
        self._queues = {
            name: QueueClient.from_connection_string(connection, name) for name in (QUEUE, POISON)
        }
        for queue in self._queues.values():
            queue.create_queue()
        host = json.loads((ROOT / "host.json").read_text())
        self._most = host["extensions"]["queues"]["maxDequeueCount"]
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._stop = threading.Event()
        self.calm = threading.Event()  # no mischief any more
        timers = [(name, getattr(ticks, name)) for name in ("sweep", "sequence", "read_back")]
        self._threads = [threading.Thread(target=self._tick, args=timer, daemon=True) for timer in timers]
        self._threads += [
            threading.Thread(target=self._poll, args=(slot,), daemon=True) for slot in self.slots
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        for slot in self.slots:
            slot.close()

    def holder(self, function: str) -> Slot | None:
        """The slot in which `function` runs just now."""
        return next((slot for slot in self.slots if slot.busy_with == function), None)

    def is_drained(self) -> bool:
        """Whether no message is left, visible or not."""
        return all(
            queue.get_queue_properties().approximate_message_count == 0 for queue in self._queues.values()
        )

    def _chance(self, share: float) -> bool:
        return not self.calm.is_set() and self._random.random() < share

    def _tick(self, name: str, seconds: float) -> None:
        while not self._stop.wait(seconds):
            slots = self._random.sample(self.slots, 2 if self._chance(self._mischief.two_at_once) else 1)
            ticking = [threading.Thread(target=self._run_timer, args=(name, slot)) for slot in slots]
            for each in ticking:
                each.start()
            for each in ticking:
                each.join()

    def _run_timer(self, name: str, slot: Slot) -> None:
        try:
            with slot.worker(name) as worker:
                ran = worker.run_timer(name)
        except WorkerDied:
            self.counts[f"{name} killed"] += 1
            return
        self.counts[name if ran.ok else f"{name} failed"] += 1
        if not ran.ok:
            self.errors.append(f"{name}: {ran.error}")
        with suppress(AzureError):
            self._send(ran.outputs.get("erase", []))

    def _send(self, messages: list[str]) -> None:
        sent = [message for message in messages if not self._chance(self._mischief.lost)]
        self.counts["messages lost"] += len(messages) - len(sent)
        doubles = [message for message in sent if self._chance(self._mischief.doubled)]
        made_up = [self._random.choice(GARBAGE)] if self._chance(self._mischief.garbage) else []
        self.counts["messages doubled"] += len(doubles)
        self.counts["messages made up"] += len(made_up)
        mixed = sent + doubles + made_up
        if not self.calm.is_set():
            self._random.shuffle(mixed)
        for message in mixed:
            self._queues[QUEUE].send_message(message)

    def _poll(self, slot: Slot) -> None:
        while not self._stop.is_set():
            taken = 0
            for name, function in ((QUEUE, "erase"), (POISON, "erase_poison")):
                with suppress(AzureError):
                    message = self._queues[name].receive_message(visibility_timeout=BUSY_SECONDS)
                    if message is not None:
                        taken += 1
                        self._deliver(slot, name, function, message)
            if not taken:
                time.sleep(IDLE_SECONDS)

    def _deliver(self, slot: Slot, name: str, function: str, message: QueueMessage) -> None:
        try:
            with slot.worker(function) as worker:
                done = worker.deliver(
                    function, message.content or "", dequeue_count=message.dequeue_count or 1
                )
        except WorkerDied:
            self.counts[f"{function} killed"] += 1
            return
        queue = self._queues[name]
        self.counts[function if done.ok else f"{function} failed"] += 1
        with suppress(ResourceNotFoundError):  # it came back meanwhile, and somebody else is at it
            if done.ok:
                queue.delete_message(message)
            elif (message.dequeue_count or 0) < self._most:
                queue.update_message(message, visibility_timeout=AGAIN_SECONDS)
            else:
                if name == QUEUE:
                    self._queues[POISON].send_message(message.content)
                queue.delete_message(message)
                self.counts[f"{function} given up"] += 1
