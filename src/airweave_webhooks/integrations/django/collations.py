"""How databases compare the texts of our tables: exactly, and in the order of Python's.

MySQL and MariaDB compare without case, and without the spaces at the end; what they hold depends on the database's
character set. PostgreSQL sorts as people of some country do, and pages of a search would depend on it.
"""

from typing import Final

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_MODELS: Final = ("Delivery", "Worker", "Queue", "Once")
_SORTED: Final = ("tenant", "key")


def compare_exactly(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """A step of a migration, for the tables that the steps before have made."""
    connection = schema_editor.connection
    quote = connection.ops.quote_name
    if connection.vendor == "mysql":
        # Those of the binary collations that take spaces at the end for what they are.
        collation = "utf8mb4_nopad_bin" if getattr(connection, "mysql_is_mariadb", False) else "utf8mb4_0900_bin"
        for name in _MODELS:
            table = quote(apps.get_model("airweave_webhooks", name)._meta.db_table)
            schema_editor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}")
    elif connection.vendor == "postgresql":
        table = quote(apps.get_model("airweave_webhooks", "Delivery")._meta.db_table)
        changes = ", ".join(f'ALTER COLUMN {quote(name)} TYPE text COLLATE "C"' for name in _SORTED)
        schema_editor.execute(f"ALTER TABLE {table} {changes}")
