"""The URLs of a project with the admin, and what its tests need to look at pages."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
