"""A Django project for tests. What its databases are is said when they are there: see `django_databases`."""

SECRET_KEY = "tests"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "airweave_webhooks.integrations.django",
]
DATABASES: dict[str, dict[str, object]] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
TIME_ZONE = "Asia/Kathmandu"  # nobody may rely on UTC
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
