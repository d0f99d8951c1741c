"""A person's profile: events over time, linked ids, and what each vendor received."""

import pytest

from delivery.log import profiles
from delivery.log.profiles import find_profile
from tests.support.factories import make_delivery, make_event, make_installation, make_user

pytestmark = pytest.mark.django_db

PAGE = "/admin/delivery/event/user/"


def test_an_id_is_a_users_first_and_else_a_visitors():
    make_event(user_id="ada", anonymous_id="visitor-1")
    assert find_profile("ada").is_user
    assert not find_profile("visitor-1").is_user
    assert find_profile("nobody") is None
    assert find_profile("") is None


def test_ids_seen_together_are_linked_both_ways():
    for visitor in ("v-1", "v-2", "v-1"):
        make_event(user_id="ada", anonymous_id=visitor)
    make_event(user_id="", anonymous_id="v-1")
    assert {each.value: each.events for each in find_profile("ada").linked_ids} == {
        "v-1": 2,
        "v-2": 1,
    }
    assert {each.value: each.events for each in find_profile("v-1").linked_ids} == {"ada": 2}


def test_each_installation_says_what_it_got():
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    make_delivery(heap, make_event())
    make_delivery(heap, make_event(), state="failed")
    newest = make_delivery(eu, make_event(), state="delivered")
    make_delivery(eu, make_event(user_id="grace"))
    standings = find_profile("ada").installation_activity
    assert [(each.installation.name, each.counts) for each in standings] == [
        ("Heap", {"queued": 1, "failed": 1}),
        ("Heap EU", {"delivered": 1}),
    ]
    assert standings[1].newest == newest


def test_events_are_paged_newest_first():
    ids = [make_event().pk for _ in range(5)][::-1]
    first = find_profile("ada").page(limit=2)
    second = find_profile("ada").page(limit=2, before=first.rows[-1].pk)
    assert [[event.pk for event in page.rows] for page in (first, second)] == [ids[:2], ids[2:4]]
    assert first.has_older


def test_the_page_takes_as_many_queries_for_a_long_history(client, django_assert_max_num_queries):
    client.force_login(make_user())
    for number in range(30):
        make_delivery(event=make_event(anonymous_id=f"v-{number}"))
    with django_assert_max_num_queries(14):
        html = client.get(PAGE, {"id": "ada"}).content.decode()
    assert "v-29" in html
    assert "30 queued" in html


def test_an_id_nobody_has_is_not_found(client):
    client.force_login(make_user())
    assert client.get(PAGE, {"id": "nobody"}).status_code == 404
    assert client.get(PAGE).status_code == 404


def test_an_events_page_shows_the_persons_other_events(client, monkeypatch):
    client.force_login(make_user())
    events = [make_event(name=f"Event {number}") for number in range(3)]
    make_event(name="Another's", user_id="grace")
    html = client.get(f"/admin/delivery/event/{events[1].pk}/change/").content.decode()
    assert "Event 0" in html
    assert "Event 2" in html
    assert "Another" not in html


def test_an_events_body_can_be_kept_as_a_file(client):
    client.force_login(make_user())
    event = make_event()
    answer = client.get(f"/admin/delivery/event/{event.pk}/raw/")
    assert answer.json()["messageId"] == event.message_id
    assert "attachment" in answer["Content-Disposition"]
    event.body.delete()
    assert client.get(f"/admin/delivery/event/{event.pk}/raw/").status_code == 404


def test_it_takes_a_permission_to_see_a_person(client):
    event = make_event()
    client.force_login(make_user("nobody", is_superuser=False))
    assert client.get(PAGE, {"id": "ada"}).status_code == 403
    assert client.get(f"/admin/delivery/event/{event.pk}/raw/").status_code == 403


def test_an_event_without_a_person_has_no_others():
    assert profiles.profile_of_event(make_event(user_id="", anonymous_id="")) is None
