"""What handlers do, as rows that anybody can count."""

from django.db import models


class Effect(models.Model):
    """One, and who had it."""

    delivery: "models.TextField[str, str]" = models.TextField()
    pid: "models.IntegerField[int, int]" = models.IntegerField()

    class Meta:
        app_label = "django_shop"

    def __str__(self) -> str:
        return self.delivery
