"""Create, change and delete webhook sources: the URLs that third parties call."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from integrations.access import audit
from integrations.models import Source, WebhookSource


def create_webhook_source(values: Mapping[str, Any]) -> WebhookSource:
    """Create a webhook source with its own URL. Raises ValidationError by field.

    values  columns by name, `source` as an id, and `secret` in clear text
    """
    webhook = WebhookSource()
    _save_webhook_source(webhook, values, "created", {})
    return webhook


def change_webhook_source(webhook: WebhookSource, values: Mapping[str, Any]) -> None:
    """Change the given values of a webhook source. Raises ValidationError by field."""
    _save_webhook_source(webhook, values, "updated", audit.column_values(webhook))


def delete_webhook_source(webhook: WebhookSource) -> None:
    """Delete a webhook source. Calls to its URL are refused from now on; its events stay."""
    with transaction.atomic():
        audit.record("webhook_source.deleted", webhook, old=audit.column_values(webhook))
        webhook.delete()


def _save_webhook_source(
    webhook: WebhookSource, values: Mapping[str, Any], verb: str, old: Mapping[str, Any]
) -> None:
    for name, value in values.items():
        setattr(webhook, name, _get_source(value) if name == "source" else value)
    webhook.name = webhook.name.strip()
    webhook.full_clean()
    with transaction.atomic():
        webhook.save()
        audit.record(f"webhook_source.{verb}", webhook, old, audit.column_values(webhook))


def _get_source(pk: int) -> Source:
    source = Source.objects.in_use().filter(pk=pk).first()
    if source is None:
        raise ValidationError({"source": f"There is no source {pk}."})
    return source
