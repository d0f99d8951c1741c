"""One lane, from lease to release: batch after batch, and the waits between them."""

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

logger = logging.getLogger(__name__)

LANE_BUDGET = 20.0  # seconds of work with one lane before others have their turn
IDLE_STAY = 0.5  # seconds with an empty lane: cheaper than another wake-up
SHORT_WAIT = 35.0  # seconds that are waited out with the lease; longer waits are the watch's
WAIT_STEP = 1.0  # seconds between two looks at a lane that waits: somebody may have resumed it

idle_poller = IdleLanePoller(
    lambda lane_ids: wakeups.lanes_with_due_deliveries(lane_ids, timezone.now())
)


def drain_lane(lane_id: int) -> int:
    """Work on a lane until it is empty, must wait for long, or the budget is used up.

    Return how many deliveries left the queue; 0 when another worker has the lane.
    """
    if is_stopping():
        wakeups.clear_wakeup(lane_id)
        return 0
    held = leases.acquire_lease(lane_id, timezone.now())
    if held is None:
        return 0
    try:
        done = deliver_batches(held)
    except leases.LeaseLost:
        logger.warning("Lane %s: the lease was lost; another worker goes on.", lane_id)
        return 0
    finally:
        leases.release_lease(held)
    # what came while we let go, or is left over
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
        if done < settings.BATCH_SIZE <= done + sent:  # as much as any of the dead could have had
            leases.clear_crash_count(held)
        done += sent
        waited = wait_for_vendor(held)
        if waited is None:
            break
        until += waited  # waiting takes nobody's turn
    return done


def wait_for_more(held: Lease) -> bool:
    """Stay with an empty lane for a moment; say whether something came."""
    with lane_threads.yielding_worker(at_once=True):
        return idle_poller.wait(held.lane_id, IDLE_STAY)


def wait_for_vendor(held: Lease) -> float | None:
    """Wait until the lane may be worked on; return the seconds that took.

    None when it may not for long: paused, a long wait, or others need the seat. Raises LeaseLost.
    """
    started = time.monotonic()
    while (seconds := leases.seconds_to_wait(held.lane_id, timezone.now())) != 0.0:
        if seconds is None or seconds > SHORT_WAIT or is_stopping() or lane_threads.is_pool_full():
            return None
        with lane_threads.yielding_worker():
            time.sleep(min(seconds, WAIT_STEP))
        leases.renew_lease(held, timezone.now())
    return time.monotonic() - started
