"""Logins are limited whatever their names are, and leave processors and threads for the rest."""

import threading

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection

from integrations.access import login_limits, logins
from integrations.access.login_limits import LimitedModelBackend, TooManyLogins, network_of
from integrations.models import AuditEntry
from tests.conftest import make_api_caller
from tests.support.factories import make_user
from tests.support.processes import eventually

pytestmark = pytest.mark.django_db

LOGIN, USERS = "/v1/admin/auth/login", "/v1/admin/users"
ATTACKER, OWNER = "203.0.113.9", "198.51.100.7"
AT_ONCE = login_limits.LOGINS_AT_ONCE


def log_in(client, name, address, password="wrong"):
    form = {"username": name, "password": password}
    return client.post(LOGIN, form, content_type="application/json", REMOTE_ADDR=address)


def log_in_on_the_page(client, name, address):
    form = {"username": name, "password": "wrong"}
    return client.post("/admin/login/", form, REMOTE_ADDR=address)


@pytest.mark.parametrize("log_in", [log_in, log_in_on_the_page])
def test_many_names_from_one_address_are_limited(client, log_in):
    answers = [log_in(client, f"name-{number}", ATTACKER) for number in range(AT_ONCE + 1)]
    assert [each.status_code for each in answers].count(429) == 1
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 6
    assert "Too many logins from your network" in answers[-1].content.decode()
    assert (
        answers[-1]
        .headers["Content-Type"]
        .startswith(
            "application/json" if answers[-1].request["PATH_INFO"] == LOGIN else "text/html"
        )
    )


def test_the_owner_can_log_in_from_another_network_meanwhile(client):
    make_user("ada")
    for number in range(AT_ONCE + 1):
        log_in(client, f"name-{number}", ATTACKER)
        log_in(client, "ada", ATTACKER)
    assert log_in(client, "ada", ATTACKER, "secret").status_code == 429
    assert log_in(client, "ada", OWNER, "secret").status_code == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
    ],
)
def test_a_network_is_an_ipv4_address_or_a_64_of_ipv6(address, network):
    assert network_of(address) == network


def test_all_addresses_of_an_ipv6_network_are_limited_together(client):
    for number in range(AT_ONCE):
        log_in(client, f"name-{number}", f"2001:db8:1:2::{number:x}")
    assert log_in(client, "ada", "2001:db8:1:2:ffff::1").status_code == 429
    assert log_in(client, "ada", "2001:db8:1:3::1").status_code == 401


# --- threads -----------------------------------------------------------------------------------


class HeldHasher(MD5PasswordHasher):
    """Takes as long as the test wants, and counts how many hash at once."""

    hashing, most, lock = 0, 0, threading.Lock()
    go_on = threading.Event()

    def encode(self, password, salt):
        with self.lock:
            HeldHasher.hashing += 1
            HeldHasher.most = max(self.most, self.hashing)
        assert self.go_on.wait(60)
        with self.lock:
            HeldHasher.hashing -= 1
        return super().encode(password, salt)


def test_all_together_hash_on_few_threads_and_the_others_are_told_to_retry(settings, rf):
    settings.PASSWORD_HASHERS = [f"{__name__}.HeldHasher"]
    refusals, finished = [], []

    def attempt(number):
        request = rf.post("/", REMOTE_ADDR=f"203.0.113.{number}")
        try:
            LimitedModelBackend().authenticate(request, f"name-{number}", "wrong")
            finished.append(number)
        except TooManyLogins as refusal:
            refusals.append(refusal.seconds)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    try:
        eventually(lambda: len(refusals) >= 6 and HeldHasher.hashing == 1, 5)
    finally:
        HeldHasher.go_on.set()
        for each in threads:
            each.join(60)
    assert (len(finished), HeldHasher.most) == (2, login_limits.HASHING_THREADS)
    assert refusals == [1.0] * 6


def test_a_thread_is_free_again_after_each_login(client):
    make_user("ada")
    for number in range(5):
        assert log_in(client, "ada", f"203.0.113.{number}", "secret").status_code == 200


# --- what a guesser leaves ---------------------------------------------------------------------


def test_failures_from_one_network_leave_few_rows_in_the_audit_log(client, monkeypatch):
    monkeypatch.setattr(login_limits, "LOGINS_AT_ONCE", 1_000)
    failures = AuditEntry.objects.filter(action="auth.login_failed")
    for number in range(logins.FAILURES_PER_HOUR + 5):
        log_in(client, f"name-{number}", f"2001:db8:1:2::{number:x}")
    assert failures.count() == logins.FAILURES_PER_HOUR
    log_in(client, "ada", OWNER)
    assert failures.count() == logins.FAILURES_PER_HOUR + 1


def test_the_thief_of_an_access_token_cannot_guess_the_password(client):
    user = make_user("boss", role="org_admin")
    token = log_in(client, "boss", OWNER, "secret").json()["access_token"]
    call = make_api_caller(client, token)
    guess = {"password": "correct-horse-5b1", "current_password": "guess"}
    answers = [call("PATCH", f"{USERS}/{user.pk}", guess)[0] for _ in range(AT_ONCE + 1)]
    assert answers == [422] * AT_ONCE + [429]
    right = {**guess, "current_password": "secret"}
    assert call("PATCH", f"{USERS}/{user.pk}", right)[0] == 429
