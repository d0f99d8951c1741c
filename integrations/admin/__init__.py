"""The admin pages of users, roles, tokens, webhook sources and the Integration Library."""

from integrations.admin import access, sources  # noqa: F401  (they register their pages)
