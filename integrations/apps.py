from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed


class IntegrationsConfig(AppConfig):
    name = "integrations"

    def ready(self) -> None:
        from integrations import checks  # noqa: F401  (registers them)
        from integrations.access import logins  # noqa: F401  (registers them)

        user_logged_in.connect(logins.record_login)
        user_logged_out.connect(logins.record_logout)
        user_login_failed.connect(logins.record_failed_login)
