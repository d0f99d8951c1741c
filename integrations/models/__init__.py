"""Tables of sources, installations, access and the audit log."""

from integrations.models.access import (
    ApiToken,
    IdempotentCall,
    Login,
    LoginToken,
    digest,
    known_scopes,
    new_token,
)
from integrations.models.audit import AuditEntry, NeverChanged
from integrations.models.installations import Installation, JsonText, Revision
from integrations.models.sources import (
    Source,
    WebhookSource,
    WriteKey,
    check_mappings,
    check_object,
    check_origins,
    check_path,
    new_webhook_key,
    new_write_key,
)

__all__ = [
    "ApiToken",
    "AuditEntry",
    "IdempotentCall",
    "Installation",
    "JsonText",
    "Login",
    "LoginToken",
    "NeverChanged",
    "Revision",
    "Source",
    "WebhookSource",
    "WriteKey",
    "check_mappings",
    "check_object",
    "check_origins",
    "check_path",
    "digest",
    "known_scopes",
    "new_token",
    "new_webhook_key",
    "new_write_key",
]
