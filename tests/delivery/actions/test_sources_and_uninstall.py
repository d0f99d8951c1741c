"""The sources of an installation, its settings and uninstalling it; the write keys of sources."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from delivery import tasks
from delivery.accounting import metrics, record
from delivery.accounting.ledger import build_ledger
from delivery.actions import installations
from delivery.actions import sources as actions_sources
from delivery.ingest import authentication
from delivery.ingest.errors import NotAllowed
from delivery.log.absences import explain_absences
from delivery.models import Delivery, Event
from integrations.encryption import MASK
from integrations.installations import change
from integrations.installations.install import InvalidInstallation
from integrations.models import AuditEntry, Installation, Source
from integrations.sources import manage
from tests.delivery.accounting.test_ledger import put_in
from tests.support import factories

pytestmark = pytest.mark.django_db


# --- the sources of an installation --------------------------------------------------------------


def test_an_installation_gets_events_of_its_sources_only():
    heap, shop, app = (
        factories.make_installation(),
        factories.make_source(),
        factories.make_source("App"),
    )
    change.set_sources(heap, [shop.pk])
    put_in(shop, 2)
    put_in(app, 3)
    assert set(Delivery.objects.values_list("event__source", flat=True)) == {shop.pk}
    [line] = build_ledger().lines
    assert (line.in_scope, line.queued) == (2, 2)
    assert build_ledger().closes
    [(_, reason)] = explain_absences(Event.objects.filter(source=app).first(), "{}", [])
    assert reason == "The source App does not send to it."
    change.set_sources(heap, "all")
    put_in(app, 1)
    assert Delivery.objects.filter(event__source=app).count() == 1


def test_an_installation_without_any_source_gets_nothing():
    change.set_sources(factories.make_installation(), [])
    put_in(factories.make_source(), 2)
    assert not Delivery.objects.exists()


def test_a_source_that_is_not_there_feeds_nothing():
    with pytest.raises(InvalidInstallation) as refused:
        change.set_sources(factories.make_installation(), [99])
    assert refused.value.fields == {"sources": "There is no source 99."}


# --- changing an installation --------------------------------------------------------------------


def test_what_is_changed_is_changed_and_the_rest_stays():
    heap = factories.make_installation()
    change.change_installation(
        heap, {"name": "Renamed", "config": {"app_id": "42"}, "lane_count": 3}
    )
    heap.refresh_from_db()
    assert (heap.name, heap.lane_count, heap.enabled) == ("Renamed", 3, True)
    assert (heap.settings()["app_id"], heap.settings()["api_key"]) == ("42", "your_api_key")
    change.change_installation(heap, {"config": {"api_key": MASK}})
    assert heap.settings()["api_key"] == "your_api_key"
    change.change_installation(heap, {"config": {"api_key": "another_key"}})
    heap.refresh_from_db()
    assert heap.settings()["api_key"] == "another_key"
    assert "another_key" not in str(list(AuditEntry.objects.values()))


def test_secrets_that_cannot_be_read_any_more_are_masked():
    heap = factories.make_installation()
    heap.sealed_secrets = "sealed with a key that is gone"
    assert heap.masked_config()["api_key"] == MASK


# --- uninstalling --------------------------------------------------------------------------------


def test_uninstalling_cancels_what_is_queued_and_keeps_the_log():
    heap, source = factories.make_installation(), factories.make_source()
    put_in(source, 3)
    factories.make_delivery(heap, state="delivered", event=factories.make_event(source))
    assert installations.uninstall(heap, timezone.now()) == 3
    assert Delivery.objects.filter(state="cancelled").count() == 3
    assert Delivery.objects.filter(state="delivered").count() == 1
    uninstalled = Installation.objects.get()
    assert (uninstalled.sealed_secrets, uninstalled.enabled) == ("", False)
    assert not Installation.objects.installed().exists()


def test_after_uninstalling_nothing_is_offered_the_ledger_closes_and_the_name_is_free():
    heap, source = factories.make_installation(), factories.make_source()
    put_in(source, 3)
    installations.uninstall(heap, timezone.now())
    put_in(source, 2)
    [line] = build_ledger().lines
    assert (line.in_scope, line.cancelled, line.difference) == (3, 3, 0)
    factories.make_installation("Heap")
    put_in(source, 1)
    assert build_ledger().closes
    assert [each.in_scope for each in build_ledger().lines] == [3, 1]
    now = timezone.now()
    hour = metrics.read_series(
        since=now - timedelta(hours=1),
        until=now,
        step=record.MetricStep.MINUTE,
        installation=heap.pk,
    )
    assert hour.total.cancelled == 3


def test_what_came_in_while_it_was_uninstalled_is_cancelled_by_the_sweep():
    factories.make_delivery(factories.make_installation())
    Installation.objects.update(uninstalled_at=timezone.now(), enabled=False)
    tasks.sweep()
    assert Delivery.objects.get().state == "cancelled"


# --- sources -------------------------------------------------------------------------------------


def is_accepted(key):
    authentication.clear_source_cache()
    try:
        return authentication.get_source_by_write_key(key).name
    except NotAllowed:
        return None


def test_a_source_is_made_and_changed_within_what_it_can_be():
    source = manage.create_source({"name": " Shop ", "rate_limit": 5})
    assert (source.name, is_accepted(source.write_key)) == ("Shop", "Shop")
    manage.change_source(source, {"allowed_origins": "https://shop.example"})
    with pytest.raises(ValidationError, match="is not an origin"):
        manage.change_source(source, {"allowed_origins": "shop"})
    with pytest.raises(ValidationError, match="already exists"):
        manage.create_source({"name": "Shop"})


def test_a_rotated_key_is_valid_until_its_time_is_up():
    source, now = factories.make_source(), timezone.now()
    old = source.write_key
    new = manage.rotate_write_key(source, overlap=timedelta(hours=2), now=now)
    assert is_accepted(old) == is_accepted(new) == "Shop"
    source.further_keys.update(expires_at=now - timedelta(seconds=1))
    assert is_accepted(old) is None
    last = manage.rotate_write_key(source, overlap=timedelta(0), now=now)
    assert (is_accepted(new), is_accepted(last)) == (None, "Shop")
    with pytest.raises(ValidationError, match="Must be from 0 to 2160"):
        manage.rotate_write_key(source, overlap=timedelta(days=91), now=now)


def test_a_key_is_added_and_revoked():
    key = manage.add_write_key(factories.make_source(), note="The app")
    assert is_accepted(key.key) == "Shop"
    manage.revoke_write_key(key)
    assert is_accepted(key.key) is None


def test_a_signing_secret_is_in_no_audit_log():
    source = factories.make_source()
    secret = manage.replace_signing_secret(source)
    source.refresh_from_db()
    assert source.signing_secret == secret
    assert secret not in str(list(AuditEntry.objects.values()))


def test_a_source_that_sent_nothing_is_deleted_and_any_other_archived():
    unused, used = factories.make_source(), factories.make_source("App")
    factories.make_event(used)
    assert actions_sources.remove_source(unused, timezone.now())
    assert not actions_sources.remove_source(used, timezone.now())
    assert Source.objects.get() == used
    assert is_accepted(used.write_key) is None
    manage.restore_source(used)
    assert is_accepted(used.write_key) == "App"
