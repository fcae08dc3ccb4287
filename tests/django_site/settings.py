"""A project as a process serves it: most of it is said by the environment, and something touches bodies."""

import os
from pathlib import Path

SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "airweave_webhooks.integrations.django",
    "django_site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django_site.middleware.touching",
]
ROOT_URLCONF = "django_site.urls"
WSGI_APPLICATION = "django_site.wsgi.application"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATA_UPLOAD_MAX_MEMORY_SIZE = 100  # less than any delivery has
USE_TZ = True
FOLDER = Path(os.environ["FOLDER"])
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "default.sqlite3", "ATOMIC_REQUESTS": True},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "other.sqlite3", "ATOMIC_REQUESTS": True},
}
