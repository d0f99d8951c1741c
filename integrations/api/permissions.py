"""Checks that a call's token has the scope, and its user the permission."""

from django.core.exceptions import ImproperlyConfigured
from rest_framework.permissions import BasePermission

from integrations.models import ApiToken
from integrations.roles import SCOPES, scopes_include

ANY_TOKEN = ""  # the scope of calls that every valid token may make


class ScopeAndRole(BasePermission):
    """Require the scope that the view names for the method, and the permission behind it.

    A view declares `scopes = {"GET": "deliveries:read", "POST": "deliveries:replay"}`, with
    ANY_TOKEN for calls that need only a valid token. `permissions = {"DELETE": "app.delete_thing"}`
    requires another permission than the scope's. A method without a scope cannot be called.
    """

    def has_permission(self, request, view):
        needed = required_scope(view, request.method)
        if needed is None:  # there is no such method, so the view responds with 405
            return True
        if not request.user or not request.user.is_authenticated:
            return False
        return self._has_scope(request.auth, needed) and self._user_may(request, view, needed)

    def _has_scope(self, token, needed):
        if (
            needed == ANY_TOKEN
            or not isinstance(token, ApiToken)
            or scopes_include(token.scopes, needed)
        ):
            return True
        self.message = (
            f"The token lacks the scope {needed}; it has: {', '.join(token.scopes) or 'none'}. "
            "Use a token that has it."
        )
        return False

    def _user_may(self, request, view, needed):
        asked = getattr(view, "permissions", {})
        permission = asked.get(request.method, SCOPES[needed].permission if needed else "")
        if not permission or request.user.has_perm(permission):
            return True
        self.message = (
            f"Your role does not allow this: it lacks {permission}. Ask an org_admin for a role "
            "that does."
        )
        return False


def required_scope(view, method):
    """Return the scope that a method of a view requires; None if the view has no such method."""
    name = "GET" if method == "HEAD" else method
    if getattr(view, name.lower(), None) is None or name == "OPTIONS":
        return None
    try:
        return view.scopes[name]
    except (AttributeError, KeyError):
        raise ImproperlyConfigured(
            f'{type(view).__name__} names no scope for {name}. Add scopes = {{"{name}": "…"}}'
        ) from None
