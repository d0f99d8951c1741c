"""The blueprint editor in a browser: errors in place, preview, revisions and roll-back."""

import pytest
from playwright.sync_api import expect

from integrations.models import Installation
from tests.support.factories import make_event, make_installation

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def heap(sandbox):
    make_event(name="Order Completed")
    return make_installation(config={"app_id": "123", "region": "sandbox"})


@pytest.fixture
def editor(page, heap):
    page.goto(f"/admin/integrations/installation/{heap.pk}/blueprint/")
    expect(page.locator("#shown")).to_contain_text("Would be sent")
    return page


def card(page, name):
    return page.locator(".ps-action").filter(has=page.get_by_label(f"Trigger of {name}"))


def names(page):
    return [each.input_value() for each in page.get_by_label("Name of the action").all()]


def choose(page, offered):
    option = page.get_by_role("option", name=offered)
    expect(option).to_have_attribute("aria-selected", "true")
    page.wait_for_timeout(100)  # the list ignores Enter just after it opens
    page.keyboard.press("Enter")


def test_a_trigger_is_edited_mended_previewed_saved_and_rolled_back(editor, heap):
    tracked = card(editor, "Tracked events")
    trigger = editor.get_by_label("Trigger of Tracked events")
    trigger.click()
    editor.keyboard.press("End")
    editor.keyboard.type(' and evnt = "Order Paid"')

    error = tracked.get_by_role("alert").first
    expect(error).to_have_text("Position 20: expected a field (did you mean event?), found evnt")
    expect(tracked.locator(".cm-lintRange-error")).to_have_text("evnt")
    expect(editor.get_by_role("button", name="Save…")).to_be_disabled()

    for _ in range(len('evnt = "Order Paid"')):
        editor.keyboard.press("Backspace")
    editor.keyboard.type('event = "Order Paid"')
    editor.keyboard.press("Escape")
    expect(error).to_be_hidden()
    expect(tracked.get_by_text("not triggered")).to_be_visible()
    expect(editor.locator("#shown")).to_contain_text(
        'event = "Order Paid" is not met: the value is "Order Completed".'
    )

    editor.get_by_role("button", name="Save…").click()
    editor.get_by_label("What did you change, and why?").fill("Only what is paid.")
    editor.get_by_role("button", name="Save", exact=True).click()
    expect(editor.get_by_text("Revision 2 is saved")).to_be_visible()
    saved = Installation.objects.get().revision
    assert saved.blueprint["actions"][0]["trigger"] == 'type = "track" and event = "Order Paid"'
    assert (saved.change_summary, saved.author) == ("Only what is paid.", "admin")

    editor.get_by_role("link", name="All revisions").click()
    editor.get_by_role("link", name="Only what is paid.").click()
    expect(editor.locator(".ps-plus")).to_contain_text("Order Paid")
    editor.get_by_role("link", name="All revisions").click()
    editor.get_by_role("button", name="Roll back to revision 1").click()
    expect(editor.get_by_text("Revision 3 restores revision 1")).to_be_visible()
    back = Installation.objects.get().revision
    assert (back.number, back.blueprint) == (3, heap.revision.blueprint)


def test_actions_are_moved_copied_removed_and_brought_back_by_keyboard(editor):
    editor.get_by_role("button", name="Move down: Tracked events").press("Enter")
    assert names(editor)[:2] == ["Page views", "Tracked events"]
    expect(editor.get_by_role("button", name="Move down: Tracked events")).to_be_focused()
    editor.get_by_role("button", name="Duplicate: Page views").press("Enter")
    assert names(editor)[:2] == ["Page views", "Page views (copy)"]
    editor.get_by_role("button", name="Remove: Page views", exact=True).press("Enter")
    assert names(editor)[0] == "Page views (copy)"
    editor.get_by_role("button", name="Undo").press("Enter")
    assert names(editor)[:2] == ["Page views", "Page views (copy)"]
    editor.get_by_role("button", name="Add an action").press("Enter")
    expect(editor.get_by_label("Name of the action").last).to_be_focused()
    assert names(editor)[-1] == "New action"


def test_fields_of_recent_events_and_directives_are_offered(editor):
    editor.get_by_label("Mapping of Tracked events").click()
    editor.keyboard.press("Control+End")
    editor.keyboard.press("ArrowLeft")
    editor.keyboard.press("ArrowLeft")
    editor.keyboard.type(',\n"order": {"@')
    expect(editor.get_by_role("option", name="@path")).to_be_visible()
    editor.keyboard.type("pat")
    choose(editor, "@path")
    editor.keyboard.type("prop")
    choose(editor, "$.properties.order_id")
    expect(editor.get_by_label("Mapping of Tracked events")).to_contain_text(
        '"order": {"@path": "$.properties.order_id"}'
    )


def test_what_is_no_json_is_said_and_kept_from_being_saved(editor):
    tracked = card(editor, "Tracked events")
    editor.get_by_label("Mapping of Tracked events").click()
    editor.keyboard.press("Control+End")
    editor.keyboard.type(",")
    expect(tracked.locator(".ps-errors")).to_be_visible()
    expect(editor.get_by_role("button", name="Save…")).to_be_disabled()


def test_a_test_event_is_sent_from_the_page(editor, sandbox):
    editor.get_by_role("button", name="Send test event").click()
    expect(editor.get_by_text("Heap accepted it.")).to_be_visible()
    assert len(sandbox.state.events) == 1


def test_a_pasted_message_is_previewed(editor):
    editor.get_by_label("With this event").select_option("Write or paste a message…")
    message = editor.get_by_label("The message")
    message.fill('{"type": "page", "userId": "ada", "context": {"page": {"title": "Tea"}}}')
    expect(editor.locator("#shown")).to_contain_text('"title": "Tea"')


@pytest.mark.parametrize("width", [390, 1280])
def test_the_editor_and_the_revisions_fit_their_window(editor, heap, width):
    editor.set_viewport_size({"width": width, "height": 844})
    for address in ("blueprint/", "revisions/", "revisions/1/"):
        editor.goto(f"/admin/integrations/installation/{heap.pk}/{address}")
        editor.wait_for_load_state("networkidle")
        assert editor.evaluate("document.documentElement.scrollWidth") <= width, address
