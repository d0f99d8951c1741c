"""Drains one lane: acquires its lease, delivers batch after batch, and releases it."""

import logging
import time

from django.conf import settings
from django.utils import timezone

from delivery.lanes import leases, wakeups
from delivery.lanes.leases import Lease
from delivery.worker import lane_threads
from delivery.worker.batch import deliver_batch
from delivery.worker.idle_poller import IdleLanePoller
from delivery.worker.stop import is_stopping
from integrations.log_records import log_ids

logger = logging.getLogger(__name__)

LANE_BUDGET = 20.0  # seconds of work on one lane before another lane gets a turn
IDLE_STAY = 0.5  # seconds to stay with an empty lane, which is cheaper than another wake-up
SHORT_WAIT = 35.0  # longest wait (s) that keeps the lease; the supervisor ends longer waits
WAIT_STEP = 1.0  # seconds between two checks whether a waiting lane was resumed

idle_poller = IdleLanePoller(
    lambda lane_ids: wakeups.lanes_with_due_deliveries(lane_ids, timezone.now())
)


def drain_lane(lane_id: int) -> int:
    """Deliver a lane until it is empty, has a long wait ahead, or has used up its budget.

    Return how many deliveries left the queue; 0 when another worker has the lane.
    """
    if is_stopping():
        wakeups.clear_wakeup(lane_id)
        return 0
    held = leases.acquire_lease(lane_id, timezone.now())
    if held is None:
        return 0
    with log_ids(lane_id=lane_id):
        try:
            done = deliver_batches(held)
        except leases.LeaseLost:
            logger.warning("Lane %s: lost the lease to another worker.", lane_id)
            return 0
        finally:
            leases.release_lease(held)
    # Deliveries were queued during the release, or are left over.
    if not is_stopping() and wakeups.needs_a_worker(lane_id, timezone.now()):
        wakeups.wake_lanes([lane_id])
    return done


def deliver_batches(held: Lease) -> int:
    """Deliver batch after batch; return how many deliveries left the queue."""
    done, until = 0, time.monotonic() + LANE_BUDGET

    def go_on() -> bool:
        return time.monotonic() < until and not is_stopping()

    while go_on():
        sent = deliver_batch(held, go_on=go_on)
        if sent is None:
            if not wait_for_more(held):
                break
            continue
        if done < settings.BATCH_SIZE <= done + sent:  # at least the batch that crashed workers
            leases.clear_crash_count(held)
        done += sent
        waited = wait_for_vendor(held)
        if waited is None:
            break
        until += waited  # waiting blocks no other lane
    return done


def wait_for_more(held: Lease) -> bool:
    """Stay with an empty lane for a moment; return whether a delivery became due."""
    with lane_threads.yielding_worker(at_once=True):
        return idle_poller.wait(held.lane_id, IDLE_STAY)


def wait_for_vendor(held: Lease) -> float | None:
    """Wait until the lane may send again; return the seconds waited.

    None when the lane is paused, the wait is long, or another lane needs the thread. Raises
    LeaseLost.
    """
    started = time.monotonic()
    while (seconds := leases.seconds_to_wait(held.lane_id, timezone.now())) != 0.0:
        if seconds is None or seconds > SHORT_WAIT or is_stopping() or lane_threads.is_pool_full():
            return None
        with lane_threads.yielding_worker():
            time.sleep(min(seconds, WAIT_STEP))
        leases.renew_lease(held, timezone.now())
    return time.monotonic() - started
