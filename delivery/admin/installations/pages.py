"""The pages of My Integrations: the list, the overview, settings, activity and uninstalling."""

from datetime import timedelta

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.admin import ModelAdmin
from unfold.decorators import display

from delivery.accounting import metrics, queues
from delivery.accounting.bounded_count import format_bounded_count
from delivery.accounting.queues import QueueSize
from delivery.actions import installations
from delivery.admin import system
from delivery.admin.audit import object_activity
from delivery.admin.charts import (
    DELIVERY_DATASETS,
    ChartStep,
    chart_json,
    chart_span_of_request,
    compact_number,
    describe_chart,
    traffic_figures,
)
from delivery.admin.installations import blueprints, tester
from delivery.admin.installations.health import health_series, installation_health
from delivery.admin.installations.layout import (
    get_changeable_installation,
    get_viewable_installation,
    installation_context,
)
from delivery.admin.keyset import parse_integer
from delivery.admin.page_urls import PageUrlsMixin
from delivery.log import querysets
from delivery.log.search.query import IS_UNSENT
from delivery.models import WAITING, Delivery, Lane
from delivery.status.deliveries import status_chip
from delivery.status.installations import count_queued, describe_installation, with_state
from delivery.transform.guard import get_vendor_limits
from delivery.worker import rate_limits
from integrations.admin.library import InstallFormCheckView, InstallFormView, LibraryView
from integrations.catalog import logo_url
from integrations.formatting import ago, duration, mark_times, sparkline
from integrations.formatting import chip as chip_html
from integrations.installations.forms import InstallationEditForm
from integrations.models import Installation, Source

INSTALLATION_LIST_PERIOD = timedelta(days=1)
OVERVIEW_ROWS = 8  # deliveries on the overview, and uninstalled installations below the list
UNINSTALL_CONSEQUENCES = (
    "It gets no more events, and its queued deliveries are cancelled.",
    "Its secrets are deleted. To install it again, enter them again.",
    "Its log and its figures stay, and its name becomes available.",
)
ACTIVITY_ENTRIES = 50  # audit log entries on the Activity tab


@admin.register(Installation)
class InstallationAdmin(PageUrlsMixin, ModelAdmin):
    list_display = ("installation", "state", "last_day", "p95", "queued", "delivered", "deliveries")
    list_before_template = "integrations/installations/_sandbox_banner.html"
    list_after_template = "integrations/installations/_uninstalled.html"
    list_per_page = 500
    ordering = ("name",)
    sortable_by = ()
    actions = None
    when_empty = "Nothing is installed yet. Choose a vendor to deliver events to."
    when_empty_link = "admin:library"
    when_empty_label = "Open the Integration Library"

    def page_urls(self):
        return [
            ("library/", LibraryView.as_view(model_admin=self), "library"),
            ("library/<slug:key>/", InstallFormView.as_view(model_admin=self), "install"),
            (
                "library/<slug:key>/check/",
                InstallFormCheckView.as_view(model_admin=self),
                "install_check",
            ),
            ("<int:pk>/settings/", self.settings_view, "installation_settings"),
            ("system/", system.system_view, "system"),
            ("<int:pk>/activity/", self.activity_view, "installation_activity"),
            ("library/<slug:key>/test/", tester.unsaved_connection_view, "install_test"),
            (
                "library/<slug:key>/test-event/",
                tester.unsaved_test_event_view,
                "install_test_event",
            ),
            ("<int:pk>/connection/", tester.connection_view, "installation_connection"),
            ("<int:pk>/test-event/", tester.test_event_view, "installation_test_event"),
            ("<int:pk>/test-preview/", tester.test_preview_view, "installation_test_preview"),
            ("<int:pk>/uninstall/", self.uninstall_view, "installation_uninstall"),
            ("<int:pk>/pause/", self.pause_view, "installation_pause"),
            ("<int:pk>/resume/", self.resume_view, "installation_resume"),
            *blueprints.BLUEPRINT_URLS,
        ]

    def has_add_permission(self, request):
        return False  # installations are added in the Integration Library

    def has_delete_permission(self, request, obj=None):
        return False  # deleting it would also delete its whole log, in one request

    def get_queryset(self, request):
        return with_state(super().get_queryset(request).installed())

    def changelist_view(self, request, extra_context=None):
        sandbox_installations = Installation.objects.installed().filter(config__region="sandbox")
        context = {
            "title": "My Integrations",
            "sandbox_installations": sandbox_installations,
            "sandbox_url": settings.SANDBOX_URL,
            "uninstalled_installations": Installation.objects.exclude(uninstalled_at=None).order_by(
                "-pk"
            )[:OVERVIEW_ROWS],
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_changelist_instance(self, request):
        shown = super().get_changelist_instance(request)
        now = timezone.now()
        lately = metrics.read_series_by_installation(
            since=now - INSTALLATION_LIST_PERIOD, until=now, step=ChartStep.HOUR
        )
        for installation in shown.result_list:
            installation.recent_metrics = lately.get(installation.pk)
        return shown

    # --- columns ---

    @display(description="Integration")
    def installation(self, installation):
        return format_html(
            '<span class="ps-named"><img class="ps-logo" src="{}" alt="">'
            '<span><strong>{}</strong><span class="ps-subtle">{}</span></span></span>',
            logo_url(installation.destination_key),
            installation.name,
            installation.destination.name,
        )

    @display(description="State")
    def state(self, installation):
        status = describe_installation(installation, installation.lanes.all(), timezone.now())
        return format_html(
            '<span class="ps-state">{} <span>{}</span></span>',
            chip_html(status),
            mark_times(status.detail),
        )

    @display(description="Last 24 hours")
    def last_day(self, installation):
        if installation.recent_metrics is None:
            return "–"
        trend = sparkline([point.delivered for point in installation.recent_metrics.points])
        count = compact_number(installation.recent_metrics.total.delivered)
        return format_html('<span class="ps-trend">{} {}</span>', trend, count)

    @display(description="Latency p95")
    def p95(self, installation):
        return duration(
            installation.recent_metrics.total.p95_ms if installation.recent_metrics else None
        )

    @display(description="Queued")
    def queued(self, installation):
        return format_bounded_count(count_queued(installation))

    @display(description="Last delivered")
    def delivered(self, installation):
        return ago(installation.delivered_at)

    @display(description="Log")
    def deliveries(self, installation):
        url = reverse("admin:delivery_delivery_changelist")
        return format_html(
            '<a class="ps-link" href="{}?installation={}">Deliveries</a>', url, installation.pk
        )

    # --- one installation ---

    def change_view(self, request, object_id, form_url="", extra_context=None):
        installation = get_viewable_installation(request, parse_integer(unquote(object_id)))
        context = {
            **installation_context(request, installation, "overview"),
            **first_event_context(request),
            **overview_figures_context(
                installation, chart_span_of_request(request), timezone.now()
            ),
            "limits": installation_limit_usage(installation, timezone.now()),
            "newest_deliveries": newest_deliveries_with_status(installation),
            "last_failed_delivery": last_failed_delivery(installation),
            "recent_events": tester.recent_test_events(request.user),
        }
        return TemplateResponse(request, "integrations/installations/overview.html", context)

    def settings_view(self, request, pk):
        installation = get_viewable_installation(request, pk)
        if installation.uninstalled_at:
            return redirect("admin:integrations_installation_change", pk)
        form = InstallationEditForm(installation)
        if request.method == "POST":
            form = self._change(request, pk)
            if form.is_valid():
                messages.success(request, f"{form.installation} is saved.")
                return redirect("admin:integrations_installation_change", pk)
            installation = get_viewable_installation(request, pk)  # as it is stored
        context = {**installation_context(request, installation, "settings"), "form": form}
        return TemplateResponse(request, "integrations/installations/settings.html", context)

    def _change(self, request, pk):
        """Change an installation and return the form, which has errors if that failed."""
        with transaction.atomic():
            # Locked, so that two forms at once see each other's values.
            Installation.objects.select_for_update().filter(pk=pk).first()
            form = InstallationEditForm(get_changeable_installation(request, pk), request.POST)
            form.change()
        return form

    def activity_view(self, request, pk):
        installation = get_viewable_installation(request, pk)
        if not request.user.has_perm("integrations.view_auditentry"):
            raise PermissionDenied
        entries = object_activity("installation", pk, ACTIVITY_ENTRIES)
        context = {**installation_context(request, installation, "activity"), "entries": entries}
        return TemplateResponse(request, "integrations/installations/activity.html", context)

    def uninstall_view(self, request, pk):
        installation = get_changeable_installation(request, pk, "integrations.delete_installation")
        typed, error = request.POST.get("typed", ""), ""
        if request.method == "POST" and typed == installation.name:
            count = installations.uninstall(installation, timezone.now())
            messages.success(
                request, f"{typed} is uninstalled. Queued deliveries cancelled: {count:,}."
            )
            return redirect("admin:integrations_installation_changelist")
        if request.method == "POST":
            error = f"Type {installation.name} exactly as shown."
        context = {
            **self.admin_site.each_context(request),
            "title": f"Uninstall {installation.name}",
            "question": f"Uninstall {installation.name}?",
            "consequences": UNINSTALL_CONSEQUENCES,
            "typed": installation.name,
            "error": error,
            "action": "Uninstall",
            "back_url": reverse("admin:installation_settings", args=[pk]),
        }
        return TemplateResponse(request, "parts/confirm.html", context)

    def pause_view(self, request, pk):
        return self._act(
            request, pk, installations.pause_installation, "is paused. New events are queued."
        )

    def resume_view(self, request, pk):
        waits = Lane.objects.filter(WAITING, installation=pk).exists()
        outcome = "is being retried now." if waits else "is delivering again."
        return self._act(request, pk, installations.resume_installation, outcome)

    def _act(self, request, pk, act, outcome):
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        installation = get_changeable_installation(request, pk)
        act(installation)
        messages.success(request, f"{installation.name} {outcome}")
        back = request.POST.get("next", "")
        if url_has_allowed_host_and_scheme(back, allowed_hosts=None):
            return redirect(back)
        return redirect("admin:integrations_installation_change", pk)


def overview_figures_context(installation, span, now):
    """Return the figures and the chart of one installation for the period shown."""
    series = health_series(installation, span, now)
    found = series[span.key]
    queue = queues.read_queues([installation.pk]).get(installation.pk, QueueSize())
    return {
        "span": span,
        "figures": traffic_figures(found.total, queue, span, now),
        "chart": chart_json(found, DELIVERY_DATASETS, now),
        "chart_description": describe_chart(found.total, span),
        "health": installation_health(installation, series),
    }


def newest_deliveries_with_status(installation):
    """Return the newest deliveries as (delivery, status chip)."""
    rows = querysets.newest_deliveries_of(installation.pk)[:OVERVIEW_ROWS]
    return [(each, status_chip(each)) for each in rows]


def last_failed_delivery(installation):
    """Return the newest failed delivery, or None. IS_UNSENT makes it use the partial index."""
    rows = Delivery.objects.filter(IS_UNSENT, installation=installation.pk, state="failed")
    return rows.order_by("-pk").first()


def installation_limit_usage(installation, now):
    """Return how much of the vendor's limits is used; empty for an uninstalled installation."""
    return (
        []
        if installation.uninstalled_at
        else rate_limits.limit_use(get_vendor_limits(installation), now)
    )


def first_event_context(request):
    """Return the context for showing how to send a first event."""
    return {
        "source": Source.objects.order_by("pk").first(),
        "base_url": request.build_absolute_uri("/").rstrip("/"),
    }
