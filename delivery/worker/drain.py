"""One lane, from lease to release: batch after batch, and the waits between them."""

import logging
import time

from django.conf import settings
from django.utils import timezone

from delivery.lanes import leases, wakeups
from delivery.lanes.leases import Lease
from delivery.worker import lane_threads
from delivery.worker.batch import deliver
from delivery.worker.idle_poller import Lookout
from delivery.worker.stop import stopping

logger = logging.getLogger(__name__)

BUDGET = 20.0  # seconds of work with one lane before others have their turn
LINGER = 0.5  # seconds with an empty lane: cheaper than another wake-up
SHORT_WAIT = 35.0  # seconds that are waited out with the lease; longer waits are the watch's
STEP = 1.0  # seconds between two looks at a lane that waits: somebody may have resumed it

lookout = Lookout(lambda lane_ids: wakeups.due_among(lane_ids, timezone.now()))


def drain(lane_id: int) -> int:
    """Work on a lane until it is empty, must wait for long, or the budget is used up.

    Return how many deliveries left the queue; 0 when another worker has the lane.
    """
    if stopping():
        wakeups.hand_on(lane_id)
        return 0
    held = leases.lease(lane_id, timezone.now())
    if held is None:
        return 0
    try:
        done = work(held)
    except leases.LeaseLost:
        logger.warning("Lane %s: the lease was lost; another worker goes on.", lane_id)
        return 0
    finally:
        leases.release(held)
    # what came while we let go, or is left over
    if not stopping() and wakeups.is_stranded(lane_id, timezone.now()):
        wakeups.wake([lane_id])
    return done


def work(held: Lease) -> int:
    """Deliver batch after batch; return how many deliveries left the queue."""
    done, until = 0, time.monotonic() + BUDGET

    def go_on() -> bool:
        return time.monotonic() < until and not stopping()

    while go_on():
        sent = deliver(held, go_on=go_on)
        if sent is None:
            if not linger(held):
                break
            continue
        if done < settings.BATCH_SIZE <= done + sent:  # as much as any of the dead could have had
            leases.acquit(held)
        done += sent
        waited = wait_for_vendor(held)
        if waited is None:
            break
        until += waited  # waiting takes nobody's turn
    return done


def linger(held: Lease) -> bool:
    """Stay with an empty lane for a moment; say whether something came."""
    with lane_threads.standing_aside(at_once=True):
        return lookout.wait(held.lane_id, LINGER)


def wait_for_vendor(held: Lease) -> float | None:
    """Wait until the lane may be worked on; return the seconds that took.

    None when it may not for long: paused, a long wait, or others need the seat. Raises LeaseLost.
    """
    started = time.monotonic()
    while (seconds := leases.seconds_to_wait(held.lane_id, timezone.now())) != 0.0:
        if seconds is None or seconds > SHORT_WAIT or stopping() or lane_threads.is_crowded():
            return None
        with lane_threads.standing_aside():
            time.sleep(min(seconds, STEP))
        leases.renew(held, timezone.now())
    return time.monotonic() - started
