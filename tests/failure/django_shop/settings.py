"""A project on a database of the test's own, whose handlers write to it."""

import json
import os

from airweave_webhooks import Inline

SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["airweave_webhooks.integrations.django", "failure.django_shop"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "failure.django_shop.urls"
WSGI_APPLICATION = "failure.django_shop.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
AIRWEAVE_WEBHOOKS = {"MODE": Inline(lease=30.0)}
