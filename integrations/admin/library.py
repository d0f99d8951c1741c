"""The pages of the Integration Library: the catalog, and the form that installs a destination."""

from collections import Counter

from django.conf import settings
from django.contrib import messages
from django.http import Http404, JsonResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView
from unfold.views import UnfoldModelAdminViewMixin

from integrations.catalog import catalog
from integrations.installations.forms import InstallForm
from integrations.models import Installation


class LibraryView(UnfoldModelAdminViewMixin, TemplateView):
    title = "Integration Library"
    permission_required = "integrations.view_installation"
    template_name = "integrations/library/index.html"

    def get_context_data(self, **kwargs):
        destinations = list(catalog().values())
        installed = Counter(
            Installation.objects.installed().values_list("destination_key", flat=True)
        )
        return super().get_context_data(
            destinations=[(each, installed[each.key]) for each in destinations],
            categories=sorted({each.category for each in destinations}),
            sandbox_url=settings.SANDBOX_URL,
            **kwargs,
        )


class InstallFormView(UnfoldModelAdminViewMixin, TemplateView):
    permission_required = "integrations.add_installation"
    template_name = "integrations/library/install.html"

    @property
    def title(self):
        return f"Install {self.destination.name}"

    @property
    def destination(self):
        try:
            return catalog()[self.kwargs["key"]]
        except KeyError:
            raise Http404(f"No destination {self.kwargs['key']!r} in the catalog.") from None

    def get_context_data(self, **kwargs):
        kwargs.setdefault("form", InstallForm(self.destination))
        return super().get_context_data(
            destination=self.destination,
            sandbox_url=settings.SANDBOX_URL,
            **kwargs,
        )

    def post(self, request, key):
        form = InstallForm(self.destination, request.POST)
        installation = form.install(by=request.user)
        if installation is None:
            return self.render_to_response(self.get_context_data(form=form), status=422)
        messages.success(request, f"{installation.name} is installed.")
        return redirect("admin:integrations_installation_change", installation.pk)


class InstallFormCheckView(InstallFormView):
    """Returns the errors of the form while it is filled in, without its values."""

    def post(self, request, key):
        return JsonResponse(InstallForm(self.destination, request.POST).problems())
