"""Asks for an access token as programs with Azure's SDKs for Python do, and
prints it with its end, in seconds since 1970:

    client.py managed|default|msrestazure RESOURCE [CLIENT_ID]
"""

import sys


def managed(resource, client_id):
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id).get_token(resource + "/.default")


def default(resource, client_id):
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id).get_token(resource + "/.default")


def msrestazure(resource, client_id):
    from msrestazure.azure_active_directory import MSIAuthentication

    options = {"client_id": client_id} if client_id else {}
    token = MSIAuthentication(resource=resource, **options).token
    return token["access_token"], token["expires_on"]


kind, resource, *rest = sys.argv[1:]
print(*{"managed": managed, "default": default, "msrestazure": msrestazure}[kind](resource, *rest or [None]))
