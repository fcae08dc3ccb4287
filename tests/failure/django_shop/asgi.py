"""What a server serves."""

from django.core.asgi import get_asgi_application

from airweave_webhooks.integrations.django import with_lifespan

application = with_lifespan(get_asgi_application())
