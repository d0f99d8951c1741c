"""The contract that every destination of the catalog meets."""

import pytest

from integrations import catalog
from integrations.blueprints import compile_blueprint
from integrations.destination import Response, raise_for_status
from integrations.errors import (
    CredentialsRejected,
    DestinationError,
    MessageRejected,
    TooLarge,
    VendorFailed,
    VendorUnavailable,
)

DESTINATIONS = list(catalog.catalog().values())
every = pytest.mark.parametrize("destination", DESTINATIONS, ids=lambda each: each.key)


@every
def test_a_destination_stands_in_the_folder_of_its_key(destination):
    assert catalog.logo_url(destination.key).startswith("data:image/svg+xml;base64,")


@every
def test_every_variant_has_a_blueprint_and_settings_the_destination_knows(destination):
    for variant in destination.variants:
        compile_blueprint(catalog.load_blueprint(destination.key, variant.key), destination.kinds)
        fields = {field.key: field for field in destination.config_fields}
        for key, value in variant.config.items():
            assert value in {option.value for option in fields[key].options}


@every
def test_the_first_variant_is_the_default_one(destination):
    assert destination.variants[0].key == "default"


@every
def test_settings_are_described_for_people(destination):
    for field in destination.config_fields:
        assert field.label
        assert field.help_text
        assert field.type in ("string", "secret", "select")
        assert bool(field.options) == (field.type == "select")
        assert not field.pattern or field.pattern_help


@every
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, VendorUnavailable), (401, CredentialsRejected), (403, CredentialsRejected),
        (400, MessageRejected), (404, MessageRejected), (413, TooLarge), (429, VendorUnavailable),
        (408, VendorUnavailable), (500, VendorUnavailable), (503, VendorUnavailable),
    ],
)  # fmt: skip
def test_each_refusal_has_its_class(destination, status, error):
    with pytest.raises(error):
        destination.judge(Response(status=status))


@every
@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_success(destination, status):
    assert destination.judge(Response(status=status)) is None


def meaning(status):
    try:
        raise_for_status(Response(status=status))
    except DestinationError as error:
        return type(error)
    return None


def test_every_status_has_one_meaning():
    named = {
        401: CredentialsRejected, 403: CredentialsRejected, 413: TooLarge,
        408: VendorUnavailable, 425: VendorUnavailable, 429: VendorUnavailable,
        502: VendorUnavailable, 503: VendorUnavailable, 504: VendorUnavailable,
    }  # fmt: skip
    by_hundreds = {2: None, 4: MessageRejected, 5: VendorFailed}
    assert {status: meaning(status) for status in range(100, 600)} == {
        status: named.get(status, by_hundreds.get(status // 100, VendorUnavailable))
        for status in range(100, 600)
    }


def test_the_pause_a_vendor_asks_for_is_passed_on():
    with pytest.raises(VendorUnavailable) as unavailable:
        raise_for_status(Response(status=503, retry_after=7))
    assert unavailable.value.retry_after == 7


@every
def test_every_failure_has_a_cause_and_a_fix_to_read(destination):
    for error, status in (("CredentialsRejected", 401), ("MessageRejected", 400)):
        found = destination.explain(error, status)
        assert found.cause
        assert found.fix
