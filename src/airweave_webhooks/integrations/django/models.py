"""The tables of `DjangoStore` and `once`, on whichever database Django runs on.

Rows are found by a hash, and indexed by hashes and short texts only: what comes from outside may be longer than an
index takes, and some databases take texts for the same that are not. Times are seconds since the epoch, as in a
`Record`, whatever `USE_TZ` says.
"""

from datetime import datetime
from typing import ClassVar

from django.db import models

from airweave_webhooks.integrations.marks import TABLE

HASH = 64
"""Characters of a SHA-256 in hex."""


class Delivery(models.Model):
    """One delivery: a `Record`, whose fields say what each column means."""

    id: "models.CharField[str, str]" = models.CharField(max_length=HASH, primary_key=True, editable=False)
    """Of receiver, tenant and key."""
    receiver: "models.TextField[str, str]" = models.TextField()
    receiver_hash: "models.CharField[str, str]" = models.CharField(max_length=HASH, editable=False)
    tenant: "models.TextField[str, str]" = models.TextField(blank=True)
    key: "models.TextField[str, str]" = models.TextField()
    message_id: "models.TextField[str, str]" = models.TextField()
    digest: "models.BinaryField[bytes | memoryview, bytes | memoryview]" = models.BinaryField()
    event_type: "models.TextField[str, str]" = models.TextField()
    collection: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    source_type: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    job_id: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    event_time: "models.FloatField[float | None, float | None]" = models.FloatField(null=True)
    received_at: "models.FloatField[float, float]" = models.FloatField()
    state: "models.CharField[str, str]" = models.CharField(max_length=10)
    reason: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    settled_at: "models.FloatField[float | None, float | None]" = models.FloatField(null=True)
    due_at: "models.FloatField[float | None, float | None]" = models.FloatField(null=True)
    fence: "models.BigIntegerField[int, int]" = models.BigIntegerField()
    token: "models.BinaryField[bytes | memoryview, bytes | memoryview]" = models.BinaryField()
    owner: "models.TextField[str, str]" = models.TextField(blank=True)
    lease_until: "models.FloatField[float | None, float | None]" = models.FloatField(null=True)
    leases_lost: "models.IntegerField[int, int]" = models.IntegerField()
    attempts: "models.IntegerField[int, int]" = models.IntegerField()
    generation: "models.IntegerField[int, int]" = models.IntegerField()
    results: "models.TextField[str, str]" = models.TextField()
    """A JSON object: handler id to result."""
    error: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    history: "models.TextField[str, str]" = models.TextField(blank=True)
    """See `stores.history`."""
    sent_at: "models.BigIntegerField[int | None, int | None]" = models.BigIntegerField(null=True)
    headers: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    """A JSON object."""
    order_key: "models.TextField[str | None, str | None]" = models.TextField(null=True)
    line: "models.CharField[str | None, str | None]" = models.CharField(max_length=HASH, null=True)
    """Of receiver, tenant and order key: deliveries that run one at a time have the same."""
    body: "models.BinaryField[bytes | memoryview | None, bytes | memoryview | None]" = models.BinaryField(null=True)
    has_body: "models.BooleanField[bool, bool]" = models.BooleanField()
    """Whether there is a body: to be asked, and indexed, without reading it."""

    class Meta:
        """For Django."""

        verbose_name_plural = "deliveries"
        ordering: ClassVar[list[str]] = ["-received_at", "-tenant", "-key"]
        # Deliveries come from Airweave, and are changed by the receiver alone.
        default_permissions: tuple[str, ...] = ("view",)
        permissions: ClassVar[list[tuple[str, str]]] = [("replay_delivery", "Can replay delivery")]
        # Each query has one that begins with all that it compares: of two with a part, SQLite may take the wrong one.
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["receiver_hash", "received_at"], name="airweave_received"),
            models.Index(fields=["receiver_hash", "state", "has_body", "due_at"], name="airweave_due"),
            models.Index(fields=["receiver_hash", "state", "has_body", "lease_until"], name="airweave_leased"),
            models.Index(fields=["state", "has_body", "settled_at"], name="airweave_settled"),
            models.Index(fields=["receiver_hash", "leases_lost"], name="airweave_lost"),
            models.Index(fields=["line", "has_body", "state", "event_time"], name="airweave_line"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.message_id}"


class Worker(models.Model):
    """When a worker last said that it works."""

    id: "models.CharField[str, str]" = models.CharField(max_length=HASH, primary_key=True, editable=False)
    """Of receiver and owner."""
    receiver: "models.TextField[str, str]" = models.TextField()
    owner: "models.TextField[str, str]" = models.TextField()
    seen_at: "models.FloatField[float, float]" = models.FloatField()

    class Meta:
        """For Django."""

        default_permissions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.receiver}: {self.owner}"


class Queue(models.Model):
    """Whoever takes work of a receiver locks its row, so that orders are kept."""

    id: "models.CharField[str, str]" = models.CharField(max_length=HASH, primary_key=True, editable=False)
    """Of the receiver."""
    receiver: "models.TextField[str, str]" = models.TextField()

    class Meta:
        """For Django."""

        default_permissions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.receiver


class Once(models.Model):
    """One thing that a handler has done: a `Mark`, in the table that `once` has on every driver."""

    mark: "models.CharField[str, str]" = models.CharField(max_length=HASH, primary_key=True, editable=False)
    receiver: "models.TextField[str, str]" = models.TextField()
    tenant: "models.TextField[str, str]" = models.TextField(blank=True)
    key: "models.TextField[str, str]" = models.TextField()
    handler: "models.TextField[str, str]" = models.TextField()
    name: "models.TextField[str, str]" = models.TextField(blank=True)
    generation: "models.IntegerField[int, int]" = models.IntegerField()
    marked_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(auto_now_add=True)

    class Meta:
        """For Django."""

        db_table = TABLE
        verbose_name = "thing done once"
        verbose_name_plural = "things done once"
        default_permissions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.handler} {self.name} of {self.key}".replace("  ", " ")
