"""Read-only lists of log rows, paged by key instead of count(*) and OFFSET."""

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Min
from django.http import Http404, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from delivery.log import body_access
from integrations import keyset as integrations_keyset
from integrations.keyset import Page
from integrations.roles import REVEAL_BODIES_PERMISSION

FILTER_SCAN_ROWS = 30_000  # rows scanned to fill one filtered page
BEFORE, AFTER = "before", "after"  # URL parameters: the id next to which the page begins


class KeysetChangeList(ChangeList):
    """A change list that reads only the newest rows, or the rows next to a known one."""

    template_name = "delivery/log/_keyset_pages.html"  # the theme reads it from the paginator

    def get_queryset(self, request, exclude_parameters=None):
        self.position = {name: parse_integer(request.GET.get(name)) for name in (BEFORE, AFTER)}
        for name in self.position:  # otherwise Django treats them as filters and links keep them
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request):
        self.page = self._filtered_page() if self.has_active_filters else self._unfiltered_page()
        self.result_list = self.page.rows
        self.result_count = self.full_result_count = len(self.page.rows)
        self.show_full_result_count = self.can_show_all = False
        self.show_admin_actions, self.multi_page = True, False
        self.paginator = self

    def _unfiltered_page(self):
        return integrations_keyset.fetch_page(
            self.queryset, limit=self.list_per_page, **self.position
        )

    def _filtered_page(self):
        """Return a page of the newest FILTER_SCAN_ROWS rows, because no index serves filters."""
        before, rows = self.position[BEFORE], self.root_queryset
        rows = rows if before is None else rows.filter(pk__lt=before)
        end = rows.order_by("-pk").values("pk")[:FILTER_SCAN_ROWS].aggregate(end=Min("pk"))["end"]
        fitting = self.queryset if end is None else self.queryset.filter(pk__gte=end)
        page = integrations_keyset.fetch_page(fitting, limit=self.list_per_page, before=before)
        beyond = rows.filter(pk__lt=end).order_by("-pk").values("pk") if end is not None else None
        if page.has_older or beyond is None or not beyond.first():
            return page
        return Page(page.rows, page.has_newer, has_older=True, scanned_to=end)

    def newest(self):
        return self.page.has_newer and self.get_query_string()

    def newer(self):
        if not self.page.has_newer or self.has_active_filters or not self.result_list:
            return False
        return self.get_query_string({AFTER: self.result_list[0].pk})

    def older(self):
        if not self.page.has_older:
            return False
        return self.get_query_string({BEFORE: self.page.scanned_to or self.result_list[-1].pk})


def parse_integer(text):
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


def json_attachment(value, name):
    """Return a value as a JSON file to download."""
    answer = JsonResponse(value, json_dumps_params={"indent": 2, "ensure_ascii": False}, safe=False)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


class LogAdmin(ModelAdmin):
    """A log that users read and only the application writes."""

    list_per_page = 50
    list_filter_submit = True
    list_fullwidth = True
    list_disable_select_all = True  # it would count every row that the filter matches
    show_full_result_count = False
    show_facets = False
    sortable_by = ()
    ordering = ("-pk",)

    page_template = ""  # of one row's page; its context is `row` and page_context()

    def get_changelist(self, request, **kwargs):
        return KeysetChangeList

    def lookup_allowed(self, lookup, value, request):
        """Return whether a URL may filter by the lookup; only the list's own filters are allowed.

        Filtering by any column would reveal what hidden columns hold, and scan the whole log.
        """
        return lookup in {each.parameter_name for each in self.list_filter}

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return self.render_page(request, self.get_row_or_404(request, object_id))

    def get_row_or_404(self, request, object_id):
        """Return the row. Raises PermissionDenied and Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        return row

    def render_page(self, request, row, **extra):
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "row": row,
            **extra,
            **self.page_context(request, row, **extra),
        }
        return TemplateResponse(request, self.page_template, context)

    def page_context(self, request, row, **extra):
        return {}

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_actions(self, request):
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


class BodyAdmin(LogAdmin):
    """A log of rows with bodies. page_context() receives whether to show them."""

    def get_urls(self):
        reveal = self.admin_site.admin_view(require_POST(self.reveal_view))
        return [path("<int:pk>/reveal/", reveal, name=self._reveal), *super().get_urls()]

    @property
    def _reveal(self):
        return f"delivery_{self.opts.model_name}_reveal"

    def reveal_view(self, request, pk):
        """Show one row with its bodies, and record that in the audit log."""
        row = self.get_row_or_404(request, str(pk))
        if not request.user.has_perm(REVEAL_BODIES_PERMISSION):
            raise PermissionDenied
        body_access.record_reveal(row)
        return self.render_page(request, row, is_revealed=True)

    def render_page(self, request, row, *, is_revealed=False):
        sees = body_access.may_see_bodies(request.user)
        may = request.user.has_perm(REVEAL_BODIES_PERMISSION)
        body_context = {
            "sees_bodies": sees,
            "shows_bodies": sees or is_revealed,
            "reveal_url": reverse(f"admin:{self._reveal}", args=[row.pk]) if may else "",
            "hidden_reason": body_access.BODIES_HIDDEN_TEXT,
        }
        return super().render_page(request, row, **body_context)
