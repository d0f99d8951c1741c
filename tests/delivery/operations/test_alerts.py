"""Alerts: one notification when an incident begins and one when it ends, by mail and webhook."""

import hmac
import re
import socket
import threading
from copy import copy
from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.accounting import record, rollup
from delivery.models import Attempt, Delivery, Incident, Lane, Metric, Tally
from delivery.operations import alert_channels, alerts
from delivery.worker import results
from tests.delivery.accounting.test_ledger import put_in
from tests.support import factories
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

NOW = timezone.now()
REFUSED = "Heap rejected the credentials: HTTP 401"


class MailServer:
    """A real SMTP server on localhost, as simple as RFC 5321 allows; it keeps its mails."""

    def __init__(self):
        self.mails, self.refuses = [], False

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rwb", buffering=0) as lines:
                self._talk(lines)

    def _talk(self, lines):
        lines.write(b"220 here\r\n")
        for line in lines:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                lines.write(b"354 go on\r\n")
                self.mails.append(b"".join(iter(lines.readline, b".\r\n")).decode())
            if verb == b"QUIT":
                lines.write(b"221 bye\r\n")
                return
            lines.write(b"550 no\r\n" if self.refuses and verb == b"MAIL" else b"250 OK\r\n")


@pytest.fixture
def mails(settings):
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.ALARM_EMAILS = ["ops@shop.example"]
        yield server


@pytest.fixture
def hook(settings):
    with FakeVendor() as vendor:
        settings.ALARM_WEBHOOK_URL = f"{vendor.url}/alarms"
        settings.ALARM_WEBHOOK_SECRET = "hook-secret"
        yield vendor


def minutes(number):
    return NOW + timedelta(minutes=number)


def refuse(*installations):
    """Put these installations in the state after the vendor rejected their credentials."""
    for each in installations:
        Lane.objects.filter(installation=each).update(paused=True, last_error=REFUSED)


def sweep(at):
    alerts.update_incidents(at)
    alert_channels.send_notifications(at)


def found():
    return [(each.kind, each.about, each.text) for each in alerts.find_alerts(NOW)]


# --- finding alerts ----------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_new_installation():
    factories.make_delivery()
    assert found() == []


def test_refused_credentials_are_found_but_not_when_a_person_switched_it_off():
    heap = factories.make_installation()
    refuse(heap)
    assert found() == [("attention", "Heap", REFUSED)]
    heap.enabled = False
    heap.save()
    assert found() == []


def test_what_is_queued_too_long_is_found(settings):
    heap = factories.make_installation()
    factories.make_delivery(heap, queued_at=minutes(-3))
    Lane.objects.update(last_error="HTTP 503")
    text = "The oldest delivery has been queued for 3 minutes: HTTP 503"
    assert found() == [("late", "Heap", text)]
    settings.ALARM_QUEUED_MINUTES = 4
    assert found() == []
    settings.ALARM_QUEUED_MINUTES = 0
    assert found() == []


def test_a_high_share_of_failures_is_found_when_enough_was_sent(settings):
    delivery = factories.make_delivery(state="failed")
    factories.make_attempt(delivery, items=15, outcome="MessageRejected", started_at=minutes(-2))
    assert found() == []  # 15 are too few to tell
    factories.make_attempt(delivery, items=9, started_at=minutes(-1))
    text = "62 % of 24 messages sent within 10 minutes were not accepted."
    assert found() == [("failing", "Heap", text)]
    settings.ALARM_FAILURE_PERCENT = 70
    assert found() == []
    settings.ALARM_FAILURE_PERCENT = 50
    Attempt.objects.update(is_test=True)
    assert found() == []


def test_deliveries_that_fail_without_being_sent_are_found(settings):
    heap, source = factories.make_installation(), factories.make_source()
    queued = {"delivery_id": 0, "source_id": source.pk, "queued_at": NOW}
    failed = results.DeliveryResult(state="failed", **queued)
    for count, at in ((15, minutes(-2)), (9, minutes(-1))):
        assert found() == []  # 15 are too few to tell
        record.record_settled_batch(heap.pk, [failed] * count, [], at)
    text = "100 % of 24 deliveries settled within 10 minutes failed."
    assert found() == [("failing", "Heap", text)]
    record.record_settled_batch(
        heap.pk, [results.DeliveryResult(state="delivered", **queued)] * 25, [], minutes(-1)
    )
    assert found() == []


def test_silence_is_found_over_all_or_of_a_source_that_must_speak(settings):
    shop, app = factories.make_source(), factories.make_source("App")
    settings.ALARM_SILENT_MINUTES = 30
    settings.ALARM_SILENT_SOURCES = ["App"]
    assert [(kind, about) for kind, about, _ in found()] == [("silent", "All sources")]
    put_in(shop, 1)
    assert [(kind, about) for kind, about, _ in found()] == [("silent", "App")]
    put_in(app, 1)
    assert found() == []
    rollup.roll_up_metrics(NOW)
    assert not Tally.objects.exists()
    assert found() == []
    Metric.objects.all().delete()
    put_in(app, 1)
    Tally.objects.update(at=minutes(-31))
    assert [about for _, about, _ in found()] == ["All sources"]
    settings.ALARM_SILENT_MINUTES = 0
    assert found() == []


# --- notifications -----------------------------------------------------------------------------


def test_an_incident_is_told_once_and_so_is_its_end(mails, hook):
    heap = factories.make_installation()
    refuse(heap)
    for minute in range(3):
        sweep(minutes(minute))
    Lane.objects.update(paused=False)
    for minute in range(3, 10):
        sweep(minutes(minute))
    opened, closed = mails.mails
    assert "Subject: [Penstock] Heap: needs attention" in opened
    assert "To: ops@shop.example" in opened
    assert "HTTP 401" in opened
    assert "Subject: [Penstock] resolved: Heap: needs attention" in closed
    notified = [body["incidents"][0] for _, _, body in hook.received]
    assert [(each["event"], each["kind"], each["about"]) for each in notified] == [
        ("opened", "attention", "Heap"),
        ("closed", "attention", "Heap"),
    ]


def test_what_comes_and_goes_is_one_incident(mails):
    heap = factories.make_installation()
    for minute in range(0, 12, 2):
        refuse(heap)
        sweep(minutes(minute))
        Lane.objects.update(paused=False)
        sweep(minutes(minute + 1))
    assert len(mails.mails) == Incident.objects.count() == 1


def test_a_hundred_at_once_are_one_mail_and_one_call(mails, hook):
    first = factories.make_installation()
    for number in range(1, 100):
        other = copy(first)
        other.pk, other.name = None, f"Heap {number}"
        other.save(force_insert=True)
        Lane.objects.create(installation=other)
    Lane.objects.update(paused=True)
    sweep(NOW)
    sweep(minutes(1))
    assert len(mails.mails) == len(hook.received) == 1
    assert "Subject: [Penstock] Incidents: 100 new" in mails.mails[0]
    assert len(hook.received[0][2]["incidents"]) == 100


def test_the_call_is_signed_over_its_time_and_body(hook):
    refuse(factories.make_installation())
    sweep(NOW)
    _, headers, body = hook.received[0]
    at, mac = re.fullmatch(r"t=(\d+),v1=(\w+)", headers["X-Penstock-Signature"]).groups()
    assert abs(int(at) - NOW.timestamp()) <= 1
    text = alert_channels.json.dumps(body, ensure_ascii=False)
    assert mac == hmac.new(b"hook-secret", f"{at}.{text}".encode(), "sha256").hexdigest()


def test_what_could_not_be_told_is_told_later_and_to_each_once(mails, hook):
    refuse(factories.make_installation())
    mails.refuses, hook.answers = True, [500, (302, {"Location": "/elsewhere"}, "")]
    for minute in range(2):
        sweep(minutes(minute))
    assert (mails.mails, Incident.objects.get().posted_at) == ([], None)
    mails.refuses = False
    for minute in range(2, 5):
        sweep(minutes(minute))
    assert len(mails.mails) == 1
    assert len(hook.received) == 3  # a 500, a redirect that is not followed, a success


def test_a_mail_server_that_is_away_stops_nothing(mails, hook):
    refuse(factories.make_installation())
    mails.__exit__()
    sweep(NOW)
    assert len(hook.received) == 1
    mails.__enter__()


def test_without_anyone_to_tell_incidents_are_listed_all_the_same(client):
    refuse(factories.make_installation())
    sweep(NOW)
    client.force_login(factories.make_user(role="source_viewer"))
    page = client.get("/admin/delivery/incident/").text
    assert "Needs attention" in page
    assert "HTTP 401" in page


def test_the_sweep_looks_and_tells(mails):
    from delivery import tasks

    refuse(factories.make_installation())
    tasks.sweep()
    assert len(mails.mails) == 1


def test_what_is_asked_each_minute_reads_no_more_of_a_long_log(django_assert_max_num_queries):
    factories.make_delivery(state="delivered")
    Delivery.objects.update(settled_at=NOW)
    with django_assert_max_num_queries(12):
        assert found() == []
