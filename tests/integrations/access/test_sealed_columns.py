"""Every stored secret is found, can be rotated while others change it, and is missed if lost."""

import ast
from io import StringIO
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.test import Client

from delivery.management.commands import up
from integrations.access import sealed_columns
from integrations.access.sealed_columns import Rotation, find_unreadable
from integrations.models import IdempotentCall, Installation, Source, WebhookSource
from tests.support.factories import CONFIG, make_installation, make_source, make_token

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


def sealed_attributes():
    """Return the names to which the code assigns or passes what `seal` returns, or None."""
    for app in ("integrations", "delivery"):
        for path in (Path(django_settings.BASE_DIR) / app).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            if path.name == "encryption.py":
                continue
            parents = {
                child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "seal":
                    parent = parents[node]
                    target = parent.targets[0] if isinstance(parent, ast.Assign) else parent
                    yield getattr(target, "attr", getattr(target, "arg", None))


def test_whatever_is_sealed_is_stored_in_a_column_that_is_rotated():
    found = {column.name for column in sealed_columns.sealed_columns()}
    assert set(sealed_attributes()) == found
    for model in apps.get_models():
        for each in model._meta.get_fields():
            assert not each.name.startswith("sealed") or each.name in found, each


@pytest.fixture
def stored(settings, db):
    """One sealed value in each column, all under the old key."""
    settings.SECRETS_KEYS = [OLD]
    make_installation()
    source = make_source("Signed")
    source.new_signing_secret()
    source.save()
    webhook = WebhookSource(name="Stripe", source=source, source_type="stripe")
    webhook.secret = "whsec"
    webhook.save()
    headers = {"authorization": f"Bearer {make_token()}", "idempotency-key": "call-1"}
    Client(headers=headers).post(
        "/v1/admin/sources", {"name": "Called"}, content_type="application/json"
    )
    assert all(column.rows().count() == 1 for column in sealed_columns.sealed_columns())


def rotate():
    out = StringIO()
    call_command("rotate_secrets", stdout=out, stderr=out)
    return out.getvalue()


def test_after_a_rotation_the_new_key_alone_opens_everything(stored, settings):
    settings.SECRETS_KEYS = [NEW, OLD]
    assert "integrations.Source.sealed_signing_secret: 1 of 1" in rotate()
    settings.SECRETS_KEYS = [NEW]
    assert find_unreadable() == []
    assert Installation.objects.get().settings()["api_key"] == CONFIG["api_key"]
    assert WebhookSource.objects.get().secret == "whsec"


def test_a_rotation_goes_on_where_it_ended_and_the_next_changes_nothing(
    stored, settings, monkeypatch
):
    monkeypatch.setattr(sealed_columns, "RESEAL_BATCH_SIZE", 2)
    settings.SECRETS_KEYS = [OLD]
    sealed = IdempotentCall.objects.get().sealed_answer
    IdempotentCall.objects.bulk_create(
        IdempotentCall(caller="a", key=str(n), fingerprint="f", sealed_answer=sealed)
        for n in range(4)
    )
    settings.SECRETS_KEYS = [NEW, OLD]
    [column] = [each for each in sealed_columns.sealed_columns() if each.model is IdempotentCall]
    next(Rotation(column).run())  # interrupted after the first batch
    values = list(column.rows().values_list("sealed_answer", flat=True))
    assert [value == sealed for value in values] == [False, False, True, True, True]
    assert "Sealed 6 values" in rotate()  # 3 of these, and 3 of other columns
    assert list(column.rows().values_list("sealed_answer", flat=True))[:2] == values[:2]
    assert "Sealed 0 values" in rotate()


def test_what_somebody_changes_during_a_rotation_is_kept_and_rotated_too(
    stored, settings, monkeypatch
):
    settings.SECRETS_KEYS = [NEW, OLD]
    reseal, secrets = sealed_columns.reseal, []

    def reseal_while_an_old_process_saves(sealed):
        if not secrets:
            source = Source.objects.get(name="Signed")
            with_old_key = settings.SECRETS_KEYS
            settings.SECRETS_KEYS = [OLD]
            secrets.append(source.new_signing_secret())
            source.save()
            settings.SECRETS_KEYS = with_old_key
        return reseal(sealed)

    monkeypatch.setattr(sealed_columns, "reseal", reseal_while_an_old_process_saves)
    [column] = [each for each in sealed_columns.sealed_columns() if each.model is Source]
    for _ in Rotation(column).run():
        pass
    settings.SECRETS_KEYS = [NEW]
    assert [Source.objects.get(name="Signed").signing_secret] == secrets


def test_what_no_key_opens_is_counted_and_named_and_left_as_it_is(stored, settings):
    settings.SECRETS_KEYS = [NEW]
    webhook = WebhookSource.objects.get()
    webhook.secret = "new"
    webhook.save()
    before = Installation.objects.get().sealed_secrets
    out = StringIO()
    with pytest.raises(CommandError, match="^3 values cannot be opened") as failed:
        call_command("rotate_secrets", stdout=out, stderr=out)
    assert failed.value.returncode == 1
    assert "integrations.Installation.sealed_secrets: installation Heap cannot be" in out.getvalue()
    assert Installation.objects.get().sealed_secrets == before


def test_a_wrong_key_stops_the_start_and_names_what_it_cannot_open(stored, settings):
    up.check_secrets()
    settings.SECRETS_KEYS = [OTHER]
    with pytest.raises(CommandError, match="PENSTOCK_SECRETS_KEYS cannot open") as refused:
        up.check_secrets()
    for name in ("installation Heap", "source Signed", "webhook source Stripe", "call call-1"):
        assert name in str(refused.value)
    settings.SECRETS_KEYS = [OTHER, OLD]
    up.check_secrets()
