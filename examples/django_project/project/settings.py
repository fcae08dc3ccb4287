"""A project with nothing but what it takes to receive; the secret comes from AIRWEAVE_WEBHOOK_SECRET."""

import os
from pathlib import Path

SECRET_KEY = os.environ.get("SECRET_KEY", "for development alone")
DEBUG = "PRODUCTION" not in os.environ
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["airweave_webhooks.integrations.django", "syncs"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

FOLDER = Path(os.environ.get("FOLDER", Path(__file__).parents[1]))
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "project.sqlite3"}}
if "DATABASE_NAME" in os.environ:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["DATABASE_NAME"],
        "USER": os.environ["DATABASE_USER"],
        "PASSWORD": os.environ["DATABASE_PASSWORD"],
        "HOST": os.environ["DATABASE_HOST"],
        "PORT": os.environ["DATABASE_PORT"],
    }

# Deliveries are remembered in the project's own database.
AIRWEAVE_WEBHOOKS = {"STORE": "django"}
