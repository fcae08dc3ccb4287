"""Tests that a project has of its own, run by `manage.py test`: deliveries are posted, and nobody closes anything."""

from typing import Any

from django.test import TransactionTestCase

from failure.django_shop.models import Effect
from failure.servers import body
from signing import sign


class Posting(TransactionTestCase):
    """With the store of the settings, on the test's database."""

    def test_both_kinds_of_handlers(self) -> None:
        """Each writes its effect, by a connection of its own."""
        for number, kind in enumerate(["threaded", "awaiting"]):
            headers: Any = sign(body(kind), message_id=f"msg_{number}")
            del headers["content-type"]
            answer = self.client.post("/webhooks/sync", body(kind), content_type="application/json", headers=headers)
            assert answer.json() == {"status": "processed"}
        assert Effect.objects.count() == 2

    def test_them_again(self) -> None:
        """What was done is not remembered: Django has emptied the tables meanwhile."""
        self.test_both_kinds_of_handlers()
