"""What is known of collections."""

from django.db import models


class Collection(models.Model):
    """A collection of Airweave's."""

    name: "models.TextField[str, str]" = models.TextField(unique=True)
    syncs: "models.IntegerField[int, int]" = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name
