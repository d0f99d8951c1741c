"""The pages of users, roles, tokens and webhook sources, and the integration library."""

from integrations.admin import access  # noqa: F401  (it registers its pages)
