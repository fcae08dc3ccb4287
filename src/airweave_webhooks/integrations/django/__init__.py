"""Django: views, a store on the project's own database, `once`, the admin, and commands.

Its name in `INSTALLED_APPS` is this package's. Nothing here imports a model before Django has loaded the apps.
"""
