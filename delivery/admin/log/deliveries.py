"""The pages of deliveries and attempts."""

from functools import wraps

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBadRequest, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.decorators import display

from delivery.actions import deliveries as actions_deliveries
from delivery.actions import resolve as actions_resolve
from delivery.actions.resolve import InvalidNote
from delivery.admin.keyset import BodyAdmin, json_attachment, parse_integer
from delivery.admin.log import bulk_actions
from delivery.admin.log.delivery_page import DeliveryPage, attempt_panel
from delivery.admin.log.explorer import build_explorer
from delivery.log import body_access, detail, export, querysets
from delivery.log.representation import serialize_delivery_detail
from delivery.log.search.suggestions import suggest_values
from delivery.models import Attempt, AttemptBody, Delivery
from delivery.replay.selection import CURRENT_BLUEPRINT, LAST_BLUEPRINT
from delivery.status.deliveries import find_troubleshooting
from integrations.formatting import ago, duration
from integrations.humanize import format_count


@admin.register(Delivery)
class DeliveryAdmin(BodyAdmin):
    """The log explorer and the page of one delivery, with its actions."""

    page_template = "delivery/log/delivery.html"

    def get_queryset(self, request):
        return querysets.deliveries_with_relations()

    def get_urls(self):
        mine = [
            self._path("rows/", self.rows_view),
            self._path("summary/", self.summary_view),
            self._path("suggest/", self.suggest_view),
            self._path("export/", self.export_view),
            self._path("deliver-again/", require_POST(self.selected_again_view)),
            self._path("cancel/", require_POST(self.selected_cancel_view)),
            self._path("<int:pk>/raw/", self.raw_view),
            self._path("<int:pk>/deliver-again/", require_POST(self.again_view)),
            self._path("<int:pk>/cancel/", require_POST(self.cancel_view)),
            self._path("<int:pk>/resolve/", require_POST(self.resolve_view)),
            self._path("ticked/<str:action>/", require_POST(self.ticked_view)),
            self._path("all/<str:action>/", self.all_view),
        ]
        return mine + super().get_urls()

    def _path(self, route, view):
        name = f"delivery_delivery_{view.__name__.removesuffix('_view')}"
        return path(
            route, self.admin_site.admin_view(self._require_view_permission(view)), name=name
        )

    def _require_view_permission(self, view):
        """Return the view, limited to users who may view deliveries."""

        @wraps(view)
        def wrapper(request, *args, **kwargs):
            if not self.has_view_permission(request):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return wrapper

    def changelist_view(self, request, extra_context=None):
        return self._require_view_permission(self.log_view)(request)

    def log_view(self, request):
        context = {
            **self.admin_site.each_context(request),
            "title": "Deliveries",
            "explorer": build_explorer(request.GET, timezone.now()),
            "may_deliver_again": self.has_deliver_again_permission(request),
            "may_replay": request.user.has_perm("delivery.add_replay"),
            "is_live": "live" in request.GET,
            "is_fullwidth": "1",
        }
        return TemplateResponse(request, "delivery/log/explorer.html", context)

    def rows_view(self, request):
        """Answer with the rows only, which the live log polls."""
        context = {"explorer": build_explorer(request.GET, timezone.now())}
        return TemplateResponse(request, "delivery/log/_rows.html", context)

    def summary_view(self, request):
        """Answer with the summary only, or with an empty body if there is none."""
        context = {"explorer": build_explorer(request.GET, timezone.now())}
        return TemplateResponse(request, "delivery/log/_summary.html", context)

    def suggest_view(self, request):
        params = request.GET
        found = suggest_values(params.get("key", ""), params.get("text", ""))
        return JsonResponse({"values": found})

    def export_view(self, request):
        params = request.GET
        form = params.get("format", "")
        if form not in export.EXPORT_FORMATS:
            return HttpResponseBadRequest(
                f"format must be one of {', '.join(export.EXPORT_FORMATS)}."
            )
        now = timezone.now()
        if "id" in params:
            rows, about = checked_deliveries(params), f"{len(params.getlist('id'))} selected"
        else:
            explorer = build_explorer(params, now)
            rows = export.iter_matching_deliveries(explorer.query)
            about = str(explorer.search)
        return export.export_response(rows, form, now, about=about)

    def page_context(self, request, row, *, shows_bodies, **extra):
        now, may = timezone.now(), self.has_deliver_again_permission(request)
        page = DeliveryPage(detail.get_delivery_detail(row.pk, shows_bodies=shows_bodies), now)
        delivery = page.delivery
        return {
            "title": f"{delivery.event.name or delivery.event.type} → {delivery.installation}",
            "delivery_page": page,
            "detail": page.detail,
            "delivery": delivery,
            "status": page.status,
            "trouble": None if delivery.current_resolution else find_troubleshooting(delivery),
            "may_deliver_again": may and not delivery.installation.uninstalled_at,
            "is_queued": delivery.state == Delivery.State.QUEUED,
            "may_resolve": may
            and delivery.state == Delivery.State.FAILED
            and not delivery.current_resolution,
            "note_max_length": actions_resolve.NOTE_MAX_LENGTH,
            "may_replay": request.user.has_perm("delivery.add_replay"),
            "may_try_now": lane_waits_for_vendor(delivery, now)
            and request.user.has_perm("integrations.change_installation"),
        }

    def raw_view(self, request, pk):
        """Answer with the API's representation of a delivery, as a file."""
        try:
            found = detail.get_delivery_detail(
                pk, shows_bodies=body_access.may_see_bodies(request.user)
            )
        except Delivery.DoesNotExist:
            raise Http404(f"There is no delivery {pk}.") from None
        return json_attachment(
            serialize_delivery_detail(found, timezone.now()), f"delivery-{pk}.json"
        )

    def has_deliver_again_permission(self, request):
        return request.user.has_perm("delivery.change_delivery")

    def selected_again_view(self, request):
        """Deliver the selected deliveries again, then return to the filtered log."""
        self._deliver_again(request, checked_deliveries(request.POST))
        return redirect_to_log(request)

    def again_view(self, request, pk):
        blueprint = (
            LAST_BLUEPRINT if request.POST.get("blueprint") == LAST_BLUEPRINT else CURRENT_BLUEPRINT
        )
        self._deliver_again(request, Delivery.objects.filter(pk=pk), blueprint)
        return redirect("admin:delivery_delivery_change", pk)

    def selected_cancel_view(self, request):
        """Cancel the selected deliveries that are still queued, then return to the filtered log."""
        self._cancel(request, checked_deliveries(request.POST))
        return redirect_to_log(request)

    def cancel_view(self, request, pk):
        self._cancel(request, Delivery.objects.filter(pk=pk))
        return redirect("admin:delivery_delivery_change", pk)

    def ticked_view(self, request, action):
        """Apply a bulk action to the selected deliveries, after a confirmation page."""
        return bulk_actions.bulk_action_view(request, action, checked_deliveries(request.POST))

    def all_view(self, request, action):
        """Apply a bulk action to all matches of a search, after a page that shows their number."""
        return bulk_actions.bulk_action_view(request, action, None)

    def resolve_view(self, request, pk):
        """Mark a failed delivery as resolved, because it was dealt with elsewhere."""
        if not self.has_deliver_again_permission(request):
            raise PermissionDenied
        rows, now = Delivery.objects.filter(pk=pk), timezone.now()
        try:
            if actions_resolve.resolve_deliveries(rows, request.POST.get("note", ""), now):
                messages.success(request, "Marked as resolved. Deliver it again to undo this.")
            else:
                messages.error(request, "This delivery is no longer failed or already resolved.")
        except InvalidNote as error:
            messages.error(request, str(error))
        return redirect("admin:delivery_delivery_change", pk)

    def _cancel(self, request, rows):
        if not self.has_deliver_again_permission(request):
            raise PermissionDenied
        count = actions_deliveries.cancel_deliveries(
            rows, f"Cancelled by {request.user}.", timezone.now()
        )
        deliveries = format_count(count, "delivery is", "deliveries are")
        messages.success(request, f"{deliveries} cancelled. To send after all, deliver again.")

    def _deliver_again(self, request, rows, blueprint=CURRENT_BLUEPRINT):
        if not self.has_deliver_again_permission(request):
            raise PermissionDenied
        requeued = actions_deliveries.deliver_again(rows, timezone.now(), blueprint=blueprint)
        messages.success(request, requeued.describe())


def lane_waits_for_vendor(delivery, now):
    """Return whether a delivery is queued in a lane that waits for its vendor."""
    due_at = delivery.lane.due_at
    return delivery.state == Delivery.State.QUEUED and due_at is not None and due_at > now


def redirect_to_log(request):
    return redirect(bulk_actions.filtered_log_url(request.POST))


def checked_deliveries(params):
    """Return the selected deliveries, newest first."""
    ids = filter(None, map(parse_integer, params.getlist("id")))
    return querysets.deliveries_with_relations().filter(pk__in=list(ids)).order_by("-pk")


@admin.register(Attempt)
class AttemptAdmin(BodyAdmin):
    """The page of one attempt, linked from the deliveries that it carried."""

    list_display = (
        "started", "installation", "call", "answer", "outcome", "took", "items", "test",
    )  # fmt: skip
    list_select_related = ("installation",)
    page_template = "delivery/log/attempt.html"

    @display(description="Started")
    def started(self, attempt):
        return ago(attempt.started_at)

    @display(description="Call")
    def call(self, attempt):
        url = format_html('<span class="ps-id" title="{}">{}</span>', attempt.url, attempt.url)
        return format_html("{} {}", attempt.method, url)

    @display(description="Response")
    def answer(self, attempt):
        return attempt.status or "none"

    @display(description="Duration")
    def took(self, attempt):
        return duration(attempt.duration_ms)

    @display(description="Purpose")
    def test(self, attempt):
        return "test event" if attempt.is_test else "delivery"

    def page_context(self, request, row, *, shows_bodies, **extra):
        full = AttemptBody.objects.filter(pk=row.pk).first() if shows_bodies else None
        body = full.request_body if full else ""
        return {
            "panel": attempt_panel(detail.DeliveryAttempt(row, 0, "", body, full)),
            "body_limit": detail.MAX_BODY_CHARS,
        }
