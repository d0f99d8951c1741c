"""The pictures, their pages, and the text that must appear before a picture is taken."""

from dataclasses import dataclass

INSTALLATIONS = "/admin/integrations/installation/"
SOURCES = "/admin/integrations/source/"
LOG = "/admin/delivery/"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a page.

    address  of the page, with names of Shop.ids in braces
    shows    a text to wait for before the picture is taken
    """

    address: str
    shows: str
    height: int = 900
    width: int = 1280
    is_dark: bool = False


PICTURES = {
    "home": Picture("/admin/", "Needs your attention", 1000),
    "home-phone": Picture("/admin/", "Needs your attention", 844, 390, is_dark=True),
    "library": Picture(f"{INSTALLATIONS}library/", "Product analytics", 560),
    "install": Picture(f"{INSTALLATIONS}library/heap/", "Test connection", 1000),
    "installations": Picture(INSTALLATIONS, "Heap Staging", 640),
    "installation": Picture(
        f"{INSTALLATIONS}{{Heap Production}}/change/", "Newest deliveries", 1100
    ),
    "settings": Picture(f"{INSTALLATIONS}{{Heap Production}}/settings/", "Uninstall", 1100),
    "activity": Picture(f"{INSTALLATIONS}{{Heap Marketing}}/activity/", "saved", 640),
    "blueprint": Picture(f"{INSTALLATIONS}{{Heap Production}}/blueprint/", "Preview", 1100),
    "sources": Picture(SOURCES, "Order service", 640),
    "source": Picture(f"{SOURCES}1/", "Connect", 1000),
    "webhook-source": Picture(
        "/admin/integrations/webhooksource/{Payments}/change/", "Payments", 1000
    ),
    "log": Picture(f"{LOG}delivery/", "Order Completed", 960),
    "delivery": Picture(f"{LOG}delivery/{{failed}}/change/", "Timeline", 1160),
    "event": Picture(f"{LOG}event/{{event}}/change/", "Order Completed", 1100),
    "user": Picture(f"{LOG}event/user/?id=customer-1003", "customer-1003", 1000),
    "rejected": Picture(f"{LOG}rejection/{{rejection}}/change/", "event", 700),
    "replay": Picture(
        f"{LOG}replay/new/?installation={{Heap Production}}", "Deliveries per second", 1000
    ),
    "replay-running": Picture(f"{LOG}replay/{{replay}}/change/", "Heap Production", 800),
    "incident": Picture(f"{LOG}incident/{{incident}}/change/", "Heap", 800),
    "incidents": Picture(f"{LOG}incident/", "Heap", 560),
    "events": Picture(f"{LOG}event/", "Order Completed", 720),
    "resolved": Picture(f"{LOG}delivery/{{resolved}}/change/", "resolved", 620),
    "revision": Picture(f"{INSTALLATIONS}{{Heap Marketing}}/revisions/2/", "campaign", 900),
    "tokens": Picture("/admin/integrations/apitoken/", "Dashboard", 560),
    "users": Picture("/admin/auth/user/", "carol", 560),
    "audit-log": Picture("/admin/integrations/auditentry/", "webhook", 900),
    "system": Picture("/admin/integrations/installation/system/", "Clusters", 1000),
}
