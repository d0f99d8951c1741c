"""The pages of sources: list, connection snippets, write keys, and archiving."""

from datetime import timedelta

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import Http404, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import display
from unfold.views import ChangeList

from delivery.accounting import metrics
from delivery.accounting.last_seen import last_seen_at, with_last_seen
from delivery.admin.charts import ChartStep, Figure, chart_json, compact_number
from delivery.admin.page_urls import PageUrlsMixin
from integrations.admin.base import AuditedAdmin, show_secret_once
from integrations.formatting import ago, render_chip, sparkline
from integrations.models import Source, WriteKey
from integrations.sources import manage
from integrations.sources.forms import RotateKeyForm, SourceForm, WriteKeyForm
from integrations.sources.sdk_snippets import SNIPPETS, get_snippet

SOURCE_CHART_PERIOD = timedelta(days=1)
ARCHIVE_CONSEQUENCES = (
    "Within 5 seconds, everything it sends is refused, whatever the key.",
    "Its events and figures stay, and its name stays taken.",
    "You can restore it later, with the same keys.",
)


class SourceChangeList(ChangeList):
    def url_for_result(self, result):
        return reverse("admin:source_connect", args=[result.pk])


@admin.register(Source)
class SourceAdmin(PageUrlsMixin, AuditedAdmin):
    audit_name = "source"
    list_display = ("name_and_state", "write_key_code", "events", "last_seen", "created")
    form = SourceForm
    fields = (
        "name",
        "write_key",
        "allowed_origins",
        "visitor_cookie",
        "default_context",
        "rate_limit",
        "new_signing_secret",
    )
    ordering = (F("archived_at").asc(nulls_first=True), "name")
    sortable_by = ()
    actions = None
    change_form_outer_before_template = "integrations/sources/_tabs.html"
    when_empty = "No sources yet. Add one to get a write key for a site, an app or a backend."
    when_empty_link = "admin:integrations_source_add"
    when_empty_label = "Add a source"

    def page_urls(self):
        return [
            ("<int:pk>/", self.connect_view, "source_connect"),
            ("<int:pk>/rotate/", self.rotate_view, "source_rotate"),
            ("<int:pk>/keys/add/", self.add_key_view, "source_add_key"),
            ("keys/<int:key>/revoke/", self.revoke_view, "source_revoke_key"),
            ("<int:pk>/archive/", self.archive_view, "source_archive"),
            ("<int:pk>/bring-back/", self.bring_back_view, "source_bring_back"),
        ]

    def get_queryset(self, request):
        return with_last_seen(super().get_queryset(request))

    def get_changelist(self, request, **kwargs):
        return SourceChangeList

    def get_changelist_instance(self, request):
        found = super().get_changelist_instance(request)
        now = timezone.now()
        lately = metrics.read_series_by_source(
            since=now - SOURCE_CHART_PERIOD, until=now, step=ChartStep.HOUR
        )
        for source in found.result_list:
            source.recent_metrics = lately.get(source.pk)
        return found

    @display(description="Name")
    def name_and_state(self, source):
        if source.archived_at is None:
            return source.name
        return format_html("{} {}", source.name, render_chip("off", "inventory_2", "Archived"))

    @display(description="Last 24 h")
    def events(self, source):
        if source.recent_metrics is None:
            return "–"
        trend = sparkline([point.accepted for point in source.recent_metrics.points])
        count = compact_number(source.recent_metrics.total.accepted)
        return format_html('<span class="ps-trend">{} {}</span>', trend, count)

    @display(description="Write key")
    def write_key_code(self, source):
        return format_html('<code class="ps-code">{}</code>', source.write_key)

    @display(description="Last seen")
    def last_seen(self, source):
        return last_seen_text(source)

    @display(description="Created", ordering="created_at")
    def created(self, source):
        return ago(source.created_at)

    def connect_view(self, request, pk):
        if not self.has_view_permission(request):
            raise PermissionDenied
        source = self.get_object(request, str(pk))
        if source is None:
            raise Http404(f"There is no source {pk}.")
        return TemplateResponse(
            request, "integrations/sources/source.html", self._page(request, source)
        )

    def _page(self, request, source):
        now = timezone.now()
        hours = metrics.read_series(
            since=now - SOURCE_CHART_PERIOD, until=now, step=ChartStep.HOUR, source=source.pk
        )
        current_snippet = get_snippet(request.GET.get("sdk", ""))
        host = request.build_absolute_uri("/").rstrip("/")
        return {
            **self.admin_site.each_context(request),
            "title": source.name,
            "source": source,
            "last_seen_at": last_seen_at(source),
            "tabs": source_tabs(source, "connect"),
            "figures": [
                Figure("Events, last 24 h", compact_number(hours.total.accepted)),
                Figure("Last event", last_seen_text(source)),
                rate_limit_figure(source),
            ],
            "chart": chart_json(hours, {"Accepted": ("busy", "accepted")}, now),
            "snippets": [(each, each.key == current_snippet.key) for each in SNIPPETS],
            "current_snippet": current_snippet,
            "text": current_snippet.fill(host, source.write_key),
            "host": host,
            "keys": source.further_keys.valid(now).order_by("pk"),
            "may_change": self.has_change_permission(request, source),
        }

    def rotate_view(self, request, pk):
        source = self._get_changeable_source(request, pk)
        form = RotateKeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            overlap = timedelta(hours=form.cleaned_data["overlap"])
            manage.rotate_write_key(source, overlap=overlap, now=timezone.now())
            messages.success(request, f"{source} has a new write key. The snippets now use it.")
            return redirect("admin:source_connect", pk)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Rotate the write key of {source}",
            "source": source,
            "form": form,
        }
        return TemplateResponse(request, "integrations/sources/rotate_key.html", context)

    def add_key_view(self, request, pk):
        source, now = self._get_changeable_source(request, pk), timezone.now()
        form = WriteKeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["days"]
            expires_at = now + timedelta(days=days) if days else None
            manage.add_write_key(source, note=form.cleaned_data["note"], expires_at=expires_at)
            messages.success(request, "The key is valid now, in addition to the existing ones.")
            return redirect("admin:source_connect", pk)
        context = {
            **self.admin_site.each_context(request),
            "title": f"New write key for {source}",
            "source": source,
            "form": form,
            "back_url": reverse("admin:source_connect", args=[pk]),
        }
        return TemplateResponse(request, "integrations/sources/add_key.html", context)

    def archive_view(self, request, pk):
        """Ask for confirmation, then archive a source."""
        source = self._get_changeable_source(request, pk)
        back_url = reverse("admin:source_connect", args=[pk])
        if request.method == "POST":
            manage.archive_source(source, timezone.now())
            messages.success(request, f"{source} is archived. Everything it sends is refused.")
            return redirect(back_url)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Archive {source}",
            "question": f"Archive {source}?",
            "consequences": ARCHIVE_CONSEQUENCES,
            "action": "Archive",
            "back_url": back_url,
        }
        return TemplateResponse(request, "parts/confirm.html", context)

    def bring_back_view(self, request, pk):
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        source = self._get_changeable_source(request, pk)
        manage.restore_source(source)
        messages.success(request, f"{source} is restored and can send again with the same keys.")
        return redirect("admin:source_connect", pk)

    def revoke_view(self, request, key):
        further = get_object_or_404(WriteKey.objects.select_related("source"), pk=key)
        source = self._get_changeable_source(request, further.source_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        manage.revoke_write_key(further)
        messages.success(request, "The key is revoked. Everything sent with it is refused.")
        return redirect("admin:source_connect", source.pk)

    def _get_changeable_source(self, request, pk):
        source = get_object_or_404(Source, pk=pk)
        if not self.has_change_permission(request, source):
            raise PermissionDenied
        return source

    def get_readonly_fields(self, request, obj=None):
        return ("write_key",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False  # deleting a source would delete its part of the log

    def render_change_form(self, request, context, *args, obj=None, **kwargs):
        if obj:
            context["tabs"] = source_tabs(obj, "settings")
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def save_model(self, request, obj, form, change):
        secret = obj.new_signing_secret() if form.cleaned_data.get("new_signing_secret") else ""
        super().save_model(request, obj, form, change)
        if secret:
            show_secret_once(request, "signing secret", secret)

    def response_post_save_add(self, request, obj):
        return redirect("admin:source_connect", obj.pk)

    response_post_save_change = response_post_save_add


def source_tabs(source, active):
    for key, title, view in (
        ("connect", "Connect", "source_connect"),
        ("settings", "Settings", "integrations_source_change"),
    ):
        yield title, reverse(f"admin:{view}", args=[source.pk]), key == active


def last_seen_text(source):
    at = last_seen_at(source)
    return ago(at) if at else "never"


def rate_limit_figure(source):
    limit = source.messages_per_second
    return Figure(
        "Rate limit", f"{limit:,}" if limit else "none", "messages per second" if limit else ""
    )
