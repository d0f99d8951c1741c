"""The admin theme: names, colours and navigation."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def nav_item(title: str, icon: str, view: str, permission: str = "", **more: Any) -> dict[str, Any]:
    """Return a navigation entry, visible only to users with the permission."""
    allowed = {"permission": lambda request: request.user.has_perm(permission)}
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{view}"),
        **(allowed if permission else {}),
        **more,
    }


def is_installation_page(request: HttpRequest) -> bool:
    """Return whether a page belongs to My Integrations; other pages share its URL prefix."""
    own = ("/library/", "/system/")
    return "/installation/" in request.path and not any(each in request.path for each in own)


UNFOLD = {
    "SITE_TITLE": "Penstock",
    "SITE_HEADER": "Penstock",
    "SITE_SUBHEADER": "Event delivery",
    "SITE_ICON": lambda request: static("penstock/penstock.svg"),
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "delivery.admin.home.home",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("penstock/penstock.svg"),
        },
    ],
    "STYLES": [lambda request: static("penstock/penstock.css")],
    "SCRIPTS": [lambda request: static("penstock/penstock.js")],
    "COLORS": {
        "primary": {
            "50": "#eff6ff",
            "100": "#dbeafe",
            "200": "#bfdbfe",
            "300": "#93c5fd",
            "400": "#60a5fa",
            "500": "#3b82f6",
            "600": "#2563eb",
            "700": "#1d4ed8",
            "800": "#1e40af",
            "900": "#1e3a8a",
            "950": "#172554",
        },
        # the theme's, with grey text dark enough on grey backgrounds (WCAG AA, 4.5:1)
        "font": {
            "subtle-light": "#5f6b7c",
            "subtle-dark": "var(--color-base-400)",
            "default-light": "var(--color-base-600)",
            "default-dark": "var(--color-base-300)",
            "important-light": "var(--color-base-900)",
            "important-dark": "var(--color-base-100)",
        },
    },
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "items": [
                    nav_item(
                        "Home", "home", "index", active=lambda request: request.path == "/admin/"
                    ),
                ],
            },
            {
                "title": "Deliver",
                "items": [
                    nav_item(
                        "My Integrations",
                        "apps",
                        "integrations_installation_changelist",
                        "integrations.view_installation",
                        active=is_installation_page,
                    ),
                    nav_item(
                        "Integration Library",
                        "storefront",
                        "library",
                        "integrations.view_installation",
                    ),
                ],
            },
            {
                "title": "Log",
                "items": [
                    nav_item(
                        "Deliveries",
                        "local_shipping",
                        "delivery_delivery_changelist",
                        "delivery.view_delivery",
                    ),
                    nav_item("Events", "bolt", "delivery_event_changelist", "delivery.view_event"),
                    nav_item(
                        "Replays",
                        "replay",
                        "delivery_replay_changelist",
                        "delivery.view_replay",
                    ),
                    nav_item(
                        "Incidents",
                        "notifications",
                        "delivery_incident_changelist",
                        "delivery.view_incident",
                    ),
                    nav_item(
                        "Rejected messages",
                        "block",
                        "delivery_rejection_changelist",
                        "delivery.view_rejection",
                    ),
                ],
            },
            {
                "title": "Receive",
                "items": [
                    nav_item(
                        "Sources",
                        "sensors",
                        "integrations_source_changelist",
                        "integrations.view_source",
                    ),
                    nav_item(
                        "Webhook sources",
                        "webhook",
                        "integrations_webhooksource_changelist",
                        "integrations.view_webhooksource",
                    ),
                ],
            },
            {
                "title": "Manage",
                "items": [
                    nav_item(
                        "API tokens",
                        "key",
                        "integrations_apitoken_changelist",
                        "integrations.view_apitoken",
                    ),
                    nav_item("Users", "person", "auth_user_changelist", "auth.view_user"),
                    nav_item("Roles", "groups", "auth_group_changelist", "auth.view_group"),
                    nav_item(
                        "Audit log",
                        "history",
                        "integrations_auditentry_changelist",
                        "integrations.view_auditentry",
                    ),
                    nav_item(
                        "System", "monitor_heart", "system", "integrations.change_installation"
                    ),
                ],
            },
        ],
    },
}
