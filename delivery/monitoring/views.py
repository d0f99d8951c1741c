"""URLs for monitoring. They need no login and answer to any Host."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from delivery.monitoring.access import may_read_metrics
from delivery.monitoring.exposition import render_metrics
from delivery.monitoring.readiness import check_readiness


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Respond that the web server is alive, whatever else is not."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Respond whether each component is ready, and why not; 503 when one is not."""
    reasons = check_readiness()
    components = {name: {"ready": not reason, "reason": reason} for name, reason in reasons.items()}
    is_ready = not any(reasons.values())
    body = {"ready": is_ready, "components": components}
    return JsonResponse(body, status=200 if is_ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Respond with the metrics; 403 to those who may not read them."""
    if not may_read_metrics(request):
        text = "Reading the metrics needs the token, or an address in an allowed network.\n"
        return HttpResponse(text, status=403, content_type="text/plain")
    body, content_type = render_metrics(request.META.get("HTTP_ACCEPT", ""))
    return HttpResponse(body, headers={"Content-Type": content_type})


monitoring_views: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
}
