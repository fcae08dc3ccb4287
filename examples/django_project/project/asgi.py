"""For ASGI: uvicorn project.asgi:application."""

import os

from django.core.asgi import get_asgi_application

from airweave_webhooks.integrations.django import with_lifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = with_lifespan(get_asgi_application())
