"""manage.py test: handlers run in threads of their own, so a test's transaction would hide its data from them."""

import time

from django.test import TransactionTestCase, override_settings

from airweave_webhooks.integrations.django import get_receiver
from airweave_webhooks.signing import generate_secret, parse_signer, signature_headers
from airweave_webhooks.testing import Client, events

from .models import Collection

SECRET = generate_secret()


class Syncs(TransactionTestCase):
    def test_a_delivery_that_comes_twice_counts_once(self) -> None:
        with Client(get_receiver()) as airweave:
            results = airweave.duplicate(events.sync_completed(collection="docs"))
            airweave.assert_handled_once(results)
        self.assertEqual(Collection.objects.get(name="docs").syncs, 1)

    @override_settings(AIRWEAVE_WEBHOOKS={"STORE": "memory:", "SECRETS": SECRET})
    def test_the_url_answers(self) -> None:
        body = events.sync_completed(collection="docs").model_dump_json().encode()
        headers = signature_headers([parse_signer(SECRET)], "msg_1", int(time.time()), body)
        answer = self.client.post("/webhooks/airweave", body, content_type="application/json", headers=headers)
        self.assertEqual(answer.json(), {"status": "processed"})
        self.assertEqual(Collection.objects.get(name="docs").syncs, 1)
