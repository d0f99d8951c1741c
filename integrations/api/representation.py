"""Serializes installations, users, tokens and audit log entries for the API."""

from integrations.roles import get_role


def serialize_installation_settings(installation):
    """Return the settings of an installation, with its secrets masked."""
    return {
        "id": installation.pk,
        "name": installation.name,
        "destination": installation.destination_key,
        "variant": installation.variant,
        "config": installation.masked_config(),
        "delivery_mode": installation.delivery_mode,
        "enabled": installation.enabled,
    }


def serialize_user(user):
    return {
        "id": user.pk,
        "username": user.username,
        "email": user.email,
        "name": user.get_full_name(),
        "role": get_role(user),
        "is_superuser": user.is_superuser,
        "is_active": user.is_active,
        "created_at": user.date_joined,
        "last_login_at": user.last_login,
    }


def serialize_token(token):
    return {
        "id": token.pk,
        "name": token.name,
        "user_id": token.user_id,
        "username": token.user.username,
        "scopes": token.scopes,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


def serialize_audit_entry(entry):
    return {
        "id": entry.pk,
        "at": entry.at,
        "action": entry.action,
        "user_id": entry.user_id,
        "actor": entry.actor,
        "token": entry.token,
        "via": entry.via,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "object_name": entry.object_name,
        "changes": entry.changes,
        "ip_address": entry.ip_address,
        "user_agent": entry.user_agent,
        "request_id": entry.request_id,
    }
