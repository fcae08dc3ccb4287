"""The app, as `INSTALLED_APPS` names it: `airweave_webhooks.integrations.django`."""

from django.apps import AppConfig


class AirweaveWebhooksConfig(AppConfig):
    """Airweave's webhooks in a Django project."""

    name = "airweave_webhooks.integrations.django"
    label = "airweave_webhooks"
    verbose_name: str = "Airweave webhooks"
    default_auto_field: str = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Find the handlers of all apps, take care of the connections that they use, and register the checks."""
        from airweave_webhooks.integrations.django import checks, connections, discovery  # noqa: PLC0415 - no sooner

        connections.look_after()
        checks.register()
        discovery.discover()
