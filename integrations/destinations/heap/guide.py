"""What people read about Heap: the steps before installing, and the troubleshooting table.

Facts about Heap: https://developers.heap.io/reference/server-side-apis-overview and the pages
under it, https://developers.heap.io/reference/user-deletion (seen 2026-11).
"""

from integrations.destination import TroubleshootingEntry

SETUP_STEPS = (
    (
        "Have a Heap account",
        "Sign up at heap.io if you have none. To look around first, choose the region “Sandbox” "
        "instead and skip the other steps.",
    ),
    (
        "Choose an environment",
        "A Heap project has environments, such as Production and Development, that share no "
        "data. Begin with Development, and install again for Production when you like what you "
        "see.",
    ),
    (
        "Copy its App ID",
        "Open Account › Manage › Projects in Heap. Each environment is listed with its App ID, a "
        "number such as 1234567890. It is all that Heap asks of a sender, so check it twice: a "
        "wrong number is not refused.",
    ),
    (
        "Note your region",
        "Heap keeps an account's data in the United States or in the European Union, behind "
        "different addresses. If unsure, see where the snippet on your site loads from: an "
        "address with “.eu.” means European Union.",
    ),
    (
        "Only for deleting users: make an API key",
        "Sending events needs no key. If your people may ask to be deleted, an admin makes one "
        "under Account › Manage › Privacy & Security. Heap shows it once, and there is only one "
        "at a time.",
    ),
)

TROUBLESHOOTING = (
    TroubleshootingEntry(
        symptom="The credentials are rejected (401 or 403)",
        cause="Heap asks for no credentials when it takes events, so a proxy or a firewall on "
        "the way has most likely answered. When users are deleted: the API key is wrong or "
        "revoked, or the App ID is not that of the main Production environment.",
        fix="Read the answer in the attempt to see who gave it. Correct the App ID, API key or "
        "region, then resume the installation.",
        errors=("CredentialsRejected",),
        statuses=(401, 403),
    ),
    TroubleshootingEntry(
        symptom="Heap refuses the request (400)",
        cause="Something in it is not as Heap wants it. Its answer names the place, counted from "
        "0: postBody.events[3].properties is about the fourth event.",
        fix="Open the attempt and compare Heap's answer with what was sent. Mend it where the "
        "event is tracked, or in the blueprint, and deliver again.",
        statuses=(400,),
    ),
    TroubleshootingEntry(
        symptom="A delivery failed",
        cause="The message has what Heap cannot take in any form: nobody it is about, a userId "
        "of more than 255 characters, an event without a name, a group without groupId.",
        fix="The reason on the delivery says which. Mend it where the message is sent from; what "
        "failed can be delivered again after a change of the blueprint.",
        errors=("MessageRejected",),
    ),
    TroubleshootingEntry(
        symptom="A message is too large (413)",
        cause="One message alone is more than Heap, or a proxy on the way, takes at once.",
        fix="Send fewer properties with it, or leave some out in the blueprint.",
        errors=("TooLarge",),
        statuses=(413,),
    ),
    TroubleshootingEntry(
        symptom="Heap is unavailable, or asks to slow down (429)",
        cause="Heap or the network has a problem, or more was sent than Heap takes: 15,000 "
        "events a minute for an App ID, 1,000 a minute for one user.",
        fix="Nothing is lost and nothing needs to be done: Penstock keeps the order and tries "
        "again by itself. If it lasts, see whether a firewall stands between.",
        errors=("VendorUnavailable",),
        statuses=(408, 425, 429, 500, 502, 503, 504),
    ),
    TroubleshootingEntry(
        symptom="Deliveries succeed, yet Heap shows no events",
        cause="Heap is open on another environment, or the App ID or the region is not yours: "
        "Heap is known to accept any number that looks like an App ID.",
        fix="Compare the App ID here with Account › Manage › Projects in Heap, pick the same "
        "environment at the top of Heap, and check the region.",
    ),
    TroubleshootingEntry(
        symptom="Events arrive late",
        cause="Heap works through what it accepted in its own time: minutes as a rule, and it "
        "promises none. A new event can take an hour to be offered in charts.",
        fix="Look at the delivery first: once it says delivered, it is only a matter of waiting.",
    ),
    TroubleshootingEntry(
        symptom="User properties do not change",
        cause="They travel with identify calls, not with events. And Heap keeps them for users "
        "only: an identify without userId has nowhere to go.",
        fix="Call identify with a userId and traits, and see that the blueprint has an enabled "
        "action of kind user_properties for it.",
    ),
    TroubleshootingEntry(
        symptom="One person appears as two users",
        cause="Heap joins a visitor with a user only when told that both are one, which takes a "
        "message with userId and anonymousId. It joins a visitor with one user only, at most 10 "
        "visitors a month with the same user, and never two users.",
        fix="Call identify right after sign-in, with the same userId everywhere, from where the "
        "anonymousId is known. Reset the SDK on sign-out.",
    ),
    TroubleshootingEntry(
        symptom="Event properties are missing or look different",
        cause="Heap takes flat texts and numbers: names below 512 characters, texts below 1,024. "
        "Objects are flattened, lists become text, what is empty is left out, what is too long "
        "is cut.",
        fix="The notes on the delivery name every property concerned. Use shorter names and "
        "texts, or pick what you need out of lists in the blueprint.",
    ),
)
