"""The pages of users, roles, tokens and webhook sources, and the integration library."""

from integrations.admin import access, sources  # noqa: F401  (they register their pages)
