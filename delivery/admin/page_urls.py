"""Pages of an admin that Django's ModelAdmin does not have, declared as a table of URLs."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponseBase
from django.urls import URLPattern, path

View = Callable[..., HttpResponseBase]
PageUrl = tuple[str, View, str]  # route below the model, view, name within the admin


class PageUrlsMixin:
    """Adds `page_urls` to the URLs of a ModelAdmin, each behind the login of the admin site."""

    admin_site: Any

    def page_urls(self) -> list[PageUrl]:
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(route, self.admin_site.admin_view(view), name=name)
            for route, view, name in self.page_urls()
        ]
        inherited: list[URLPattern] = super().get_urls()  # type: ignore[misc]
        return own + inherited
