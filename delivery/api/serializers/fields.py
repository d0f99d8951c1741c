"""Fields that several resources share."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.api.fields import MAX_INTEGER


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "integer"}, "maxItems": 1000},
            {"type": "string", "const": "all"},
        ]
    }
)
class SourceIdsField(serializers.Field):
    """ "all", or a list of source ids."""

    default_error_messages = {"invalid": 'Must be "all" or a list of source ids.'}

    def to_internal_value(self, data):
        ids = isinstance(data, list) and len(data) <= 1_000
        if data != "all" and not (
            ids and all(type(e) is int and 0 < e <= MAX_INTEGER for e in data)
        ):
            self.fail("invalid")
        return data

    def to_representation(self, value):
        return value


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class InstallationConfigField(serializers.DictField):
    """The destination's settings, named as in the catalog; secrets are masked as ***."""

    default_error_messages = {"not_a_dict": "Must be an object of settings."}


class DaysField(serializers.FloatField):
    default_error_messages = {"invalid": "Must be a number of days, or null to use the setting."}

    def to_internal_value(self, data):
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)
