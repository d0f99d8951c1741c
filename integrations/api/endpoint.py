"""What every view of the management API has in common."""

from rest_framework.views import APIView


class Endpoint(APIView):
    """A view that says for each of its methods which scope it needs, as in permissions.py."""

    scopes: dict[str, str] = {}
