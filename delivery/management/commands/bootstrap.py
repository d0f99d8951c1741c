"""`manage.py bootstrap`: create the first admin user, source and API token, if there are none."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django_q.models import Schedule

from integrations.access import groups
from integrations.models import ApiToken, Source, digest, new_token, new_write_key

SWEEP_SCHEDULE = {"func": "delivery.tasks.sweep", "schedule_type": Schedule.MINUTES, "minutes": 1}


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that was just created.

    display  the value if it was generated, otherwise the setting it came from, such as "$NAME"
    """

    value: str
    display: str


class Command(BaseCommand):
    help = (
        "Create the first admin user, source and API token, and print their credentials once. "
        "Skip those that exist. PENSTOCK_ADMIN_PASSWORD, PENSTOCK_WRITE_KEY and "
        "PENSTOCK_API_TOKEN set the credentials; otherwise they are generated."
    )

    def handle(self, **options: Any) -> None:
        with transaction.atomic():
            groups.sync_role_groups()
            made = {
                "password": self.admin_password(),
                "write_key": self.write_key(),
                "token": self.token(),
            }
            Schedule.objects.update_or_create(name="sweep", defaults=SWEEP_SCHEDULE)
        if any(made.values()):
            self.stdout.write(credentials_text({k: c.display for k, c in made.items() if c}))
        else:
            self.stdout.write("The admin user, source, API token and schedule already exist.")

    def admin_password(self) -> Credential | None:
        if self.exists(User.objects.filter(is_superuser=True), "PENSTOCK_ADMIN_PASSWORD"):
            return None
        if User.objects.filter(username="admin").exists():
            raise CommandError(
                'There is no superuser, and the user "admin" is not one. '
                "Create a superuser with: manage.py createsuperuser"
            )
        made = credential("PENSTOCK_ADMIN_PASSWORD", secrets.token_urlsafe(12), check_password)
        User.objects.create_superuser("admin", password=made.value)
        return made

    def write_key(self) -> Credential | None:
        if self.exists(Source.objects.all(), "PENSTOCK_WRITE_KEY"):
            return None
        made = credential("PENSTOCK_WRITE_KEY", new_write_key(), check_write_key)
        Source.objects.create(name="My source", write_key=made.value)
        return made

    def token(self) -> Credential | None:
        if self.exists(ApiToken.objects.all(), "PENSTOCK_API_TOKEN"):
            return None
        made = credential("PENSTOCK_API_TOKEN", new_token(), check_token)
        owner = User.objects.filter(is_superuser=True).order_by("pk")[0]
        ApiToken.objects.create(
            name="bootstrap", digest=digest(made.value), user=owner, scopes=["admin"]
        )
        return made

    def exists(self, rows: Any, setting: str) -> bool:
        """Return whether such a row exists. If so, report a setting that is therefore ignored."""
        there = rows.exists()
        if there and given_credential(setting):
            self.stdout.write(f"{setting} is ignored: {rows.model.__name__} already exists.")
        return there


def credential(setting: str, generated: str, check: Any) -> Credential:
    """Return the setting's value, or the generated one without it. Raises CommandError."""
    given = given_credential(setting)
    if not given:
        return Credential(generated, generated)
    try:
        check(given)
    except ValidationError as error:
        raise CommandError(f"{setting} cannot be used: {' '.join(error.messages)}") from None
    return Credential(given, f"${setting}")


def given_credential(setting: str) -> str:
    """Return the setting's value, or "" without it. Raises CommandError."""
    given: str = settings.ENVIRONMENT.secret(setting, default="")
    if setting in settings.ENVIRONMENT.problems:
        raise CommandError(settings.ENVIRONMENT.problems[setting])
    return given


def check_password(given: str) -> None:
    validate_password(given, User(username="admin"))


def check_write_key(given: str) -> None:
    # No colon, because SDKs send it as the user name of Basic authentication.
    if not re.fullmatch(r"[A-Za-z0-9._~-]{8,100}", given):
        raise ValidationError("Use 8 to 100 letters, digits and any of . _ ~ -")


def check_token(given: str) -> None:
    # Long, because only its unsalted SHA-256 is stored.
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{24,200}", given):
        raise ValidationError("Use 24 to 200 random letters, digits and any of . _ ~ + / = -")


def credentials_text(shown: dict[str, str]) -> str:
    """Return the text that shows the new credentials, once, and how to use them."""
    address = own_address()
    uses_variables = any(value.startswith("$") for value in shown.values())
    parts = [
        "Save these credentials: they are shown only once."
        + (" $NAME stands for a value you set." if uses_variables else ""),
        f"Admin       {address}/admin/",
    ]
    if "password" in shown:
        parts += ["User        admin", f"Password    {shown['password']}"]
    if "write_key" in shown:
        parts += [f"Write key   {shown['write_key']}"]
    if "token" in shown:
        parts += [f"API token   {shown['token']}", "", install_command(address, shown["token"])]
    if "write_key" in shown:
        parts += ["", track_command(address, shown["write_key"])]
    line = "=" * 88
    return "\n".join([line, *parts, line])


def own_address() -> str:
    """Return where browsers find Penstock, as far as the settings tell."""
    if settings.HTTPS:
        return f"https://{settings.ALLOWED_HOSTS[0].lstrip('*.') or 'localhost'}"
    return f"http://localhost:{settings.WEB_BIND.rpartition(':')[2]}"


def install_command(address: str, token: str) -> str:
    return (
        "Install Heap (against the local sandbox if it is running):\n"
        f"curl -X POST {address}/v1/admin/integration-catalog/heap/install \\\n"
        f'  -H "Authorization: Bearer {token}" -H "Content-Type: application/json" \\\n'
        """  -d '{"name":"Heap","variant":"default","config":{"app_id":"1234567890","""
        """"api_key":"your_api_key"},"delivery_mode":"server_side"}'"""
    )


def track_command(address: str, write_key: str) -> str:
    return (
        "Send an event:\n"
        f'curl -u "{write_key}:" {address}/v1/track -H "Content-Type: application/json" \\\n'
        """  -d '{"userId":"user-1","event":"Signed Up","properties":{"plan":"pro"}}'"""
    )
