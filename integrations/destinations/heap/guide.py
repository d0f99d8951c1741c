"""The guide to Heap: the steps before installing, and the troubleshooting table.

Facts about Heap: https://developers.heap.io/reference/server-side-apis-overview and the pages
under it, https://developers.heap.io/reference/user-deletion (seen 2026-11).
"""

from integrations.destination import TroubleshootingEntry

SETUP_STEPS = (
    (
        "Create a Heap account",
        "Sign up at heap.io if you have no account. To look around first, choose the region "
        "“Sandbox” instead and skip the other steps.",
    ),
    (
        "Choose an environment",
        "A Heap project has environments, such as Production and Development, that share no "
        "data. Begin with Development, and install Heap again for Production when you are happy "
        "with the results.",
    ),
    (
        "Copy its App ID",
        "Open Account › Manage › Projects in Heap. Each environment is listed with its App ID, a "
        "number such as 1234567890. Heap requires nothing else from a sender and does not reject "
        "a wrong number, so check it twice.",
    ),
    (
        "Note your region",
        "Heap stores an account's data in the United States or in the European Union, behind "
        "different addresses. If unsure, check where the snippet on your site loads from: an "
        "address with “.eu.” means European Union.",
    ),
    (
        "Only for deleting users: create an API key",
        "Sending events needs no key. If your users may ask to be deleted, an admin creates a key "
        "under Account › Manage › Privacy & Security. Heap shows it once, and there is only one "
        "key at a time.",
    ),
)

TROUBLESHOOTING = (
    TroubleshootingEntry(
        symptom="The credentials are rejected (401 or 403)",
        cause="Heap accepts events without credentials, so the response most likely came from a "
        "proxy or a firewall in between. When users are deleted, the API key is wrong or revoked, "
        "or the App ID is not that of the main Production environment.",
        fix="Read the response in the attempt to see where it came from. Correct the App ID, API "
        "key or region, then resume the installation.",
        errors=("CredentialsRejected",),
        statuses=(401, 403),
    ),
    TroubleshootingEntry(
        symptom="Heap rejects the request (400)",
        cause="Part of the request is not valid for Heap. The response names the place, counted "
        "from 0: postBody.events[3].properties refers to the fourth event.",
        fix="Open the attempt and compare Heap's response with the request. Fix the problem where "
        "the event is tracked, or in the blueprint, then deliver again.",
        statuses=(400,),
    ),
    TroubleshootingEntry(
        symptom="A delivery failed",
        cause="Heap cannot accept the message in any form: it has no usable userId or anonymousId, "
        "a userId of more than 255 characters, an event without a name, or a group without a "
        "groupId.",
        fix="The reason on the delivery names the problem. Fix it where the message is sent from. "
        "If a change of the blueprint fixes it, deliver the failed deliveries again.",
        errors=("MessageRejected",),
    ),
    TroubleshootingEntry(
        symptom="A message is too large (413)",
        cause="A single message is larger than Heap, or a proxy in between, accepts.",
        fix="Send fewer properties with the message, or leave some out in the blueprint.",
        errors=("TooLarge",),
        statuses=(413,),
    ),
    TroubleshootingEntry(
        symptom="Heap is unavailable, or asks to slow down (429)",
        cause="Heap or the network has a problem, or more was sent than Heap accepts: 15,000 "
        "events a minute for an App ID, 1,000 a minute for one user.",
        fix="You do not need to do anything. Nothing is lost, and Penstock keeps the order and "
        "retries automatically. If the problem lasts, check whether a firewall blocks the "
        "connection.",
        errors=("VendorUnavailable",),
        statuses=(408, 425, 429, 500, 502, 503, 504),
    ),
    TroubleshootingEntry(
        symptom="Deliveries succeed, yet Heap shows no events",
        cause="Heap shows another environment, or the App ID or the region is not yours. Heap is "
        "known to accept any number that looks like an App ID.",
        fix="Compare the App ID here with Account › Manage › Projects in Heap, select the same "
        "environment at the top of Heap, and check the region.",
    ),
    TroubleshootingEntry(
        symptom="Events arrive late",
        cause="Heap processes accepted events asynchronously. This usually takes minutes, but Heap "
        "promises no time. A new event can take an hour to appear in charts.",
        fix="Check the delivery first. Once it is delivered, you only need to wait.",
    ),
    TroubleshootingEntry(
        symptom="User properties do not change",
        cause="User properties are sent with identify calls, not with events. Heap stores them "
        "only for users, so an identify without a userId cannot be sent.",
        fix="Call identify with a userId and traits, and make sure that the blueprint has an "
        "enabled action of kind user_properties for it.",
    ),
    TroubleshootingEntry(
        symptom="One person appears as two users",
        cause="Heap links a visitor to a user only if a message has both a userId and an "
        "anonymousId. It links a visitor to one user only, at most 10 visitors a month to the "
        "same user, and never two users to each other.",
        fix="Call identify right after sign-in, where the anonymousId is known, with the same "
        "userId everywhere. Reset the SDK on sign-out.",
    ),
    TroubleshootingEntry(
        symptom="Event properties are missing or look different",
        cause="Heap accepts only text and numbers: names below 512 characters, text below 1,024. "
        "Objects are flattened, lists become text, empty values are left out, and values that are "
        "too long are cut.",
        fix="The notes on the delivery name the properties concerned. Use shorter names and "
        "values, or select what you need from lists in the blueprint.",
    ),
)
