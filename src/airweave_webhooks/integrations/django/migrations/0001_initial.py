"""The tables, as `models` has them, and how their texts are compared."""

from typing import Any, ClassVar

from django.db import migrations, models

from airweave_webhooks.integrations.django.collations import compare_exactly


class Migration(migrations.Migration):
    """Made by Django, but for the last step."""

    initial: ClassVar[bool] = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Once",
            fields=[
                ("mark", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("receiver", models.TextField()),
                ("tenant", models.TextField(blank=True)),
                ("key", models.TextField()),
                ("handler", models.TextField()),
                ("name", models.TextField(blank=True)),
                ("generation", models.IntegerField()),
                ("marked_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name": "thing done once",
                "verbose_name_plural": "things done once",
                "db_table": "airweave_webhook_once",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                ("id", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("receiver", models.TextField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("receiver", models.TextField()),
                ("owner", models.TextField()),
                ("seen_at", models.FloatField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("receiver", models.TextField()),
                ("receiver_hash", models.CharField(editable=False, max_length=64)),
                ("tenant", models.TextField(blank=True)),
                ("key", models.TextField()),
                ("message_id", models.TextField()),
                ("digest", models.BinaryField()),
                ("event_type", models.TextField()),
                ("collection", models.TextField(null=True)),
                ("source_type", models.TextField(null=True)),
                ("job_id", models.TextField(null=True)),
                ("event_time", models.FloatField(null=True)),
                ("received_at", models.FloatField()),
                ("state", models.CharField(max_length=10)),
                ("reason", models.TextField(null=True)),
                ("settled_at", models.FloatField(null=True)),
                ("due_at", models.FloatField(null=True)),
                ("fence", models.BigIntegerField()),
                ("token", models.BinaryField()),
                ("owner", models.TextField(blank=True)),
                ("lease_until", models.FloatField(null=True)),
                ("leases_lost", models.IntegerField()),
                ("attempts", models.IntegerField()),
                ("generation", models.IntegerField()),
                ("results", models.TextField()),
                ("error", models.TextField(null=True)),
                ("history", models.TextField(blank=True)),
                ("sent_at", models.BigIntegerField(null=True)),
                ("headers", models.TextField(null=True)),
                ("order_key", models.TextField(null=True)),
                ("line", models.CharField(max_length=64, null=True)),
                ("body", models.BinaryField(null=True)),
                ("has_body", models.BooleanField()),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["-received_at", "-tenant", "-key"],
                "permissions": [("replay_delivery", "Can replay delivery")],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["receiver_hash", "received_at"], name="airweave_received"),
                    models.Index(fields=["receiver_hash", "state", "has_body", "due_at"], name="airweave_due"),
                    models.Index(fields=["receiver_hash", "state", "has_body", "lease_until"], name="airweave_leased"),
                    models.Index(fields=["state", "has_body", "settled_at"], name="airweave_settled"),
                    models.Index(fields=["receiver_hash", "leases_lost"], name="airweave_lost"),
                    models.Index(fields=["line", "has_body", "state", "event_time"], name="airweave_line"),
                ],
            },
        ),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
    ]
